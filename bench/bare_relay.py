"""The floor: a relay on uvloop that does nothing, or nothing but find the frames.

    python -m bench.bare_relay --listen HOST:PORT --upstream HOST:PORT [--scan] [--tls]

Two protocols for each connection, a write for each read, back-pressure as in pgshim, and no more: no session, no
queue, no checks. With --scan it walks over the headers of all frames, which whoever follows the protocol has to do.
What pgshim takes beyond that is its own; what this takes is Python's and the kernel's. It trusts whatever upstream it
finds, and is of no other use.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
from collections.abc import Coroutine
from struct import Struct
from typing import Any, cast

import uvloop

from pgshim.proxy.negotiate import GSSENC_REQUEST
from pgshim.proxy.sockets import HIGH_WATER
from pgshim.proxy.upstream import SSL_REQUEST

_HEADER = Struct("!BI")
_LENGTH = Struct("!I")
_REQUEST_SIZE = 8


class Side(asyncio.Protocol):
    """One of the two sockets of a connection: what it reads, the other one writes."""

    __slots__ = ("peer", "transport", "write")

    def __init__(self) -> None:
        self.peer: Side | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)

    def join(self, peer: Side) -> None:
        """From now on what comes goes to `peer`, and what comes there to this side."""
        assert self.transport is not None
        assert peer.transport is not None
        self.peer, peer.peer = peer, self
        self.write, peer.write = peer.transport.write, self.transport.write

    def data_received(self, data: bytes) -> None:
        self.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()


class ScanningSide(Side):
    """Walks from header to header of all that passes."""

    __slots__ = ("_head", "_owed")

    def __init__(self, owed: int = 0) -> None:
        super().__init__()
        #: Bytes of the current frame that are still to come.
        self._owed = owed
        #: The beginning of a header that is not complete yet; it has been passed on.
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self.write(data)
        if self._head:
            data = self._head + data
            self._head = b""
        pos, size = self._owed, len(data)
        read_header = _HEADER.unpack_from
        last = size - 5
        while pos <= last:
            _, length = read_header(data, pos)
            pos += 1 + length
        if pos < size:
            self._head = data[pos:]
            pos = size
        self._owed = pos - size


class Greeting(asyncio.Protocol):
    """A client up to its first packet, which has no type: encryption is refused, then it is joined to an upstream."""

    def __init__(self, relay: BareRelay) -> None:
        self._relay = relay
        self._early = b""
        self._is_joining = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._early += data
        if self._is_joining:
            # With uvloop a read may be under way when reading is paused.
            return
        while self._early.startswith((SSL_REQUEST, GSSENC_REQUEST)):
            self._early = self._early[_REQUEST_SIZE:]
            self._transport.write(b"N")
        if len(self._early) >= _REQUEST_SIZE:
            self._is_joining = True
            self._transport.pause_reading()
            self._relay.spawn(self._join())

    async def _join(self) -> None:
        relay = self._relay
        upstream = await relay.connect()
        early = self._early
        client = ScanningSide(_LENGTH.unpack_from(early)[0]) if relay.scans else Side()
        client.connection_made(self._transport)
        client.join(upstream)
        self._transport.set_protocol(client)
        client.data_received(early)
        self._transport.resume_reading()


class BareRelay:
    """Where to connect, and how."""

    def __init__(self, upstream: tuple[str, int], *, scans: bool, has_tls: bool) -> None:
        self._upstream = upstream
        self.scans = scans
        self._context: ssl.SSLContext | None = None
        if has_tls:
            self._context = ssl.create_default_context()
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what a callback cannot wait for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connect(self) -> Side:
        """A connection to the upstream, encrypted if it has to be."""
        loop = asyncio.get_running_loop()
        side = ScanningSide if self.scans else Side
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, self._upstream)
        if self._context is None:
            return (await loop.connect_accepted_socket(side, sock))[1]
        await loop.sock_sendall(sock, SSL_REQUEST)
        if await loop.sock_recv(sock, 1) != b"S":
            raise ConnectionRefusedError("the upstream does not offer TLS")
        host, _ = self._upstream
        return (await loop.create_connection(side, sock=sock, ssl=self._context, server_hostname=host))[1]


def address(text: str) -> tuple[str, int]:
    """HOST:PORT."""
    host, _, port = text.rpartition(":")
    return host, int(port)


async def serve(arguments: argparse.Namespace) -> None:
    """Accept until told to end."""
    relay = BareRelay(arguments.upstream, scans=arguments.scan, has_tls=arguments.tls)
    server = await asyncio.get_running_loop().create_server(lambda: Greeting(relay), *arguments.listen, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run one relay."""
    parser = argparse.ArgumentParser(prog="python -m bench.bare_relay")
    parser.add_argument("--listen", type=address, required=True, metavar="HOST:PORT")
    parser.add_argument("--upstream", type=address, required=True, metavar="HOST:PORT")
    parser.add_argument("--scan", action="store_true", help="walk over the headers of all frames")
    parser.add_argument("--tls", action="store_true", help="speak TLS to the upstream")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
