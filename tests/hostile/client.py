"""A deliberately bad client on a bare socket, and an upstream that can be brought to rest behind it."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from pgshim.errors import ProtocolViolation
from pgshim.protocol import frontend
from pgshim.protocol.backend import TransactionStatus
from pgshim.proxy.server import Server
from tests.hostile.arena import BOUND
from tests.hostile.upstream import HostileUpstream
from tests.proxy.world import error_fields, read_message, startup
from tests.session.model import Database
from tests.session.model import Server as ModelServer

#: The database of which the upstream is the server of `tests.session.model`.
MODEL = "model"


class Intruder:
    """One client; nothing that it sends is checked. All of it takes BOUND seconds at most."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.rest = b""

    @classmethod
    async def connect(cls, server: Server) -> Self:
        address = server.listeners[0].address
        return await cls.to(address.host, address.port)

    @classmethod
    async def to(cls, host: str, port: int) -> Self:
        found = cls()
        # A window that is small from the start: what is not read has to wait in pgshim.
        found.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        await found.loop.sock_connect(found.sock, (host, port))
        return found

    @classmethod
    async def logged_in(cls, server: Server, database: str = "app") -> Self:
        found = await cls.connect(server)
        await found.log_in(database)
        return found

    async def log_in(self, database: str = "app") -> None:
        await self.send(startup(database=database))
        answer = await self.until("ZE")
        assert answer.endswith("Z"), answer

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(BOUND):
            await self.loop.sock_sendall(self.sock, data)

    async def read(self) -> tuple[str, bytes]:
        """The next message; ("", b"") at the end."""
        while len(self.rest) < 5 or len(self.rest) <= int.from_bytes(self.rest[1:5], "big"):
            try:
                async with asyncio.timeout(BOUND):
                    data = await self.loop.sock_recv(self.sock, 1 << 18)
            except ConnectionError:
                data = b""
            if not data:
                return "", b""
            self.rest += data
        end = 1 + int.from_bytes(self.rest[1:5], "big")
        message, self.rest = self.rest[:end], self.rest[end:]
        return chr(message[0]), message[5:]

    async def until(self, last: str, count: int = 1) -> str:
        """The type codes of what comes, up to the `count`-th of these types, or to the end."""
        types = ""
        while sum(types.count(each) for each in last) < count:
            type_code, _ = await self.read()
            if not type_code:
                break
            types += type_code
        return types

    async def to_the_end(self) -> tuple[str, dict[str, str]]:
        """(type codes, fields of the last ErrorResponse) of all that comes until pgshim closes."""
        types, fields = "", {}
        while True:
            type_code, body = await self.read()
            if not type_code:
                return types, fields
            types += type_code
            if type_code == "E":
                fields = error_fields(body)

    async def sink(self) -> int:
        """Read and forget; how many bytes there were until the end."""
        count = len(self.rest)
        with suppress(ConnectionError):
            while data := await self.loop.sock_recv(self.sock, 1 << 20):
                count += len(data)
        return count

    def says_no_more(self) -> None:
        """A FIN, of a client that still reads."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """A FIN, and a reset if anything comes that is not read."""
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@asynccontextmanager
async def intruder(server: Server, database: str = "") -> AsyncIterator[Intruder]:
    """One that leaves at the end of the block; logged in if a database is named."""
    client = await (Intruder.logged_in(server, database) if database else Intruder.connect(server))
    try:
        yield client
    finally:
        client.close()


def descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/dev/fd"))


def _feed(server: ModelServer, type_code: int, body: bytes) -> None:
    """What the model knows nothing of fails as on a server."""
    if type_code == ord("F"):
        type_code, body = ord("Q"), b"no such function\0"
    try:
        server.feed(frontend.decode(type_code, body))
    except ProtocolViolation:
        server.feed(frontend.Parse(b"", b"a message that is malformed", ()))


class ModelUpstream(HostileUpstream):
    """Behind the database MODEL is a server of `tests.session.model` for each connection."""

    def __init__(self) -> None:
        super().__init__()
        #: The servers of connections that have ended, and whether with a Terminate.
        self.ended: list[tuple[ModelServer, bool]] = []
        #: StartupMessage's number -> its database, for who asks how many rows there are.
        self.databases: dict[int, Database] = {}
        #: Questions what a server makes of a client's settings: they are never answered.
        self.checks = 0

    async def _answer(self, text: bytes, writer: asyncio.StreamWriter) -> None:
        if b"set_config" in text:
            self.checks += 1
        else:
            await super()._answer(text, writer)

    async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.startups)
        await super().log_in(reader, writer)
        if b"\0%s\0" % MODEL.encode() not in self.startups[number - 1]:
            return
        server = ModelServer(self.databases.setdefault(number, Database()))
        is_orderly = False
        while True:
            type_code, body = await read_message(reader)
            if type_code in ("", "X"):
                is_orderly = type_code == "X"
                break
            _feed(server, ord(type_code), body)
            writer.write(server.output)
            server.output = b""
        self.ended.append((server, is_orderly))
        writer.close()

    def check_rest(self) -> None:
        """Whatever was ended with a Terminate has nothing unfinished: the pooler would keep that server."""
        for server, is_orderly in self.ended:
            is_idle = server.status is TransactionStatus.IDLE and server.copy_ended is None
            assert not is_orderly or (is_idle and not server.has_open_batch and not server.inserted), vars(server)

    @property
    def aborted(self) -> int:
        return sum(not is_orderly for _, is_orderly in self.ended)
