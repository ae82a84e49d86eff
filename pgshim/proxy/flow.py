"""Back-pressure: the two transports of a connection, and which of them is read from.

A client that does not read what is written to it stalls both directions, as it would a server. An upstream that does
not, or a session that holds messages back, stalls the reading of the client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pgshim.proxy.sockets import HIGH_WATER, abort, set_reading

if TYPE_CHECKING:
    from pgshim.proxy.connection import Connection


#: Bytes of one read after which a connection gives way to the others. libuv reads from one socket up to 32 times,
#: 8 MB, while more keeps coming.
LONG_READ = 128 * 1024


class Flow:
    """A connection's two transports; None: not there yet, or lost."""

    __slots__ = ("_client_reads", "_is_giving_way", "_is_held", "_upstream_reads", "client", "is_client_full",
                 "is_upstream_full", "upstream")  # fmt: skip

    def __init__(self, client: asyncio.Transport) -> None:
        self.client: asyncio.Transport | None = client
        self.upstream: asyncio.Transport | None = None
        client.set_write_buffer_limits(high=HIGH_WATER)
        #: Whether more than HIGH_WATER waits to be taken by that side.
        self.is_client_full = self.is_upstream_full = False
        #: Whether the client has sent enough for now.
        self._is_held = False
        #: Whether nothing is read for one turn of the loop.
        self._is_giving_way = False
        self._client_reads = self._upstream_reads = True

    def set_upstream(self, upstream: asyncio.Transport) -> None:
        """The upstream is there."""
        upstream.set_write_buffer_limits(high=HIGH_WATER)
        self.upstream = upstream

    def abort_client(self) -> None:
        """Close without waiting for the client to take what was written."""
        if self.client is not None:
            abort(self.client)

    def adjust(self, *, is_held: bool) -> None:
        """Read from each side what the other can take; `is_held`: the client has sent enough for now."""
        self._is_held = is_held
        reads = not (self.is_client_full or self.is_upstream_full or self._is_giving_way or is_held)
        if reads != self._client_reads and self.client is not None and not self.client.is_closing():
            self._client_reads = reads
            set_reading(self.client, reads)
        reads = not (self.is_client_full or self._is_giving_way)
        if reads != self._upstream_reads and self.upstream is not None and not self.upstream.is_closing():
            self._upstream_reads = reads
            set_reading(self.upstream, reads)

    def give_way(self) -> None:
        """After a long read: read nothing for one turn of the loop, and let others have theirs."""
        if not self._is_giving_way:
            self._is_giving_way = True
            self.adjust(is_held=self._is_held)
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_giving_way = False
        self.adjust(is_held=self._is_held)


class UpstreamSide(asyncio.Protocol):
    """The upstream's events, handed to the connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.upstream_made(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._connection.upstream_data_received(data)
        if len(data) >= LONG_READ:
            self._connection.flow.give_way()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.upstream_lost()

    def pause_writing(self) -> None:
        self._connection.set_upstream_full(True)

    def resume_writing(self) -> None:
        self._connection.set_upstream_full(False)
