"""Execute, Query, FunctionCall, Flush, Sync: what makes the server act, and where batches end."""

from __future__ import annotations

import re
from functools import partial

from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.features import copying, deallocation
from pgshim.session.features.prepared import must_wait, too_large
from pgshim.session.outstanding import (
    EXECUTE,
    EXECUTE_COPY_IN,
    EXECUTE_COPY_OUT,
    FUNCTION_CALL,
    QUERY,
    WATCH,
    Kind,
    Owed,
)
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import verdict
from pgshim.session.statements import NAME_SIZE, Change

_ERROR = ord("E")

#: A keyword cannot be written in another way: a text without these needs no closer look. Most texts of Queries are seen
#: once, and a verdict costs 20 us and more, this search half a microsecond.
_WORDS_OF_INTEREST = re.compile(rb"copy|deallocate|discard|prepare", re.IGNORECASE)

_BAD_QUERY = hot.query(b"pgshim raises an error of its own here")


def on_execute(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Execute: as it is, once all that may still fail in front of what could end the transaction has been seen."""
    if s.is_skipping:
        return True
    statement = s.portals.get(hot.read_execute(buffer, start, end)[:NAME_SIZE])
    found = statement.text.verdict if statement is not None else None
    if (found is None or found.may_end_transaction) and s.has_unverified:
        return False
    if statement is not None and statement.text.is_substituted:
        return deallocation.on_execute(s, statement, buffer[start:end])
    s.is_plain = False
    s.has_executed = True
    if found is None or not found.is_pure:
        s.is_pure = False
        if found is not None and found.kind is Sql.PREPARE:
            s.has_sql_prepared = True
    owed = EXECUTE
    if found is None or found.may_copy:
        owed = EXECUTE_COPY_IN if found is None or found.may_copy_in else EXECUTE_COPY_OUT
    s.send(buffer[start:end], owed)
    return True


def on_query(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Query: as it is, but for the statements in it that pgshim carries out itself."""
    if s.is_skipping:
        s.passes_rest = False
        return True
    size = end - start - 1 + missing
    if size > s.limits.max_message:
        s.passes_rest = False
        error = hot.error_response("ERROR", b"54000", *too_large(size, s.limits.max_message))
        s.send_query(_BAD_QUERY, Owed(Kind.QUERY, WATCH, watch=partial(_replace_error, error), change=_drop_unnamed(s)))
        return True
    sql = hot.read_query(buffer, start, end)
    if _WORDS_OF_INTEREST.search(sql) is None and not s.has_unverified:
        change = _drop_unnamed(s)
        s.send_query(buffer[start:end], QUERY if change is None else Owed(Kind.QUERY, WATCH, change=change))
        return True
    return _on_query_of_interest(s, sql, buffer[start:end])


def _on_query_of_interest(s: Conversation, sql: bytes, message: bytes) -> bool:
    found = verdict(sql, s.standard_strings)
    is_copy_query = found.kind is Sql.COPY_FROM_STDIN and not s.is_open
    if must_wait(s, found) or (is_copy_query and s.outstanding.owes_ready()):
        return False
    if found.deallocates:
        dealt_with = deallocation.on_query(s, found, sql)
        if dealt_with is not None:
            return dealt_with
    if any(statement.kind is Sql.PREPARE for statement in found.statements):
        s.has_sql_prepared = True
    change = _drop_unnamed(s)
    if is_copy_query:
        copying.start_copy_query(s, sql, change)
        return True
    owed = QUERY
    if change is not None or found.may_copy:
        owed = Owed(Kind.QUERY, WATCH, change=change, may_copy=found.may_copy, may_copy_in=found.may_copy_in)
    s.send_query(message, owed)
    return True


def _drop_unnamed(s: Conversation) -> Change | None:
    """A Query drops the unnamed statement; None where there is none."""
    if s.statements.find(b"", s.batch) is None:
        return None
    change = Change({b"": None}, s.batch)
    s.statements.announce(change)
    return change


def _replace_error(error: bytes, type_code: int, message: bytes) -> bytes | None:
    return error if type_code == _ERROR and b"\0C42601\0" in message else None


def on_function_call(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """FunctionCall: as it is."""
    s.passes_rest = not s.is_skipping
    if s.is_skipping:
        return True
    if s.has_unverified:
        return False
    s.send_query(buffer[start:end], FUNCTION_CALL)
    return True


def on_flush(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Flush: only where there is something to flush; on its own it would make a pooler take a server for it."""
    if not s.is_skipping:
        s.flush()
    return True


def on_sync(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Sync: the end of a batch."""
    s.sync()
    return True
