"""Five thousand connections, a hundred of which work: logins, memory, latency, and CPU for each query.

    client -> pgshim -> PgBouncer -> PostgreSQL        and, for the logins: client -> PgBouncer -> PostgreSQL

The busy ones ask at a steady rate, each at its own time, so that latencies are those of queries and not of a queue;
then as fast as they are answered. What idle connections cost them shows in the CPU that pgshim uses for a query: it
must not grow by more than half.
"""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import asyncpg

from bench.chain import TRUST, shim_of
from bench.load import STATEMENTS, ask, connect, keep_busy
from bench.machine import cpu_seconds, raise_file_limit, resident_kib
from bench.outcome import Latencies, NotMet, Row, drive, mib
from pgshim.demo.processes import Endpoint, ServerProcess
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer
from pgshim.protocol.frontend import Terminate
from pgshim.protocol.startup import StartupMessage

IDLE = 5_000
ACTIVE = 100
POOL = 20
#: A round of the busy ones, and how many there are: the least CPU of them counts, and all latencies.
SECONDS = 2.5
ROUNDS = 3
#: Queries a second of each busy client, when they are asked at a steady rate.
RATE = 8
#: By what the CPU for each query may grow with the idle connections.
GROWTH = 1.5

#: Logins in one round, and how many are under way at once.
LOGINS = 600
AT_ONCE = 20
LOGIN_ROUNDS = 3

_READY = b"Z\0\0\0\5I"


class Login(asyncio.Protocol):
    """Logs in where it is trusted, and leaves when the first ReadyForQuery has come."""

    def __init__(self, startup: bytes, done: asyncio.Future[None]) -> None:
        self._startup = startup
        self._done = done
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._startup)

    def data_received(self, data: bytes) -> None:
        self._end = (self._end + data)[-len(_READY) :]
        if self._end == _READY and not self._done.done():
            self._done.set_result(None)
            self._transport.write(Terminate().encode())
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(NotMet("a login was refused"))


@dataclass
class Logins:
    """What logins took, in the best round."""

    per_second: float = 0.0
    cpu: float = float("inf")

    async def measure(self, endpoint: Endpoint, pid: int) -> None:
        """One round."""
        parameters = ((b"user", endpoint.user.encode()), (b"database", endpoint.database.encode()))
        startup = StartupMessage(0, parameters).encode()
        loop = asyncio.get_running_loop()

        async def log_in(count: int) -> None:
            for _ in range(count):
                done = loop.create_future()
                await loop.create_connection(partial(Login, startup, done), endpoint.host, endpoint.port)
                await done

        before, start = cpu_seconds(pid), time.perf_counter()
        async with asyncio.timeout(60):
            await asyncio.gather(*(log_in(LOGINS // AT_ONCE) for _ in range(AT_ONCE)))
        self.per_second = max(self.per_second, LOGINS / (time.perf_counter() - start))
        self.cpu = min(self.cpu, (cpu_seconds(pid) - before) / LOGINS * 1e6)


async def keep_steady(connections: list[Any], seconds: float) -> Latencies:
    """RATE queries a second on each connection, for so long."""
    found = Latencies()
    begin = time.perf_counter()

    async def query(number: int, connection: Any) -> None:
        due = begin + number / (len(connections) * RATE)
        while due < begin + seconds:
            await asyncio.sleep(due - time.perf_counter())
            start = time.perf_counter()
            try:
                await ask(connection, 1)
            except (NotMet, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                found.errors.append(repr(error))
                return
            found.seconds.append(time.perf_counter() - start)
            due += 1 / RATE

    await asyncio.gather(*(query(number, connection) for number, connection in enumerate(connections)))
    return found


WORK = {f"{ACTIVE * RATE} queries/s": keep_steady, "as fast as answered": keep_busy}


async def work(shim: ServerProcess, active: list[Any], beside: str) -> AsyncGenerator[tuple[str, float, Row], None]:
    """(what, us of CPU for each query, row) of the busy ones. Raises NotMet."""
    for what, keep in WORK.items():
        all_found, least = Latencies(), float("inf")
        for _ in range(ROUNDS):
            before = cpu_seconds(shim.pid)
            found = await keep(active, SECONDS)
            found.check()
            least = min(least, (cpu_seconds(shim.pid) - before) / max(len(found.seconds), 1) * 1e6)
            all_found.seconds += found.seconds
        rate = f"{len(all_found.seconds) / SECONDS / ROUNDS:,.0f} queries/s"
        latency = all_found.milliseconds(0.5), all_found.milliseconds(0.99)
        yield what, least, (f"{ACTIVE} busy beside {beside}, {what}", rate, f"{least:.1f}", *latency, "")


async def measure(pooler: PgBouncer, shim: PgshimProcess) -> AsyncGenerator[Row, None]:
    """(what, rate, us of CPU for each, p50, p99, KiB for each connection). Raises NotMet."""
    logins = {name: Logins() for name in ("PgBouncer", "pgshim")}
    for _ in range(LOGIN_ROUNDS):
        await logins["PgBouncer"].measure(pooler.endpoint(), pooler.pid)
        await logins["pgshim"].measure(shim.endpoint(), shim.pid)
    for name, found in logins.items():
        yield f"log in to {name}", f"{found.per_second:,.0f} logins/s", f"{found.cpu:.0f}", "", "", ""
    url = shim.endpoint(sslmode="disable").url
    active = await connect(url, ACTIVE)
    alone = {}
    async for what, each, row in work(shim, active, "no idle ones"):
        alone[what] = each
        yield row
    before, start = resident_kib(shim.pid), time.perf_counter()
    idle = await connect(url, IDLE)
    rate = f"{IDLE / (time.perf_counter() - start):,.0f} clients/s"
    memory = resident_kib(shim.pid)
    what = f"{IDLE:,} log in and prepare {len(STATEMENTS)} statements: {mib(memory)} MiB"
    yield what, rate, "", "", "", f"{(memory - before) / IDLE:.1f}"
    # The client's own garbage collector would look through thousands of connections, and be taken for latency.
    gc.collect()
    gc.freeze()
    grown = []
    async for what, each, row in work(shim, active, f"{IDLE:,} idle ones"):
        if each > GROWTH * alone[what]:
            grown.append(f"{what}: {alone[what]:.1f} us of CPU for each query alone, {each:.1f} beside {IDLE:,} idle")
        yield row
    for connection in idle + active:
        connection.terminate()
    if grown:
        raise NotMet("; ".join(grown))


def rows() -> Iterator[Row]:
    """See `measure`. Raises NotMet."""
    clients = IDLE + ACTIVE
    # pgshim has two descriptors for each connection, and gives them no more than 7/8 of what there are.
    wanted = -(-clients * 16 // 7) + 100
    limit = raise_file_limit()
    if limit < wanted:
        raise NotMet(f"{clients:,} connections take {wanted:,} open files, and the hard limit is {limit:,}: "
                     f"raise it with `ulimit -Hn {wanted}` as root, or LimitNOFILE= of the service")  # fmt: skip
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        pooler = stack.enter_context(
            PgBouncer(postgres, pool_size=POOL, max_client_conn=clients + 100, settings=TRUST)
        )
        yield from drive(measure(pooler, stack.enter_context(shim_of(pooler))))
