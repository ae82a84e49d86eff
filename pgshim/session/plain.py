"""The plain session of `--upstream-mode=session`: nothing is rewritten, nothing refused.

It follows the conversation just far enough to know when the upstream owes a reply (a CancelRequest may pass) and when
the client may be disconnected.
"""

from __future__ import annotations

from pgshim.errors import UpstreamViolation
from pgshim.protocol import hot
from pgshim.protocol.framing import Framer, FrameRules
from pgshim.session.counts import Counts

_SYNC, _QUERY, _FUNCTION_CALL, _TERMINATE, _READY, _ERROR = b"SQFXZE"

_FRONTEND_RULES = FrameRules(passed=b"dPBEDCHcf", wanted=b"QSFX", hold=0)
_BACKEND_RULES = FrameRules(passed=b"123ACDdGHIKNRSTVWcnstv", wanted=b"ZE", hold=4096)


class PlainSession:
    """One client's conversation with a server of its own."""

    __slots__ = ("_backend", "_counts", "_frontend", "_is_open", "_owed", "_status", "_to_client", "_to_upstream",
                 "has_said_fatal", "is_abandoned", "is_terminated", "ready_count")  # fmt: skip

    is_broken = False
    is_pinning = False
    is_serial = False
    backlog_size = 0

    def __init__(self, counts: Counts | None = None) -> None:
        self._counts = counts or Counts()
        self._frontend = Framer(_FRONTEND_RULES)
        self._backend = Framer(_BACKEND_RULES)
        self._to_client: list[bytes] = []
        self._to_upstream: list[bytes] = []
        #: ReadyForQuery messages that are still to come.
        self._owed = 0
        #: And how many there have been.
        self.ready_count = 0
        self._status = hot.IDLE
        #: Whether anything went up since the last Sync or Query.
        self._is_open = False
        self.is_terminated = False
        self.is_abandoned = False
        self.has_said_fatal = False

    def pass_from_client(self, data: bytes) -> bytes | None:
        """No short way: see `pgshim.session.express`."""
        return None

    def pass_from_upstream(self, data: bytes) -> bytes | None:
        """Nor here."""
        return None

    def receive_from_client(self, data: bytes) -> None:
        """Take the next bytes from the client. Raises ProtocolViolation."""
        buffer, end, frames = self._frontend.feed(data)
        pos = 0
        for type_code, start, stop, _ in frames:
            self._is_open |= start > pos
            if type_code in (_SYNC, _QUERY, _FUNCTION_CALL):
                self._owed += 1
                self._is_open = False
            elif type_code == _TERMINATE:
                self.is_terminated = True
                end = start
                break
            pos = stop
        self._is_open |= end > pos
        if end:
            self._to_upstream.append(buffer[:end])
        if self._frontend.failure is not None:
            raise self._frontend.failure

    def receive_from_upstream(self, data: bytes) -> None:
        """Take the next bytes from upstream. Raises UpstreamViolation."""
        buffer, end, frames = self._backend.feed(data)
        for type_code, start, stop, _ in frames:
            if type_code == _READY:
                self._owed = max(0, self._owed - 1)
                self.ready_count += 1
                self._status = buffer[stop - 1]
                self._counts.note_ready(is_in_block=self._status != hot.IDLE)
            elif type_code == _ERROR:
                message = buffer[start:stop]
                self._counts.note_error(message)
                self.has_said_fatal |= b"\0VFATAL\0" in message
        if end:
            self._to_client.append(buffer[:end])
        if self._backend.failure is not None:
            raise UpstreamViolation(f"the upstream sent an {self._backend.failure.message}")

    def take_client_output(self) -> bytes:
        """What is to be written to the client now."""
        output = b"" if self.is_abandoned else b"".join(self._to_client)
        self._to_client.clear()
        return output

    def take_upstream_output(self) -> bytes:
        """What is to be written to the upstream now."""
        output = b"".join(self._to_upstream)
        self._to_upstream.clear()
        return output

    @property
    def is_busy(self) -> bool:
        """Whether upstream owes replies."""
        return self._owed > 0 or self._is_open

    @property
    def is_answering(self) -> bool:
        """Whether upstream will go on answering though the client sends nothing more."""
        return self._owed > 0

    @property
    def is_idle(self) -> bool:
        """Whether the client can be disconnected without cutting through anything."""
        return not self.is_busy and self._status == hot.IDLE

    @property
    def is_inside_reply(self) -> bool:
        """Whether the client has been given the beginning of a message, and not yet its end."""
        return self._backend.is_inside_passed

    def end_idle_exchange(self) -> None:
        """Nothing to let go of: the server is the client's own."""

    def abandon(self) -> None:
        """The client is gone: the server ends with the connection."""
        self.is_abandoned = True

    @property
    def is_at_rest(self) -> bool:
        """Always: nothing has to be undone on a server that ends with its client."""
        return True
