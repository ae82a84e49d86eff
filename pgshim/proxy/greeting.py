"""The first packet of a client: a StartupMessage, which begins a connection, or a CancelRequest."""

from __future__ import annotations

import asyncio
import logging
from struct import Struct
from typing import TYPE_CHECKING, cast

from pgshim.errors import FeatureNotSupported, InvalidParameterValue, InvalidSwitch, PgshimError, ProtocolViolation
from pgshim.proxy.cancel import CANCEL_REQUEST_CODE
from pgshim.proxy.connection import Connection
from pgshim.proxy.sockets import abort, close_gently
from pgshim.proxy.tls import ALPN

if TYPE_CHECKING:
    from pgshim.proxy.server import Server

logger = logging.getLogger("pgshim.server")

_HEADER = Struct("!II")

#: What is logged as no more than news.
_THE_CLIENTS_OWN = FeatureNotSupported, InvalidParameterValue, InvalidSwitch, ProtocolViolation

#: MAX_STARTUP_PACKET_LENGTH in the server's pqcomm.h.
LONGEST_PACKET = 10_000


class Greeting(asyncio.Protocol):
    """Reads the first packet, and hands the transport on."""

    __slots__ = ("_deadline", "_early", "_is_at_session_endpoint", "_is_direct", "_server", "_timer", "_transport")

    def __init__(
        self, server: Server, early: bytes, deadline: float, *, is_direct: bool, is_at_session_endpoint: bool
    ) -> None:
        self._server = server
        self._early = bytearray(early)
        #: The loop's time at which the login must be complete; 0: none.
        self._deadline = deadline
        self._is_direct = is_direct
        #: The client came by --session-listen.
        self._is_at_session_endpoint = is_at_session_endpoint
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = client = cast(asyncio.Transport, transport)
        if self._server.is_draining:
            abort(client)
            return
        self._server.greetings.add(self)
        if self._deadline:
            self._timer = asyncio.get_running_loop().call_at(self._deadline, client.abort)
        if self._is_direct and client.get_extra_info("ssl_object").selected_alpn_protocol() != ALPN:
            logger.info("closed: direct TLS without ALPN, which is what tells it from other protocols")
            self._done()
            abort(client)
        else:
            self._read()

    def data_received(self, data: bytes) -> None:
        # Behind a CancelRequest nothing is read any more.
        if self in self._server.greetings:
            self._early += data
            self._read()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()

    def abort(self) -> None:
        """pgshim is being stopped."""
        assert self._transport is not None
        abort(self._transport)

    def _done(self) -> None:
        self._server.greetings.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read(self) -> None:
        client = self._transport
        assert client is not None
        if client.is_closing() or len(self._early) < 8:
            return
        length, code = _HEADER.unpack_from(self._early)
        if not 8 <= length <= LONGEST_PACKET:
            logger.info("closed: invalid length of startup packet")
            abort(client)
            return
        if len(self._early) < length:
            return
        packet, rest = bytes(self._early[:length]), bytes(self._early[length:])
        self._early.clear()
        self._done()
        if code == CANCEL_REQUEST_CODE:
            self._server.spawn(self._server.canceller.relay(packet[8:], client))
            return
        number = self._server.next_number()
        try:
            self._begin(client, packet, rest, code, number)
        except PgshimError as error:
            refuse(client, error, self._server, number)

    def _begin(self, client: asyncio.Transport, packet: bytes, rest: bytes, code: int, number: int) -> None:
        """Begin a connection. Raises PgshimError."""
        if code >> 16 != 3:
            # A second SSLRequest, too, is just an unknown version to PostgreSQL.
            raise FeatureNotSupported(
                f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}: server supports 3.0 to 3.2"
            )
        login = self._server.stages.login(packet, number, is_at_session_endpoint=self._is_at_session_endpoint)
        self._server.take_place()
        self._server.tally.started += 1
        connection = Connection(self._server, client, number, login, self._deadline)
        self._server.connections.add(connection)
        client.set_protocol(connection)
        connection.start(rest)


def refuse(client: asyncio.Transport, error: PgshimError, server: Server, number: int) -> None:
    """Answer the first packet with a FATAL, and close."""
    level = logging.INFO if isinstance(error, _THE_CLIENTS_OWN) else logging.WARNING
    # What the client has written is not for the log: among options there may be a secret.
    said = "options that are no command line of a server's" if isinstance(error, InvalidSwitch) else error.message
    logger.log(level, "refused: %s", said, extra={"connection": number})
    reason = server.tally.note_fatal(error)
    server.stages.note_words(number, reason, to_client=True)
    client.write(reason)
    close_gently(client)
