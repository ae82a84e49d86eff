"""Clients that do not read, and clients that send without end: memory stays bounded, and others are served.

Memory is that of a pgshim process of its own. What one client may make it keep: in either direction 256 KiB and one
read on top of that, a copy of it while it is written (2 MiB in all); for what has to wait, an entry for each message,
at five bytes a message some 50,000 for a read, of about 130 bytes each (13 MiB for 256 KiB and one more read); and
the 4,096 replies that may be owed to it. Python's allocator adds what it does not give back.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from pgshim.demo.servers import PgBouncer, PgshimProcess
from pgshim.protocol import hot
from pgshim.protocol.frontend import Bind, CopyData, CopyDone, CopyFail, Describe, Execute, Flush, Query, Sync, Target
from tests.hostile.arena import BOUND, quickly
from tests.hostile.client import MODEL, Intruder, ModelUpstream
from tests.proxy.world import READY, cancel_request, command_complete, data_row, listening
from tests.session.messages import bind, close, execute, parse

MIB = 1 << 20

#: Of one client whose result is not read, and of one that floods; see the top of this module.
RESULT_BOUND, FLOOD_BOUND = 4 * MIB, 48 * MIB

ROW = data_row(65_530)
RESULT = 256 * MIB


class FloodedUpstream(ModelUpstream):
    """Has a result of RESULT bytes of rows, made as they are taken, and a Query that it answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.release = asyncio.Event()
        self.answers |= {b"large": self._large, b"wait": self._wait}

    async def _large(self, writer: asyncio.StreamWriter) -> None:
        for _ in range(RESULT // len(ROW)):
            writer.write(ROW)
            await writer.drain()
            self.written += len(ROW)
        writer.write(command_complete() + READY)

    async def _wait(self, writer: asyncio.StreamWriter) -> None:
        await self.release.wait()
        writer.write(command_complete() + READY)


@dataclass
class Place:
    """pgshim as a process, and what it is measured by."""

    process: PgshimProcess
    upstream: FloodedUpstream
    clients: list[Intruder] = field(default_factory=list)

    async def client(self, database: str = "app") -> Intruder:
        """One that is logged in, and is closed in the end."""
        self.clients.append(await Intruder.to(self.process.host, self.process.port))
        await self.clients[-1].log_in(database)
        return self.clients[-1]

    async def memory(self) -> int:
        """Bytes of memory that the process has in use."""
        command = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return 1024 * int(await asyncio.to_thread(subprocess.check_output, command))


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """With a client beside that gets its own answers, one after the other, each within bounds."""
    async with listening(FloodedUpstream()) as upstream:
        process = PgshimProcess(
            _no_pooler(), upstream_address=f"127.0.0.1:{upstream.port}", environment={"PYTHONASYNCIODEBUG": ""}
        )
        await asyncio.to_thread(process.__enter__)
        found = Place(process, upstream)
        try:
            beside = asyncio.create_task(_ask(await found.client()))
            yield found
            beside.cancel()
            with pytest.raises(asyncio.CancelledError):
                await beside
            assert "Traceback" not in process.log()
        finally:
            upstream.release.set()
            for client in found.clients:
                client.close()
            await asyncio.to_thread(process.__exit__)


def _no_pooler() -> PgBouncer:
    """What a PgshimProcess asks for and, given an address, does not look at."""
    return PgBouncer.__new__(PgBouncer)


async def _ask(client: Intruder) -> None:
    number = 0
    while True:
        number += 1
        text = b"select 'mine %d'" % number
        await client.send(hot.query(text))
        answer = [await client.read() for _ in "DCZ"]
        assert answer[0][1][6:] == text
        await asyncio.sleep(0.01)


async def stall(upstream: FloodedUpstream) -> None:
    """Until nothing moves any more."""
    before = -1
    while upstream.written != before:
        before = upstream.written
        await asyncio.sleep(0.3)


def test_large_results_that_nobody_reads_are_not_kept() -> None:
    async def story() -> None:
        async with place() as here:
            before = await here.memory()
            clients = [await here.client() for _ in range(8)]
            for client in clients:
                await client.send(hot.query(b"large"))
            await stall(here.upstream)
            assert here.upstream.written < len(clients) * RESULT / 4
            assert await here.memory() - before < len(clients) * RESULT_BOUND
            # One comes to its senses, and nothing is missing; the others vanish.
            for client in clients[1:]:
                client.reset()
            rows = 0
            async with asyncio.timeout(3 * BOUND):
                while (message := await clients[0].read())[0] == "D":
                    rows += 1
            assert (rows, message[0], (await clients[0].read())[0]) == (RESULT // len(ROW), "C", "Z")
            assert await here.memory() - before < len(clients) * RESULT_BOUND

    quickly(story())


LONG = b"n" * 60_000
SYNC = Sync().encode()

#: What is sent again and again.
FLOODS = {
    "Sync": SYNC,
    "Flush": Flush().encode(),
    "empty Query": Query(b"").encode(),
    "Query": Query(b"select 1").encode(),
    "Query with an error": Query(b"selec").encode(),
    "Parse": parse(b"", b"select 1").encode(),
    "Parse and Sync": parse(b"", b"select 1").encode() + SYNC,
    "large Parse": parse(b"", b"selec" + b" " * 500_000).encode(),
    "Parse and Close": parse(b"a", b"select 1").encode() + close(b"a").encode(),
    "Close": close(b"a").encode(),
    "Bind of an unknown name": bind(b"x").encode() + SYNC,
    "Bind of a long unknown name": bind(LONG).encode() + SYNC,
    "Describe of an unknown name": Describe(Target.STATEMENT, b"\xff" * 9000).encode() + SYNC,
    "Execute of an unknown portal": Execute(b"x", 0).encode() + SYNC,
    "portals": parse(b"", b"select 1").encode() + Bind(b"p" * 60, b"", (), (), ()).encode() + execute(b"p").encode(),
    "CopyData": CopyData(b"").encode(),
    "CopyDone": CopyDone().encode(),
    "CopyFail": CopyFail(b"no").encode(),
    "Sync amid COPY": SYNC,
    "CopyDone amid COPY": CopyDone().encode(),
}


async def flood(client: Intruder, message: bytes) -> int:
    """Send for a moment, or until nothing is taken any more, or until pgshim has had enough; bytes sent."""
    burst = message * (1 + 65_536 // len(message))
    sent = 0
    end = time.monotonic() + 0.25
    with suppress(TimeoutError, ConnectionError):
        while time.monotonic() < end:
            async with asyncio.timeout(0.1):
                await client.loop.sock_sendall(client.sock, burst)
            sent += len(burst)
    return sent


def start_of(name: str, *, is_answered: bool) -> tuple[str, bytes]:
    """(database, what goes ahead of the flood)."""
    if name.endswith("amid COPY"):
        return MODEL, Query(b"copy t from stdin; select 1").encode()
    return (MODEL, b"") if is_answered else ("app", hot.query(b"wait"))


@pytest.mark.parametrize("is_answered", [True, False], ids=["not read", "behind a Query that takes long"])
def test_floods_of_every_kind_are_bounded(is_answered: bool) -> None:
    async def story() -> None:
        async with place() as here:
            (await here.client()).close()
            before = await here.memory()
            grown = {}
            for name, message in FLOODS.items():
                database, first = start_of(name, is_answered=is_answered)
                client = await here.client(database)
                await client.send(first)
                await flood(client, message)
                grown[name] = await here.memory() - before
                client.reset()
                here.upstream.release.set()
                here.upstream.release = asyncio.Event()
                here.upstream.received.clear()
            assert max(grown.values()) < FLOOD_BOUND, {name: f"{size / MIB:.1f} MiB" for name, size in grown.items()}

    quickly(story())


def test_a_flood_of_connections_and_cancel_requests_does_not_keep_others_from_being_served() -> None:
    async def story() -> None:
        async with place() as here:
            before = await here.memory()
            for _ in range(10):
                strangers = [await Intruder.to(here.process.host, here.process.port) for _ in range(100)]
                for number, stranger in enumerate(strangers):
                    await stranger.send(cancel_request(b"\0" * 8) if number % 2 else b"")
                    stranger.reset()
                async with asyncio.timeout(BOUND):
                    good = await here.client()
                    await good.send(hot.query(b"select 'here'"))
                    assert await good.until("Z") == "DCZ"
                    good.close()
            assert await here.memory() - before < FLOOD_BOUND

    quickly(story())
