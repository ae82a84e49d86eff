"""Execute, Query, FunctionCall, Flush, Sync: what makes the server act, and where batches end."""

from __future__ import annotations

import re
from functools import partial

from pgshim.protocol import hot
from pgshim.session.assignments import ASSIGNMENT_WORDS
from pgshim.session.conversation import Conversation
from pgshim.session.features import (
    copying,
    deallocation,
    lazy_begin,
    refusals,
    resets,
    scripted,
    set_config,
    settings,
    shapes,
)
from pgshim.session.features.prepared import must_wait, too_large
from pgshim.session.hazards import HAZARD_WORDS
from pgshim.session.ordinary import is_ordinary
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
from pgshim.session.pieces import CONTROL, ENDS
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Verdict, may_define, verdict
from pgshim.session.statements import FINISHED, GONE, NAME_SIZE, Statement

_ERROR = ord("E")

#: A keyword cannot be written in another way: a text without any of these needs no closer look. Most texts of Queries
#: are seen once, and a verdict costs 20 us and more. COPY, CLOSE, DEALLOCATE, DISCARD, PREPARE, UNLISTEN, unlock_all:
#: `re` skips to the first bytes only if the pattern begins with a set and is not IGNORECASE as a whole.
_WORDS_OF_INTEREST = re.compile(
    rb"[cCdDpPuU](?:[oO](?i:py)|[lL](?i:ose)|[eE](?i:allocate)|[iI](?i:scard)|[rR](?i:epare)|[nN](?i:listen|lock_all))"
)

_BAD_QUERY = hot.query(b"pgshim raises an error of its own here")


def on_execute(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Execute: as it is, once all that may still fail in front of what could end the transaction has been seen."""
    if s.is_skipping:
        return True
    portal = hot.read_execute(buffer, start, end)[:NAME_SIZE]
    statement = s.portals.get(portal)
    if statement is FINISHED and s.status != hot.IN_FAILED_BLOCK:
        return s.refuse(b"55000", f'portal "{portal.decode("utf-8", "replace")}" cannot be run')
    if (statement is GONE or (s.has_own_portal and not portal)) and s.status != hot.IN_FAILED_BLOCK:
        return s.refuse(b"34000", f'portal "{portal.decode("utf-8", "replace")}" does not exist')
    found = statement.text.verdict if statement is not None else None
    if (found is None or found.may_end_transaction) and s.has_unverified:
        return False
    if statement is None or found is None:
        if settings.waits_for_replies(s):
            return False
        _send_execute(s, buffer[start:end], EXECUTE_COPY_IN)
        s.is_pure = False
        s.define()
        return True
    if s.undescribed and portal in s.undescribed:
        shapes.verify_portal(s, portal, statement)
    if not (s.settings.is_active or statement.text.is_looked_after):
        _send_execute(s, buffer[start:end], _owed(found))
        _note(s, found)
        return True
    return _execute_looked_after(s, portal, statement, found, buffer[start:end])


def _note(s: Conversation, found: Verdict) -> None:
    """What an Execute makes of what is known of the batch, and of the transaction."""
    s.drawing.note(found)
    if not found.is_pure:
        s.is_pure = False
        if found.kind is Sql.BEGIN:
            s.has_begun_amid = True
        elif found.kind in ENDS:
            s.has_ended_amid, s.has_begun_amid = True, found.statements[0].chains
        elif found.kind is Sql.PREPARE:
            s.has_sql_prepared = True


def _owed(found: Verdict) -> Owed:
    if not found.may_copy:
        return EXECUTE
    return EXECUTE_COPY_IN if found.may_copy_in else EXECUTE_COPY_OUT


def _send_execute(s: Conversation, message: bytes, owed: Owed) -> None:
    s.is_plain = False
    s.has_executed = True
    s.has_copy = s.has_copy or owed.may_copy
    s.send(message, owed)


def _execute_looked_after(
    s: Conversation, portal: bytes, statement: Statement, found: Verdict, message: bytes
) -> bool:
    """The Execute of what has to do with settings or schemas, of what is refused by what ran before it, of resets."""
    is_kept = s.settings.is_active or found.touches_settings
    if is_kept:
        outcome = settings.before_execute(s, found)
        if outcome is not None:
            return outcome
    if found.has_hazards and refusals.refuses_execute(s, found):
        return True
    if found.may_define:
        s.define()
    if statement.text.is_substituted:
        is_dealt_with = deallocation.on_execute(s, statement, message)
        if is_dealt_with:
            s.portals[portal] = GONE if found.kind is Sql.DISCARD_ALL else FINISHED
        return is_dealt_with
    owed = _owed(found)
    if is_kept:
        owed = settings.owed_for(s, found, owed)
    _send_execute(s, message, owed)
    _note(s, found)
    if is_kept:
        if found.kind in ENDS:
            s.portals.clear()
        elif found.kind in CONTROL or (len(found.statements) == 1 and found.statements[0].assignment is not None):
            s.portals[portal] = FINISHED
        settings.after_execute(s, found)
        set_config.after_execute(s, s.setting_portals.get(portal, []))
    return True


def on_query(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Query: as it is, but for the statements in it that pgshim carries out itself."""
    if s.is_skipping:
        s.passes_rest = False
        return True
    if _waits_amid_batch(s):
        return False
    if s.begins_lazily and not missing and lazy_begin.answers(s, buffer[start + 5 : end - 1]):
        return True
    size = end - start - 1 + missing
    if size > s.limits.max_message:
        s.passes_rest = False
        error = hot.error_response("ERROR", b"54000", *too_large(size, s.limits.max_message))
        s.send_query(_BAD_QUERY, Owed(Kind.QUERY, WATCH, watch=partial(_replace_error, error), change=s.drop_unnamed()))
        return True
    sql = hot.read_query(buffer, start, end)
    is_plain = is_ordinary(sql)
    if not is_plain and s.descriptions is not None and may_define(sql, s.standard_strings):
        s.define()
    if not (s.settings.is_active or s.has_unverified or (not is_plain and _is_of_interest(sql))):
        s.drawing.note(sql)
        change = s.drop_unnamed()
        s.send_query(buffer[start:end], QUERY if change is None else Owed(Kind.QUERY, WATCH, change=change))
        return True
    return _on_query_of_interest(s, sql, buffer[start:end])


def _waits_amid_batch(s: Conversation) -> bool:
    """Whether a message with a ReadyForQuery of its own has to wait for replies to the batch that is open.

    At the end of a COPY PgBouncer 1.18 forgets what else it owes. In a block of pgshim's own such a message ends the
    block: not if a failure has the server skip it.
    """
    return s.is_open and bool(s.outstanding) and (s.is_wrapped or s.outstanding.may_copy())


def _is_of_interest(sql: bytes) -> bool:
    return (
        _WORDS_OF_INTEREST.search(sql) is not None
        or ASSIGNMENT_WORDS.search(sql) is not None
        or HAZARD_WORDS.search(sql) is not None
    )


def _on_query_of_interest(s: Conversation, sql: bytes, message: bytes) -> bool:
    found = verdict(sql, s.standard_strings)
    is_copy_query = found.kind is Sql.COPY_FROM_STDIN and not s.is_open
    if must_wait(s, found) or (is_copy_query and s.outstanding.owes_ready()):
        return False
    if (s.settings.is_active or found.touches_settings) and settings.waits_for_replies(s):
        return False
    if found.is_local_reset:
        dealt_with = resets.on_query(s, found)
        if dealt_with is not None:
            return dealt_with
    if found.deallocates:
        dealt_with = deallocation.answers(s, found)
        if dealt_with is not None:
            return dealt_with
    if any(statement.kind is Sql.PREPARE for statement in found.statements):
        s.has_sql_prepared = True
    if is_copy_query:
        if s.settings.is_active:
            settings.bring_into_force(s, found)
        s.drawing.note(sql)
        copying.start_copy_query(s, sql, s.drop_unnamed())
        return True
    if s.is_pinning:
        s.sync_unseen()  # What is in force in that exchange is not in what follows.
    is_sent = scripted.on_query(s, found, sql, message)
    if is_sent:
        s.drawing.note(sql)
    return is_sent


def _replace_error(error: bytes, type_code: int, message: bytes) -> bytes | None:
    return error if type_code == _ERROR and b"\0C42601\0" in message else None


def on_function_call(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """FunctionCall: as it is."""
    s.passes_rest = not s.is_skipping
    if s.is_skipping:
        return True
    if s.has_unverified or _waits_amid_batch(s) or (s.settings.is_active and settings.waits_for_replies(s)):
        return False
    if refusals.refuses_function_call(s, hot.read_function_oid(buffer, start, end)):
        s.passes_rest = False
        return True
    s.drawing.is_certain = True
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
