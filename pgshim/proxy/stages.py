"""The stages of a connection as the proxy sees them, and how they are made. A stage is pure: bytes in, bytes out."""

from __future__ import annotations

from typing import Protocol

from pgshim.session.conversation import Limits
from pgshim.session.login import Login
from pgshim.session.plain import PlainSession
from pgshim.session.session import Session, frontend_rules
from pgshim.session.statements import SharedTexts
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

    __slots__ = ("_limits", "_rules", "_settings", "_texts")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = Limits(settings.max_message, settings.max_statements, settings.max_statement_bytes)
        self._rules = frontend_rules(settings.max_message)
        self._texts = SharedTexts()

    def login(self, startup: bytes) -> Login:
        """The first stage, from a whole StartupMessage."""
        return Login(startup)

    def session(self, login: Login) -> Session | PlainSession:
        """The stage that follows a login that is complete."""
        if self._settings.upstream_mode == "session":
            return PlainSession()
        return Session(
            self._limits,
            self._texts,
            self._rules,
            is_serial=self._settings.is_serial(login.parameters.get(b"application_name")),
            standard_strings=login.parameters.get(b"standard_conforming_strings") != b"off",
        )
