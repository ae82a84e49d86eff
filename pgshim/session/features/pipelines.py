"""Batches in flight: one goes up behind another only whole, in one piece.

A pooler that gives its server away at a ReadyForQuery may have passed on the beginning of the next batch by then, and
PgBouncer (seen with 1.18) sends the rest of it to another server. It goes by the Syncs it has seen, and a Flush is
none. So while a ReadyForQuery is owed, a batch goes up when its Sync is there, and nothing in it will have to wait for
replies.
"""

from __future__ import annotations

from collections.abc import Iterable

from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.features import deallocation, shapes
from pgshim.session.pieces import is_computed
from pgshim.session.sql import Verdict, verdict
from pgshim.session.statements import NAME_SIZE, Statement, Unsettled

_PARSE, _BIND, _DESCRIBE, _EXECUTE, _FLUSH, _SYNC, _QUERY, _FUNCTION_CALL = b"PBDEHSQF"
_STATEMENT = ord("S")
#: What waits for replies, or makes the rest of its batch do so.
_WAITING = frozenset({_FLUSH, _QUERY, _FUNCTION_CALL})


def must_wait(s: Conversation, messages: Iterable[tuple[int, bytes, int, int, int]]) -> bool:
    """Whether a batch, of which these are the messages that are there, must not go up yet.

    messages -- (type code, buffer, start, end, missing) from its first one on
    """
    batch = _Batch(s)
    for type_code, buffer, start, end, missing in messages:
        if type_code == _SYNC:
            return False
        if type_code in _WAITING or missing:
            return True
        if batch.depends(type_code, buffer, start, end):
            return True
    return True


class _Batch:
    """A batch that is looked at before it goes up."""

    __slots__ = ("_described", "_has_executed", "_is_unverified", "_own", "_session")

    def __init__(self, s: Conversation) -> None:
        self._session = s
        #: Names that it has parsed itself.
        self._own: set[bytes] = set()
        #: Names that it asks a description of, and whether it executes anything that may change that.
        self._described: set[bytes] = set()
        self._has_executed = False
        #: Whether something in front is executed of which it will not be known whether it may stand.
        self._is_unverified = s.has_unverified

    def depends(self, type_code: int, buffer: bytes, start: int, end: int) -> bool:
        """Whether what becomes of a message hangs on replies, to an earlier batch or to this one."""
        s = self._session
        if type_code == _PARSE:
            name, sql, _ = hot.read_parse(buffer, start, end)
            name = name[:NAME_SIZE]
            is_taken = bool(name) and name not in self._own and isinstance(s.statements.find(name, s.batch), Unsettled)
            self._own.add(name)
            self._described.discard(name)
            return is_taken or _waits(s, verdict(sql, s.standard_strings), self._is_unverified)
        if type_code == _EXECUTE:
            self._has_executed = True
        if type_code == _BIND:
            name = hot.read_bind_names(buffer, start, end)[1][:NAME_SIZE]
        elif type_code == _DESCRIBE:
            target, name = hot.read_target(buffer, start, end)
            name = name[:NAME_SIZE]
            if target != _STATEMENT:
                return False
            self._described.add(name)
        else:
            return False
        if type_code == _BIND and self._has_executed and name in self._described:
            return True
        found = None if name in self._own else s.statements.find(name, s.batch)
        if not isinstance(found, Statement):
            return isinstance(found, Unsettled)
        if _waits(s, found.text.verdict, self._is_unverified):
            return True
        if type_code == _BIND and shapes.is_verified(found):
            self._is_unverified = True
        return False


def _waits(s: Conversation, found: Verdict, is_unverified: bool) -> bool:
    if (is_unverified and found.may_end_transaction) or (found.deallocates and deallocation.waits(s, found)):
        return True
    # What a statement behind these is to have in force may hang on the replies to them.
    is_kept = found.touches_settings and not any(map(is_computed, found.statements[0].set_configs))
    return is_kept or (s.settings.is_active and found.has_control)
