"""pgshim with --workers as its tests see it: the processes, and which of them a client has come to."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from pgshim.demo.servers import PgshimProcess
from tests.integration.conftest import Stack
from tests.proxy.world import cancel_request

SECONDS = 10.0

#: Clients that are made for nothing until one has come to a certain worker: the kernel chooses by a hash.
ATTEMPTS = 80


class Workers:
    """A pgshim that is running."""

    def __init__(self, process: PgshimProcess, clients: AsyncExitStack) -> None:
        self.process = process
        self.clients = clients

    @property
    def supervisor(self) -> int:
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return children(self.supervisor)

    def log(self) -> str:
        return self.process.log()

    async def connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(self.process.endpoint().url, timeout=SECONDS)
        self.clients.callback(connection.terminate)
        return connection

    async def client_of(self, worker: int) -> asyncpg.Connection:
        """A client that has come to this worker."""
        for _ in range(ATTEMPTS):
            try:
                connection = await self.connect()
            except asyncpg.TooManyConnectionsError:
                # The one before has closed its side, and still counts on the other.
                await asyncio.sleep(0.02)
                continue
            if await self.worker_of(connection._transport) == worker:
                return connection
            await connection.close()
        raise AssertionError(f"none of {ATTEMPTS} clients came to {worker}")

    async def cancel_at(self, worker: int, key: bytes) -> None:
        """Send a CancelRequest to this worker, and wait until it closes the connection."""
        for _ in range(ATTEMPTS):
            reader, writer = await asyncio.open_connection(self.process.host, self.process.port)
            try:
                if await self.worker_of(writer.transport) == worker:
                    writer.write(cancel_request(key))
                    assert await asyncio.wait_for(reader.read(), SECONDS) == b""
                    return
            finally:
                writer.close()
        raise AssertionError(f"none of {ATTEMPTS} connections came to {worker}")

    async def worker_of(self, transport: asyncio.BaseTransport) -> int:
        """The process that has the other end of a client's connection."""
        ends = transport.get_extra_info("peername")[1], transport.get_extra_info("sockname")[1]
        found: list[int] = []

        def is_accepted() -> bool:
            found[:] = [pid for pid in self.pids if f"socket:[{inode(*ends)}]" in descriptors(pid)]
            return bool(found)

        await until(is_accepted)
        return found[0]

    async def ended(self) -> int:
        """The exit code."""
        process = self.process.process
        assert process is not None
        await until(lambda: process.poll() is not None)
        return process.returncode


@asynccontextmanager
async def workers(stack: Stack, *options: str, count: int = 2) -> AsyncIterator[Workers]:
    """pgshim with so many workers, in front of the PgBouncer of a stack."""
    with PgshimProcess(stack.pgbouncer, options=["--workers", str(count), *options]) as process:
        async with asyncio.timeout(40), AsyncExitStack() as clients:
            await until(lambda: f"{count} workers: processes" in process.log())
            yield Workers(process, clients)
        assert "Traceback (most recent call last)" not in process.log(), process.log()


def key_of(connection: asyncpg.Connection) -> bytes:
    """The body of a client's BackendKeyData."""
    protocol = connection._protocol
    return struct.pack("!ii", protocol.backend_pid, protocol.backend_secret)


def children(pid: int) -> list[int]:
    """The processes that a process has started, and not taken leave of."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def inode(local_port: int, remote_port: int) -> str:
    """Of the IPv4 socket with these ports, as this machine's kernel numbers it."""
    wanted = f":{local_port:04X}", f":{remote_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1][-5:], fields[2][-5:]) == wanted:
            return fields[9]
    return ""


def descriptors(pid: int) -> set[str]:
    """What a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except FileNotFoundError:
            continue
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in another process."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)
