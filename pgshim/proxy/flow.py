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


class Flow:
    """A connection's two transports; None: not there yet, or lost."""

    __slots__ = ("_client_reads", "_upstream_reads", "client", "is_client_full", "is_upstream_full", "upstream")

    def __init__(self, client: asyncio.Transport) -> None:
        self.client: asyncio.Transport | None = client
        self.upstream: asyncio.Transport | None = None
        client.set_write_buffer_limits(high=HIGH_WATER)
        #: Whether more than HIGH_WATER waits to be taken by that side.
        self.is_client_full = self.is_upstream_full = False
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
        reads = not (self.is_client_full or self.is_upstream_full or is_held)
        if reads != self._client_reads and self.client is not None and not self.client.is_closing():
            self._client_reads = reads
            set_reading(self.client, reads)
        reads = not self.is_client_full
        if reads != self._upstream_reads and self.upstream is not None and not self.upstream.is_closing():
            self._upstream_reads = reads
            set_reading(self.upstream, reads)


class UpstreamSide(asyncio.Protocol):
    """The upstream's events, handed to the connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.upstream_made(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._connection.upstream_data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.upstream_lost()

    def pause_writing(self) -> None:
        self._connection.set_upstream_full(True)

    def resume_writing(self) -> None:
        self._connection.set_upstream_full(False)
