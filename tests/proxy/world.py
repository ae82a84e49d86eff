"""A scripted upstream, a client and pgshim between them, on real sockets of the loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pgshim.addresses import Address
from pgshim.protocol import hot
from pgshim.proxy.server import Server
from pgshim.settings import Settings

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)
READY = hot.READY[hot.IDLE]
IN_BLOCK = hot.READY[hot.IN_BLOCK]


def startup(**parameters: str) -> bytes:
    """A StartupMessage of protocol 3.0."""
    pairs = {"user": "alice", "database": "app", **parameters}
    body = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in pairs.items()) + b"\0"
    return struct.pack("!II", len(body) + 8, 3 << 16) + body


def cancel_request(key: bytes) -> bytes:
    return struct.pack("!II", 8 + len(key), 80877102) + key


def data_row(size: int) -> bytes:
    return hot.message(ord("D"), struct.pack("!hi", 1, size) + bytes(size))


def command_complete(tag: bytes = b"SELECT 1") -> bytes:
    return hot.command_complete(tag)


async def read_message(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """(type code, body); ("", b"") at EOF."""
    try:
        head = await reader.readexactly(5)
        return chr(head[0]), await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
    except (asyncio.IncompleteReadError, ConnectionError):
        return "", b""


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse."""
    return {chr(part[0]): part[1:].decode() for part in body.split(b"\0") if part}


class ScriptedUpstream:
    """Logs everybody in, and answers each Query with what `answers` has for its text.

    An answer is bytes, or a coroutine function that is given the writer; the default is a CommandComplete.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, ssl_answer: bytes = b"N") -> None:
        self.answers: dict[bytes, Any] = {b"begin": command_complete(b"BEGIN") + IN_BLOCK}
        self.parameters = {b"server_version": b"15.0"}
        self.tls = tls
        self.ssl_answer = b"S" if tls else ssl_answer
        self.startups: list[bytes] = []
        self.ssl_requests = 0
        self.cancels: list[bytes] = []
        #: Each message of each client, in order of arrival: (type code, body); ("", b"") for EOF.
        self.received: list[tuple[str, bytes]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.cancel_eofs: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await self._packet(reader)
        if packet == SSL_REQUEST:
            self.ssl_requests += 1
            writer.write(self.ssl_answer)
            await writer.drain()
            if self.tls is not None:
                await writer.start_tls(self.tls)
            elif self.ssl_answer[:1] != b"N" or len(self.ssl_answer) > 1:
                return
            packet = await self._packet(reader)
        if packet[4:8] == struct.pack("!I", 80877102):
            self.cancels.append(packet[8:])
            # A pooler closes when it has dealt with the request; PgBouncer 1.18 aborts if the canceller was first.
            try:
                async with asyncio.timeout(0.1):
                    await reader.read(1)
                self.cancel_eofs.append("canceller was first")
            except TimeoutError:
                self.cancel_eofs.append("held open")
            return
        if not packet:
            return
        self.startups.append(packet)
        await self.log_in(reader, writer)
        while True:
            type_code, body = await read_message(reader)
            self.received.append((type_code, body))
            if type_code in ("", "X"):
                return
            if type_code == "Q":
                await self._answer(body[:-1], writer)
            await writer.drain()

    async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hot.message(ord("R"), bytes(4)))
        for name, value in self.parameters.items():
            writer.write(hot.message(ord("S"), name + b"\0" + value + b"\0"))
        writer.write(hot.message(ord("K"), self.key(len(self.startups))) + READY)

    @staticmethod
    def key(number: int) -> bytes:
        """The BackendKeyData of the n-th login."""
        return struct.pack("!II", number, 0xC0FFEE)

    async def _answer(self, text: bytes, writer: asyncio.StreamWriter) -> None:
        answer = self.answers.get(text, command_complete() + READY)
        if isinstance(answer, bytes):
            writer.write(answer)
        else:
            await answer(writer)

    @staticmethod
    async def _packet(reader: asyncio.StreamReader) -> bytes:
        head = await reader.read(4)
        return head + await reader.readexactly(struct.unpack("!I", head)[0] - 4) if head else b""

    def queries(self) -> list[bytes]:
        return [body[:-1] for type_code, body in self.received if type_code == "Q"]


@asynccontextmanager
async def listening(upstream: ScriptedUpstream) -> AsyncIterator[ScriptedUpstream]:
    """The scripted upstream, on a port of its own."""
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for writer in upstream.writers:
            with suppress(AttributeError):  # Ended already: before Python 3.11.4 asyncio's TLS transport fails.
                writer.transport.abort()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def pgshim(
    upstream: ScriptedUpstream | Address, *, descriptors: int = 1 << 20, **options: Any
) -> AsyncIterator[Server]:
    """pgshim in front of it, on a port that the system chose."""
    address = upstream if isinstance(upstream, Address) else Address("127.0.0.1", upstream.port)
    options.setdefault("listen", (Address("127.0.0.1", 0),))
    # A block that a story begins is upstream.
    options.setdefault("lazy_begin", False)
    server = Server(Settings(address, **options), descriptors)
    server.start()
    try:
        yield server
    finally:
        for client in _clients:
            client.writer.transport.abort()
        _clients.clear()
        await server.close()
        await asyncio.sleep(0.01)


#: Those that a test has connected, and may have forgotten.
_clients: list[Client] = []


def port_of(server: Server) -> int:
    return server.listeners[0].address.port


class Client:
    """A client, message by message."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.key = b""
        _clients.append(self)

    @classmethod
    async def connect(cls, server: Server, **options: Any) -> Client:
        address = server.listeners[0].address
        if address.is_unix:
            return cls(*await asyncio.open_unix_connection(address.path, **options))
        return cls(*await asyncio.open_connection(address.host, address.port, **options))

    @classmethod
    async def logged_in(cls, server: Server, **options: Any) -> Client:
        client = await cls.connect(server, **options)
        await client.log_in()
        return client

    async def log_in(self) -> None:
        self.send(startup())
        while True:
            type_code, body = await self.read()
            assert type_code not in ("", "E"), (type_code, body)
            if type_code == "K":
                self.key = body
            if type_code == "Z":
                return

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self) -> tuple[str, bytes]:
        return await read_message(self.reader)

    async def types(self, count: int) -> str:
        """The type codes of the next messages."""
        return "".join([(await self.read())[0] for _ in range(count)])

    async def query(self, text: bytes) -> str:
        """Send a Query; the type codes of its answer, up to ReadyForQuery."""
        self.send(hot.query(text))
        types = ""
        while not types.endswith("Z"):
            type_code, _ = await self.read()
            assert type_code, f"the connection was closed after {types!r}"
            types += type_code
        return types

    async def error(self) -> dict[str, str]:
        """The next message, an ErrorResponse."""
        type_code, body = await self.read()
        assert type_code == "E", (type_code, body)
        return error_fields(body)

    async def is_closed(self) -> bool:
        """Whether nothing more comes."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    def reset(self) -> None:
        """Leave with a TCP reset: a FIN alone could as well be a half-close."""
        reset(self.writer)

    async def close(self) -> None:
        self.writer.close()
        await asyncio.sleep(0)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a TCP reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def until(condition: Any, timeout: float = 5.0) -> None:
    """Wait for what happens on the other side of a socket."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)
