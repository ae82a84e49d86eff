"""CancelRequests: which connection one names, and whether it may pass.

The key that a client has is the upstream's own, so the packet passes as it came. It passes only while that client has a
reply coming: a late one would hit whoever has the pooled server by then.
"""

from __future__ import annotations

import asyncio
import logging
from struct import Struct
from typing import TYPE_CHECKING, cast

from pgshim.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from pgshim.proxy.connection import Connection
    from pgshim.proxy.siblings import Siblings
    from pgshim.proxy.stages import Stages
    from pgshim.proxy.tally import Tally
    from pgshim.proxy.upstream import Endpoint, Upstream

logger = logging.getLogger("pgshim.cancel")

_HEADER = Struct("!II")
CANCEL_REQUEST_CODE = 80877102

#: Seconds that the upstream has to close the connection on which a CancelRequest was sent.
_PATIENCE = 10.0


class Canceller:
    """Knows the connections by their keys, and sends CancelRequests."""

    __slots__ = ("_cancelled", "_connections", "_siblings", "_stages", "_tally", "under_way")

    def __init__(self, stages: Stages, tally: Tally, siblings: Siblings | None = None) -> None:
        self._stages = stages
        self._tally = tally
        #: The other workers, if there are any.
        self._siblings = siblings
        self._connections: dict[bytes, Connection] = {}
        #: The keys of connections whose clients have cancelled something.
        self._cancelled: set[bytes] = set()
        #: CancelRequests that are being forwarded: each has two sockets.
        self.under_way = 0

    def register(self, connection: Connection) -> None:
        """The connection has got its BackendKeyData."""
        if connection.key is not None:
            self._connections[connection.key] = connection

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        if connection.key is not None and self._connections.get(connection.key) is connection:
            del self._connections[connection.key]
            self._cancelled.discard(connection.key)

    def has_cancelled(self, connection: Connection) -> bool:
        """Whether its client has sent a CancelRequest while a reply was coming.

        When such a client goes (pgx does after each), nobody waits for the reply. A pooler drops a CancelRequest for
        what still waits for a server; it would run later, for nobody.
        """
        return connection.key in self._cancelled

    async def relay(self, key: bytes, client: asyncio.Transport) -> None:
        """Forward a client's CancelRequest if it may pass; its own connection is closed when the upstream's is.

        asyncpg waits for that, and counts on the cancel having been dealt with by then.
        """
        try:
            if not (await self.cancel(key) or await self._ask_siblings(key)):
                self._tally.cancels["unknown_key"] += 1
                logger.debug("CancelRequest dropped: unknown key")
        finally:
            client.close()

    async def _ask_siblings(self, key: bytes) -> bool:
        """Whether one of the other workers may have the key; it has dealt with it then, if it was not too slow."""
        if self._siblings is None:
            return False
        self.under_way += 1
        try:
            return await self._siblings.cancel(key)
        finally:
            self.under_way -= 1

    def knows(self, key: bytes) -> bool:
        """Whether a connection of this process has the key."""
        return key in self._connections

    async def cancel(self, key: bytes) -> bool:
        """Forward a CancelRequest if it may pass, and wait until it is dealt with; False: no connection has the key."""
        connection = self._connections.get(key)
        if connection is None:
            return False
        packet = _HEADER.pack(8 + len(key), CANCEL_REQUEST_CODE) + key
        self._stages.note_cancel(connection.number, packet, is_passed=connection.is_busy)
        if not connection.is_busy:
            self._tally.cancels["idle"] += 1
            logger.debug("CancelRequest dropped: nothing to cancel")
            return True
        logger.debug("CancelRequest", extra={"connection": connection.number})
        self._cancelled.add(key)
        self.under_way += 1
        try:
            await self.send(key, connection.upstream, connection.endpoint, connection)
        finally:
            self.under_way -= 1
        return True

    async def send(
        self, key: bytes, upstream: Upstream, endpoint: Endpoint | None, connection: Connection | None = None
    ) -> None:
        """Send a CancelRequest to where the connection is, and wait for EOF.

        PgBouncer 1.18 aborts when a canceller closes first. With a `connection`: only if it still has a reply coming.
        """
        try:
            transport, _ = await upstream.connect(_UntilEof, endpoint)
        except UpstreamUnreachable as error:
            logger.warning("CancelRequest not sent: %s", error.message)
            self._tally.cancels["failed"] += connection is not None
            return
        try:
            if connection is not None:
                self._tally.cancels["forwarded" if connection.is_busy else "idle"] += 1
                if not connection.is_busy:
                    return
            transport.write(_HEADER.pack(8 + len(key), CANCEL_REQUEST_CODE) + key)
            async with asyncio.timeout(_PATIENCE):
                await cast(_UntilEof, transport.get_protocol()).is_over
        except TimeoutError:
            logger.warning("CancelRequest: the upstream did not close the connection")
        finally:
            transport.close()


class _UntilEof(asyncio.Protocol):
    """Waits for the upstream to close."""

    __slots__ = ("is_over",)

    def __init__(self) -> None:
        self.is_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_over.done():
            self.is_over.set_result(None)
