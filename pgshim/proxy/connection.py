"""One client and one upstream connection, glued to a stage.

    CONNECTING --upstream is there--> LOGIN --login complete--> SESSION --client gone, or told to go--> ENDED

Each readable event is one call of the stage and at most one write per side; no task runs once the upstream is there.
What happens to the upstream after a session has ended is `departure`'s.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from pgshim.errors import IdleTimeout, PgshimError, ShuttingDown, UpstreamViolation
from pgshim.proxy import farewells
from pgshim.proxy.approach import Approach
from pgshim.proxy.connection_state import ConnectionState, Phase
from pgshim.proxy.departure import Departure
from pgshim.proxy.flow import LONG_READ
from pgshim.proxy.sockets import HIGH_WATER, abort, close_gently

if TYPE_CHECKING:
    from pgshim.proxy.server import Server
    from pgshim.session.login import Login

logger = logging.getLogger("pgshim.connection")


class Connection(ConnectionState, asyncio.Protocol):
    """The client's side, and the one that knows both; `UpstreamSide` only calls back here."""

    __slots__ = ()

    def __init__(self, server: Server, client: asyncio.Transport, number: int, login: Login, deadline: float) -> None:
        super().__init__(server, client, number, login)
        if deadline:
            self._timer = asyncio.get_running_loop().call_at(deadline, self.fail, farewells.login_timeout())

    def start(self, early: bytes) -> None:
        """Connect to the upstream; `early` is what the client sent behind its StartupMessage."""
        assert self._login is not None
        self._early = early
        self._adjust_reading()
        Approach(self._server, self).start(self._login)

    # Events of the client's side.

    def data_received(self, data: bytes) -> None:
        self._tally.from_clients += len(data)
        if self.phase == Phase.SESSION:
            session, upstream = self._session, self.flow.upstream
            assert session is not None
            self.is_active = True
            self.heard_at = monotonic()
            if not self._has_attention and upstream is not None:
                output = session.pass_from_client(data)
                if output is not None:
                    upstream.write(output)
                    return
            try:
                session.receive_from_client(data)
            except PgshimError as error:
                self.fail(error)
                return
            self._write()
            if session.is_terminated or session.backlog_size > HIGH_WATER or self._has_attention:
                self._settle()
            if len(data) >= LONG_READ:
                self.flow.give_way()
        elif self.phase == Phase.LOGIN:
            self._log_in(from_client=data)
        elif self.phase == Phase.CONNECTING:
            # With uvloop a read may be under way when reading is paused.
            self._early += data

    def eof_received(self) -> bool:
        """A client that sends no more still gets what it is owed, unless it cancelled that; TLS has no half-close."""
        client, session = self.flow.client, self._session
        is_owed = session and session.is_answering and not self._server.canceller.has_cancelled(self)
        if not is_owed or client is None or client.get_extra_info("ssl_object") is not None:
            return False
        self._is_half_closed = self._has_attention = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.flow.client = None
        if self._linger is not None:
            self._linger.cancel()
        logger.debug("client gone%s", f": {exc}" if exc else "", extra={"connection": self.number})
        if self.phase == Phase.ENDED:
            self._server.forget(self)
        self._end()

    def pause_writing(self) -> None:
        self.flow.is_client_full = True
        self._adjust_reading()

    def resume_writing(self) -> None:
        self.flow.is_client_full = False
        self._adjust_reading()

    # Events of the upstream's side.

    def upstream_made(self, transport: asyncio.Transport) -> None:
        """The upstream is ready for its first packet."""
        if self.phase != Phase.CONNECTING:
            abort(transport)
            return
        self.flow.set_upstream(transport)
        self.phase = Phase.LOGIN
        self._adjust_reading()
        self._log_in(from_client=self._early)
        self._early = b""
        if not self.asked_at:
            self.asked_at = perf_counter()

    def upstream_data_received(self, data: bytes) -> None:
        if self.phase == Phase.LOGIN:
            if self.asked_at > 0:
                self._tally.first_byte.note(perf_counter() - self.asked_at)
                self.asked_at = -1.0
            self._log_in(from_upstream=data)
            return
        session, client = self._session, self.flow.client
        if session is None or self.phase != Phase.SESSION:
            return
        if not self._has_attention and client is not None:
            output = session.pass_from_upstream(data)
            if output is not None:
                client.write(output)
                self._tally.to_clients += len(output)
                return
        try:
            session.receive_from_upstream(data)
        except PgshimError as error:
            self.fail(error)
            return
        self._write()
        if session.is_pinning:
            self._server.pins.watch(self)
        if session.is_terminated or self._has_attention:
            self._settle()

    def upstream_lost(self) -> None:
        self.flow.upstream = None
        if self.phase not in (Phase.LOGIN, Phase.SESSION):
            return
        stage = self._session or self._login
        assert stage is not None
        if stage.has_said_fatal:
            self._end()
            return
        self.fail(farewells.upstream_lost(self.upstream.address, in_login=self.phase == Phase.LOGIN))

    def set_upstream_full(self, is_full: bool) -> None:
        self.flow.is_upstream_full = is_full
        self._adjust_reading()

    # What comes of them.

    def _log_in(self, *, from_client: bytes = b"", from_upstream: bytes = b"") -> None:
        login = self._login
        assert login is not None
        try:
            login.receive_from_client(from_client)
            login.receive_from_upstream(from_upstream)
        except PgshimError as error:
            self.fail(error)
            return
        self._write()
        if login.refusal:
            self._tally.note_refused_login(login.refusal)
            login.refusal = b""
        if login.is_terminated or login.is_refused:
            self._end()
        elif login.is_complete:
            self._start_session(login)

    def _start_session(self, login: Login) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._login = None
        self._session = self._server.stages.session(login)
        self.phase = Phase.SESSION
        self.key = login.backend_key
        self._server.canceller.register(self)
        self._tally.logins += 1
        logger.debug("logged in", extra={"connection": self.number})
        if login.leftover_upstream:
            self.upstream_data_received(login.leftover_upstream)
        if login.leftover_client:
            self._tally.from_clients -= len(login.leftover_client)  # It was counted when it came.
            self.data_received(login.leftover_client)

    def _write(self) -> None:
        """Write what the stage has to say: at most one write per side."""
        stage = self._session or self._login
        assert stage is not None
        output = stage.take_upstream_output()
        if output and self.flow.upstream is not None:
            self.flow.upstream.write(output)
        output = stage.take_client_output()
        if output and self.flow.client is not None:
            self.flow.client.write(output)
            self._tally.to_clients += len(output)

    def _settle(self) -> None:
        """The rare states: a backlog, a drain, a client that said it is done and may still be owed replies."""
        session = self._session
        assert session is not None
        self._adjust_reading()
        if self._is_draining and session.is_idle:
            self.fail(farewells.shutting_down())
        elif (self._is_half_closed or session.is_terminated) and not session.is_answering:
            self._end()

    def _adjust_reading(self) -> None:
        """Read from each side what the other can take."""
        is_held = self._session is not None and self._session.backlog_size > HIGH_WATER
        self._has_attention = is_held or self._is_half_closed or self._is_draining
        self.flow.adjust(is_held=is_held or self.phase == Phase.CONNECTING)

    # The end.

    def fail(self, error: PgshimError) -> None:
        """Give the client a FATAL, and end the connection."""
        if self.phase == Phase.ENDED:
            return
        level = logging.DEBUG if isinstance(error, (IdleTimeout, ShuttingDown)) else logging.WARNING
        logger.log(level, "closed: %s", error.message, extra={"connection": self.number})
        self._write()
        client, stage = self.flow.client, self._session or self._login
        is_told = stage is not None and stage.has_said_fatal
        # Inside a reply that is cut off, the bytes of an error would be taken for the rest of it.
        if not (client is None or is_told or (self._session is not None and self._session.is_inside_reply)):
            reason = self._tally.note_fatal(error, has_session=self._session is not None)
            self._server.stages.note_words(self.number, reason, to_client=True)
            client.write(reason)
        self._end(is_trusted=not isinstance(error, UpstreamViolation))

    def _end(self, *, is_trusted: bool = True) -> None:
        """Close the client's side, and have the upstream's brought to rest if it can still be talked to."""
        if self.phase == Phase.ENDED:
            return
        self.phase = Phase.ENDED
        if self._timer is not None:
            self._timer.cancel()
        self._server.canceller.forget(self)
        session, self._session, self._login = self._session, None, None
        upstream, self.flow.upstream = self.flow.upstream, None
        if self.flow.client is not None:
            self._linger = close_gently(self.flow.client)
        else:
            self._server.forget(self)
        if session is not None and upstream is not None and is_trusted and not upstream.is_closing():
            Departure(self._server, upstream, session, self).start()
        elif upstream is not None:
            abort(upstream)

    def drain(self) -> None:
        """pgshim is being stopped: end now if nothing is cut through, else at the end of the transaction."""
        self._is_draining = True
        if self.phase == Phase.SESSION:
            self._settle()
        else:
            self.fail(farewells.shutting_down())

    def end_idle_exchange(self) -> None:
        """The client has been silent since its Flush: let go of the pooler's server."""
        if self._session is not None and self._session.is_pinning:
            self._session.end_idle_exchange()
            self._write()
