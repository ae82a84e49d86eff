"""DEALLOCATE and DISCARD ALL: carried out on the client's own statements, of which no server knows.

With nothing in flight they are answered at once. Else a harmless statement takes their place, in the same transaction
and at the same position of the text, so that whatever makes a server refuse or skip them does so here too; its answer
is turned into theirs.
"""

from __future__ import annotations

from functools import partial

from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.features.scripts import FAILURE, Script, Step, retag
from pgshim.session.outstanding import CHANGES_STATUS, WATCH, Kind, Owed
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict
from pgshim.session.statements import NAME_SIZE, SUBSTITUTE, Change, Statement, Unsettled

_TAGS = {Sql.DISCARD_ALL: b"DISCARD ALL", Sql.DISCARD_PLANS: b"DISCARD PLANS"}


def _tag(piece: Piece) -> bytes:
    return _TAGS.get(piece.kind) or (b"DEALLOCATE" if piece.name is not None else b"DEALLOCATE ALL")


def _unknown(name: bytes) -> bytes:
    shown = name.decode("utf-8", "replace")
    text = f'prepared statement "{shown}" does not exist'
    return hot.error_response("ERROR", b"26000", text, routine=b"FetchPreparedStatement")


def _effect(s: Conversation, piece: Piece, gone: set[bytes]) -> dict[bytes, Statement | None] | Unsettled | None:
    """What it makes of the names; None when there is no such name. `gone`: names that the same text has ended."""
    if piece.name is None:
        return dict.fromkeys(s.statements.names())
    name = piece.name[:NAME_SIZE]
    found = None if name in gone or not name else s.statements.find(name, s.batch)
    if isinstance(found, Unsettled):
        return found
    return {name: None} if found is not None else None


def waits(s: Conversation, found: Verdict) -> bool:
    """Whether an Execute of it would have to wait for replies that are owed."""
    piece = found.statements[0]
    return piece.kind is Sql.DISCARD_ALL or isinstance(_effect(s, piece, set()), Unsettled)


def on_execute(s: Conversation, statement: Statement, message: bytes) -> bool:
    """Execute of one that was prepared: its substitute is in its place upstream."""
    piece = statement.text.verdict.statements[0]
    if s.substituted_batch != s.batch and s.outstanding.owes_ready():
        return False  # Whether the portal is still there, the replies will show.
    if piece.kind is Sql.DISCARD_ALL:
        if s.status == hot.IN_BLOCK:
            return s.refuse(b"25001", "DISCARD ALL cannot run inside a transaction block")
        if s.has_executed:
            return s.refuse(b"25001", "DISCARD ALL cannot be executed within a pipeline")
    names = _effect(s, piece, set())
    assert not isinstance(names, Unsettled), "its batch has waited"
    if names is None:
        s.raise_error(_unknown(piece.name or b""))
        return True
    change = Change(names, s.batch)
    s.statements.announce(change)
    s.is_plain = False
    s.has_executed = True
    effect = partial(reset_all, s) if piece.kind is Sql.DISCARD_ALL else None
    if effect is not None:
        s.settings.is_active = s.settings.is_unsettled = True
    watch = partial(retag, _tag(piece))
    s.send(message, Owed(Kind.EXECUTE, WATCH, watch=watch, change=change, effect=effect))
    return True


class Replacement:
    """The DEALLOCATEs in a Query: what stands for each of them, and what they make of the names.

    pieces -- number of the statement -> (what goes up, how its answer is read)
    names -- names that are gone once all of them have been carried out
    """

    __slots__ = ("_change", "_conversation", "_found", "names", "pieces")

    def __init__(self, s: Conversation, found: Verdict) -> None:
        self._conversation = s
        self._found = found
        self.pieces: dict[int, tuple[bytes, Step]] = {}
        self.names: dict[bytes, Statement | None] = {}
        self._change: Change | None = None

    def change(self) -> Change | None:
        """What the Query makes of the client's statements; None: nothing."""
        names = dict(self.names)
        if self._conversation.statements.find(b"", self._conversation.batch) is not None:
            names[b""] = None
        self._change = Change(names, self._conversation.batch) if names else None
        return self._change

    def keep_only_done(self, steps: list[Step], count: int) -> None:
        """The statements from the failed one on have not been executed: their names stay."""
        s = self._conversation
        done = {id(step) for step in steps[:count]}
        pieces = [self._found.statements[number] for number, (_, step) in self.pieces.items() if id(step) in done]
        if self._change is not None and all(piece.name is not None for piece in pieces):
            ended = {piece.name[:NAME_SIZE] for piece in pieces if piece.name is not None} | {b""}
            for name in self._change.names.keys() - ended:
                del self._change.names[name]
        s.statements.forget_pending(s.outstanding.changes())


def replaced(s: Conversation, found: Verdict) -> Replacement | None:
    """What becomes of the DEALLOCATEs in a Query; None when it has to wait."""
    replacement = Replacement(s, found)
    if s.has_sql_prepared or not found.deallocates:
        return replacement
    for index, piece in enumerate(found.statements):
        if piece.kind is not Sql.DEALLOCATE:
            continue
        names = _effect(s, piece, set(replacement.names))
        if isinstance(names, Unsettled):
            return None
        if names is None:
            step = Step(hides_rows=True, error=_unknown(piece.name or b""))
            replacement.pieces[index] = FAILURE, step
        else:
            replacement.pieces[index] = SUBSTITUTE, Step(hides_rows=True, tag=_tag(piece))
            replacement.names |= names
    return replacement


def answers(s: Conversation, found: Verdict) -> bool | None:
    """Answer a Query here, if that can be done; None if it is to go up, False if it has to wait."""
    piece = found.statements[0]
    if len(found.statements) > 1:
        return None
    if piece.kind is Sql.DISCARD_ALL:
        return _discard(s, piece)
    if piece.kind is not Sql.DEALLOCATE or s.has_sql_prepared:
        return None
    if not s.is_at_rest_here or s.status == hot.IN_FAILED_BLOCK:
        return None
    names = _effect(s, piece, set())
    if names is None or isinstance(names, Unsettled):
        return None
    names[b""] = None
    s.counts.trips["deallocate"] += 1
    s.answer_query(hot.command_complete(_tag(piece)), Change(names, s.batch))
    return True


def _discard(s: Conversation, piece: Piece) -> bool | None:
    """DISCARD ALL amid a batch; at rest it is a reset (`resets`)."""
    if s.status != hot.IDLE or s.has_executed or not s.is_open:
        return None  # The server refuses it.
    change = Change(dict.fromkeys(s.statements.names() | {b""}), s.batch)
    s.statements.announce(change)
    script = Script(SUBSTITUTE)
    script.copy(len(SUBSTITUTE), Step(hides_rows=True, tag=b"DISCARD ALL", effect=partial(reset_all, s)))
    s.settings.is_active = s.settings.is_unsettled = True
    owed = Owed(Kind.QUERY, WATCH, watch=script, rows=script.rows, change=change, effect=CHANGES_STATUS)
    s.send_query(hot.query(script.text()), owed)
    return True


def reset_all(s: Conversation, message: bytes) -> None:
    """DISCARD ALL has been carried out: of the settings, too."""
    s.settings.reset_all(with_role=True)
