"""DEALLOCATE and DISCARD ALL: carried out on the client's own statements, of which no server knows.

With nothing in flight they are answered at once. Else a harmless statement takes their place, in the same transaction
and at the same position of the text, so that whatever makes a server refuse or skip them does so here too; its answer
is turned into theirs.
"""

from __future__ import annotations

from functools import partial

from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.outstanding import WATCH, Kind, Owed
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict
from pgshim.session.statements import NAME_SIZE, Change, Statement, Unsettled

_ROW_DESCRIPTION, _COMMAND_COMPLETE, _ERROR, _RUN = ord("T"), ord("C"), ord("E"), 0

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
    s.send(message, Owed(Kind.EXECUTE, WATCH, watch=partial(_retag, _tag(piece)), change=change))
    return True


def _retag(tag: bytes, type_code: int, message: bytes) -> bytes | None:
    return hot.command_complete(tag) if type_code == _COMMAND_COMPLETE else None


def on_query(s: Conversation, found: Verdict, sql: bytes) -> bool | None:
    """A Query with some of them in it; None when it is to go up as it is."""
    piece = found.statements[0]
    if len(found.statements) == 1 and piece.kind in _TAGS:
        return _discard(s, piece, sql)
    if s.has_sql_prepared:
        return None
    pieces: dict[int, tuple[Piece, bytes | None]] = {}
    gone: dict[bytes, Statement | None] = {}
    for index, piece in enumerate(found.statements):
        if piece.kind is Sql.DEALLOCATE:
            names = _effect(s, piece, set(gone))
            if isinstance(names, Unsettled):
                return False
            pieces[index] = piece, None if names is not None else _unknown(piece.name or b"")
            gone.update(names or {})
    if not pieces:
        return None
    if len(found.statements) == 1 and pieces[0][1] is None and _is_at_rest(s) and s.status != hot.IN_FAILED_BLOCK:
        return _answer(s, pieces[0][0], gone)
    if s.statements.find(b"", s.batch) is not None:
        gone[b""] = None
    change = Change(gone, s.batch)
    s.statements.announce(change)
    owed = Owed(
        Kind.QUERY,
        WATCH,
        watch=_Substitution(s, pieces, change),
        change=change,
        may_copy=found.may_copy,
        may_copy_in=found.may_copy_in,
    )
    s.send_query(hot.query(_substituted(sql, pieces)), owed)
    return True


def _is_at_rest(s: Conversation) -> bool:
    """Whether an answer of pgshim's own cannot overtake or cut through anything."""
    return not s.outstanding and (not s.is_open or s.is_plain) and not s.is_skipping


def _answer(s: Conversation, piece: Piece, names: dict[bytes, Statement | None]) -> bool:
    names[b""] = None
    s.answer(hot.command_complete(_tag(piece)) + hot.READY[s.status], Change(names, s.batch))
    s.batch += 1
    return True


def _discard(s: Conversation, piece: Piece, sql: bytes) -> bool | None:
    """DISCARD ALL, DISCARD PLANS alone in a Query: of a pooled server there is nothing to discard."""
    if s.outstanding.owes_ready():
        return False
    if _is_at_rest(s) and s.status == hot.IDLE:
        names = dict.fromkeys(s.statements.names()) if piece.kind is Sql.DISCARD_ALL else {}
        return _answer(s, piece, names)
    if piece.kind is Sql.DISCARD_PLANS or s.status != hot.IDLE or s.has_executed:
        return None  # The server refuses it, or it does no harm.
    change = Change(dict.fromkeys(s.statements.names() | {b""}), s.batch)
    s.statements.announce(change)
    substitution = _Substitution(s, {0: (piece, None)}, change)
    s.send_query(hot.query(b"SELECT"), Owed(Kind.QUERY, WATCH, watch=substitution, change=change))
    return True


def _substituted(sql: bytes, pieces: dict[int, tuple[Piece, bytes | None]]) -> bytes:
    """The text with the substitutes in it, every other character where it was: an error's position stays true."""
    for piece, error in reversed(pieces.values()):
        size = len(sql[piece.start : piece.end].decode("utf-8", "replace"))
        sql = sql[: piece.start] + (b"SELECT" if error is None else b"SELECT 1/0").ljust(size) + sql[piece.end :]
    return sql


class _Substitution:
    """Reads the replies to a Query with substitutes in it: one CommandComplete for each statement, in order."""

    __slots__ = ("_change", "_conversation", "_index", "_pieces")

    def __init__(self, s: Conversation, pieces: dict[int, tuple[Piece, bytes | None]], change: Change) -> None:
        self._conversation = s
        self._pieces = pieces
        self._change = change
        self._index = 0

    def __call__(self, type_code: int, message: bytes) -> bytes | None:
        substituted = self._pieces.get(self._index)
        if type_code == _COMMAND_COMPLETE:
            self._index += 1
            return hot.command_complete(_tag(substituted[0])) if substituted else None
        if type_code == _ERROR:
            self._keep_only_done()
            is_own = substituted is not None and b"\0C22012\0" in message
            return substituted[1] if substituted and is_own else None
        if substituted and type_code in (_ROW_DESCRIPTION, _RUN):
            return b""
        return None

    def _keep_only_done(self) -> None:
        """The statements from the failed one on have not been executed: their names stay."""
        s = self._conversation
        done = [piece.name for index, (piece, _) in self._pieces.items() if index < self._index]
        if None not in done:
            ended = {name[:NAME_SIZE] for name in done if name is not None} | {b""}
            for name in self._change.names.keys() - ended:
                del self._change.names[name]
        s.statements.forget_pending(s.outstanding.changes())
