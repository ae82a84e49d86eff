"""The plain session, traced: all that is whole passes. See `pgshim.session.trace`."""

from __future__ import annotations

from pgshim.protocol import hot
from pgshim.session.counts import Counts
from pgshim.session.plain import PlainSession
from pgshim.session.trace import Leg, Mark, Splitter, Trace


class TracedPlainSession(PlainSession):
    """Takes its trace."""

    __slots__ = ("_client_rest", "_splits_client", "_splits_upstream", "_trace", "_upstream_rest")

    def __init__(self, trace: Trace, counts: Counts | None = None) -> None:
        super().__init__(counts)
        self._trace = trace
        self._splits_client, self._splits_upstream = Splitter(), Splitter()
        #: What has come and not passed yet: the beginning of a message, or what is none.
        self._client_rest = self._upstream_rest = b""

    def receive_from_client(self, data: bytes) -> None:
        told, was_terminated = len(self._to_upstream), self.is_terminated
        try:
            super().receive_from_client(data)
        finally:
            passed = b"".join(self._to_upstream[told:])
            self._trace.tell_all(Leg.PASSES_UP, self._splits_upstream.split(passed))
            self._client_rest = (self._client_rest + data)[len(passed) :]
            if self.is_terminated and not was_terminated:
                self._trace.tell(Leg.FROM_CLIENT, hot.TERMINATE, Mark.LOCAL)
            if self._frontend.failure is not None:
                self._trace.tell_broken(Leg.FROM_CLIENT, self._client_rest)

    def receive_from_upstream(self, data: bytes) -> None:
        told = len(self._to_client)
        leg, mark = (Leg.FROM_UPSTREAM, Mark.DROPPED) if self.is_abandoned else (Leg.PASSES_DOWN, Mark.NONE)
        try:
            super().receive_from_upstream(data)
        finally:
            passed = b"".join(self._to_client[told:])
            self._trace.tell_all(leg, self._splits_client.split(passed), mark)
            self._upstream_rest = (self._upstream_rest + data)[len(passed) :]
            if self._backend.failure is not None:
                self._trace.tell_broken(Leg.FROM_UPSTREAM, self._upstream_rest)
