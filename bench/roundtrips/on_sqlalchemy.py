"""SQLAlchemy 2 on asyncpg and on psycopg 3.

The workaround on asyncpg is no statement cache in either of the two: of what people are told it is the one that works.
With `prepared_statement_name_func` besides, names are used and closed again, a round trip more for each query, and
AUTOCOMMIT fails. On psycopg it is that driver's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

from sqlalchemy import NullPool, __version__, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from bench.roundtrips import counting
from bench.roundtrips.counting import ROWS, Case, Driver, Way

QUERY = "select cast(:n as int) + 1"
_numbers = count(10)

WORKAROUNDS: dict[str, dict[str, Any]] = {
    "asyncpg": {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
    },
    "psycopg": {"prepare_threshold": None},
}


@asynccontextmanager
async def engine(driver: str, way: Way, **options: Any) -> AsyncIterator[AsyncEngine]:
    """An engine with a pool of one connection, or as `options` say."""
    url = way.endpoint.url.replace("postgresql://", f"postgresql+{driver}://", 1)
    settings = WORKAROUNDS[driver] if way.is_workaround else {}
    made = create_async_engine(url, connect_args=settings, **(options or {"pool_size": 1, "max_overflow": 0}))
    try:
        yield made
    finally:
        await made.dispose()


@asynccontextmanager
async def connected(driver: str, way: Way) -> AsyncIterator[AsyncConnection]:
    """A connection that is kept."""
    async with engine(driver, way) as made, made.connect() as connection:
        yield connection


@asynccontextmanager
async def autocommitting(driver: str, way: Way) -> AsyncIterator[AsyncConnection]:
    """A connection that is kept, without transactions."""
    async with connected(driver, way) as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def fetch(connection: AsyncConnection | AsyncSession) -> None:
    assert (await connection.execute(text(QUERY), {"n": 1})).scalar_one() == 2


async def first_fetch(connection: AsyncConnection) -> None:
    number = next(_numbers)
    assert (await connection.execute(text(f"select cast(:n as int) + {number}"), {"n": 1})).scalar_one() == number + 1


async def transaction(queries: int, connection: AsyncConnection) -> None:
    """SQLAlchemy begins it with the first query."""
    async with connection.begin():
        for _ in range(queries):
            await fetch(connection)


async def executemany(connection: AsyncConnection, query: str = QUERY) -> None:
    """In a transaction, as SQLAlchemy does by default."""
    async with connection.begin():
        await connection.execute(text(query), [{"n": number} for number in range(ROWS)])


async def first_executemany(connection: AsyncConnection) -> None:
    await executemany(connection, f"select cast(:n as int) + {next(_numbers)}")


async def cursor(connection: AsyncConnection) -> None:
    """Rows as a stream, in a transaction."""
    async with connection.begin():
        query = text("select generate_series(1, 100)").execution_options(yield_per=50)
        async with connection.stream(query) as rows:
            assert len([row async for row in rows]) == ROWS


async def acquire(made: AsyncEngine) -> None:
    """The release rolls back."""
    async with made.connect() as connection:
        await fetch(connection)


async def unit_of_work(made: AsyncEngine) -> None:
    async with AsyncSession(made) as session:
        await fetch(session)
        await session.commit()


def cases(driver: str, *, first: int, many: int, rows: int, connection: int) -> list[Case]:
    """What differs: round trips of a first fetch, of executemany, of a cursor, of a new connection."""
    kept, bare, pooled = partial(connected, driver), partial(autocommitting, driver), partial(engine, driver)
    return [
        Case(counting.FETCH + " (AUTOCOMMIT)", bare, fetch, 1),
        Case(counting.FIRST_FETCH + " (AUTOCOMMIT)", bare, first_fetch, first),
        Case(counting.TRANSACTION, kept, partial(transaction, 1), 2),
        Case(counting.TRANSACTION_OF_3, kept, partial(transaction, 3), 4),
        Case(counting.EMPTY, kept, partial(transaction, 0), 0),
        Case("unit of work: execute, commit", pooled, unit_of_work, 2),
        Case(counting.FIRST_EXECUTEMANY, kept, first_executemany, many + first - 1),
        Case(counting.EXECUTEMANY, kept, executemany, many),
        Case(counting.CURSOR, kept, cursor, rows),
        Case(counting.POOL, pooled, acquire, 2),
        Case(counting.CONNECTION, partial(engine, driver, poolclass=NullPool), unit_of_work, connection),
    ]


VERSION = f"SQLAlchemy {__version__}"
ON_ASYNCPG = Driver(
    "SQLAlchemy, asyncpg", VERSION, cases("asyncpg", first=2, many=2, rows=5, connection=8), (DBAPIError,)
)
ON_PSYCOPG = Driver(
    "SQLAlchemy, psycopg", VERSION, cases("psycopg", first=1, many=2, rows=10, connection=7), (DBAPIError,)
)
