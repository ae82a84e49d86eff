"""SQLAlchemy's engines: on asyncpg with asyncio, and on psycopg in threads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.chaos.desks import PREFETCH, Desk, Rows
from tests.chaos.desks_psycopg import cancelled, entered, in_thread, named


@cache
def text_of(sql: str) -> sqlalchemy.TextClause:
    """`$1` as SQLAlchemy spells it."""
    return sqlalchemy.text(re.sub(r"\$(\d+)", r":p\1", sql))


class AsyncEngineDesk(Desk):
    """A connection of an AsyncEngine's pool, given back after each piece of work."""

    def __init__(self, engine: AsyncEngine, settings: Mapping[str, str]) -> None:
        super().__init__("", settings)
        self.engine = engine
        self.connection: Any = None

    async def enter(self) -> None:
        self.connection = await self.engine.connect()

    async def leave(self, *, is_broken: bool) -> None:
        await self.close()

    async def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        result = await self.connection.execute(text_of(sql), named(arguments))
        return [tuple(row) for row in result.all()]

    async def fetch_alone(self, sql: str, *arguments: Any) -> Rows:
        await self.connection.execution_options(isolation_level="AUTOCOMMIT")
        rows = await self.fetch(sql, *arguments)
        # Only SQLAlchemy's own notion of a transaction ends here: nothing is sent.
        await self.connection.commit()
        return rows

    async def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        await self.connection.execute(text_of(sql), [named(row) for row in rows])

    @asynccontextmanager
    async def block(self, isolation: str = "") -> AsyncIterator[None]:
        if isolation:
            await self.connection.execution_options(isolation_level=isolation.upper().replace("_", " "))
        async with self.connection.begin():
            yield

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        async with self.connection.begin_nested():
            yield

    async def scroll(self, sql: str, *arguments: Any) -> AsyncIterator[tuple[Any, ...]]:
        options = {"yield_per": PREFETCH}
        async with self.connection.stream(text_of(sql), named(arguments), execution_options=options) as result:
            async for row in result:
                yield tuple(row)

    async def cut_short(self, seconds: float, sql: str, *arguments: Any) -> Rows:
        async with asyncio.timeout(seconds):
            return await self.fetch(sql, *arguments)


class EngineDesk(Desk):
    """A connection of a blocking Engine's pool, given back after each piece of work."""

    def __init__(self, engine: sqlalchemy.Engine, settings: Mapping[str, str]) -> None:
        super().__init__("", settings)
        self.engine = engine
        self.connection: Any = None

    async def enter(self) -> None:
        self.connection = await in_thread(self.engine.connect)

    async def leave(self, *, is_broken: bool) -> None:
        await self.close()

    async def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await in_thread(connection.close)

    def _fetch(self, sql: str, *arguments: Any) -> Rows:
        return [tuple(row) for row in self.connection.execute(text_of(sql), named(arguments)).all()]

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        rows: Rows = await in_thread(self._fetch, sql, *arguments)
        return rows

    def _isolate(self, level: str) -> None:
        self.connection.execution_options(isolation_level=level)

    async def fetch_alone(self, sql: str, *arguments: Any) -> Rows:
        await in_thread(self._isolate, "AUTOCOMMIT")
        rows = await self.fetch(sql, *arguments)
        # Only SQLAlchemy's own notion of a transaction ends here: nothing is sent.
        await in_thread(self.connection.commit)
        return rows

    async def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        await in_thread(self.connection.execute, text_of(sql), [named(row) for row in rows])

    @asynccontextmanager
    async def block(self, isolation: str = "") -> AsyncIterator[None]:
        if isolation:
            await in_thread(self._isolate, isolation.upper().replace("_", " "))
        async with entered(await in_thread(self.connection.begin)):
            yield

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        async with entered(await in_thread(self.connection.begin_nested)):
            yield

    async def scroll(self, sql: str, *arguments: Any) -> AsyncIterator[tuple[Any, ...]]:
        def start() -> Any:
            options = {"yield_per": PREFETCH, "stream_results": True}
            return self.connection.execute(text_of(sql), named(arguments), execution_options=options)

        result = await in_thread(start)
        try:
            while rows := await in_thread(result.fetchmany, PREFETCH):
                for row in rows:
                    yield tuple(row)
        finally:
            await in_thread(result.close)

    async def cut_short(self, seconds: float, sql: str, *arguments: Any) -> Rows:
        driver = self.connection.connection.driver_connection
        return await cancelled(driver, seconds, self.fetch(sql, *arguments))
