"""Messages and results of hundreds of MiB beside fast queries: pgshim's memory, and what its other clients feel.

Bound: whatever one client moves, and however slowly, pgshim's resident memory grows by at most GROWTH. In each
direction of a connection it holds 256 KiB before it stops reading, and the read that was under way; the rest is slack
of malloc.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

import asyncpg

from bench.load import Connection
from bench.load import ask as ask_one
from bench.machine import peak_kib, reset_peak, resident_kib
from bench.outcome import Latencies, NotMet, Row, drive, mib
from bench.raw import DIGITS, RawClient
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer
from pgshim.protocol import hot
from pgshim.protocol.frontend import Bind, CopyDone, Execute, Parse, Sync

NEIGHBOURS = 10
#: Seconds between two queries of a neighbour.
PAUSE = 0.005
#: Resident memory that one slow client or one large message may cost, in KiB.
GROWTH = 8 * 1024

ROW = 8192
ROWS = 131_072
VALUE = 512 * 1024 * 1024
RATE = 4 * 1024 * 1024
#: The server stops taking data here for STALL seconds; a row in KEPT_EVERY is stored, so that the tag counts what came.
STALLS_AT = 20_000
KEPT_EVERY = 1000
STALL = 4
#: Rows in one write.
AT_ONCE = 16

SELECT_ROWS = (
    f"SELECT lpad(n::text, {DIGITS}, '0') || repeat('x', {ROW - DIGITS}) FROM generate_series(0, {ROWS - 1}) n"
).encode()
COPY_OUT = b"COPY (" + SELECT_ROWS + b") TO STDOUT"
COPY_IN = (
    f"COPY bench_sink FROM STDIN WHERE "
    f"CASE WHEN n = {STALLS_AT} THEN pg_sleep({STALL}) IS NOT NULL ELSE n % {KEPT_EVERY} = 0 END"
).encode()


class Neighbours:
    """Clients that ask short questions now and then, while another one moves its GiB."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._found = Latencies()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Neighbours":
        for _ in range(NEIGHBOURS):
            connection = await asyncpg.connect(self._url)
            self._tasks.append(asyncio.create_task(self._query(connection)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _query(self, connection: Connection) -> None:
        try:
            while True:
                start = time.perf_counter()
                await ask_one(connection, 0)
                self._found.seconds.append(time.perf_counter() - start)
                await asyncio.sleep(PAUSE)
        except (NotMet, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self._found.errors.append(repr(error))
        finally:
            connection.terminate()

    def begin(self) -> None:
        """Forget what they have felt so far."""
        self._found.seconds.clear()

    def felt(self) -> Latencies:
        """What they have felt since `begin`. Raises NotMet if one of them got a wrong answer, or all of them none."""
        self._found.check()
        if not self._found.seconds:
            raise NotMet("the neighbours got no answer at all")
        return self._found


class Watch:
    """Runs one step after another, and makes a row of each."""

    def __init__(self, pid: int, neighbours: Neighbours) -> None:
        self._pid = pid
        self._neighbours = neighbours
        self.before = resident_kib(pid)

    async def step(self, what: str, work: Awaitable[None], moved: Callable[[], int]) -> Row:
        """(what, MiB moved, s, MiB at peak, MiB more than before, p50, p99). Raises NotMet."""
        self._neighbours.begin()
        already, start = moved(), time.perf_counter()
        reset_peak(self._pid)
        await work
        seconds = time.perf_counter() - start
        peak = peak_kib(self._pid)
        found = self._neighbours.felt()
        grown = peak - self.before
        if grown > GROWTH:
            raise NotMet(f"{what}: pgshim's memory grew by {mib(grown)} MiB; the bound is {mib(GROWTH)} MiB")
        sizes = f"{(moved() - already) / 1024 / 1024:.0f}", f"{seconds:.1f}", mib(peak), mib(grown)
        return what, *sizes, found.milliseconds(0.5), found.milliseconds(0.99)


def expect(is_true: bool, sentence: str) -> None:
    """Raise NotMet unless it is true."""
    if not is_true:
        raise NotMet(sentence)


async def read_rows(watch: Watch, client: RawClient) -> AsyncGenerator[Row, None]:
    """SELECT of 1 GiB: slowly, not at all, then all of it."""
    await client.query(SELECT_ROWS, is_numbered=True)
    yield await watch.step("1 GiB of rows, read at 4 MiB/s", client.read_slowly(RATE, 6), client.received)
    yield await watch.step("  then not read", asyncio.sleep(STALL), client.received)
    yield await watch.step("  then read fast", client.read_until_ready(), client.received)
    expect(client.replies.rows == ROWS, f"{client.replies.rows} rows came, not {ROWS}")
    expect(client.replies.tags == [b"SELECT %d" % ROWS], f"the tag was {client.replies.tags}")


async def read_value(watch: Watch, client: RawClient) -> AsyncGenerator[Row, None]:
    """One DataRow of 512 MiB."""
    await client.query(b"SELECT repeat('v', %d)" % VALUE)
    yield await watch.step("one of 512 MiB, read at 4 MiB/s", client.read_slowly(RATE, 3), client.received)
    yield await watch.step("  then not read", asyncio.sleep(STALL), client.received)
    yield await watch.step("  then read fast", client.read_until_ready(), client.received)
    expect(client.replies.rows == 1 and client.replies.size > VALUE, f"{client.replies.size} bytes came")


async def send_value(watch: Watch, client: RawClient) -> AsyncGenerator[Row, None]:
    """One Bind of 512 MiB, sent in pieces."""
    client.replies.rows = 0
    sent = 0

    async def send() -> None:
        nonlocal sent
        await client.send(Parse(b"", b"SELECT length($1::bytea)", ()).encode())
        # The declaration builds the message; the value, the last field but one, goes in place of an empty one.
        empty = Bind(b"", b"", (1,), (b"",), ()).encode()
        size = int.from_bytes(empty[1:5], "big") + VALUE
        before, after = empty[5:-6], empty[-2:]
        await client.send(b"B" + size.to_bytes(4, "big") + before + VALUE.to_bytes(4, "big"))
        piece = bytes(AT_ONCE * ROW)
        for _ in range(VALUE // len(piece)):
            await client.send(piece)
            sent += len(piece)
            await asyncio.sleep(0)
        await client.send(after + Execute(b"", 0).encode() + Sync().encode())
        await client.read_until_ready(client.replies.ready + 1)

    yield await watch.step("a parameter of 512 MiB, sent fast", send(), lambda: sent)
    expect(client.replies.rows == 1, "the parameter brought no row")


async def copy_in(watch: Watch, client: RawClient) -> AsyncGenerator[Row, None]:
    """COPY FROM STDIN of 1 GiB; the server stops taking data for a while. Next to nothing is stored."""
    await client.query(b"CREATE UNLOGGED TABLE bench_sink (n bigint, filler text)")
    await client.read_until_ready()
    await client.query(COPY_IN)
    while not client.replies.is_copying_in:
        await client.read_some()
    sent = 0

    async def send() -> None:
        nonlocal sent
        filler = b"\t" + b"y" * (ROW - DIGITS - 2) + b"\n"
        for start in range(0, ROWS, AT_ONCE):
            rows = b"".join(hot.message(ord("d"), b"%010d" % n + filler) for n in range(start, start + AT_ONCE))
            await client.send(rows)
            sent += len(rows)
            # A socket that takes everything at once gives nobody else a turn.
            await asyncio.sleep(0)
        await client.send(CopyDone().encode())
        await client.read_until_ready()

    yield await watch.step(f"COPY FROM STDIN, server stops {STALL} s", send(), lambda: sent)
    kept = len(range(0, ROWS, KEPT_EVERY))
    # The row at which the server slept is one of those.
    expect(client.replies.tags == [b"COPY %d" % kept], f"the tag was {client.replies.tags}, not COPY {kept}")
    await client.query(b"DROP TABLE bench_sink")
    await client.read_until_ready()


async def leave(watch: Watch, client: RawClient) -> AsyncGenerator[Row, None]:
    """COPY TO STDOUT of 1 GiB by a client that reads slowly, stops, and is gone."""
    await client.query(COPY_OUT, is_numbered=True)
    yield await watch.step("COPY TO STDOUT, read at 4 MiB/s", client.read_slowly(RATE, 3), client.received)
    yield await watch.step("  then not read", asyncio.sleep(STALL), client.received)
    size = client.replies.size
    client.close()
    yield await watch.step("  then the client is gone", asyncio.sleep(12), lambda: size)


async def busy_servers(postgres: PostgresServer) -> int:
    """How many servers of the pool are still at something, seen from the side."""
    connection = await asyncpg.connect(postgres.endpoint().url)
    text = "SELECT count(*) FROM pg_stat_activity WHERE usename = user AND state <> 'idle' AND pid <> pg_backend_pid()"
    count = await connection.fetchval(text)
    await connection.close()
    return int(count)


async def measure(postgres: PostgresServer, shim: PgshimProcess) -> AsyncGenerator[Row, None]:
    """The rows of the table. Raises NotMet."""
    endpoint = shim.endpoint()
    async with Neighbours(endpoint.url) as neighbours:
        client = await RawClient.connect(endpoint)
        await asyncio.sleep(1)
        watch = Watch(shim.pid, neighbours)
        yield await watch.step("nobody beside", asyncio.sleep(4), lambda: 0)
        for part in (read_rows, read_value, send_value, copy_in, leave):
            async for row in part(watch, client):
                yield row
        yield await watch.step("nobody beside", asyncio.sleep(2), lambda: 0)
    count = await busy_servers(postgres)
    expect(count == 0, f"{count} servers are still at work for clients that have left")


def rows() -> Iterator[Row]:
    """See `measure`."""
    with (
        PostgresServer() as postgres,
        # Trust, so that the slow client needs no SCRAM of its own.
        PgBouncer(postgres, pool_size=20, settings={"auth_type": "trust"}) as pooler,
        PgshimProcess(pooler, options=["--loop", "uvloop"]) as shim,
    ):
        yield from drive(measure(postgres, shim))
