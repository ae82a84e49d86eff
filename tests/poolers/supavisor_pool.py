"""The servers behind the stand-in for Supavisor, and how they are given out and come back."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from psycopg import pq

from tests.poolers.supavisor_login import LoginFailed

if TYPE_CHECKING:
    from tests.poolers.supavisor import Client

TENANT = "tenant"
NAME = b"Supavisor"
TERMINATE = b"X\0\0\0\4"
_HEADER = Struct("!BI")
#: What PostgreSQL reports at login, up to version 18.
_REPORTED = [
    *("server_version", "server_encoding", "client_encoding", "is_superuser", "session_authorization", "DateStyle"),
    *("IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "in_hot_standby"),
    *("default_transaction_read_only", "scram_iterations", "search_path"),
]


@dataclass(frozen=True)
class Configuration:
    """Times are in seconds; `users` has plain passwords."""

    port: int
    server_port: int
    users: dict[str, str]
    tenant: str = TENANT
    pool_size: int = 3
    max_clients: int = 200
    # Its own are 60 s, 60 s, and what its mailboxes take.
    checkout_timeout: float = 20.0
    heartbeat: float = 0.1
    release_delay: float = 0.002


class Scanner:
    """Follows the messages of a stream, however it is cut."""

    def __init__(self, with_body: int = 0) -> None:
        #: Messages of this type are given with the first byte of their body.
        self._with_body = with_body
        self._partial = b""
        self._skip = 0

    @property
    def is_between(self) -> bool:
        """Whether the last message is whole."""
        return not self._partial and not self._skip

    def feed(self, data: bytes) -> list[tuple[int, int]]:
        """(type code, first byte of the body or 0) of each message that begins."""
        found = []
        data, pos, self._partial = self._partial + data, 0, b""
        while True:
            step = min(self._skip, len(data) - pos)
            pos += step
            self._skip -= step
            if pos == len(data):
                return found
            if len(data) - pos < 5 or (data[pos] == self._with_body and len(data) - pos < 6):
                self._partial = data[pos:]
                return found
            type_code, length = _HEADER.unpack_from(data, pos)
            found.append((type_code, data[pos + 5] if type_code == self._with_body else 0))
            self._skip = 1 + length


class Server(asyncio.Protocol):
    """A connection to PostgreSQL, logged in by libpq; what comes goes to its owner, and to nobody if it has none."""

    def __init__(self, pool: Pool, login: pq.PGconn) -> None:
        self.pool = pool
        self.login = login
        self.owner: Client | None = None
        self._scanner = Scanner(with_body=ord("Z"))
        self._expected = self._received = 0
        self._status = ord("I")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        owner, self.owner = self.owner, None
        self.pool.replace(self)
        if owner is not None:
            owner.fail("EDBHANDLEREXITED", "the database handler exited")

    def take(self, owner: Client) -> None:
        self.owner = owner
        self._expected = self._received = 0

    def end(self) -> None:
        """Its owner has left without giving it back."""
        self.owner = None
        self.transport.write(TERMINATE)
        self.transport.close()

    def send(self, data: bytes, count: int) -> None:
        """Passes a read on that will bring so many ReadyForQuery."""
        self._expected += count
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        for type_code, status in self._scanner.feed(data):
            if type_code == ord("Z"):
                self._received += 1
                self._status = status
        owner = self.owner
        if owner is None:
            return
        is_ready = self._received and self._received >= self._expected and self._status == ord("I")
        if is_ready and self._scanner.is_between:
            self.owner = None
            self.pool.put(self)
            owner.is_released_soon(data)
        else:
            owner.transport.write(data)


class Pool:
    """The servers of one user and database, given out in turn."""

    def __init__(self, configuration: Configuration, user: str, database: str) -> None:
        self.configuration = configuration
        self.user, self.database = user, database
        self.statuses: list[tuple[bytes, bytes]] = []
        self._free: deque[Server] = deque()
        self._waiting: deque[Client] = deque()
        self._opened: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def opened(self) -> None:
        """Opens the servers, once. Raises LoginFailed if PostgreSQL lets nobody in."""
        if self._opened is None:
            self._opened = asyncio.create_task(self._open_all())
        await asyncio.shield(self._opened)

    async def _open_all(self) -> None:
        for _ in range(self.configuration.pool_size):
            await self._open()

    async def _open(self) -> None:
        login = await asyncio.to_thread(self._log_in)
        if not self.statuses:
            values = [(name.encode(), login.parameter_status(name.encode())) for name in _REPORTED]
            own = (b"application_name", NAME)
            self.statuses = [own, *((name, value) for name, value in values if value is not None)]
        wire = socket.socket(fileno=os.dup(login.socket))
        wire.setblocking(False)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = Server(self, login)
        await asyncio.get_running_loop().create_connection(lambda: server, sock=wire)
        self.put(server)

    def _log_in(self) -> pq.PGconn:
        password = self.configuration.users[self.user]
        words = [f"host=127.0.0.1 port={self.configuration.server_port} user={self.user} password={password}"]
        words += [f"dbname={self.database} application_name={NAME.decode()} sslmode=disable"]
        login = pq.PGconn.connect(" ".join(words).encode())
        if login.status != pq.ConnStatus.OK:
            raise LoginFailed("08006", "Failed to connect to database: " + login.error_message.decode(errors="replace"))
        return login

    def put(self, server: Server) -> None:
        """Takes a server back, or a new one in."""
        while self._waiting:
            client = self._waiting.popleft()
            if not client.is_closed:
                client.is_given(server)
                return
        self._free.append(server)

    def take(self, client: Client) -> None:
        """Has the client given a server, now or when there is one."""
        if self._free:
            client.is_given(self._free.popleft())
        else:
            self._waiting.append(client)

    def forget(self, client: Client) -> None:
        with suppress(ValueError):
            self._waiting.remove(client)

    def replace(self, server: Server) -> None:
        """A server is gone: a new one is opened, after a while if that fails."""
        server.login.finish()
        with suppress(ValueError):
            self._free.remove(server)
        task = asyncio.create_task(self._open_again())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_again(self) -> None:
        while True:
            with suppress(LoginFailed):
                return await self._open()
            await asyncio.sleep(0.2)
