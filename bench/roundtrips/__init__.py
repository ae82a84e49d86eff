"""Round trips of what apps do, counted turnaround by turnaround by a relay in front of the pooler; exact, not timed.

Three ways: direct, a PostgreSQL server of its own; workaround, PgBouncer with what the drivers' documentation tells
users of transaction poolers to set; pgshim, PgBouncer behind pgshim, nothing set in the app. The
PgBouncer has all the servers it may have and takes them in turn. Each module here has one driver's operations.
"""

from collections.abc import Iterator

from bench.roundtrips.measuring import DRIVERS, measure

__all__ = ["DRIVERS", "measure", "rows", "versions"]


def versions() -> list[str]:
    """The drivers, each with its version."""
    return list(dict.fromkeys(driver.version for driver in DRIVERS))


def rows() -> Iterator[tuple[str, ...]]:
    """(driver, operation, direct, workaround, pgshim, at most)."""
    for row in measure():
        yield row.driver, row.operation, str(row.direct), str(row.workaround), str(row.pgshim), str(row.most)
