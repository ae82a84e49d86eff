"""A BEGIN that is answered at once and goes up with what comes next, for no round trip of its own.

With nothing in flight a BEGIN cannot fail for reasons of syntax that are not plain to see, and changes nothing that
anybody could notice before the next statement. So the client is told BEGIN and is in a block from then on; a COMMIT or
ROLLBACK with nothing in between ends it here. Whatever goes up first has the BEGIN ahead of it, in the same write, as
Parse, Bind, Execute: in one text with a Query, a syntax error anywhere would keep it from running, and what the app
writes next would be committed by itself.

If the BEGIN fails after all (a mode that a standby refuses), the error is the answer to that first message, and a block
is begun and failed in its place: the client is in a failed block, as it has to be. It fails in a COPY, at whose end
PgBouncer 1.18 counts anew: it expects a ReadyForQuery for every Query, even for one that the server has skipped, and
would keep its server for the client from then on.
"""

from __future__ import annotations

import re

from pgshim.protocol import hot
from pgshim.protocol.framing import Frame
from pgshim.session.conversation import Conversation, only_ready
from pgshim.session.features.settings import block_statements
from pgshim.session.outstanding import CHANGES_STATUS, WATCH, Kind, Owed, edit_own
from pgshim.session.sql import verdict
from pgshim.session.statements import FINISHED, Change, Statement

_MODE = (
    r"(?:isolation\s+level\s+(?:serializable|repeatable\s+read|read\s+(?:un)?committed)"
    r"|read\s+(?:only|write)|(?:not\s+)?deferrable)"
)
_BEGIN = (
    rf"(?P<begin>begin(?:\s+(?:work|transaction))?|start\s+transaction)(?:\s+{_MODE}(?:\s*,\s*{_MODE}|\s+{_MODE})*)?"
)
_END = r"(?P<end>commit|end|rollback|abort)(?:\s+(?:work|transaction))?(?:\s+and\s+no\s+chain)?"
#: Those that no server refuses for their syntax. What is written in another way goes up, and is right as well.
_CONTROL = re.compile(
    rf"\s*(?:{_BEGIN}|{_END})\s*;?\s*".replace(r"\s", r"[ \t\n\r\f]").encode(), re.IGNORECASE
)
#: Bytes. The pattern goes back over white space, in the square of its length.
_LONGEST_CONTROL = 300

#: The division comes to be after CopyOutResponse. Where a setting behind the BEGIN has failed, a block is open.
_FAILED_BLOCK = hot.query(b"ROLLBACK;BEGIN;COPY(SELECT 1/(i-1)FROM pg_catalog.generate_series(1,1)i)TO STDOUT")

#: Behind a Query that the server has skipped.
_SYNC_BEHIND_QUERY = Owed(Kind.SYNC)

_BEGINNING, _BEGINNING_DESCRIBED = b"PBE", b"PBDE"
_EXECUTE = b"E\0\0\0\x09" + bytes(5)
#: What follows the names in a Bind: no parameters, and no result-format code or one.
_NO_VALUES = frozenset({bytes(6), bytes(5) + b"\1\0\0", bytes(5) + b"\1\0\1"})
_TAILS = frozenset({_EXECUTE, hot.describe_portal(b"") + _EXECUTE})

_BEGIN_TAGS = {b"b": b"BEGIN", b"s": b"START TRANSACTION"}
_END_TAGS = {b"c": b"COMMIT", b"e": b"COMMIT", b"r": b"ROLLBACK", b"a": b"ROLLBACK"}


def answers(s: Conversation, sql: bytes) -> bool:
    """Whether a Query is a BEGIN, or the end of a block that has begun only here, and has been answered."""
    tag = _carried_out(s, sql)
    if tag:
        s.counts.trips["begin" if s.begin else "end"] += 1
        s.answer_query(tag, Change({b"": None}, s.batch))
    return bool(tag)


def answers_batch(s: Conversation, buffer: bytes, frames: list[Frame]) -> int:
    """The same of `Parse Bind [Describe] Execute`, all of it unnamed, with which a read and a batch begin.

    Returns how many of the frames have been dealt with. A Sync may be behind them, or come later, as psycopg's does.
    """
    if s.outstanding or s.is_open or s.is_skipping or s.held is not None:
        return 0
    codes = bytes([frame[0] for frame in frames[: len(_BEGINNING_DESCRIBED)]])
    is_described = codes == _BEGINNING_DESCRIBED
    size = len(_BEGINNING_DESCRIBED) if is_described else len(_BEGINNING)
    if not (is_described or codes.startswith(_BEGINNING)):
        return 0
    (_, at, bind_at, _), (_, _, bind_end, _) = frames[:2]
    name, sql, tail = hot.read_parse(buffer, at, bind_at)
    portal, statement_name, values_at = hot.read_bind_names(buffer, bind_at, bind_end)
    is_plain = not (name or portal or statement_name or at) and len(tail) == len(sql) + 3
    rest = buffer[bind_end : frames[size - 1][2]]
    if not is_plain or buffer[values_at:bind_end] not in _NO_VALUES or rest not in _TAILS:
        return 0
    tag = _carried_out(s, sql)
    if not tag:
        return 0
    statement = Statement(s.texts.get(sql, tail, standard_strings=s.standard_strings))
    if s.begin:
        s.portals[b""] = FINISHED
        s.has_own_portal = True
    s.trip_of_sync = s.batch, "begin" if s.begin else "end"
    described = hot.NO_DATA if is_described else b""
    s.answer(hot.PARSE_COMPLETE + hot.BIND_COMPLETE + described + tag, Change({b"": statement}, s.batch))
    return size


def _carried_out(s: Conversation, sql: bytes) -> bytes:
    """The CommandComplete of a BEGIN, or of the end of a block that has begun only here; empty: it is neither."""
    if s.outstanding or s.is_open or s.is_skipping or len(sql) > _LONGEST_CONTROL:
        return b""
    control = _CONTROL.fullmatch(sql)
    if control is None:
        return b""
    if control["begin"] is not None and s.status == hot.IDLE:
        s.begin = [sql]
        if s.settings.current:
            s.begin += block_statements(s.settings.injection, verdict(sql, s.standard_strings).statements[0].modes)
        s.drawing.note(sql)
        s.status = hot.IN_BLOCK
        return hot.command_complete(_BEGIN_TAGS[control["begin"][:1].lower()])
    if control["end"] is not None and s.begin:
        s.begin = []
        s.portals.clear()
        s.drawing.clear()
        s.status = hot.IDLE
        return hot.command_complete(_END_TAGS[control["end"][:1].lower()])
    return b""


def fail_riding(s: Conversation) -> None:
    """The BEGIN or a setting behind it has failed: what went up with them is skipped, up to a Sync that is to come."""
    while s.outstanding.popleft() is not s.riding:
        pass
    s.riding = None
    behind = list(s.outstanding)
    s.outstanding.clear()
    s.send_sync(_SYNC_BEHIND_QUERY)
    s.outstanding.extend(behind)
    s.forget_slot()
    s.statements.forget_pending(s.outstanding.changes())


def has_failed(s: Conversation, head: Owed) -> bool:
    """At the ReadyForQuery of what went up with the BEGIN: whether that is not the client's, who is in a block."""
    s.awaits_begin = False
    if s.status != hot.IDLE and head is not _SYNC_BEHIND_QUERY:
        return False
    behind = list(s.outstanding)
    s.outstanding.clear()
    owed = Owed(Kind.QUERY, WATCH, watch=only_ready, edit=edit_own, effect=CHANGES_STATUS, may_copy=True)
    s.send_query(_FAILED_BLOCK, owed)
    s.outstanding.extend(behind)
    return True
