"""Everything together: each driver's cases, by each way, on servers of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass

import asyncpg

from bench.roundtrips import on_asyncpg, on_postgres_js, on_psycopg, on_sqlalchemy
from bench.roundtrips.counting import DIRECT, PGSHIM, WORKAROUND, Count, Driver, Way, count
from pgshim.demo.binaries import find_pgbouncer, pgbouncer_version
from pgshim.demo.processes import Endpoint
from pgshim.demo.relay import Relay
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer

DRIVERS = (
    on_asyncpg.DRIVER,
    on_sqlalchemy.ON_ASYNCPG,
    on_sqlalchemy.ON_PSYCOPG,
    on_psycopg.DRIVER,
    on_postgres_js.DRIVER,
)
POOL_SIZE = 3


@dataclass(frozen=True)
class Row:
    """An operation of a driver: round trips by each way, and what is allowed pgshim with this pooler.

    waits -- how many of those allowed are because the pooler is given one batch at a time
    """

    driver: str
    operation: str
    direct: Count
    workaround: Count
    pgshim: Count
    most: int
    waits: int


def measure() -> Iterator[Row]:
    """Every operation of every driver, as it is counted. Raises CannotRun where a driver cannot be had."""
    on_postgres_js.command()
    is_serial = pgbouncer_version(find_pgbouncer()) < (1, 21)
    # As the documentation advises where the pooler takes pipelines: few of those versions say at login what they are.
    options = [] if is_serial else ["--pipeline=through"]
    with ExitStack() as servers:
        found = ways(servers, options)
        for driver in DRIVERS:
            yield from _rows(driver, found, is_serial)


def _rows(driver: Driver, ways: list[Way], is_serial: bool) -> Iterator[Row]:
    for case in driver.cases:
        counts = {way.name: asyncio.run(count(driver, case, way)) for way in ways}
        waits = case.waits if is_serial else 0
        found = counts[DIRECT], counts[WORKAROUND], counts[PGSHIM]
        yield Row(driver.name, case.operation, *found, most=case.most + waits, waits=waits)


def ways(servers: ExitStack, options: Sequence[str]) -> list[Way]:
    """Starts what is needed, pgshim with these options, which ends with `servers`."""
    postgres = servers.enter_context(PostgresServer())
    pooler = servers.enter_context(PgBouncer(postgres, pool_size=POOL_SIZE))
    asyncio.run(_fill(pooler))
    direct = servers.enter_context(Relay(postgres.host, postgres.port))
    bare = servers.enter_context(Relay(pooler.host, pooler.port))
    behind = servers.enter_context(Relay(pooler.host, pooler.port))
    upstream = f"{behind.host}:{behind.port}"
    shim = servers.enter_context(PgshimProcess(pooler, upstream_address=upstream, options=options))
    return [
        Way(DIRECT, direct, _through(direct, postgres.endpoint())),
        Way(WORKAROUND, bare, _through(bare, pooler.endpoint())),
        Way(PGSHIM, behind, shim.endpoint()),
    ]


def _through(relay: Relay, endpoint: Endpoint) -> Endpoint:
    """The endpoint, by way of the relay."""
    return Endpoint(relay.host, relay.port, endpoint.user, endpoint.password, endpoint.database)


async def _fill(pooler: PgBouncer) -> None:
    """Makes PgBouncer open all its servers: with one of them alone, what a workaround leaves broken would not show."""
    async with AsyncExitStack() as held:
        for _ in range(POOL_SIZE):
            connection = await asyncpg.connect(pooler.endpoint().url, statement_cache_size=0)
            held.push_async_callback(connection.close)
            await connection.execute("BEGIN")
            # PgBouncer drops the server of a client that leaves in a transaction.
            held.push_async_callback(connection.execute, "ROLLBACK")
