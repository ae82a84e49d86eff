"""One prepared statement executed again and again by each driver, and what the app sees of it each time.

What it sees is one line of text: the rows with their types (1 and '1' are not the same), or the server's error. An
error that is not the server's (a driver that cannot decode what it got) ends the test.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import psqlpy
import psycopg
from psycopg.rows import dict_row
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from pgshim.demo.processes import Endpoint

Execute = Callable[[], Awaitable[str]]
Driver = Callable[[Endpoint, str, Any], AbstractAsyncContextManager[Execute]]


def rows_line(rows: Any) -> str:
    """The line for rows: column names, values and their types, in order."""
    return f"rows {[dict(row) for row in rows]!r}"


def _error_line(error: BaseException) -> str:
    # SQLAlchemy wraps the driver's error, which has the code.
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "sqlstate", None) is not None:
            return f"error {cause.sqlstate}"  # type: ignore[attr-defined]
        cause = cause.__cause__
    raise error


@asynccontextmanager
async def asyncpg_fetch(endpoint: Endpoint, sql: str, argument: Any) -> AsyncIterator[Execute]:
    """asyncpg with its statement cache; on 0A000 outside a transaction it prepares anew and tries again."""
    connection = await asyncpg.connect(endpoint.url)

    async def execute() -> str:
        try:
            return rows_line(await connection.fetch(sql, argument))
        except asyncpg.PostgresError as error:
            return _error_line(error)

    yield execute
    await connection.close()


@asynccontextmanager
async def asyncpg_prepare(endpoint: Endpoint, sql: str, argument: Any) -> AsyncIterator[Execute]:
    """asyncpg with a statement that the app has prepared, which it never prepares anew."""
    connection = await asyncpg.connect(endpoint.url)
    statement = await connection.prepare(sql)

    async def execute() -> str:
        try:
            return rows_line(await statement.fetch(argument))
        except asyncpg.PostgresError as error:
            return _error_line(error)

    yield execute
    await connection.close()


@asynccontextmanager
async def asyncpg_in_transactions(endpoint: Endpoint, sql: str, argument: Any) -> AsyncIterator[Execute]:
    """asyncpg, each execution in a transaction of its own, behind another statement."""
    connection = await asyncpg.connect(endpoint.url)

    async def execute() -> str:
        try:
            async with connection.transaction():
                await connection.fetchval("SELECT $1::int", 1)
                return rows_line(await connection.fetch(sql, argument))
        except asyncpg.PostgresError as error:
            return _error_line(error)

    yield execute
    await connection.close()


@asynccontextmanager
async def psqlpy_execute(endpoint: Endpoint, sql: str, argument: Any) -> AsyncIterator[Execute]:
    """psqlpy, which decodes by what it was told when it prepared."""
    connection = await psqlpy.connect(dsn=endpoint.url)

    async def execute() -> str:
        try:
            return rows_line((await connection.execute(sql, [argument])).result())
        except psqlpy.Error as error:
            # It shows the message of the server's error, and nothing else of it.
            if "db error: ERROR: " not in str(error):
                raise
            return f"error {str(error).partition('db error: ERROR: ')[2].splitlines()[0]}"

    yield execute
    connection.close()


@asynccontextmanager
async def psycopg_execute(endpoint: Endpoint, sql: str, argument: Any) -> AsyncIterator[Execute]:
    """psycopg, preparing at the first execution."""
    connection = await psycopg.AsyncConnection.connect(
        endpoint.url, autocommit=True, prepare_threshold=0, row_factory=dict_row
    )
    sql = sql.replace("$1", "%s")

    async def execute() -> str:
        try:
            return rows_line(await (await connection.execute(sql, [argument])).fetchall())
        except psycopg.Error as error:
            return _error_line(error)

    yield execute
    await connection.close()


@asynccontextmanager
async def sqlalchemy_execute(endpoint: Endpoint, sql: str, argument: Any) -> AsyncIterator[Execute]:
    """SQLAlchemy on asyncpg, which prepares by itself, in a transaction for each execution."""
    engine = create_async_engine(endpoint.url.replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=1)
    statement = text(sql.replace("$1", ":argument"))

    async def execute() -> str:
        try:
            async with engine.begin() as connection:
                return rows_line((await connection.execute(statement, {"argument": argument})).mappings().all())
        except DBAPIError as error:
            return _error_line(error)

    yield execute
    await engine.dispose()


DRIVERS: list[Driver] = [
    asyncpg_fetch,
    asyncpg_prepare,
    asyncpg_in_transactions,
    psqlpy_execute,
    psycopg_execute,
    sqlalchemy_execute,
]
