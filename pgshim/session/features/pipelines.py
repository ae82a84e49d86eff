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
from pgshim.session.features import deallocation
from pgshim.session.pieces import is_computed
from pgshim.session.sql import Verdict, verdict
from pgshim.session.statements import NAME_SIZE, Statement, Unsettled

_PARSE, _BIND, _DESCRIBE, _FLUSH, _SYNC = b"PBDHS"
_STATEMENT = ord("S")


def must_wait(s: Conversation, messages: Iterable[tuple[int, bytes, int, int, int]]) -> bool:
    """Whether a batch, of which these are the messages that are there, must not go up yet.

    messages -- (type code, buffer, start, end, missing) from its first one on
    """
    is_unverified = s.has_unverified
    own: set[bytes] = set()
    for type_code, buffer, start, end, missing in messages:
        if type_code == _SYNC:
            return False
        if type_code == _FLUSH or missing:
            return True
        if _depends(s, own, is_unverified, type_code, buffer, start, end):
            return True
    return True


def _depends(
    s: Conversation, own: set[bytes], is_unverified: bool, type_code: int, buffer: bytes, start: int, end: int
) -> bool:
    """Whether what becomes of a message hangs on replies to an earlier batch. `own`: names that this one has parsed."""
    if type_code == _PARSE:
        name, sql, _ = hot.read_parse(buffer, start, end)
        name = name[:NAME_SIZE]
        is_taken = bool(name) and name not in own and isinstance(s.statements.find(name, s.batch), Unsettled)
        own.add(name)
        return is_taken or _waits(s, verdict(sql, s.standard_strings), is_unverified)
    if type_code == _BIND:
        name = hot.read_bind_names(buffer, start, end)[1]
    elif type_code == _DESCRIBE:
        target, name = hot.read_target(buffer, start, end)
        if target != _STATEMENT:
            return False
    else:
        return False
    if name[:NAME_SIZE] in own:
        return False
    found = s.statements.find(name[:NAME_SIZE], s.batch)
    if isinstance(found, Unsettled):
        return True
    return isinstance(found, Statement) and _waits(s, found.text.verdict, is_unverified)


def _waits(s: Conversation, found: Verdict, is_unverified: bool) -> bool:
    if (is_unverified and found.may_end_transaction) or (found.deallocates and deallocation.waits(s, found)):
        return True
    # What a statement behind these is to have in force may hang on the replies to them.
    is_kept = found.touches_settings and not any(map(is_computed, found.statements[0].set_configs))
    return is_kept or (s.settings.is_active and found.has_control)
