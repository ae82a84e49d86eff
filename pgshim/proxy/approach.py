"""How a connection comes by its upstream: a warm one if there is any, else by connecting.

A warm connection may have died without anybody having noticed. So until it has answered the StartupMessage, its
connection counts as one that is still connecting; if it is lost by then with no byte of an answer, the connection is
made anew, once, and the StartupMessage sent again. Nothing of the client's has gone up but that.
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, cast

from pgshim.errors import UpstreamUnreachable
from pgshim.proxy.flow import UpstreamSide
from pgshim.proxy.sockets import set_user_timeout

if TYPE_CHECKING:
    from pgshim.proxy.connection import Connection
    from pgshim.proxy.prewarm import WarmConnection
    from pgshim.proxy.server import Server
    from pgshim.session.login import Login

logger = logging.getLogger("pgshim.connection")


class Approach:
    """One connection's way to its upstream; calls `upstream_made` when it is there, and `fail` if it cannot be had."""

    __slots__ = ("_connection", "_server", "_startup")

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        #: The StartupMessage, if a warm connection has taken it in vain.
        self._startup = b""

    def start(self, login: Login) -> None:
        """Take a warm connection, or begin to connect."""
        connection = self._connection
        tally, warm = self._server.tally, None
        if self._server.settings.prewarm and connection.upstream is self._server.upstream:
            warm = self._server.prewarm.take()
            tally.warm += warm is not None
            tally.warm_missed += warm is None
        if warm is None:
            self._server.spawn(self._connect())
        else:
            self._go_by(warm, login)

    def _go_by(self, warm: WarmConnection, login: Login) -> None:
        connection, transport = self._connection, warm.transport
        connection.endpoint = warm.endpoint
        connection.flow.set_upstream(transport)
        self._startup = login.take_upstream_output()
        transport.set_protocol(_FirstAnswer(self, connection, transport))
        # A host that is gone acknowledges nothing: it has as long as it would have for a new connection.
        set_user_timeout(transport, self._server.settings.connect_timeout)
        transport.write(self._startup)
        connection.asked_at = perf_counter()
        self._server.tally.trips["prewarm"] += _trips_to(transport, self._server)

    def begin_anew(self) -> None:
        """The warm connection was lost with no byte of an answer."""
        self._connection.flow.upstream = None
        self._connection.asked_at = 0.0
        if self._connection.is_connecting:
            logger.debug("a warm connection was dead", extra={"connection": self._connection.number})
            self._server.spawn(self._connect())

    async def _connect(self) -> None:
        connection = self._connection
        try:
            _, connection.endpoint = await connection.upstream.connect(lambda: _Made(connection, self._startup))
        except UpstreamUnreachable as error:
            self._fail(error)
        except Exception:
            address = connection.upstream.address
            # Whatever it is, the client is not left waiting for its login to time out.
            self._fail(
                UpstreamUnreachable(
                    f"could not connect to the upstream {address}: internal error",
                    hint="pgshim's log has a traceback: a bug, please report it.",
                )
            )
            raise

    def _fail(self, error: UpstreamUnreachable) -> None:
        if self._connection.is_connecting:
            self._connection.fail(error)


def _trips_to(transport: asyncio.Transport, server: Server) -> int:
    """The round trips in which such a connection was made: TCP, the SSLRequest, TLS."""
    if server.settings.upstream.is_unix:
        return 0
    tls = transport.get_extra_info("ssl_object")
    if tls is not None:
        # TLS 1.2 takes two.
        return 3 if tls.version() == "TLSv1.3" else 4
    return 1 if server.settings.upstream_tls == "disable" else 2


class _Made(UpstreamSide):
    """Of a connection that was made for this client."""

    __slots__ = ("_startup",)

    def __init__(self, connection: Connection, startup: bytes) -> None:
        super().__init__(connection)
        self._startup = startup

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._startup and self._connection.is_connecting:
            cast(asyncio.Transport, transport).write(self._startup)
        super().connection_made(transport)


class _FirstAnswer(UpstreamSide):
    """Waits for the answer to the StartupMessage on a connection that was warm."""

    __slots__ = ("_approach", "_transport")

    def __init__(self, approach: Approach, connection: Connection, transport: asyncio.Transport) -> None:
        super().__init__(connection)
        self._approach = approach
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        set_user_timeout(self._transport, 0)
        side = UpstreamSide(self._connection)
        self._transport.set_protocol(side)
        side.connection_made(self._transport)
        side.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._approach.begin_anew()
