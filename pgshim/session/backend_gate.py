"""The gate for what upstream sends: it is laid beside the queue of replies owed (`pgshim.session.outstanding`).

Stretches that pass are forwarded as the bytes that came; a message is looked into only where the head of the queue
says so.
"""

from __future__ import annotations

from pgshim.errors import MalformedMessage, PgshimError, UpstreamViolation
from pgshim.protocol import hot
from pgshim.protocol.framing import CONTINUATION, Frame, Framer, FrameRules
from pgshim.session.client_settings import ClientSettings
from pgshim.session.conversation import Limits
from pgshim.session.counts import Counts
from pgshim.session.features import copying, lazy_begin, prepared, shapes
from pgshim.session.frontend_gate import FrontendGate
from pgshim.session.hints import with_hint
from pgshim.session.outstanding import FAKE, FORWARD, QUERY_COPIED, SKIP, WATCH, Kind, Owed
from pgshim.session.refusal import Policy
from pgshim.session.replies import COMPLETES, ENDS, LENGTHS
from pgshim.session.statements import SharedTexts

_DATA_ROW, _READY, _ERROR, _NOTICE, _NOTIFICATION, _PARAMETER_STATUS, _COPY_IN_RESPONSE = b"DZENASG"

#: Backend messages other than rows are small, the largest that is read being a ParameterDescription of 65,535 types;
#: one that is larger than this passes as it comes.
_HOLD = 272 * 1024
_TERMINATION_HINT = (
    "This session has settings in force, so pgshim runs the statement in a transaction with them. RESET them, or use a "
    "connection without settings, to let a procedure end its transactions."
)
_RULES = FrameRules(passed=b"Dd", wanted=b"123ACEGHINRSTVWZKcnstv", hold=_HOLD, limits=LENGTHS)


class BackendGate(FrontendGate):
    """The upstream's direction of a session."""

    __slots__ = ("_backend", "_has_ended", "_is_broken_off", "_passes_backend_rest", "has_said_fatal")

    def __init__(
        self, limits: Limits, texts: SharedTexts, rules: FrameRules, settings: ClientSettings, policy: Policy,
        *, is_serial: bool, begins_lazily: bool, counts: Counts,
    ) -> None:  # fmt: skip
        super().__init__(
            limits, texts, rules, settings, policy, is_serial=is_serial, begins_lazily=begins_lazily, counts=counts
        )
        self._backend = Framer(_RULES)
        #: Upstream is out of order; what it said before that has been dealt with, and nothing behind it.
        self._is_broken_off = False
        #: Whether the last reply has ended a statement of a Query, or a FunctionCall: its ReadyForQuery may come.
        self._has_ended = False
        #: Whether the rest of a large message from upstream goes to the client.
        self._passes_backend_rest = True
        #: Upstream has given a reason for which it will close the connection, and the client has it.
        self.has_said_fatal = False

    def receive_from_upstream(self, data: bytes) -> None:
        """Take the next bytes from upstream. Raises UpstreamViolation: no reply can be trusted any more."""
        buffer, end, frames = self._backend.feed(data)
        try:
            self._take_replies(buffer, end, frames)
        except PgshimError as error:
            self._is_broken_off = True
            if isinstance(error, MalformedMessage):
                raise UpstreamViolation(f"the upstream sent an {error.message}") from error
            raise
        if self._backend.failure is not None:
            raise UpstreamViolation(f"the upstream sent an {self._backend.failure.message}")
        self.defer()
        if self._backlog is not None and frames:  # Rows alone change nothing that anything waits for.
            self.resume()

    def _take_replies(self, buffer: bytes, end: int, frames: list[Frame]) -> None:
        queue = self.outstanding
        out = self.to_client
        pos = kept = 0
        for type_code, start, stop, missing in frames:
            if start > pos and not self._passes_rows(buffer, kept, pos, start):
                if pos > kept:
                    out.append(buffer[kept:pos])
                kept = start
            head = queue[0] if queue else None
            if head is not None and head.action == FORWARD and (role := head.replies[type_code]):
                replacement = None
                self._passes_backend_rest = True
                if role == COMPLETES:
                    queue.popleft()
                else:
                    self._has_ended = role == ENDS
            else:
                if kept < start:
                    out.append(buffer[kept:start])
                kept = start
                replacement = self._reply(head, type_code, buffer, start, stop, missing)
            if replacement is not None or (queue and queue[0].action == FAKE):
                if replacement is None:
                    out.append(buffer[kept:stop])
                elif replacement:
                    out.append(replacement)
                kept = stop
                self.give_answers()
            pos = stop
        if end > pos and not self._passes_rows(buffer, kept, pos, end):
            if kept < pos:
                out.append(buffer[kept:pos])
            return
        if kept < end:
            out.append(buffer if kept == 0 and end == len(buffer) else buffer[kept:end])

    def _passes_rows(self, buffer: bytes, kept: int, start: int, end: int) -> bool:
        """Whether DataRow and CopyData, which belong to the head of the queue, go to the client; else some are kept."""
        head = self.outstanding[0] if self.outstanding else None
        if head is None or not head.replies[_DATA_ROW]:
            self.to_client.append(buffer[kept:start])  # What stands in front of them is the client's.
            raise UpstreamViolation("the upstream sent rows that nothing asked for")
        if head.action == WATCH and head.watch is not None:
            if head.watch(CONTINUATION, b"") is None:
                return True
            head.keep_rows(buffer, start, end)
            return False
        return head.action != SKIP and head.failure is None

    def _reply(
        self, head: Owed | None, type_code: int, buffer: bytes, start: int, stop: int, missing: int
    ) -> bytes | None:
        """What the client gets for a message that does not simply pass (None: the message as it is)."""
        if type_code == CONTINUATION:
            return None if self._passes_backend_rest else b""
        self._passes_backend_rest = True
        if type_code == _READY:
            return self._on_ready(head, buffer[start:stop])
        if type_code == _ERROR:
            message = buffer[start:stop]
            replacement = self._on_error(head, message, missing)
            if replacement != b"":
                self.counts.note_error(replacement or message)
            self._passes_backend_rest = replacement is None
            return replacement
        if type_code == _PARAMETER_STATUS:
            return self._on_parameter_status(buffer, start, stop)
        if type_code == _NOTICE and head is not None and head.edit is not None and not missing:
            return head.edit(type_code, buffer[start:stop])
        if type_code in (_NOTICE, _NOTIFICATION):
            return None
        if type_code == _COPY_IN_RESPONSE and head is not None and head.kind in (Kind.EXECUTE, Kind.QUERY):
            return self._on_copy_in(head)
        role = head.replies[type_code] if head is not None else 0
        if head is None or not role:
            raise UpstreamViolation(f"the upstream sent message type {chr(type_code)!r} out of order")
        replacement = self._pass(head, type_code, buffer[start:stop])
        self._passes_backend_rest = replacement is None
        if role == COMPLETES:
            if head.effect is not None:
                head.effect(buffer[start:stop])
            self._complete(head)
        else:
            self._has_ended = role == ENDS
            if self._has_ended and self.is_copying_in:
                self._end_copy(has_failed=False)
        return replacement

    def _on_copy_in(self, head: Owed) -> bytes | None:
        """CopyInResponse."""
        self.is_copying_in = True
        self._has_ended = False
        if not head.may_copy_in:
            self.outstanding[0] = Owed(
                head.kind, WATCH, change=head.change, watch=head.watch, may_copy_in=True, failure=head.failure
            )
        return b"" if head.failure is not None else None

    def _pass(self, head: Owed, type_code: int, message: bytes) -> bytes | None:
        if head.action == SKIP or head.failure is not None:
            return b""
        return head.watch(type_code, message) if head.watch is not None else None

    def _complete(self, head: Owed) -> None:
        """The head of the queue has been answered."""
        self.outstanding.popleft()
        if head.change is not None:
            self.statements.settle(head.change)
        if self.is_copying_in:
            self._end_copy(has_failed=False)
        elif head.may_copy_in:
            self.ended_copies = 0
        if head is self.copy_query:
            self.copy_query = None
            if self.is_open:
                self.end_query()

    def _end_copy(self, *, has_failed: bool) -> None:
        """The server has left COPY-in mode."""
        self.is_copying_in = False
        self.ended_copies = max(0, self.ended_copies - 1)
        self.outstanding.drop_swallowed_syncs(has_failed=has_failed)

    def _on_ready(self, head: Owed | None, message: bytes) -> bytes | None:
        """ReadyForQuery: the end of a Query, a FunctionCall, or all up to a Sync."""
        status = message[5] if len(message) == 6 else 0
        is_due = head is not None and head.has_ready and (self._has_ended or head.kind is Kind.SYNC)
        if head is None or not is_due or status not in hot.READY:
            raise UpstreamViolation("the upstream sent a ReadyForQuery out of order")
        self._has_ended = False
        self.riding = None
        self.outstanding.popleft()
        if self.ended_copies and (head.may_copy_in or not self.outstanding.has_copy_data()):
            self.ended_copies = 0
        self.status = status
        if head.change is not None:
            self.statements.settle(head.change)
        if self.defines and status == hot.IDLE:
            self.define()
            self.defines = bool(self.outstanding)
        if status == hot.IDLE and self.is_open and head.kind is not Kind.SYNC:
            self.end_amid_batch()
        if not self.outstanding:
            self.verifies = False
            if status == hot.IDLE:
                self.portals.clear()
                self.setting_portals.clear()
                if self.drawing:
                    self.drawing.clear()
            elif status == hot.IN_BLOCK and not self.is_open:
                self.slot = self.slot_at_sync
        has_failed = self.settings.has_failed
        if self.settings.is_active or self.settings.has_news:
            self._settle_settings()
        self.settings.has_failed = False
        if head.failure is not None:
            self.ready_count += 1
            return shapes.ready_of_failing(self, head.failure)
        if self.awaits_begin and lazy_begin.has_failed(self, head):
            return b""
        if head.action == SKIP or (head.kind is Kind.QUERY and head.watch and head.watch(_READY, message) == b""):
            return b""
        if head.wrapped is not None and status != hot.IDLE:
            self.roll_back_wrapped()
            return b""
        self.counts.note_ready(is_in_block=status != hot.IDLE)
        self.ready_count += 1
        self.holds_all = self.holds_all and bool(self.outstanding)
        withheld = head.wrapped.withheld if head.wrapped is not None and not has_failed else b""
        return withheld + self.ready() if withheld or self.settings.has_news else None

    def _settle_settings(self) -> None:
        """What a ReadyForQuery makes of the client's settings."""
        settings = self.settings
        if settings.is_unsettled and not self.outstanding.changes_status():
            settings.is_unsettled = False
        settings.end_batch(self.status)
        self.standard_strings = settings.shown(b"standard_conforming_strings", self.status) != b"off"

    def _on_error(self, head: Owed | None, message: bytes, missing: int) -> bytes | None:
        """ErrorResponse: fails the head of the queue; for an extended-query message also all up to the next Sync."""
        is_fatal = message.startswith(b"SFATAL\0", 5) or b"\0VFATAL\0" in message or b"\0VPANIC\0" in message
        if self.has_said_fatal:
            # PgBouncer puts an error of its own behind a server's last words; a server has only one.
            return b""
        if head is None or is_fatal:
            self.has_said_fatal = is_fatal
            return None if missing else with_hint(message)
        if self.is_copying_in:
            # What a CopyFail ends, the server has read up to it.
            self._end_copy(has_failed=not self.ended_copies or b"\0C57014\0" not in message)
        if head.failure is not None:
            replacement: bytes | None = shapes.error_of_failing(head, head.failure, message)
        elif head.watch is not None and head.has_ready:
            replacement = head.watch(_ERROR, message)
        else:
            # What pgshim sent to fail fails by its syntax, or divides by zero; a cancel, say, is the client's to see.
            is_own = b"\0C42601\0" in message or b"\0C22012\0" in message
            replacement = head.error if is_own or not head.error else None
        self.settings.has_failed = True
        if replacement is None and head.edit is not None and not missing:
            replacement = head.edit(_ERROR, message)
        if b"\0C2D000\0" in message and self.settings.current:
            replacement = hot.with_hint(replacement or message, _TERMINATION_HINT)
        if head.has_ready:
            self._has_ended = True
            if head.may_copy_in:
                change = head.change
                self.outstanding[0] = QUERY_COPIED if change is None else Owed(Kind.QUERY, change=change, may_copy=True)
            return replacement
        if self.copy_query is not None:
            copying.fail_copy_query(self)
            return replacement
        if self.riding is not None:
            lazy_begin.fail_riding(self)
            return replacement
        prepared.fail_unnamed(self, head)
        self.drop_to_sync()
        return replacement

    def _on_parameter_status(self, buffer: bytes, start: int, stop: int) -> bytes | None:
        name, value = hot.read_parameter_status(buffer, start, stop)
        if name == b"application_name" and value == b"Supavisor":
            return b""  # Its heartbeat, not a setting of the client's.
        self.settings.note_status(name, value)
        if self.outstanding:
            return b""  # Told with the ReadyForQuery.
        self.settings.end_batch(self.status)
        return self.settings.news(self.status)
