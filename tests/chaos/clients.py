"""Who works at the bank: which drivers, how they connect, and which settings are in force for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from tests.chaos import schema
from tests.chaos.book import Book, Clock
from tests.chaos.desks import AsyncpgDesk, AsyncpgPoolDesk, Desk
from tests.chaos.desks_psycopg import PsycopgDesk, ThreadDesk, in_thread
from tests.chaos.desks_sqlalchemy import AsyncEngineDesk, EngineDesk
from tests.chaos.teller import Teller
from tests.chaos.town import Town

#: Clients that share a pool or an engine.
SHARING = 2
CLOSE_SECONDS = 10.0
Seat = tuple[str, Desk]


def settings_of(number: int) -> dict[str, str]:
    """Settings that no other client has, in any combination; for some clients none."""
    settings = {
        "application_name": f"client_{number}",
        "search_path": f"{schema.BRANCHES[number % 2]},public",
        "statement_timeout": str(30_000 + number),
        "role": schema.ROLES[number // 2 % 2],
    }
    return {name: value for place, (name, value) in enumerate(settings.items()) if number >> place & 1}


def expected_of(settings: Mapping[str, str]) -> tuple[str, ...]:
    """What schema.SETTINGS must find."""
    timeout = settings.get("statement_timeout")
    return (
        settings.get("application_name", ""),
        f"{timeout}ms" if timeout else "0",
        settings.get("role", "app"),
        settings.get("search_path", "main").partition(",")[0],
    )


@asynccontextmanager
async def employ(town: Town, book: Book, clock: Clock, rng: random.Random) -> AsyncIterator[list[Teller]]:
    """All clients; their pools are closed in the end."""
    async with AsyncExitStack() as pools:
        seats: list[Seat] = []
        for number, settings in ((0, settings_of(0)), (1, settings_of(15))):
            seats += await _asyncpg_pool(pools, town.endpoint(number).url, settings)
            seats += _async_engine(pools, town.endpoint(number).url, settings_of(5 * number))
            seats += _engine(pools, town.endpoint(number).url, settings_of(10 * number))
        for number in range(1, 5):
            url = town.endpoint(number).url
            seats.append(("asyncpg", AsyncpgDesk(url, settings_of(2 * number + 1))))
            seats.append(("psycopg", PsycopgDesk(url, settings_of(2 * number), autocommit=number > 2)))
            seats.append(("psycopg in threads", ThreadDesk(url, settings_of(3 * number % 16), autocommit=number > 2)))
        yield [
            Teller(
                f"client {number} ({kind})",
                kind,
                desk,
                expected_of(desk.settings),
                book,
                clock,
                random.Random(rng.random()),
            )
            for number, (kind, desk) in enumerate(seats)
        ]


async def _asyncpg_pool(pools: AsyncExitStack, url: str, settings: Mapping[str, str]) -> list[Seat]:
    pool = await asyncpg.create_pool(url, min_size=1, max_size=SHARING, server_settings=dict(settings))

    async def close() -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    pools.push_async_callback(close)
    return [("asyncpg pool", AsyncpgPoolDesk(pool, settings)) for _ in range(SHARING)]


def _async_engine(pools: AsyncExitStack, url: str, settings: Mapping[str, str]) -> list[Seat]:
    address = url.replace("postgresql:", "postgresql+asyncpg:").replace("sslmode=", "ssl=")
    engine = create_async_engine(address, connect_args={"server_settings": dict(settings)} if settings else {})
    pools.push_async_callback(engine.dispose)
    return [("SQLAlchemy on asyncpg", AsyncEngineDesk(engine, settings)) for _ in range(SHARING)]


def _engine(pools: AsyncExitStack, url: str, settings: Mapping[str, str]) -> list[Seat]:
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))

    @sqlalchemy.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.autocommit = True
        for name, value in settings.items():
            connection.execute(f"SET {name} TO {value}")
        connection.autocommit = False

    pools.push_async_callback(in_thread, engine.dispose)
    return [("SQLAlchemy on psycopg", EngineDesk(engine, settings)) for _ in range(SHARING)]
