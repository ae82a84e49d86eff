"""asyncpg. The workaround is what its FAQ says: `statement_cache_size=0`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import asyncpg

from bench.roundtrips import counting
from bench.roundtrips.counting import ROWS, Case, Driver, Way

QUERY = "select $1::int + 1"
_numbers = count(10)


def options(way: Way) -> dict[str, Any]:
    """What asyncpg.connect is given besides the URL."""
    return {"statement_cache_size": 0} if way.is_workaround else {}


@asynccontextmanager
async def connected(way: Way) -> AsyncIterator[asyncpg.Connection]:
    """A connection."""
    connection = await asyncpg.connect(way.endpoint.url, **options(way))
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def pooled(way: Way) -> AsyncIterator[asyncpg.Pool]:
    """A pool of one connection."""
    async with asyncpg.create_pool(way.endpoint.url, min_size=1, max_size=1, **options(way)) as pool:
        yield pool


@asynccontextmanager
async def unconnected(way: Way) -> AsyncIterator[Way]:
    """Nothing: each time connects for itself."""
    yield way


async def fetch(connection: asyncpg.Connection) -> None:
    assert await connection.fetchval(QUERY, 1) == 2


async def first_fetch(connection: asyncpg.Connection) -> None:
    """Of a text that this connection has not prepared."""
    number = next(_numbers)
    assert await connection.fetchval(f"select $1::int + {number}", 1) == number + 1


async def transaction(queries: int, connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        for _ in range(queries):
            await fetch(connection)


async def reset(connection: asyncpg.Connection) -> None:
    await connection.reset()


async def executemany(connection: asyncpg.Connection, query: str = QUERY) -> None:
    await connection.executemany(query, [(number,) for number in range(ROWS)])


async def first_executemany(connection: asyncpg.Connection) -> None:
    await executemany(connection, f"select $1::int + {next(_numbers)}")


async def cursor(connection: asyncpg.Connection) -> None:
    """In a transaction, as it has to be."""
    async with connection.transaction():
        rows = [row async for row in connection.cursor("select generate_series(1, 100)", prefetch=50)]
    assert len(rows) == ROWS


async def acquire(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        await fetch(connection)


async def connect(way: Way) -> None:
    connection = await asyncpg.connect(way.endpoint.url, **options(way))
    await fetch(connection)
    await connection.close()


DRIVER = Driver(
    "asyncpg",
    f"asyncpg {asyncpg.__version__}",
    [
        Case(counting.FETCH, connected, fetch, 1),
        Case(counting.FIRST_FETCH, connected, first_fetch, 2),
        Case(counting.TRANSACTION, connected, partial(transaction, 1), 2),
        Case(counting.TRANSACTION_OF_3, connected, partial(transaction, 3), 4),
        Case(counting.EMPTY, connected, partial(transaction, 0), 0),
        Case("reset()", connected, reset, 0),
        Case(counting.FIRST_EXECUTEMANY, connected, first_executemany, 2),
        Case(counting.EXECUTEMANY, connected, executemany, 1),
        Case(counting.CURSOR, connected, cursor, 6),
        Case(counting.POOL, pooled, acquire, 1),
        Case(counting.CONNECTION, unconnected, connect, 6),
    ],
    (asyncpg.PostgresError, asyncpg.InterfaceError),
)
