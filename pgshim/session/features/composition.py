"""What a Query's text becomes, statement by statement, with the client's settings in force."""

from __future__ import annotations

from functools import partial

from pgshim.protocol import hot
from pgshim.session.assignments import Assignment, Scope
from pgshim.session.client_settings import Injection
from pgshim.session.conversation import Conversation
from pgshim.session.features import refusals, set_config, settings
from pgshim.session.features.scripts import FAILURE, FORWARDED, OWN, Script, Step
from pgshim.session.hazards import Feature, Hazard
from pgshim.session.outstanding import CHANGES_STATUS
from pgshim.session.quoting import set_local
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict, localize

_ENDS = frozenset({Sql.COMMIT, Sql.ROLLBACK, Sql.PREPARE_TRANSACTION})
_SAVEPOINTS = frozenset({Sql.SAVEPOINT, Sql.RELEASE, Sql.ROLLBACK_TO})
_CONTROL = _ENDS | _SAVEPOINTS | {Sql.BEGIN}

_SETTING_AND_COMMIT = Hazard(Feature.COMPUTED_SETTING, "a change of settings and the end of its transaction in a Query")


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
        #: The SETs in the text, to be said again behind the end of their transaction; None: they cannot be.
        self._repeated: list[bytes] | None = []
        #: Something in it changes settings or the block.
        self.changes = False

    def compose(self, replaced: dict[int, tuple[bytes, Step]]) -> Script:
        """The whole. `replaced`: statements that others deal with, by number: (what goes up, step)."""
        for index, piece in enumerate(self._found.statements):
            self.script.copy(piece.start)
            if index in replaced:
                self._bring_into_force(piece)
                self.script.replace(replaced[index][0], piece.end, replaced[index][1])
            elif piece.kind in _CONTROL:
                self._control(piece)
            else:
                self._statement(piece)
        return self.script

    def _bring_into_force(self, piece: Piece) -> None:
        """Ahead of a statement: what is to be in force for it."""
        current = self._s.settings.current
        if self._is_in_force or not (current or self._repeated is None or self._repeated):
            return
        if self._is_single and settings.goes_bare(self._found):
            return
        self._is_in_force = True
        injection = self._s.settings.injection
        if self._is_single:
            for sql in (*injection.early, injection.select):
                self.script.put(sql)
        else:
            # No SELECT: it would take a snapshot, and the client's own text may begin with SET TRANSACTION.
            self._put_statements(injection, injection.modes)

    def _put_statements(self, injection: Injection, modes: dict[bytes, bytes]) -> None:
        for sql in (*modes.values(), *injection.statements):
            self.script.put(sql)
        if self._repeated is None:
            self._fail(_SETTING_AND_COMMIT)
        for sql in self._repeated or ():
            self.script.put(sql)

    def _fail(self, hazard: Hazard) -> None:
        self.script.put(FAILURE, Step(is_own=True, error=self._s.policy.error(hazard)))

    def _control(self, piece: Piece) -> None:
        s = self._s
        self.changes = True
        if piece.kind is Sql.BEGIN:
            self.script.copy(piece.end, Step(effect=CHANGES_STATUS))
            if self._is_outside and not self._is_in_force and (s.settings.current or self._repeated != []):
                injection = s.settings.injection
                modes = {name: sql for name, sql in injection.modes.items() if name not in piece.modes}
                self._put_statements(injection, modes)
            self._is_outside, self._is_in_force = False, True
        elif piece.kind in _ENDS:
            self.script.copy(piece.end, Step(effect=s.end_transaction))
            if piece.kind is Sql.ROLLBACK:
                self._repeated = []
            self._is_outside, self._is_in_force = not piece.chains, piece.chains
            if piece.chains:
                is_undone = piece.kind is Sql.ROLLBACK or s.status == hot.IN_FAILED_BLOCK
                values = s.settings.begin if is_undone else s.settings.current
                self._put_statements(Injection(values), {})
        else:
            if piece.kind is Sql.ROLLBACK_TO and self._repeated:
                self._repeated = None
            self.script.copy(piece.end, Step(effect=partial(settings.note_savepoint, s, piece)))

    def _statement(self, piece: Piece) -> None:
        s = self._s
        if (
            piece.refuses_block or piece.ends_transaction
        ) and self._is_outside and s.settings.current and not s.settings.is_inconsequential:
            hazard = refusals.without_settings(piece)
            if hazard is not None and self._is_single and self._refuses(piece, hazard):
                return
            if self._is_single:
                self.script.copy(piece.end, FORWARDED)
                return
        self._bring_into_force(piece)
        for hazard in piece.hazards:
            if refusals.concerns(s, hazard, is_outside=self._is_outside) and self._refuses(piece, hazard):
                return
        if any(set_config.is_computed(call) for call in piece.set_configs) and self._refuses(
            piece, refusals.COMPUTED
        ):
            return
        names = set_config.names_in(piece)
        text = self._sql[piece.start : piece.end]
        error = settings.error_of(s, names, text) if names or piece.set_configs else None
        if error is not None:
            self.script.replace(FAILURE, piece.end, Step(hides_rows=True, error=error))
        elif piece.assignment is not None:
            self._assignment(piece, piece.assignment)
        elif piece.set_configs:
            self._set_config(piece)
        else:
            self.script.copy(piece.end, FORWARDED)
        s.has_drawn = s.has_drawn or refusals.may_draw(piece)

    def _refuses(self, piece: Piece, hazard: Hazard) -> bool:
        """Put a failure in its place, if it is not let through."""
        if not refusals.is_refused(self._s, hazard):
            return False
        self.script.replace(FAILURE, piece.end, Step(hides_rows=True, error=self._s.policy.error(hazard)))
        return True

    def _learn(self, name: bytes) -> None:
        """Ahead of a SET: see `settings.learn_default`."""
        if self._s.settings.wants_default(name) and not self.changes:
            rows = bytearray()
            effect = partial(settings.note_default, self._s, name, rows)
            self.script.put(b"SHOW " + settings.quoted_name(name), Step(is_own=True, effect=effect, rows=rows))

    def _assignment(self, piece: Piece, assignment: Assignment) -> None:
        s, script = self._s, self.script
        if assignment.scope is Scope.LOCAL:
            s.settings.locals.update(assignment.names)
            script.copy(piece.end, FORWARDED)
            if assignment.is_default:
                self._put_defaults(assignment)
            return
        for name in assignment.names:
            self._learn(name)
        self.changes = True
        step = Step(tag=b"RESET" if assignment.is_reset else b"", effect=settings.default_effect(s, assignment))
        if not assignment.names:
            script.replace(b"SELECT", piece.end, Step(hides_rows=True, tag=b"RESET", effect=step.effect))
        elif assignment.at >= 0:
            script.insert(b"SET LOCAL ", assignment.at)
            script.copy(piece.end, step)
        else:
            script.replace(assignment.upstream[0], piece.end, step)
        for sql in assignment.upstream[1:]:
            script.put(sql)
        if self._repeated is not None:
            self._repeated += assignment.upstream
        if assignment.is_default:
            self._put_defaults(assignment)
            return
        for name in assignment.names:
            self._read_back(name, b"SHOW " + settings.quoted_name(name))

    def _put_defaults(self, assignment: Assignment) -> None:
        for sql in settings.default_statements(self._s, assignment):
            self.script.put(sql)
            if self._repeated is not None:
                self._repeated.append(sql)

    def _set_config(self, piece: Piece) -> None:
        s, script = self._s, self.script
        calls = set_config.literal_calls(piece.set_configs)
        s.settings.locals.update(set_config.names_in(piece))
        for call in calls:
            self._learn(call.name)
        text = localize(self._sql[: piece.end], piece.set_configs)[piece.start :]
        script.replace(text, piece.end, FORWARDED)
        for call in calls:
            self.changes = True
            self._repeated = None
            if call.is_default and call.name in s.settings.defaults:
                script.put(set_local(call.name, s.settings.defaults[call.name]))
            self._read_back(call.name, settings.current_setting(call.name))

    def _read_back(self, name: bytes, sql: bytes) -> None:
        for other, rows, effect in settings.questions(self._s, name):
            text = sql if other == name else b"SHOW " + other
            self.script.put(text, Step(is_own=True, effect=effect, rows=rows))


__all__ = ["OWN", "Composer"]
