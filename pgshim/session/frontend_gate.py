"""The gate for what a client sends: each message goes to its handler in `pgshim.session.features`.

A message that has to wait for replies is held back, with all that comes behind it, until they have come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from pgshim.errors import ProtocolViolation
from pgshim.protocol.framing import CONTINUATION, SMALL_MESSAGE_LIMIT, Frame, Framer, FrameRules
from pgshim.session.client_settings import ClientSettings
from pgshim.session.conversation import Conversation, Limits
from pgshim.session.counts import Counts
from pgshim.session.features import HANDLERS, copying, lazy_begin, pipelines
from pgshim.session.features.prepared import BIND_HOLD
from pgshim.session.outstanding import Kind
from pgshim.session.refusal import Policy
from pgshim.session.statements import SharedTexts

_RUN = 1

#: (type code, buffer, start, end, missing), or of a run (_RUN, buffer, start, end, lead).
_Held = tuple[int, bytes, int, int, int]

_TERMINATE, _COPY_DONE, _COPY_FAIL, _SYNC, _FLUSH = b"XcfSH"
#: The length of a message without a body.
_BARE = 4
#: What no client may send before the end of its copy data.
_NOT_IN_COPY = frozenset(b"QPBDEF")
#: What may open an exchange with the server that only a Sync ends.
_OPENING = frozenset(b"PBDEC")
_ENDING = frozenset({_COPY_DONE, _COPY_FAIL, _TERMINATE, CONTINUATION})
#: What concerns a COPY that is under way, or nothing that is.
_NEVER_HELD = _ENDING | {_SYNC, _FLUSH}

#: A read of fewer messages is no batch with an Execute in it.
_LEAST_OF_A_BATCH = 3

#: Replies owed to one client, above which it has to wait for some.
_MAX_OUTSTANDING = 4096

#: Those owed for Syncs amid copy data, which cannot wait: the end of the data comes behind them.
_MAX_IN_COPY = 2 * _MAX_OUTSTANDING


def frontend_rules(max_message: int) -> FrameRules:
    """Which frontend messages are looked at: all but CopyData. `max_message`: of Parse and Query, in bytes."""
    return FrameRules(
        passed=b"d",
        wanted=b"QPBEDCHSXFcf",
        hold=max_message,
        holds={ord("B"): BIND_HOLD, ord("F"): BIND_HOLD},
        limits=dict.fromkeys(b"EDCXcf", SMALL_MESSAGE_LIMIT) | dict.fromkeys(b"HS", _BARE),
    )


class FrontendGate(Conversation):
    """The client's direction of a session."""

    __slots__ = ("_backlog", "_deferred", "_frontend", "_passes_run", "backlog_size", "is_serial", "is_terminated")

    def __init__(
        self,
        limits: Limits,
        texts: SharedTexts,
        rules: FrameRules,
        settings: ClientSettings,
        policy: Policy,
        *, is_serial: bool, begins_lazily: bool, counts: Counts,
    ) -> None:  # fmt: skip
        super().__init__(limits, texts, settings, policy, begins_lazily=begins_lazily, counts=counts)
        self.handlers = HANDLERS
        self._frontend = Framer(rules)
        #: What the client sent and what has to wait.
        self._backlog: deque[_Held] | None = None
        #: Bytes in the backlog.
        self.backlog_size = 0
        #: What pgshim has to say upstream as soon as the message that the client is in the middle of has gone up.
        self._deferred: list[bytes] = []
        #: Whether the CopyData that the client is in the middle of goes up.
        self._passes_run = False
        #: Whether upstream is given one batch at a time.
        self.is_serial = is_serial
        #: The client has sent Terminate.
        self.is_terminated = False

    def receive_from_client(self, data: bytes) -> None:
        """Take the next bytes from the client. Raises ProtocolViolation: the connection cannot go on."""
        buffer, end, frames = self._frontend.feed(data)
        if self._backlog is not None:
            self._hold_back(buffer, 0, end, frames)
        else:
            self._take(buffer, end, frames)
        self._check_stream()

    def _take(self, buffer: bytes, end: int, frames: list[Frame]) -> None:
        pos = 0
        if self.begins_lazily and len(frames) >= _LEAST_OF_A_BATCH and not self.is_terminated:
            done = self._answer_batch(buffer, frames)
            pos = frames[done - 1][2] if done else 0
            frames = frames[done:]
        for index, (type_code, start, stop, missing) in enumerate(frames):
            if start > pos:
                self._take_run(buffer, pos, start, 0 if pos else self._frontend.lead)
            if (
                self.outstanding
                and not self._is_amid_batch()
                and self._must_wait(type_code, _following(buffer, frames, index))
            ) or not self._handle(type_code, buffer, start, stop, missing):
                self.flush()
                self._hold_back(buffer, start, end, frames[index:])
                return
            pos = stop
        if end > pos:
            self._take_run(buffer, pos, end, 0 if pos else self._frontend.lead)

    def _answer_batch(self, buffer: bytes, frames: list[Frame]) -> int:
        """Answer the first messages of a read, if they are a BEGIN; returns how many have been dealt with."""
        return lazy_begin.answers_batch(self, buffer, frames)

    def _is_amid_batch(self) -> bool:
        """Whether the last thing sent was a message of a batch that is open, and nothing is out of the ordinary.

        The short way for most messages: nothing in `_must_wait` can hold one back then.
        """
        queue = self.outstanding
        return (
            self.is_open
            and queue[-1].kind <= Kind.EXECUTE
            and not self.is_copying_in
            and self.copy_query is None
            and len(queue) <= _MAX_OUTSTANDING
        )

    def _must_wait(self, type_code: int, following: Iterable[_Held]) -> bool:
        """Whether a message has to wait, whatever it says, for a ReadyForQuery that is owed.

        following -- it, and what came behind it
        """
        if self.holds_all:
            return type_code != CONTINUATION
        queue = self.outstanding
        if self.is_copying_in and not self.ended_copies:
            if type_code in _NOT_IN_COPY:
                raise ProtocolViolation(f"unexpected message type 0x{type_code:02X} during COPY from stdin")
            if type_code == _SYNC and len(queue) > _MAX_IN_COPY:
                raise ProtocolViolation("too many Sync messages during COPY from stdin")
            return False
        if self.ended_copies > _MAX_OUTSTANDING and type_code in (_COPY_DONE, _COPY_FAIL):
            raise ProtocolViolation("too many CopyDone and CopyFail messages")
        if len(queue) > _MAX_OUTSTANDING and type_code not in _ENDING:
            return True
        if type_code in _NEVER_HELD:
            return False
        if self.copy_query is not None:
            return True
        if self.is_open:
            # A Query amid a batch: its ReadyForQuery may be the end of the transaction, and of the server.
            return queue.ends_with_query()
        if not queue.owes_ready():
            return False
        if self.is_serial or self.awaits_begin or queue.may_copy():
            # At the end of a COPY, PgBouncer 1.18 forgets what else it owes its client.
            return True
        return type_code in _OPENING and pipelines.must_wait(self, following)

    def _handle(self, type_code: int, buffer: bytes, start: int, stop: int, missing: int) -> bool:
        """Deal with one message; False when it has to wait."""
        handler = self.handlers.get(type_code)
        if self.is_terminated:
            raise ProtocolViolation("message after Terminate")
        if handler is not None:
            return handler(self, buffer, start, stop, missing)
        if type_code == CONTINUATION:
            if self.passes_rest:
                self.to_upstream.append(buffer[start:stop])
            self._send_deferred()
        else:
            self.is_terminated = True
        return True

    def _take_run(self, buffer: bytes, start: int, stop: int, lead: int) -> None:
        """CopyData: as it is, or dropped; the first `lead` bytes go the way of the message that they continue."""
        lead_end = min(start + lead, stop)
        passes_lead = self._passes_run and lead_end > start
        if lead_end < stop:
            if self.is_terminated:
                raise ProtocolViolation("message after Terminate")
            self._passes_run = copying.takes_copy_data(self)
            if self._passes_run and passes_lead and not self._deferred:
                # In one piece: two would have to be joined again, and copies of large reads cost more than all else.
                self.to_upstream.append(buffer[start:stop])
                return
        if lead:
            if passes_lead:
                self.to_upstream.append(buffer[start:lead_end])
            self._send_deferred()
        if lead_end < stop and self._passes_run:
            self.to_upstream.append(buffer[lead_end:stop])

    def defer(self) -> None:
        """What a reply has made pgshim say must not cut through a message that the client is in the middle of."""
        if self.to_upstream and self._backlog is None and self._frontend.is_inside_passed:
            self._deferred += self.to_upstream
            self.to_upstream.clear()

    def _send_deferred(self) -> None:
        if self._deferred and not self._frontend.is_inside_passed:
            self.to_upstream += self._deferred
            self._deferred.clear()

    def _hold_back(self, buffer: bytes, pos: int, end: int, frames: list[Frame]) -> None:
        """Keep messages until replies have come."""
        backlog = self._backlog
        if backlog is None:
            backlog = self._backlog = deque()
        self.backlog_size += end - pos
        for type_code, start, stop, missing in frames:
            if start > pos:
                backlog.append((_RUN, buffer, pos, start, 0 if pos else self._frontend.lead))
            backlog.append((type_code, buffer, start, stop, missing))
            pos = stop
        if end > pos:
            backlog.append((_RUN, buffer, pos, end, 0 if pos else self._frontend.lead))

    def resume(self) -> None:
        """Go on with what was held back, as far as it goes now."""
        backlog = self._backlog
        while backlog:
            type_code, buffer, start, stop, missing = backlog[0]
            if type_code == _RUN:
                self._take_run(buffer, start, stop, missing)
            elif self._must_wait(type_code, backlog) or not self._handle(type_code, buffer, start, stop, missing):
                self.flush()
                return
            backlog.popleft()
            self.backlog_size -= stop - start
        self._backlog = None
        self._check_stream()

    def _check_stream(self) -> None:
        if self._frontend.failure is not None and self._backlog is None:
            raise self._frontend.failure


def _following(buffer: bytes, frames: list[Frame], index: int) -> Iterator[_Held]:
    return ((code, buffer, start, stop, missing) for code, start, stop, missing in islice(frames, index, None))
