"""What a Query's text becomes, statement by statement, with the client's settings in force."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from pgshim.protocol import hot
from pgshim.session.assignments import Assignment, Scope
from pgshim.session.conversation import Conversation
from pgshim.session.features import assigning, refusals, set_config, settings
from pgshim.session.features.scripts import FAILURE, FORWARDED, Script, Step
from pgshim.session.hazards import Hazard
from pgshim.session.injection import MODES, Injection
from pgshim.session.outstanding import CHANGES_STATUS
from pgshim.session.pieces import CONTROL, ENDS, is_computed
from pgshim.session.quoting import set_local
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict, localize

_BEHIND_COMMIT = hot.error_response(
    "ERROR",
    b"0A000",
    "what follows the end of a transaction that has changed settings, in one Query, is not supported by pgshim",
    "Send what follows in a Query of its own.",
)

#: What decides the modes of a transaction that begins.
_MODES = frozenset(MODES)


class Composer:
    """Composes one Query."""

    def __init__(self, s: Conversation, found: Verdict, sql: bytes, *, is_in_force: bool) -> None:
        self._s = s
        self._sql = sql
        self._found = found
        self.script = Script(sql)
        self._is_single = len(found.statements) == 1
        self._is_in_force = is_in_force
        self._is_outside = settings.is_outside_block(s) and not s.is_wrapped
        #: What is in force at this place, and what was when the transaction began; SETs of the text itself apart.
        self._values = s.settings.current
        self._begin = s.settings.begin
        self._has_failed = s.status == hot.IN_FAILED_BLOCK
        #: The SETs in the text, to be said again behind the end of their transaction: those of transactions that have
        #: been committed by then, and of the one at this place; None: they cannot be.
        self._committed: list[bytes] | None = []
        self._pending: list[bytes] | None = []
        #: Something in it changes settings or the block.
        self.changes = False

    def compose(self, replaced: dict[int, tuple[bytes, Step]]) -> Script:
        """The whole. `replaced`: statements that others deal with, by number: (what goes up, step)."""
        for index, piece in enumerate(self._found.statements):
            self.script.copy(piece.start)
            if index in replaced:
                self._bring_into_force(piece)
                self.script.replace(replaced[index][0], piece.end, replaced[index][1])
            elif piece.kind in CONTROL:
                self._control(piece)
            else:
                self._statement(piece)
        return self.script

    def _bring_into_force(self, piece: Piece) -> None:
        """Ahead of a statement: what is to be in force for it."""
        if self._is_in_force or (self._is_single and settings.goes_bare(self._s, self._found)):
            return
        self._is_in_force = True
        if not self._has_something:
            return
        if self._is_single:
            leave_out = settings.left_out(self._found)
            injection = Injection(self._values, leave_out) if leave_out else self._s.settings.injection
            self._s.counts.injections += bool(injection.outside)
            for sql in injection.outside:
                self.script.put(sql)
        else:
            # No SELECT: it would take a snapshot, and the client's own text may begin with SET TRANSACTION.
            self._put_settings(frozenset())

    @property
    def _has_something(self) -> bool:
        """Whether anything is to be in force in a transaction that begins at this place."""
        return bool(self._values) or self._committed != [] or self._pending != []

    def _put_settings(self, modes: frozenset[bytes], *, has_modes: bool = True) -> None:
        """SET LOCAL for all that is to be in force. `modes`: what the BEGIN says of itself."""
        settings_of = self._s.settings
        injection = settings_of.injection if self._values is settings_of.current else Injection(self._values)
        self._s.counts.injections += bool(injection.statements)
        for name, sql in injection.modes.items():
            if has_modes and name not in modes:
                self.script.put(sql)
        for sql in injection.statements:
            self.script.put(sql)
        if self._committed is None or self._pending is None:
            self.script.put(FAILURE, Step(is_own=True, error=_BEHIND_COMMIT))
        for sql in (*(self._committed or ()), *(self._pending or ())):
            self.script.put(sql)

    def _end_transaction(self, *, is_committed: bool) -> None:
        """What holds behind the end of a transaction."""
        if is_committed:
            self._begin = self._values
            none = self._committed is None or self._pending is None
            self._committed = None if none else [*(self._committed or ()), *(self._pending or ())]
        else:
            self._values = self._begin
        self._pending = []
        self._has_failed = False

    def _control(self, piece: Piece) -> None:
        s = self._s
        self.changes = True
        if piece.kind is Sql.BEGIN:
            self.script.copy(piece.end, Step(is_begin=True, effect=CHANGES_STATUS))
            if self._is_outside and not self._is_in_force and self._has_something:
                self._put_settings(piece.modes)
            self._is_outside, self._is_in_force = False, True
        elif piece.kind in ENDS:
            self.script.copy(piece.end, Step(effect=s.end_transaction))
            # A failed block has lost its modes: the next one begins with the session's.
            has_modes = self._has_failed
            self._end_transaction(is_committed=piece.kind is not Sql.ROLLBACK and not self._has_failed)
            self._is_outside, self._is_in_force = not piece.chains, piece.chains
            if piece.chains:
                self._put_settings(frozenset(), has_modes=has_modes)
        else:
            if piece.kind is Sql.ROLLBACK_TO and (self._pending or self._values is not self._begin):
                self._pending = None  # What is left of them cannot be told from here.
            self.script.copy(piece.end, Step(effect=partial(settings.note_savepoint, s, piece)))

    def _statement(self, piece: Piece) -> None:
        s = self._s
        hazard = refusals.without_settings(s, piece) if self._is_single and self._is_outside else None
        if hazard is not None and self._refuses(piece, hazard):
            return
        if hazard is not None:
            self.script.copy(piece.end, FORWARDED)
            return
        self._bring_into_force(piece)
        for hazard in piece.hazards:
            text = self._sql[: piece.start]
            if refusals.concerns(s, hazard, is_outside=self._is_outside, text=text) and self._refuses(piece, hazard):
                return
        for hazard in refusals.of_settings(s, piece):
            if self._refuses(piece, hazard):
                return
        names = set_config.names_in(piece)
        text = self._sql[piece.start : piece.end]
        error = assigning.error_of(s, piece, names, text) if names or piece.set_configs else None
        if error is not None:
            self.script.replace(FAILURE, piece.end, Step(hides_rows=True, error=error))
        elif piece.assignment is not None:
            self._assignment(piece, piece.assignment)
        elif piece.set_configs and not any(map(is_computed, piece.set_configs)):
            self._set_config(piece)
        else:
            self.script.copy(piece.end, FORWARDED)

    def _refuses(self, piece: Piece, hazard: Hazard) -> bool:
        """Put a failure in its place, if it is not let through."""
        if not refusals.is_refused(self._s, hazard):
            return False
        self.script.replace(FAILURE, piece.end, Step(hides_rows=True, error=self._s.policy.error(hazard)))
        return True

    def _learn(self, name: bytes) -> None:
        """Ahead of a SET: see `assigning.learn_default`."""
        if self._s.settings.wants_default(name) and not self.changes:
            rows = bytearray()
            effect = partial(assigning.note_default, self._s, name, rows)
            self.script.put(b"SHOW " + assigning.quoted_name(name), Step(is_own=True, effect=effect, rows=rows))

    def _assignment(self, piece: Piece, assignment: Assignment) -> None:
        s, script = self._s, self.script
        if assignment.scope is Scope.LOCAL:
            script.copy(piece.end, FORWARDED)
            if self._is_single and self._is_outside:
                return  # It comes to nothing.
            s.settings.locals |= dict.fromkeys(assignment.names)
            if assignment.is_default:
                self._put_defaults(assignment)
            return
        for name in () if assignment.is_default else assignment.names:
            self._learn(name)
        s.settings.locals |= dict.fromkeys(assignment.names)
        self.changes = True
        tag = b"RESET" if assignment.is_reset else b""
        step = Step(is_localized=True, tag=tag, effect=assigning.default_effect(s, assignment))
        if assignment.at >= 0:
            script.insert(b"SET LOCAL ", assignment.at)
            script.copy(piece.end, step)
        else:
            script.replace(assignment.upstream[0], piece.end, step)
        for sql in assignment.upstream[1:]:
            script.put(sql)
        self._repeat(assignment.upstream)
        if not _MODES.isdisjoint(assignment.names):
            self._pending = None  # The modes of the next transaction hang on it.
        if assignment.is_default:
            self._put_defaults(assignment)
            return
        for name in assignment.names:
            self._read_back(name, b"SHOW " + assigning.quoted_name(name))

    def _put_defaults(self, assignment: Assignment) -> None:
        statements = assigning.default_statements(self._s, assignment)
        self._repeat(statements)
        for sql in statements:
            self.script.put(sql)

    def _repeat(self, statements: Iterable[bytes]) -> None:
        """These have to be said again behind a COMMIT."""
        if self._pending is not None:
            self._pending += statements

    def _set_config(self, piece: Piece) -> None:
        s, script = self._s, self.script
        calls = set_config.literal_calls(piece.set_configs)
        for call in calls:
            self._learn(call.name)
        s.settings.locals |= dict.fromkeys(set_config.names_in(piece))
        text = localize(self._sql[: piece.end], piece.set_configs)[piece.start :]
        script.replace(text, piece.end, FORWARDED)
        for call in calls:
            self.changes = True
            self._pending = None
            if call.is_default and call.name in s.settings.defaults:
                script.put(set_local(call.name, s.settings.defaults[call.name]))
            self._read_back(call.name, assigning.current_setting(call.name))

    def _read_back(self, name: bytes, sql: bytes) -> None:
        for other, rows, effect in assigning.questions(self._s, name):
            text = sql if other == name else b"SHOW " + other
            self.script.put(text, Step(is_own=True, effect=effect, rows=rows, error=assigning.TOO_MUCH))
