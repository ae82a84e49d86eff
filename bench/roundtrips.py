"""Round trips of what apps do, counted turnaround by turnaround by a relay in front of the pooler; exact, not timed.

Each operation is done once ahead of the count, so that what a driver prepares is prepared, unless it is the first of
its kind. Three ways: direct, a PostgreSQL server of its own; workaround, PgBouncer with what the drivers' documentation
tells users of poolers to set (no statement cache); pgshim, PgBouncer behind pgshim with --lazy-begin, nothing set in
the app.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncpg

from pgshim.demo.processes import Endpoint
from pgshim.demo.relay import Relay
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer

QUERY = "select $1::int + 1"
ROWS = 100

_numbers = count(10)

Operation = Callable[[Any], Awaitable[None]]


async def fetch(connection: asyncpg.Connection) -> None:
    assert await connection.fetchval(QUERY, 1) == 2


async def first_fetch(connection: asyncpg.Connection) -> None:
    """Of a text that this connection has not prepared."""
    number = next(_numbers)
    assert await connection.fetchval(f"select $1::int + {number}", 1) == number + 1


async def transaction(connection: asyncpg.Connection, queries: int = 1) -> None:
    async with connection.transaction():
        for _ in range(queries):
            await fetch(connection)


async def transaction_of_3(connection: asyncpg.Connection) -> None:
    await transaction(connection, 3)


async def empty_transaction(connection: asyncpg.Connection) -> None:
    await transaction(connection, 0)


async def reset(connection: asyncpg.Connection) -> None:
    await connection.reset()


async def executemany(connection: asyncpg.Connection) -> None:
    await connection.executemany(QUERY, [(number,) for number in range(ROWS)])


async def cursor(connection: asyncpg.Connection) -> None:
    """100 rows by a cursor with prefetch 50, in a transaction."""
    async with connection.transaction():
        rows = [row async for row in connection.cursor("select generate_series(1, 100)", prefetch=50)]
    assert len(rows) == ROWS


async def pooled(pool: asyncpg.Pool) -> None:
    """Acquire, fetch, release."""
    async with pool.acquire() as connection:
        await fetch(connection)


#: (what, operation on an asyncpg connection, what the design allows pgshim).
OPERATIONS: list[tuple[str, Operation, int]] = [
    ("fetch, seen before", fetch, 1),
    ("fetch, the first", first_fetch, 2),
    ("transaction with 1 query", transaction, 2),
    ("transaction with 3 queries", transaction_of_3, 4),
    ("empty transaction", empty_transaction, 0),
    ("reset()", reset, 0),
    ("executemany, 100 rows", executemany, 1),
    ("cursor, 100 rows by 50", cursor, 6),
]
POOLED = "pool: acquire, fetch, release"


@dataclass(frozen=True)
class Way:
    """A way to the server: the relay that counts, and what asyncpg is given."""

    relay: Relay
    endpoint: Endpoint
    options: dict[str, Any]

    async def count(self, operation: Operation, subject: Any) -> str:
        """The round trips of the second time; `fails` with the error's class if it does."""
        try:
            await operation(subject)
            self.relay.take()
            await operation(subject)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return f"fails ({type(error).__name__})"
        return str(self.relay.take().queries)

    async def counts(self) -> dict[str, str]:
        """What each operation takes."""
        found = {}
        for name, operation, _ in OPERATIONS:
            connection = await asyncpg.connect(self.endpoint.url, **self.options)
            found[name] = await self.count(operation, connection)
            connection.terminate()
        async with asyncpg.create_pool(self.endpoint.url, min_size=1, max_size=1, **self.options) as pool:
            found[POOLED] = await self.count(pooled, pool)
        return found


def through(relay: Relay, endpoint: Endpoint) -> Endpoint:
    """The endpoint, by way of the relay."""
    return Endpoint(relay.host, relay.port, endpoint.user, endpoint.password, endpoint.database)


def ways(servers: ExitStack) -> dict[str, Way]:
    """Starts what is needed, which ends with `servers`."""
    postgres = servers.enter_context(PostgresServer())
    pooler = servers.enter_context(PgBouncer(postgres))
    direct = servers.enter_context(Relay(postgres.host, postgres.port))
    bare = servers.enter_context(Relay(pooler.host, pooler.port))
    behind = servers.enter_context(Relay(pooler.host, pooler.port))
    shim = servers.enter_context(
        PgshimProcess(pooler, upstream_address=f"{behind.host}:{behind.port}", options=["--lazy-begin"])
    )
    return {
        "direct": Way(direct, through(direct, postgres.endpoint()), {}),
        "workaround": Way(bare, through(bare, pooler.endpoint()), {"statement_cache_size": 0}),
        "pgshim": Way(behind, shim.endpoint(), {}),
    }


def measure() -> dict[str, dict[str, str]]:
    """way -> operation -> round trips."""
    with ExitStack() as servers:
        return {name: asyncio.run(way.counts()) for name, way in ways(servers).items()}


def rows() -> Iterator[tuple[str, ...]]:
    """(operation of asyncpg, direct, workaround, pgshim, allowed)."""
    found = measure()
    allowed = {name: str(most) for name, _, most in OPERATIONS} | {POOLED: "1"}
    for name, most in allowed.items():
        yield name, *(found[way][name] for way in ("direct", "workaround", "pgshim")), most
