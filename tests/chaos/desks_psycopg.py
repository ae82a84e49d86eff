"""psycopg 3: with asyncio, and in threads."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from functools import cache
from typing import Any

import psycopg
from psycopg import IsolationLevel

from tests.chaos.desks import CLOSE_SECONDS, PREFETCH, Desk, Rows

#: asyncio's own has too few threads for all clients on a small machine.
THREADS = ThreadPoolExecutor(max_workers=32, thread_name_prefix="client")


@cache
def spelt(sql: str) -> str:
    """`$1` as psycopg spells it."""
    return re.sub(r"\$(\d+)", r"%(p\1)s", sql)


def named(arguments: Sequence[Any]) -> dict[str, Any]:
    """Arguments for `spelt`, and for SQLAlchemy."""
    return {f"p{number}": value for number, value in enumerate(arguments, 1)}


def options_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings as libpq's connection options."""
    switches = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items())
    return {"options": switches} if switches else {}


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """Runs what blocks."""
    return await asyncio.get_running_loop().run_in_executor(THREADS, work, *arguments)


@asynccontextmanager
async def entered(context: AbstractContextManager[Any]) -> AsyncIterator[None]:
    """A context manager that blocks."""
    await in_thread(context.__enter__)
    try:
        yield
    except BaseException as error:
        if not await in_thread(context.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await in_thread(context.__exit__, None, None, None)


class PsycopgDesk(Desk):
    """An AsyncConnection; `autocommit` as many set it, or psycopg's default."""

    has_copy = True

    def __init__(self, url: str, settings: Mapping[str, str], *, autocommit: bool = False) -> None:
        super().__init__(url, settings)
        self.autocommit = autocommit
        self.connection: Any = None

    async def enter(self) -> None:
        if self.connection is None:
            options = options_of(self.settings)
            self.connection = await psycopg.AsyncConnection.connect(self.url, autocommit=self.autocommit, **options)

    async def leave(self, *, is_broken: bool) -> None:
        if is_broken or self.connection.closed:
            await self.close()

    async def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        cursor = await self.connection.execute(spelt(sql), named(arguments))
        rows: Rows = await cursor.fetchall()
        return rows

    async def fetch_alone(self, sql: str, *arguments: Any) -> Rows:
        if self.autocommit:
            return await self.fetch(sql, *arguments)
        # psycopg's own block: commits, or rolls back.
        async with self.connection.transaction():
            return await self.fetch(sql, *arguments)

    async def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        async with self.connection.cursor() as cursor:
            await cursor.executemany(spelt(sql), [named(row) for row in rows])

    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        async with self.connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                await copy.write_row(row)

    @asynccontextmanager
    async def block(self, isolation: str = "") -> AsyncIterator[None]:
        await self.connection.set_isolation_level(IsolationLevel[isolation.upper()] if isolation else None)
        async with self.connection.transaction():
            yield

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        async with self.connection.transaction():
            yield

    async def scroll(self, sql: str, *arguments: Any) -> AsyncIterator[tuple[Any, ...]]:
        async with self.connection.cursor(name="scroll") as cursor:
            cursor.itersize = PREFETCH
            await cursor.execute(spelt(sql), named(arguments))
            async for row in cursor:
                yield row

    async def cut_short(self, seconds: float, sql: str, *arguments: Any) -> Rows:
        async with asyncio.timeout(seconds):
            return await self.fetch(sql, *arguments)


class ThreadDesk(Desk):
    """A blocking Connection; settings come by SET."""

    has_copy = True

    def __init__(self, url: str, settings: Mapping[str, str], *, autocommit: bool = False) -> None:
        super().__init__(url, settings)
        self.autocommit = autocommit
        self.connection: Any = None

    async def enter(self) -> None:
        if self.connection is None:
            self.connection = await in_thread(self._connect)

    def _connect(self) -> Any:
        connection = psycopg.connect(self.url, autocommit=self.autocommit)
        try:
            for name, value in self.settings.items():
                connection.execute(f"SET {name} TO {value}")
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    async def leave(self, *, is_broken: bool) -> None:
        if is_broken or self.connection.closed:
            await self.close()

    async def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await in_thread(connection.close)

    def _fetch(self, sql: str, *arguments: Any) -> Rows:
        rows: Rows = self.connection.execute(spelt(sql), named(arguments)).fetchall()
        return rows

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        rows: Rows = await in_thread(self._fetch, sql, *arguments)
        return rows

    async def fetch_alone(self, sql: str, *arguments: Any) -> Rows:
        if self.autocommit:
            return await self.fetch(sql, *arguments)
        try:
            rows = await self.fetch(sql, *arguments)
            await in_thread(self.connection.commit)
            return rows
        except psycopg.Error:
            if not self.connection.closed:
                await in_thread(self.connection.rollback)
            raise

    async def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        def work() -> None:
            with self.connection.cursor() as cursor:
                cursor.executemany(spelt(sql), [named(row) for row in rows])

        await in_thread(work)

    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        def work() -> None:
            with self.connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

        await in_thread(work)

    @asynccontextmanager
    async def block(self, isolation: str = "") -> AsyncIterator[None]:
        self.connection.isolation_level = IsolationLevel[isolation.upper()] if isolation else None
        async with entered(self.connection.transaction()):
            yield

    def savepoint(self) -> Any:
        return entered(self.connection.transaction())

    async def scroll(self, sql: str, *arguments: Any) -> AsyncIterator[tuple[Any, ...]]:
        with self.connection.cursor(name="scroll") as cursor:
            await in_thread(cursor.execute, spelt(sql), named(arguments))
            while rows := await in_thread(cursor.fetchmany, PREFETCH):
                for row in rows:
                    yield row

    async def cut_short(self, seconds: float, sql: str, *arguments: Any) -> Rows:
        return await cancelled(self.connection, seconds, self.fetch(sql, *arguments))


async def cancelled(connection: psycopg.Connection[Any], seconds: float, fetching: Any) -> Rows:
    """Cancels what runs on a blocking connection, from another thread, as a signal handler would."""

    def cancel() -> None:
        # The way there may be down, or the connection gone: then nothing is cancelled.
        with contextlib.suppress(psycopg.Error):
            connection.cancel_safe(timeout=CLOSE_SECONDS)

    timer = threading.Timer(seconds, cancel)
    timer.start()
    try:
        rows: Rows = await fetching
        return rows
    finally:
        timer.cancel()
        await in_thread(timer.join)
