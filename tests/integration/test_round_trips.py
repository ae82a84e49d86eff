"""The budget of round trips: counted by a relay in front of the pooler, not timed."""

from collections import defaultdict

import pytest

from bench.roundtrips.measuring import Row, measure
from tests.clients.programs import CannotRun


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Every operation of every driver."""
    try:
        return list(measure())
    except CannotRun as error:
        pytest.fail(f"The round trips of postgres.js cannot be counted: {error}")


def test_every_operation_works_directly_and_through_pgshim(rows: list[Row]) -> None:
    assert [row for row in rows if isinstance(row.direct, str) or isinstance(row.pgshim, str)] == []


def test_no_operation_costs_more_than_its_budget(rows: list[Row]) -> None:
    assert [row for row in rows if not _is_within(row, row.most)] == []


def test_none_costs_more_than_directly_where_the_pooler_takes_pipelines(rows: list[Row]) -> None:
    """PgBouncer before 1.21 is given one batch at a time, which `waits` counts."""
    assert [row for row in rows if not _is_within(row, row.direct, row.waits)] == []


def test_every_driver_has_its_operations_counted(rows: list[Row]) -> None:
    operations = defaultdict(set)
    for row in rows:
        operations[row.driver].add(row.operation)
    assert set(operations) == {"asyncpg", "SQLAlchemy, asyncpg", "SQLAlchemy, psycopg", "psycopg 3", "postgres.js"}
    assert {driver for driver, found in operations.items() if len(found) < 11} == set()


def _is_within(row: Row, most: int | str, more: int = 0) -> bool:
    return isinstance(row.pgshim, int) and isinstance(most, int) and row.pgshim <= most + more
