"""The stages of a connection as the proxy sees them, and how they are made. A stage is pure: bytes in, bytes out.

With --trace they are other ones, `TracedStages`: a connection that is not traced has nothing to ask about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Protocol

from pgshim.proxy.tracing import Tracing, check_file
from pgshim.session.conversation import Limits
from pgshim.session.counts import Counts
from pgshim.session.login import Login
from pgshim.session.plain import PlainSession
from pgshim.session.session import ClientSettings, Descriptions, Policy, Session, frontend_rules
from pgshim.session.startup_check import AcceptedSettings
from pgshim.session.startup_request import Service
from pgshim.session.statements import SharedTexts
from pgshim.session.trace import Leg, Mark
from pgshim.session.traced import TracedSession
from pgshim.session.traced_login import TracedLogin
from pgshim.session.traced_plain import TracedPlainSession
from pgshim.settings import Settings


class Stage(Protocol):
    """Login, then a session.

    `receive_*` may raise PgshimError: the connection cannot go on. What it had to say before that is still to be taken.
    """

    def receive_from_client(self, data: bytes) -> None: ...
    def receive_from_upstream(self, data: bytes) -> None: ...
    def take_client_output(self) -> bytes: ...
    def take_upstream_output(self) -> bytes: ...


class Stages:
    """Makes the stages of all connections of a process; what they share is here."""

    __slots__ = ("_accepted", "_at_session_endpoint", "_counts", "_limits", "_policy", "_rules", "_service",
                 "_settings", "_texts", "descriptions")  # fmt: skip

    def __init__(self, settings: Settings, counts: Counts | None = None) -> None:
        self._settings = settings
        self._counts = counts or Counts()
        has_session_endpoint = settings.session_upstream is not None
        self._service = Service(settings.upstream_mode, settings.tenant.encode(), has_session_endpoint)
        self._at_session_endpoint = replace(self._service, is_at_session_endpoint=True)
        #: Startup settings that servers of the upstream have accepted.
        self._accepted = AcceptedSettings()
        self._limits = Limits(settings.max_message, settings.max_statements, settings.max_statement_bytes)
        self._rules = frontend_rules(settings.max_message)
        self._policy = Policy(
            settings.unsafe,
            frozenset(settings.allow),
            str(settings.session_listen[0]) if settings.session_listen else "",
            has_session_endpoint,
            settings.strict_custom_settings,
        )
        self._texts = SharedTexts()
        #: What servers of the upstream have said of statements; None: each client asks for itself.
        self.descriptions: Descriptions | None = None
        if settings.describe_cache:
            self.descriptions = Descriptions(settings.describe_cache, time.monotonic)

    def login(self, startup: bytes, number: int, *, is_at_session_endpoint: bool) -> Login:
        """The first stage of a connection, from a whole StartupMessage; of a client of --session-listen, or another."""
        return Login(startup, self._service_of(is_at_session_endpoint), self._accepted)

    def _service_of(self, is_at_session_endpoint: bool) -> Service:
        return self._at_session_endpoint if is_at_session_endpoint else self._service

    def session(self, login: Login) -> Session | PlainSession:
        """The stage that follows a login that is complete."""
        if login.is_plain:
            return PlainSession(self._counts)
        return self._make(Session, login)

    def _make(self, make: Callable[..., Session], login: Login) -> Session:
        return make(
            self._limits,
            self._texts,
            self._rules,
            ClientSettings(login.parameters, login.told, login.settings, login.startup),
            self._policy,
            is_serial=self._settings.is_serial(login.parameters),
            begins_lazily=self._settings.lazy_begin,
            descriptions=self.descriptions,
            identity=_identity(login),
            counts=self._counts,
        )

    def note_words(self, number: int, message: bytes, *, to_client: bool) -> None:
        """The proxy itself has said something on a connection: the reason for its end, or Terminate."""

    def note_cancel(self, number: int, packet: bytes, *, is_passed: bool) -> None:
        """A CancelRequest has come for a connection; it goes on if there is something to cancel."""

    def close(self) -> None:
        """No connection is left."""


class TracedStages(Stages):
    """Makes stages that tell what they do."""

    __slots__ = ("_tracing",)

    def __init__(self, settings: Settings, counts: Counts, tracing: Tracing) -> None:
        super().__init__(settings, counts)
        self._tracing = tracing

    def login(self, startup: bytes, number: int, *, is_at_session_endpoint: bool) -> Login:
        service = self._service_of(is_at_session_endpoint)
        return TracedLogin(startup, service, self._accepted, self._tracing.trace(number))

    def session(self, login: Login) -> Session | PlainSession:
        assert isinstance(login, TracedLogin)
        if login.is_plain:
            return TracedPlainSession(login.trace, self._counts)
        return self._make(partial(TracedSession, trace=login.trace), login)

    def note_words(self, number: int, message: bytes, *, to_client: bool) -> None:
        leg, mark = (Leg.TO_CLIENT, Mark.LOCAL) if to_client else (Leg.TO_UPSTREAM, Mark.INJECTED)
        self._tracing.trace(number).tell(leg, message, mark)

    def note_cancel(self, number: int, packet: bytes, *, is_passed: bool) -> None:
        leg, mark = (Leg.PASSES_UP, Mark.NONE) if is_passed else (Leg.FROM_CLIENT, Mark.DROPPED)
        self._tracing.trace(number).tell(leg, packet, mark)

    def close(self) -> None:
        self._tracing.close()


def make_stages(settings: Settings, counts: Counts, worker: int = 0) -> Stages:
    """Those that the settings ask for; `worker`: the number of this one, from 1, if there are several.

    Raises ConfigurationError for a file that cannot be written.
    """
    if not settings.trace:
        return Stages(settings, counts)
    check_file(settings.trace)
    return TracedStages(settings, counts, Tracing(settings.trace, shows_values=settings.trace_values, worker=worker))


def _identity(login: Login) -> Hashable:
    """For whom a text means the same: user, database, and what the server says of itself to them."""
    reported = frozenset(item for item in login.parameters.items() if item[0] != b"application_name")
    encoding = login.startup.get(b"client_encoding", b"")
    return login.user, login.database, login.reference, encoding, reported
