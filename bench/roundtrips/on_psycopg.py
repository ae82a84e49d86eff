"""psycopg 3. The workaround is what its documentation says: `prepare_threshold=None`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from bench.roundtrips import counting
from bench.roundtrips.counting import ROWS, Case, Driver, Way
from bench.roundtrips.on_asyncpg import unconnected

QUERY = "select %s::int + 1"
_numbers = count(10)

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


def options(way: Way) -> dict[str, Any]:
    """What AsyncConnection.connect is given besides the URL."""
    return {"prepare_threshold": None} if way.is_workaround else {}


@asynccontextmanager
async def connected(way: Way) -> AsyncIterator[Connection]:
    """A connection in autocommit mode, in which `transaction()` is the one way to a transaction."""
    async with await psycopg.AsyncConnection.connect(way.endpoint.url, autocommit=True, **options(way)) as connection:
        yield connection


@asynccontextmanager
async def pooled(way: Way) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    """A pool of one connection."""
    async with AsyncConnectionPool(
        way.endpoint.url, min_size=1, max_size=1, kwargs=options(way), open=False
    ) as pool:
        yield pool


async def fetch(connection: Connection, number: int = 1) -> None:
    cursor = await connection.execute(QUERY, [number])
    assert await cursor.fetchone() == (number + 1,)


async def first_fetch(connection: Connection) -> None:
    number = next(_numbers)
    cursor = await connection.execute(f"select %s::int + {number}", [1])
    assert await cursor.fetchone() == (number + 1,)


async def transaction(queries: int, connection: Connection) -> None:
    async with connection.transaction():
        for _ in range(queries):
            await fetch(connection)


async def reset(connection: Connection) -> None:
    """What a pool's `reset` callback would do. Prepared, it would drop the statement that it is."""
    await connection.execute("DISCARD ALL", prepare=False)


async def executemany(connection: Connection, query: str = QUERY) -> None:
    async with connection.cursor() as cursor:
        await cursor.executemany(query, [(number,) for number in range(ROWS)])


async def first_executemany(connection: Connection) -> None:
    await executemany(connection, f"select %s::int + {next(_numbers)}")


async def cursor(connection: Connection) -> None:
    """A server-side cursor, in a transaction."""
    async with connection.transaction(), connection.cursor(name="rows") as rows:
        rows.itersize = 50
        await rows.execute("select generate_series(1, 100)")
        assert len([row async for row in rows]) == ROWS


async def acquire(pool: AsyncConnectionPool[Connection]) -> None:
    """With psycopg's default, a transaction from the first query on, which release commits."""
    async with pool.connection() as connection:
        await fetch(connection)


async def connect(way: Way) -> None:
    async with await psycopg.AsyncConnection.connect(way.endpoint.url, autocommit=True, **options(way)) as connection:
        await fetch(connection)


DRIVER = Driver(
    "psycopg 3",
    f"psycopg {psycopg.__version__}",
    [
        Case(counting.FETCH, connected, fetch, 1),
        Case(counting.FIRST_FETCH, connected, first_fetch, 1),
        Case(counting.TRANSACTION, connected, partial(transaction, 1), 2),
        Case(counting.TRANSACTION_OF_3, connected, partial(transaction, 3), 4),
        Case(counting.EMPTY, connected, partial(transaction, 0), 0),
        Case("DISCARD ALL", connected, reset, 0),
        Case(counting.FIRST_EXECUTEMANY, connected, first_executemany, 1),
        Case(counting.EXECUTEMANY, connected, executemany, 1),
        Case(counting.CURSOR, connected, cursor, 7),
        Case(counting.POOL, pooled, acquire, 2),
        Case(counting.CONNECTION, unconnected, connect, 5),
    ],
    (psycopg.Error,),
)
