"""What settings cost: no round trip more than without them, counted by a relay in front of the pooler."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from pgshim.demo.relay import Relay
from pgshim.demo.servers import PgshimProcess
from tests.integration.conftest import Stack

QUERY = "select $1::int + 1"


async def fetch(connection: asyncpg.Connection) -> None:
    assert await connection.fetchval(QUERY, 1) == 2


async def execute(connection: asyncpg.Connection) -> None:
    await connection.execute("select 1; select 2")


async def transaction(connection: asyncpg.Connection) -> None:
    async with connection.transaction(isolation="repeatable_read"):
        await fetch(connection)


async def executemany(connection: asyncpg.Connection) -> None:
    await connection.executemany(QUERY, [(n,) for n in range(10)])


async def reset(connection: asyncpg.Connection) -> None:
    await connection.reset()


OPERATIONS: dict[Callable[[asyncpg.Connection], Awaitable[None]], int] = {
    fetch: 1,
    execute: 1,
    transaction: 2,  # BEGIN is answered at once
    executemany: 1,
    reset: 0,
}


async def count(url: str, relay: Relay, settings: dict[str, str]) -> list[int]:
    """Round trips of each operation, once all is prepared."""
    connection = await asyncpg.connect(url, server_settings=settings)
    found = []
    for operation in OPERATIONS:
        await operation(connection)
        relay.take()
        await operation(connection)
        found.append(relay.take().queries)
    await connection.close()
    return found


SETTINGS = {"statement_timeout": "5s", "search_path": "public", "timezone": "Asia/Tokyo"}


@pytest.mark.parametrize("settings", [{}, SETTINGS])
def test_settings_cost_no_round_trip(plain_stack: Stack, settings: dict[str, str]) -> None:
    pooler = plain_stack.pgbouncer
    with (
        Relay(pooler.host, pooler.port) as relay,
        PgshimProcess(pooler, upstream_address=f"{relay.host}:{relay.port}") as shim,
    ):
        assert asyncio.run(count(shim.endpoint().url, relay, settings)) == list(OPERATIONS.values())


def test_a_set_costs_the_one_that_it_costs_anywhere(plain_stack: Stack) -> None:
    pooler = plain_stack.pgbouncer

    async def sets(url: str, relay: Relay) -> list[int]:
        connection = await asyncpg.connect(url)
        found = []
        for sql in ("set work_mem = '7MB'", "select set_config('app.x', 'y', false)", "reset work_mem", "select 1"):
            relay.take()
            await connection.execute(sql)
            found.append(relay.take().queries)
        await connection.close()
        return found

    with (
        Relay(pooler.host, pooler.port) as relay,
        PgshimProcess(pooler, upstream_address=f"{relay.host}:{relay.port}") as shim,
    ):
        assert asyncio.run(sets(shim.endpoint().url, relay)) == [1, 1, 1, 1]
