"""A frontend that reads as fast or as slowly as it is told to, and holds nothing of what it reads.

It cannot authenticate: its pooler has to trust it.
"""

import asyncio
import socket
from struct import Struct

from bench.outcome import NotMet
from pgshim.demo.processes import Endpoint
from pgshim.protocol.frontend import Query
from pgshim.protocol.startup import StartupMessage

CHUNK = 256 * 1024
#: How often a second a slow reader reads.
TURNS = 16

_HEADER = Struct("!BI")
_HEADER_SIZE = 5
#: As much of a message's body as is looked at.
_PREFIX = 96
#: A row begins with its number, in so many digits.
DIGITS = 10
#: What stands before the first value of a DataRow: the number of columns, the length.
_ROW_HEADER = 6


class Replies:
    """Follows a stream of backend messages by their headers and the first bytes of their bodies."""

    def __init__(self) -> None:
        self.ready = self.rows = self.size = 0
        self.tags: list[bytes] = []
        self.is_copying_in = False
        #: Rows begin with their numbers.
        self.is_numbered = False
        self._head = bytearray()
        self._want = _HEADER_SIZE
        self._rest = 0

    def feed(self, data: memoryview) -> None:
        """The next bytes. Raises NotMet at an ErrorResponse, and where a row is not the next one."""
        pos, end = 0, len(data)
        self.size += end
        while pos < end:
            if self._rest:
                step = min(self._rest, end - pos)
                self._rest -= step
                pos += step
                continue
            step = min(self._want - len(self._head), end - pos)
            self._head += data[pos : pos + step]
            pos += step
            if len(self._head) == self._want:
                self._advance()

    def _advance(self) -> None:
        type_code, length = _HEADER.unpack_from(self._head)
        body = min(length - 4, _PREFIX)
        if len(self._head) < _HEADER_SIZE + body:
            self._want = _HEADER_SIZE + body
            return
        self._rest = length - 4 - body
        self._take(chr(type_code), bytes(self._head[_HEADER_SIZE:]))
        self._head.clear()
        self._want = _HEADER_SIZE

    def _take(self, kind: str, body: bytes) -> None:
        if kind in "Dd":
            at = _ROW_HEADER if kind == "D" else 0
            if self.is_numbered and int(body[at : at + DIGITS]) != self.rows:
                raise NotMet(f"row {self.rows} was due, {body[at : at + DIGITS]!r} came")
            self.rows += 1
        elif kind == "Z":
            self.ready += 1
        elif kind == "C":
            self.tags.append(body.rstrip(b"\0"))
        elif kind == "G":
            self.is_copying_in = True
        elif kind == "E":
            raise NotMet(f"the slow client got an error: {body!r}")


class RawClient:
    """One connection on a socket with small buffers of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray(CHUNK)
        self.replies = Replies()

    @classmethod
    async def connect(cls, endpoint: Endpoint) -> "RawClient":
        """Log in. Raises NotMet, OSError."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        await asyncio.get_running_loop().sock_connect(sock, (endpoint.host, endpoint.port))
        client = cls(sock)
        parameters = ((b"user", endpoint.user.encode()), (b"database", endpoint.database.encode()))
        await client.send(StartupMessage(0, parameters).encode())
        await client.read_until_ready(1)
        return client

    async def send(self, data: bytes) -> None:
        """Write all of it."""
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def query(self, sql: bytes, *, is_numbered: bool = False) -> None:
        """Send a Query; its replies are counted from 0."""
        self.replies = Replies()
        self.replies.is_numbered = is_numbered
        await self.send(Query(sql).encode())

    async def read_some(self, most: int = CHUNK) -> None:
        """One read. Raises NotMet if upstream closed."""
        view = memoryview(self._buffer)[:most]
        count = await asyncio.get_running_loop().sock_recv_into(self._sock, view)
        if not count:
            raise NotMet("the slow client's connection was closed")
        self.replies.feed(view[:count])

    async def read_until_ready(self, count: int = 1) -> None:
        """As fast as it comes."""
        while self.replies.ready < count:
            await self.read_some()

    async def read_slowly(self, rate: int, seconds: float) -> None:
        """`rate` bytes a second, for so long."""
        for _ in range(int(seconds * TURNS)):
            end = self.replies.size + rate // TURNS
            while self.replies.size < end:
                await self.read_some(min(end - self.replies.size, CHUNK))
            await asyncio.sleep(1 / TURNS)

    def received(self) -> int:
        """How many bytes the replies to the last query have had so far."""
        return self.replies.size

    def close(self) -> None:
        """Leave without a word."""
        self._sock.close()
