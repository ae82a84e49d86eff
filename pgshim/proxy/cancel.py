"""CancelRequests: which connection one names, and whether it may pass.

The key that a client has is the upstream's own, so the packet passes as it came. It passes only while that client has a
reply coming: a late one would hit whoever has the pooled server by then.

One that comes right behind its query can get lost: the server drops it if it overtakes the query, which the way through
a pooler makes likelier. So that one is sent again, a few times, while the very same reply is still to come. Others are
not: what a function makes of a cancel that it has caught is not to be cancelled as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

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

#: Seconds for which a client has said nothing, at most, when its CancelRequest may have overtaken its query; and after
#: which such a one is sent again.
_RIGHT_BEHIND = 1.0
_PAUSES = (0.25, 0.5, 1.0)


class Canceller:
    """Knows the connections by their keys, and sends CancelRequests."""

    __slots__ = ("_again", "_cancelled", "_connections", "_siblings", "_spawn", "_stages", "_tally", "under_way")

    def __init__(
        self,
        stages: Stages,
        tally: Tally,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        siblings: Siblings | None = None,
    ) -> None:
        self._stages = stages
        #: Runs a task.
        self._spawn = spawn
        self._tally = tally
        #: The other workers, if there are any.
        self._siblings = siblings
        self._connections: dict[bytes, Connection] = {}
        #: The keys of connections whose clients have cancelled something.
        self._cancelled: set[bytes] = set()
        #: By key: runs until a CancelRequest is sent again.
        self._again: dict[bytes, asyncio.TimerHandle] = {}
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
            if again := self._again.pop(connection.key, None):
                again.cancel()

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
        self._stages.note_cancel(connection.number, _packet(key), is_passed=connection.is_busy)
        if not connection.is_busy:
            self._tally.cancels["idle"] += 1
            logger.debug("CancelRequest dropped: nothing to cancel")
            return True
        logger.debug("CancelRequest", extra={"connection": connection.number})
        self._cancelled.add(key)
        is_right_behind = monotonic() - connection.heard_at < _RIGHT_BEHIND
        self.under_way += 1
        try:
            is_sent = await self.send(key, connection.upstream, connection.endpoint, lambda: connection.is_busy)
        finally:
            self.under_way -= 1
        if is_sent is None:
            self._tally.cancels["failed"] += 1
        else:
            self._tally.cancels["forwarded" if is_sent else "idle"] += 1
        if is_right_behind and connection.is_busy:
            self._look_later(key, connection, connection.ready_count, 0)
        return True

    def _look_later(self, key: bytes, connection: Connection, ready_count: int, turn: int) -> None:
        """See after a pause whether the reply has come that is to come after so many; for the nth time, from 0."""
        if again := self._again.pop(key, None):
            again.cancel()
        loop = asyncio.get_running_loop()
        self._again[key] = loop.call_later(_PAUSES[turn], self._look, key, connection, ready_count, turn)

    def _look(self, key: bytes, connection: Connection, ready_count: int, turn: int) -> None:
        del self._again[key]
        if not connection.is_busy or connection.ready_count != ready_count:
            return
        # A client that takes nothing may have its reply waiting for it.
        if not connection.flow.is_client_full:
            self._spawn(self._send_again(key, connection, ready_count))
        if turn + 1 < len(_PAUSES):
            self._look_later(key, connection, ready_count, turn + 1)

    async def _send_again(self, key: bytes, connection: Connection, ready_count: int) -> None:
        def is_due() -> bool:
            if not connection.is_busy or connection.ready_count != ready_count:
                return False
            logger.debug("CancelRequest, once more", extra={"connection": connection.number})
            self._stages.note_words(connection.number, _packet(key), to_client=False)
            return True

        self.under_way += 1
        try:
            await self.send(key, connection.upstream, connection.endpoint, is_due)
        finally:
            self.under_way -= 1

    async def send(
        self, key: bytes, upstream: Upstream, endpoint: Endpoint | None, is_due: Callable[[], bool] = lambda: True
    ) -> bool | None:
        """Send a CancelRequest to where the connection is, and wait for EOF; returns whether it was sent, None: cannot.

        PgBouncer 1.18 aborts when a canceller closes first. It is sent only if it `is_due` once it can be.
        """
        try:
            transport, _ = await upstream.connect(_UntilEof, endpoint)
        except UpstreamUnreachable as error:
            logger.warning("CancelRequest not sent: %s", error.message)
            return None
        try:
            if not is_due():
                return False
            transport.write(_packet(key))
            async with asyncio.timeout(_PATIENCE):
                await cast(_UntilEof, transport.get_protocol()).is_over
        except TimeoutError:
            logger.warning("CancelRequest: the upstream did not close the connection")
        finally:
            transport.close()
        return True


def _packet(key: bytes) -> bytes:
    return _HEADER.pack(8 + len(key), CANCEL_REQUEST_CODE) + key


class _UntilEof(asyncio.Protocol):
    """Waits for the upstream to close."""

    __slots__ = ("is_over",)

    def __init__(self) -> None:
        self.is_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_over.done():
            self.is_over.set_result(None)
