"""What is known of a connection; what happens to it is in `pgshim.proxy.connection`."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING

from pgshim.proxy.flow import Flow

if TYPE_CHECKING:
    from pgshim.proxy.server import Server
    from pgshim.proxy.upstream import Endpoint
    from pgshim.session.login import Login
    from pgshim.session.plain import PlainSession
    from pgshim.session.session import Session


class Phase(IntEnum):
    CONNECTING = 0
    LOGIN = 1
    SESSION = 2
    ENDED = 3


class ConnectionState:
    """The two sides of a connection, its stage, and what it waits for."""

    __slots__ = ("_early", "_has_attention", "_is_draining", "_is_half_closed", "_linger", "_login", "_server",
                 "_session", "_tally", "_timer", "asked_at", "endpoint", "flow", "heard_at", "idle_ticks", "is_active",
                 "key", "number", "phase", "upstream")  # fmt: skip

    def __init__(self, server: Server, client: asyncio.Transport, number: int, login: Login) -> None:
        self._server = server
        self._tally = server.tally
        self.flow = Flow(client)
        #: The number by which the log calls this connection.
        self.number = number
        self.phase = Phase.CONNECTING
        self._login: Login | None = login
        self._session: Session | PlainSession | None = None
        #: What the client sent before the upstream was there.
        self._early = b""
        #: The pooler, or the session endpoint; and the address of it that this connection is on.
        self.upstream = server.upstream_of(is_at_session_endpoint=login.is_at_session_endpoint)
        self.endpoint: Endpoint | None = None
        #: When (perf_counter) the StartupMessage went up; 0: it has not, -1: there is an answer.
        self.asked_at = 0.0
        #: The body of BackendKeyData, by which a CancelRequest finds this connection.
        self.key: bytes | None = None
        #: LOGIN and before: the login timeout.
        self._timer: asyncio.TimerHandle | None = None
        #: Runs while the client has yet to take what was last written to it.
        self._linger: asyncio.TimerHandle | None = None
        #: The client has sent EOF while replies were owed to it.
        self._is_half_closed = False
        self._is_draining = False
        #: Whether `_settle` has anything to look at.
        self._has_attention = False
        #: When (monotonic) the client, once it has a session, last sent something.
        self.heard_at = 0.0
        #: For the idle sweep: whether the client sent anything since its last look, and how many looks ago.
        self.is_active = True
        self.idle_ticks = 0

    @property
    def is_connecting(self) -> bool:
        """Whether an upstream is still waited for."""
        return self.phase == Phase.CONNECTING

    @property
    def is_idle(self) -> bool:
        """Whether the client can be disconnected without cutting through anything."""
        return self._session is not None and self._session.is_idle

    @property
    def is_busy(self) -> bool:
        """Whether upstream owes this client a reply: only then has a CancelRequest anything to cancel."""
        return self._session is not None and self._session.is_busy

    @property
    def ready_count(self) -> int:
        """How many ReadyForQuery of its upstream's the client has been given; -1: there is no session."""
        return self._session.ready_count if self._session is not None else -1
