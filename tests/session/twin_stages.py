"""A login and a plain session, each beside one that is traced: both must say the same, and fail the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgshim.session.login import Login
from pgshim.session.plain import PlainSession
from pgshim.session.startup_check import AcceptedSettings
from pgshim.session.startup_request import Service
from pgshim.session.trace import Trace
from pgshim.session.traced_login import TracedLogin
from pgshim.session.traced_plain import TracedPlainSession
from tests.session.twins import failure


class TwinLogin(Login):
    def __init__(self, packet: bytes, service: Service | None = None, accepted: AcceptedSettings | None = None) -> None:
        #: The trace of the twin.
        self.lines: list[str] = []
        trace, of = Trace(self.lines.append), service or Service()
        made: list[TracedLogin] = []
        expected = failure(lambda: made.append(TracedLogin(packet, of, accepted, trace)))
        error = failure(lambda: Login.__init__(self, packet, of, accepted))
        assert repr(error) == repr(expected)
        if error is not None:
            raise error
        self.twin = made[0]

    def receive_from_client(self, data: bytes) -> None:
        same(self, self.twin, Login.receive_from_client, data)

    def receive_from_upstream(self, data: bytes) -> None:
        same(self, self.twin, Login.receive_from_upstream, data)

    def take_client_output(self) -> bytes:
        return equal(super().take_client_output(), self.twin.take_client_output())

    def take_upstream_output(self) -> bytes:
        return equal(super().take_upstream_output(), self.twin.take_upstream_output())


class TwinPlainSession(PlainSession):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.twin = TracedPlainSession(Trace(self.lines.append))

    def receive_from_client(self, data: bytes) -> None:
        same(self, self.twin, PlainSession.receive_from_client, data)

    def receive_from_upstream(self, data: bytes) -> None:
        same(self, self.twin, PlainSession.receive_from_upstream, data)

    def take_client_output(self) -> bytes:
        return equal(super().take_client_output(), self.twin.take_client_output())

    def take_upstream_output(self) -> bytes:
        return equal(super().take_upstream_output(), self.twin.take_upstream_output())

    def abandon(self) -> None:
        super().abandon()
        self.twin.abandon()


def same(stage: Any, twin: Any, receive: Callable[[Any, bytes], None], data: bytes) -> None:
    expected = failure(lambda: getattr(twin, receive.__name__)(data))
    error = failure(lambda: receive(stage, data))
    assert repr(error) == repr(expected)
    if error is not None:
        raise error


def equal(ours: bytes, theirs: bytes) -> bytes:
    assert ours == theirs
    return ours
