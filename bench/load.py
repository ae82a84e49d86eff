"""Two thousand clients at once, fifty of them busy: what the idle ones cost, and whether the busy ones feel them.

Every answer carries a token of its own query and is compared.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import asyncpg

from bench.machine import descriptors, raise_file_limit, resident_kib
from bench.outcome import Latencies, NotMet, Row, drive, mib
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer

ACTIVE = 50
IDLE = 1950
SECONDS = 8.0
AT_ONCE = 25
POOL = 20

STATEMENTS = (
    "SELECT $1::text || ':one'",
    "SELECT $1::text || ':' || $2::int",
    "SELECT $1::text, n FROM generate_series(1, $2::int) n",
)

Connection = Any  # asyncpg.Connection has no types

_tokens = itertools.count()


async def ask(connection: Connection, which: int) -> None:
    """Execute one of STATEMENTS; raises NotMet if the answer is another query's."""
    token = f"token {next(_tokens)}"
    answer: object
    expected: object
    if which == 0:
        answer, expected = await connection.fetchval(STATEMENTS[0], token), token + ":one"
    elif which == 1:
        answer, expected = await connection.fetchval(STATEMENTS[1], token, 7), token + ":7"
    else:
        answer = [tuple(row) for row in await connection.fetch(STATEMENTS[2], token, 3)]
        expected = [(token, number) for number in (1, 2, 3)]
    if answer != expected:
        raise NotMet(f"asked for {expected!r}, got {answer!r}")


async def connect(url: str, count: int) -> list[Connection]:
    """That many clients, each with all STATEMENTS prepared."""
    connections: list[Connection] = []

    async def connect_some(some: int) -> None:
        for _ in range(some):
            connection = await asyncpg.connect(url, timeout=60)
            connections.append(connection)
            for which in range(len(STATEMENTS)):
                await ask(connection, which)

    shares = [len(range(start, count, AT_ONCE)) for start in range(AT_ONCE)]
    await asyncio.gather(*(connect_some(share) for share in shares))
    return connections


async def keep_busy(connections: list[Connection], seconds: float) -> Latencies:
    """Query after query on each connection, for so long."""
    found = Latencies()
    end = time.perf_counter() + seconds

    async def query(connection: Connection) -> None:
        for which in itertools.cycle(range(len(STATEMENTS))):
            start = time.perf_counter()
            if start > end:
                return
            try:
                await ask(connection, which)
            except (NotMet, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                found.errors.append(repr(error))
                return
            found.seconds.append(time.perf_counter() - start)

    await asyncio.gather(*(query(connection) for connection in connections))
    return found


def row(idle: str, pid: int, found: Latencies, each: str = "") -> Row:
    """A line of the table."""
    rate = f"{len(found.seconds) / SECONDS:,.0f}" if found.seconds else "-"
    times = found.milliseconds(0.5), found.milliseconds(0.99)
    return idle, mib(resident_kib(pid)), each, str(descriptors(pid)), rate, *times, str(len(found.errors))


async def measure(url: str, pid: int) -> AsyncGenerator[Row, None]:
    """(idle clients, MiB, KiB for each, descriptors, queries/s, p50, p99, errors). Raises NotMet."""
    at_start = descriptors(pid)
    active = await connect(url, ACTIVE)
    alone = await keep_busy(active, SECONDS)
    yield row("0", pid, alone)
    before = resident_kib(pid)
    idle = await connect(url, IDLE)
    each = (resident_kib(pid) - before) / IDLE
    beside = await keep_busy(active, SECONDS)
    yield row(f"{IDLE:,}", pid, beside, f"{each:.1f}")
    woken = Latencies()
    for connection in idle:
        try:
            await ask(connection, 0)
        except (NotMet, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            woken.errors.append(repr(error))
    for connection in idle + active:
        connection.terminate()
    await asyncio.sleep(1)
    yield row("all gone", pid, woken)
    for found in (alone, beside, woken):
        found.check()
    if descriptors(pid) > at_start:
        raise NotMet(f"pgshim has {descriptors(pid)} descriptors open when all clients have left; before: {at_start}")


def rows() -> Iterator[Row]:
    """See `measure`."""
    raise_file_limit()
    # MD5, because two thousand SCRAM logins would mostly measure the client's own arithmetic.
    settings = {"auth_type": "md5"}
    with (
        PostgresServer() as postgres,
        PgBouncer(postgres, pool_size=POOL, max_client_conn=ACTIVE + IDLE + 100, settings=settings) as pooler,
        PgshimProcess(pooler, options=["--loop", "uvloop"]) as shim,
    ):
        yield from drive(measure(shim.endpoint().url, shim.pid))
