"""A login that is traced: see `pgshim.session.trace`."""

from __future__ import annotations

from pgshim.errors import PgshimError
from pgshim.protocol import hot
from pgshim.session.login import Login
from pgshim.session.startup_check import AcceptedSettings
from pgshim.session.startup_request import Service
from pgshim.session.trace import Leg, Mark, Piece, Splitter, Trace

_PARAMETER_STATUS = ord("S")


class TracedLogin(Login):
    """Takes what a Login takes, and its trace."""

    __slots__ = ("_kept", "_told_up", "trace")

    def __init__(self, packet: bytes, service: Service, accepted: AcceptedSettings | None, trace: Trace) -> None:
        self.trace = trace
        #: What was held back.
        self._kept: set[bytes] = set()
        try:
            super().__init__(packet, service, accepted)
        except PgshimError:
            trace.tell(Leg.FROM_CLIENT, packet, Mark.REFUSED)
            raise
        trace.tell_up((packet, 0), [(each, 0) for each in self._to_upstream], 0)
        #: How many messages that wait to go up have been told.
        self._told_up = len(self._to_upstream)
        for message in self._to_client:
            trace.tell(Leg.TO_CLIENT, message, Mark.LOCAL)

    def receive_from_client(self, data: bytes) -> None:
        try:
            super().receive_from_client(data)
        except PgshimError:
            self.trace.tell_broken(Leg.FROM_CLIENT, bytes(self._from_client), is_secret=True)
            raise

    def receive_from_upstream(self, data: bytes) -> None:
        try:
            super().receive_from_upstream(data)
        except PgshimError:
            self.trace.tell_broken(Leg.FROM_UPSTREAM, bytes(self._from_upstream), is_secret=True)
            raise

    def _pass_answers(self) -> None:
        was_terminated = self.is_terminated
        super()._pass_answers()
        for message in self._to_upstream[self._told_up :]:
            self.trace.tell(Leg.PASSES_UP, message)
        self._told_up = len(self._to_upstream)
        if self.is_terminated and not was_terminated:
            self.trace.tell(Leg.FROM_CLIENT, hot.TERMINATE, Mark.LOCAL)

    def _relay(self, type_code: int, message: bytes) -> bytes:
        pieces: list[Piece] = []
        mark = Mark.ILLEGAL
        try:
            given = super()._relay(type_code, message)
            pieces = Splitter().split(given)
            is_held = type_code == _PARAMETER_STATUS or (self._held and self._held[-1] is message)
            mark = Mark.HELD if is_held else Mark.DROPPED
        finally:
            if len(pieces) > 1:
                self._tell_end((message, 0), pieces, mark)
            else:
                self.trace.tell_down((message, 0), pieces, mark)
            if mark is Mark.HELD and not pieces:
                self._kept.add(message)
        for question in self._to_upstream[self._told_up :]:
            self.trace.tell(Leg.TO_UPSTREAM, question, Mark.INJECTED)
        self._told_up = len(self._to_upstream)
        return given

    def _tell_end(self, came: Piece, given: list[Piece], mark: Mark) -> None:
        """What was held back up to this message."""
        self.trace.tell(Leg.FROM_UPSTREAM, came[0], mark)
        for piece, _ in given:
            self.trace.tell(Leg.TO_CLIENT, piece, Mark.NONE if piece in {*self._kept, came[0]} else Mark.REWRITTEN)

    def take_upstream_output(self) -> bytes:
        self._told_up = 0
        return super().take_upstream_output()
