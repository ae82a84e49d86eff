"""What a client needs of a driver, and asyncpg's way to do it.

SQL comes with `$1`, `$2`, ... Rows are tuples. A desk is used by one client; some share a pool.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg

Rows = list[tuple[Any, ...]]
PREFETCH = 7
CLOSE_SECONDS = 5.0


class Desk(ABC):
    """One client's way to the bank. `settings` are in force from the moment it is connected."""

    #: Whether an executemany outside of a block is one transaction.
    has_atomic_many = False
    has_copy = False

    def __init__(self, url: str, settings: Mapping[str, str]) -> None:
        self.url = url
        self.settings = settings

    @abstractmethod
    async def enter(self) -> None:
        """Have a connection."""

    @abstractmethod
    async def leave(self, *, is_broken: bool) -> None:
        """The client is done for now; what is broken must not be used again."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        """In a block."""

    @abstractmethod
    async def fetch_alone(self, sql: str, *arguments: Any) -> Rows:
        """Outside of a block, committed by itself."""

    @abstractmethod
    async def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """In a block; outside of one where `has_atomic_many`."""

    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """In a block, where `has_copy`."""
        raise NotImplementedError

    @abstractmethod
    def block(self, isolation: str = "") -> AbstractAsyncContextManager[None]:
        """A transaction, committed at the end; `isolation` is `repeatable_read` or `serializable`."""

    @abstractmethod
    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """In a block; rolled back if it raises."""

    @abstractmethod
    def scroll(self, sql: str, *arguments: Any) -> AsyncIterator[tuple[Any, ...]]:
        """In a block: rows by a portal or cursor, PREFETCH at a time."""

    @abstractmethod
    async def cut_short(self, seconds: float, sql: str, *arguments: Any) -> Rows:
        """In a block: `fetch`, cancelled after so long. Raises TimeoutError or the driver's error if it was."""


class AsyncpgDesk(Desk):
    """A connection of its own."""

    has_atomic_many = has_copy = True

    def __init__(self, url: str, settings: Mapping[str, str]) -> None:
        super().__init__(url, settings)
        self.connection: Any = None

    async def enter(self) -> None:
        if self.connection is None:
            self.connection = await asyncpg.connect(self.url, server_settings=dict(self.settings))

    async def leave(self, *, is_broken: bool) -> None:
        if is_broken or self.connection.is_closed():
            await self.close()

    async def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=CLOSE_SECONDS)

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        return [tuple(row) for row in await self.connection.fetch(sql, *arguments)]

    fetch_alone = fetch

    async def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        await self.connection.executemany(sql, rows)

    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        await self.connection.copy_records_to_table(table, records=rows)

    @asynccontextmanager
    async def block(self, isolation: str = "") -> AsyncIterator[None]:
        async with self.connection.transaction(isolation=isolation or None):
            yield

    savepoint = block

    async def scroll(self, sql: str, *arguments: Any) -> AsyncIterator[tuple[Any, ...]]:
        async for row in self.connection.cursor(sql, *arguments, prefetch=PREFETCH):
            yield tuple(row)

    async def cut_short(self, seconds: float, sql: str, *arguments: Any) -> Rows:
        return [tuple(row) for row in await self.connection.fetch(sql, *arguments, timeout=seconds)]


class AsyncpgPoolDesk(AsyncpgDesk):
    """A connection from asyncpg's pool, given back after each piece of work."""

    def __init__(self, pool: asyncpg.Pool, settings: Mapping[str, str]) -> None:
        super().__init__("", settings)
        self.pool = pool

    async def enter(self) -> None:
        self.connection = await self.pool.acquire()

    async def leave(self, *, is_broken: bool) -> None:
        await self.close()

    async def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await self.pool.release(connection)

    async def cut_short(self, seconds: float, sql: str, *arguments: Any) -> Rows:
        async with asyncio.timeout(seconds):
            return await self.fetch(sql, *arguments)
