"""A session that is traced: the same session, which tells a `Trace` what it does.

It goes the long way always, because the short one has no messages to tell of. What becomes of a message is known where
it is dealt with: what was added to the output then, and to the queue of replies owed, is what came of it.
"""

from __future__ import annotations

from typing import Any

from pgshim.errors import PgshimError
from pgshim.protocol.framing import CONTINUATION, Frame
from pgshim.session.features.shared import Held
from pgshim.session.outstanding import EXECUTE_OWN, FAKE, SKIP, Kind, Owed
from pgshim.session.session import Session
from pgshim.session.statements import Statement
from pgshim.session.trace import Leg, Mark, Piece, Splitter, Trace

#: What goes up beside the queue: CopyData, CopyDone, CopyFail, Flush.
_UNASKED = frozenset(b"dcfH")


class TracedSession(Session):
    """Takes what a Session takes, and its trace."""

    __slots__ = ("_depth", "_is_failing", "_is_resuming", "_sent", "_splits_client", "_splits_upstream",
                 "_told_down", "_told_up", "_trace")  # fmt: skip

    def __init__(self, *arguments: Any, trace: Trace, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._trace = trace
        #: How many parts of each output have been told.
        self._told_up = self._told_down = 0
        self._splits_upstream, self._splits_client = Splitter(), Splitter()
        #: Of each message that went up through the queue, and has not been told: what is owed for it; None: pgshim's.
        self._sent: list[Owed | None] = []
        #: How deep in what pgshim sends of its own.
        self._depth = 0
        #: Whether the Query or FunctionCall that is dealt with gets an error of pgshim's.
        self._is_failing = False
        #: Whether messages are dealt with that were held back, and told then.
        self._is_resuming = False

    # The long way.

    def pass_from_client(self, data: bytes) -> bytes | None:
        """No short way."""
        return None

    def pass_from_upstream(self, data: bytes) -> bytes | None:
        """Nor here."""
        return None

    # Whose a message is that goes up.

    def send(self, message: bytes, owed: Owed) -> None:
        super().send(message, owed)
        self._note(owed)

    def send_query(self, message: bytes, owed: Owed) -> None:
        super().send_query(message, owed)
        self._note(owed)

    def send_sync(self, owed: Owed) -> None:
        super().send_sync(owed)
        self._note(owed)

    def replay(self, statement: Statement) -> None:
        self._depth += 1
        super().replay(statement)
        self._depth -= 1

    def carry_out(self, sql: bytes, owed: Owed = EXECUTE_OWN) -> None:
        self._depth += 1
        super().carry_out(sql, owed)
        self._depth -= 1

    def fail_query(self, error: bytes) -> None:
        super().fail_query(error)
        self._is_failing = True

    def _note(self, owed: Owed) -> None:
        is_own = self._depth > 0 or owed.kind is Kind.VERIFICATION
        self._sent.append(None if is_own and not owed.error else owed)

    # From the client.

    def _take(self, buffer: bytes, end: int, frames: list[Frame]) -> None:
        super()._take(buffer, end, frames)
        self._tell_if_broken(buffer, end)

    def _answer_batch(self, buffer: bytes, frames: list[Frame]) -> int:
        done = super()._answer_batch(buffer, frames)
        pieces = [(buffer[start:stop], 0) for _, start, stop, _ in frames[:done]]
        self._trace.tell_all(Leg.FROM_CLIENT, pieces, Mark.LOCAL)
        self._trace.tell_all(Leg.TO_CLIENT, self._new_down(), Mark.LOCAL)
        return done

    def _tell_if_broken(self, buffer: bytes, end: int) -> None:
        if self._frontend.failure is not None:
            self._trace.tell_broken(Leg.FROM_CLIENT, buffer[end:])

    def _handle(self, type_code: int, buffer: bytes, start: int, stop: int, missing: int) -> bool:
        came = buffer[start:stop], missing
        self._is_failing = False
        held = self.held
        size, last = len(self.outstanding), self.outstanding[-1] if self.outstanding else None
        try:
            is_done = super()._handle(type_code, buffer, start, stop, missing)
        except PgshimError:
            self._trace.tell(Leg.FROM_CLIENT, came[0], Mark.ILLEGAL, missing)
            raise
        sent = self._sent
        self._sent = []
        went, given = self._new_up(), self._new_down()
        if type_code == CONTINUATION or not is_done:
            self._trace.tell_all(Leg.TO_UPSTREAM, went, Mark.INJECTED)
            return is_done
        owners = _owners(went, sent)
        if held is not None and self.held is None:
            told = self._tell_released(held, went, owners)
            went, owners = went[told:], owners[told:]
        its = _place(came, went, owners)
        mark = Mark.NONE
        if self._is_failing or any(owed is not None and owed.error for owed in owners):
            its, mark = None, Mark.REFUSED
        elif went:
            mark = Mark.REWRITTEN
        elif self.is_terminated:
            mark = Mark.LOCAL
        elif self.held is not None:
            mark = Mark.HELD
        else:
            queue = self.outstanding
            has_answer = queue and queue[-1].action == FAKE and (len(queue) != size or queue[-1] is not last)
            mark = Mark.LOCAL if given or has_answer else Mark.DROPPED
        self._trace.tell_up(came, went, its, mark, is_known=self._is_resuming)
        self._trace.tell_all(Leg.TO_CLIENT, given, Mark.LOCAL)
        return True

    def _tell_released(self, held: Held, went: list[Piece], owners: list[Owed | None]) -> int:
        """What a Parse and a Describe have become that were held back up to now; returns how many went up for them."""
        told = 0
        for message in filter(None, (held.parse, held.describe)):
            types = [None if owed is None else went[index][0][0] for index, owed in enumerate(owners)]
            if message[0] in types[told:]:
                its = types.index(message[0], told)
                refusal = next((index for index in (its, its + 1) if _is_refusal(owners, its, index)), None)
                if refusal is not None:
                    self._trace.tell_all(Leg.TO_UPSTREAM, went[told : refusal + 1], Mark.INJECTED)
                    return refusal + 1
                self._trace.tell_up((message, 0), went[told : its + 1], its - told, is_known=True)
                told = its + 1
        return told

    def _take_run(self, buffer: bytes, start: int, stop: int, lead: int) -> None:
        pieces = Splitter(lead).split(buffer[start:stop])
        try:
            super()._take_run(buffer, start, stop, lead)
        except PgshimError:
            self._trace.tell_all(Leg.FROM_CLIENT, pieces, Mark.ILLEGAL)
            raise
        went = self._new_up()
        is_passed = bool(pieces) and self._passes_run
        self._trace.tell_all(Leg.TO_UPSTREAM, went[: len(went) - len(pieces) * is_passed], Mark.INJECTED)
        if is_passed:
            self._trace.tell_all(Leg.TO_UPSTREAM if self._is_resuming else Leg.PASSES_UP, pieces)
        else:
            self._trace.tell_all(Leg.FROM_CLIENT, pieces, Mark.DROPPED)

    def _hold_back(self, buffer: bytes, pos: int, end: int, frames: list[Frame]) -> None:
        super()._hold_back(buffer, pos, end, frames)
        self._trace.tell_all(Leg.TO_UPSTREAM, self._new_up(), Mark.INJECTED)
        for type_code, start, stop, missing in frames:
            self._tell_held(buffer, pos, start)
            if type_code != CONTINUATION:
                self._trace.tell(Leg.FROM_CLIENT, buffer[start:stop], Mark.HELD, missing)
            pos = stop
        self._tell_held(buffer, pos, end)
        self._tell_if_broken(buffer, end)

    def _tell_held(self, buffer: bytes, pos: int, end: int) -> None:
        lead = 0 if pos else self._frontend.lead
        self._trace.tell_all(Leg.FROM_CLIENT, Splitter(lead).split(buffer[pos:end]), Mark.HELD)

    def resume(self) -> None:
        self._is_resuming = True
        try:
            super().resume()
        finally:
            self._is_resuming = False

    # From upstream.

    def _take_replies(self, buffer: bytes, end: int, frames: list[Frame]) -> None:
        pos, lead = 0, self._backend.lead
        for type_code, start, stop, missing in frames:
            if start > pos:
                self._take_rows(buffer[pos:start], 0 if pos else lead)
            self._take_reply(type_code, buffer[start:stop], missing)
            pos = stop
        if end > pos:
            self._take_rows(buffer[pos:end], 0 if pos else lead)
        if self._backend.failure is not None:
            self._trace.tell_broken(Leg.FROM_UPSTREAM, buffer[end:])

    def _take_reply(self, type_code: int, message: bytes, missing: int) -> None:
        is_message = type_code != CONTINUATION
        mark = Mark.ILLEGAL
        try:
            super()._take_replies(message, len(message), [(type_code, 0, len(message), missing)])
            mark = Mark.DROPPED
        finally:
            given = self._new_down()
            if is_message:
                self._trace.tell_down((message, missing), given, mark)
            if not self._defers:
                self._trace.tell_all(Leg.TO_UPSTREAM, self._new_up(), Mark.INJECTED)

    def _take_rows(self, data: bytes, lead: int) -> None:
        mark = Mark.ILLEGAL
        try:
            super()._take_replies(data, len(data), [])
            mark = Mark.DROPPED
        finally:
            pieces = Splitter(lead).split(data)
            is_passed = len(self.to_client) > self._told_down and not self.is_abandoned
            self._new_down()
            leg, mark = (Leg.PASSES_DOWN, Mark.NONE) if is_passed else (Leg.FROM_UPSTREAM, mark)
            self._trace.tell_all(leg, pieces, mark)

    @property
    def _defers(self) -> bool:
        """Whether what goes up now waits for the end of the client's message, and is told then."""
        return self._backlog is None and self._frontend.is_inside_passed

    def defer(self) -> None:
        super().defer()
        if not self.to_upstream:
            self._told_up = 0

    # What comes out.

    def _new_up(self) -> list[Piece]:
        """What has gone up and not been told yet; it is told now, or never."""
        pieces = self._splits_upstream.split(b"".join(self.to_upstream[self._told_up :]))
        self._told_up = len(self.to_upstream)
        self._sent.clear()
        return pieces

    def _new_down(self) -> list[Piece]:
        """The same of what the client is given."""
        pieces = self._splits_client.split(b"".join(self.to_client[self._told_down :]))
        self._told_down = len(self.to_client)
        # A client that is gone is given nothing.
        return [] if self.is_abandoned else pieces

    def take_client_output(self) -> bytes:
        self._trace.tell_all(Leg.TO_CLIENT, self._new_down(), Mark.LOCAL)
        self._told_down = 0
        return super().take_client_output()

    def take_upstream_output(self) -> bytes:
        # What no message has caused: the client is gone, or silent.
        self._trace.tell_all(Leg.TO_UPSTREAM, self._new_up(), Mark.INJECTED)
        self._told_up = 0
        return super().take_upstream_output()


def _owners(went: list[Piece], sent: list[Owed | None]) -> list[Owed | None]:
    """For each message that went up, what is owed for it; None: it is pgshim's, or has no reply."""
    owed = iter(sent)
    owners = [None if message[0] in _UNASKED else next(owed) for message, _ in went]
    assert next(owed, None) is None, "each went up"
    return owners


def _is_refusal(owners: list[Owed | None], its: int, index: int) -> bool:
    """Whether at `index` the server is made to fail the Parse at `its`: in its place, or behind it if it counts not."""
    asked, owed = owners[its], owners[index] if index < len(owners) else None
    is_its = index == its or (asked is not None and asked.action == SKIP)
    return is_its and owed is not None and owed.error is not None


def _place(came: Piece, went: list[Piece], owners: list[Owed | None]) -> int | None:
    """Which of the messages that went up stands for the one that came; None: none of them."""
    type_code = came[0][0]
    if type_code in _UNASKED:
        return went.index(came) if came in went else None
    theirs = [(index, owed) for index, owed in enumerate(owners) if owed is not None]
    answered = [index for index, owed in theirs if owed.action != SKIP]
    alike = [index for index, _ in theirs if went[index][0][0] == type_code]
    return max(answered or alike, default=None)
