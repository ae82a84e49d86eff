"""An upstream connection whose client is gone.

A pooler keeps its server only if nothing is left unfinished on it. So the session takes back what the client left, its
replies are read and dropped, and Terminate is sent once the upstream is at rest. An upstream that takes long is sent a
CancelRequest; one that takes longer still is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pgshim.errors import PgshimError
from pgshim.protocol import hot
from pgshim.proxy.sockets import abort, close_gently, set_reading

if TYPE_CHECKING:
    from pgshim.proxy.connection import Connection
    from pgshim.proxy.server import Server
    from pgshim.proxy.upstream import Endpoint
    from pgshim.session.plain import PlainSession
    from pgshim.session.session import Session

logger = logging.getLogger("pgshim.connection")

#: Seconds that an upstream has to finish what a client left behind: once by itself, once more after a CancelRequest.
PATIENCE = 5.0


class Departure(asyncio.Protocol):
    """Takes over the upstream's transport from a connection that has ended."""

    __slots__ = ("_endpoint", "_has_cancelled", "_key", "_number", "_server", "_session", "_timer", "_transport",
                 "_upstream")  # fmt: skip

    def __init__(
        self, server: Server, transport: asyncio.Transport, session: Session | PlainSession, connection: Connection
    ) -> None:
        self._server = server
        self._transport = transport
        self._session = session
        self._key = connection.key
        self._upstream = connection.upstream
        self._endpoint: Endpoint | None = connection.endpoint
        self._number = connection.number
        self._has_cancelled = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Have the session undo what its client left."""
        self._server.departures.add(self)
        self._transport.set_protocol(self)
        set_reading(self._transport, True)
        self._session.abandon()
        self._advance()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._press)

    def _advance(self) -> None:
        self._session.take_client_output()
        if self._session.is_broken:
            abort(self._transport)
            return
        output = self._session.take_upstream_output()
        if output:
            self._transport.write(output)
        if self._session.is_at_rest:
            if self._timer is not None:
                self._timer.cancel()
            # Terminate is a write of its own: Supavisor passes one that shares a segment on to the server.
            self._server.stages.note_words(self._number, hot.TERMINATE, to_client=False)
            self._transport.write(hot.TERMINATE)
            self._timer = close_gently(self._transport)

    def _press(self) -> None:
        if self._has_cancelled or self._key is None:
            reason = "the upstream did not finish what its client left"
            logger.warning("cut off: %s", reason, extra={"connection": self._number})
            abort(self._transport)
            return
        self._has_cancelled = True
        self._server.spawn(self._cancel(self._key))
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._press)

    async def _cancel(self, key: bytes) -> None:
        await self._server.canceller.send(key, self._upstream, self._endpoint)

    def abort(self) -> None:
        """pgshim is being stopped and waits no longer."""
        abort(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            self._session.receive_from_upstream(data)
        except PgshimError as error:
            logger.debug("cut off: %s", error.message, extra={"connection": self._number})
            abort(self._transport)
            return
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._server.depart(self)
