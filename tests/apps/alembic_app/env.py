"""Alembic's environment, as its templates have it: an async engine for asyncpg, a plain one for psycopg.

    alembic -x url=postgresql+asyncpg://... [-x SETTING=VALUE ...] upgrade head

Settings are given to the server at connect, as each driver takes them.
"""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, pool
from sqlalchemy.ext.asyncio import create_async_engine

settings = context.get_x_argument(as_dictionary=True)
url = settings.pop("url")


def run_migrations(connection: Connection) -> None:
    # A migration with an autocommit block must not end a transaction that others share.
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def connect_args() -> dict[str, Any]:
    if not settings:
        return {}
    if "+asyncpg" in url:
        return {"server_settings": settings}
    return {"options": " ".join(f"-c {name}={value}" for name, value in settings.items())}


async def run_async() -> None:
    engine = create_async_engine(url, poolclass=pool.NullPool, connect_args=connect_args())
    async with engine.connect() as connection:
        await connection.run_sync(run_migrations)
    await engine.dispose()


def run_sync() -> None:
    engine = create_engine(url, poolclass=pool.NullPool, connect_args=connect_args())
    with engine.connect() as connection:
        run_migrations(connection)
    engine.dispose()


if "+asyncpg" in url:
    asyncio.run(run_async())
else:
    run_sync()
