"""Resident memory for each idle client connection: logged in, ten statements prepared that all connections share."""

import asyncio
from collections.abc import Iterator

import asyncpg

from bench.machine import raise_file_limit, resident_kib
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer

CONNECTIONS = 2000
STATEMENTS = 10
AT_ONCE = 20


async def _measure(url: str, pid: int) -> float:
    connections: list[asyncpg.Connection] = []

    async def connect_some(count: int) -> None:
        for _ in range(count):
            connection = await asyncpg.connect(url)
            for number in range(STATEMENTS):
                await connection.fetchval(f"SELECT $1::int + {number}", 1)
            connections.append(connection)

    await connect_some(AT_ONCE)
    before = resident_kib(pid)
    await asyncio.gather(*(connect_some(CONNECTIONS // AT_ONCE) for _ in range(AT_ONCE)))
    await asyncio.sleep(0.5)
    used = resident_kib(pid) - before
    for connection in connections:
        connection.terminate()
    await asyncio.sleep(0.5)
    return used / CONNECTIONS


def rows() -> Iterator[tuple[str, ...]]:
    """(event loop, connections, KiB for each)."""
    raise_file_limit()
    for loop in ("uvloop", "asyncio"):
        with (
            PostgresServer() as postgres,
            PgBouncer(postgres, max_client_conn=CONNECTIONS + 100) as pooler,
            PgshimProcess(pooler, options=["--loop", loop]) as shim,
        ):
            yield loop, f"{CONNECTIONS:,}", f"{asyncio.run(_measure(shim.endpoint().url, shim.pid)):.1f}"
