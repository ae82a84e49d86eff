"""Resets that are answered here: of a session that holds nothing on a server there is nothing to reset there.

What pools send between two users of a connection: RESET ALL, DISCARD ALL, CLOSE ALL, UNLISTEN, and the release of
advisory locks. Only outside of a transaction block and with nothing in flight; anywhere else they are real work.
"""

from __future__ import annotations

from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.hazards import Feature
from pgshim.session.refusal import REFUSE
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict
from pgshim.session.statements import Change

#: The one row of `SELECT pg_advisory_unlock_all()`: a column of type void.
_VOID_ROW = (
    hot.message(ord("T"), b"\0\1pg_advisory_unlock_all\0" + bytes(6) + b"\0\0\x08\xe6\0\4\xff\xff\xff\xff\0\0")
    + hot.message(ord("D"), b"\0\1\0\0\0\0")
    + hot.command_complete(b"SELECT 1")
)

_ANSWERS = {
    Sql.RESET: hot.command_complete(b"RESET"),
    Sql.CLOSE: hot.command_complete(b"CLOSE CURSOR ALL"),
    Sql.UNLISTEN: hot.command_complete(b"UNLISTEN"),
    Sql.DISCARD_ALL: hot.command_complete(b"DISCARD ALL"),
    Sql.DISCARD_PLANS: hot.command_complete(b"DISCARD PLANS"),
    Sql.SELECT: _VOID_ROW,
}


#: What is let go of by these, if it was let through.
_RELEASED = {Sql.SELECT: Feature.ADVISORY_LOCK, Sql.UNLISTEN: Feature.LISTEN}


def on_query(s: Conversation, found: Verdict) -> bool | None:
    """A Query of nothing but resets; None where it is to go up, False where it has to wait for what is in flight."""
    if s.outstanding.owes_ready():
        return False
    if s.status != hot.IDLE or not s.is_at_rest_here or any(_is_let_through(s, piece) for piece in found.statements):
        return None
    for piece in found.statements:
        _reset(s, piece)
    names = {b""}
    if any(piece.kind is Sql.DISCARD_ALL for piece in found.statements):
        names |= s.statements.names()
    s.counts.trips["reset"] += 1
    answers = b"".join(_ANSWERS[piece.kind] for piece in found.statements)
    s.answer_query(answers, Change(dict.fromkeys(names), s.batch))
    return True


def _is_let_through(s: Conversation, piece: Piece) -> bool:
    """Whether a client may hold on a server what it resets."""
    feature = _RELEASED.get(piece.kind)
    return feature is not None and s.policy.on(feature) != REFUSE


def _reset(s: Conversation, piece: Piece) -> None:
    if piece.kind in (Sql.RESET, Sql.DISCARD_ALL):
        s.settings.reset_all(with_role=piece.kind is Sql.DISCARD_ALL)
        s.settings.end_batch(hot.IDLE)


