"""COPY: what a client sends while the server may be reading copy data.

CopyData, CopyDone and CopyFail pass while a Query or Execute that may have started a COPY FROM STDIN is unanswered, the
server's CopyInResponse not awaited. At any other time a server ignores them, and a pooler would attach a server to the
client for them: they are dropped.

A Query that is a COPY FROM STDIN goes up as Parse, Bind and Execute, and its Sync with the end of the data. For when a
Query fails in the middle of the data, its ReadyForQuery overtakes the data that is still on its way: a pooler has given
the server away by then, and passes the rest of a CopyData on to a server that reads it as messages. A server whose
Execute has failed reads and ignores all up to the Sync, which comes behind.
"""

from __future__ import annotations

from pgshim.protocol import hot
from pgshim.session.conversation import BIND_UNNAMED, EXECUTE_UNNAMED, Conversation
from pgshim.session.outstanding import (
    BIND_SKIPPED,
    COPY_DATA,
    FAKE,
    PARSE_SKIPPED,
    SKIP,
    WATCH,
    Kind,
    Owed,
)
from pgshim.session.statements import Change


def takes_copy_data(s: Conversation) -> bool:
    """Whether copy data from the client may be meant for the server."""
    queue = s.outstanding
    copies = [owed for owed in queue if owed.may_copy_in]
    if not copies or s.is_skipping:
        return False
    if copies[0].kind is Kind.EXECUTE:
        if s.ended_copies >= len(copies):
            return False
        if s.copy_query is None:
            # The Sync behind the data is another than the one behind the Execute, and of the same COPY.
            s.is_open = s.has_copy = True
            s.is_plain = s.is_pure = False
    if COPY_DATA not in queue:
        queue.append(COPY_DATA)
    return True


def on_copy_end(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """CopyDone, CopyFail."""
    if takes_copy_data(s):
        end_copy(s, buffer[start:end])
        if s.copy_query is not None:
            s.end_query()
    return True


def end_copy(s: Conversation, message: bytes) -> None:
    """Send a CopyDone or CopyFail up."""
    s.ended_copies += 1
    s.is_unflushed = s.is_open
    s.to_upstream.append(message)
    s.outstanding.append(COPY_DATA)


def start_copy_query(s: Conversation, sql: bytes, change: Change | None) -> None:
    """Carry out a Query that is a COPY FROM STDIN as an Execute; the client sees the answers to a Query."""
    s.send(hot.parse_unnamed(sql + b"\0\0\0"), PARSE_SKIPPED)
    s.send(BIND_UNNAMED, BIND_SKIPPED)
    s.copy_query = Owed(Kind.EXECUTE, WATCH, may_copy_in=True, change=change)
    s.send(EXECUTE_UNNAMED, s.copy_query)
    s.has_own_portal = True
    s.flush()
    s.forget_slot()
    s.is_plain = s.is_pure = False


def fail_copy_query(s: Conversation) -> None:
    """An error has ended such a Query; as after any Query, what comes behind it goes on."""
    queue = s.outstanding
    execute, s.copy_query = s.copy_query, None
    while queue.popleft() is not execute:
        pass
    if execute is not None and execute.change is not None:
        s.statements.settle(execute.change)
    behind = list(queue)
    queue.clear()
    if s.is_open:
        s.end_query()
    else:
        at = next(index for index, owed in enumerate(behind) if owed.kind is Kind.SYNC)
        queue.append(behind.pop(at))
        behind = [owed for owed in behind if owed.action == FAKE] if queue[0].action == SKIP else behind
    queue.extend(behind)
    s.forget_slot()
    s.statements.forget_pending(queue.changes())
