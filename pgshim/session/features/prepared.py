"""Prepared statements: Parse, Bind, Describe and Close of a name, by the server's one unnamed statement.

A pooler gives every transaction another server, so no name can live there. Each Parse goes up with the empty name, and
a Bind or Describe of a statement that the server may not have is preceded by its Parse again, in the same write.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from pgshim.errors import MalformedMessage
from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.features import refusals, settings, settings_bind, shapes, shared
from pgshim.session.outstanding import BIND, CLOSE, DESCRIBE_PORTAL, PARSE_SKIPPED, WATCH, Kind, Owed
from pgshim.session.sql import Verdict
from pgshim.session.statements import FINISHED, NAME_SIZE, Change, Statement

_STATEMENT = ord("S")
_ROW_DESCRIPTION, _PARAMETER_DESCRIPTION = b"Tt"

#: Portals whose statement is remembered, for one transaction.
MAX_PORTALS = 10_000

#: Bytes of a statement's name that an error shows: errors may have to wait for their turn, thousands of them.
_SHOWN_NAME = 1024

#: A Bind that is larger goes up as it comes; its result formats are not expanded.
BIND_HOLD = 64 * 1024


def on_parse(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Parse: the unnamed statement upstream, whatever the client calls it."""
    if s.is_skipping:
        s.passes_rest = False
        return True
    size = end - start - 1 + missing
    if size > s.limits.max_message:
        s.passes_rest = False
        return s.refuse(b"54000", *too_large(size, s.limits.max_message))
    name, sql, tail = hot.read_parse(buffer, start, end)
    shown, name = _shown(name), name[:NAME_SIZE]
    text = s.texts.get(sql, tail, standard_strings=s.standard_strings)
    if s.descriptions is not None:
        if text.is_described and shared.holds(s, name, text, buffer[start:end]):
            return True
        s.parsed_at = s.descriptions.generation
    if must_wait(s, text.verdict) or not (name or _has_room(s, len(tail))) or not _is_prepared_for(s, text.verdict):
        return False
    if text.is_looked_after and refusals.refuses_parse(s, text.verdict):
        return True
    if name:
        found = s.statements.get(name, s.batch)
        if found is not None:
            # What is wrong with the text comes first on a server too.
            s.send(text.upstream_parse, PARSE_SKIPPED)
            return s.refuse(b"42P05", f'prepared statement "{shown}" already exists', routine=b"StorePreparedStatement")
        if _is_over_limit(s, len(tail)):
            return True
    statement = Statement(text, is_named=bool(name))
    if not name and s.standard_strings:
        s.texts.keep(text)
    change = Change({name: statement}, s.batch)
    s.statements.announce(change)
    edit = partial(_shift_position, text.shift) if text.shift else None
    s.send(text.upstream_parse, Owed(Kind.PARSE, WATCH, change=change, edit=edit))
    if name:
        s.counts.parses += 1
    s.slot = statement
    return True


def _is_prepared_for(s: Conversation, found: Verdict) -> bool:
    """Whether a statement of this text may go up now; the client's settings are in force for it then."""
    return not s.settings.is_active or settings.bring_into_force(s, found)


def _shift_position(shift: int, type_code: int, message: bytes) -> bytes:
    """An error in a text that went up with something put into it."""
    return hot.with_position(message, lambda position: max(position - shift, 1))


def on_bind(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Bind: to the unnamed statement, once that is the right one."""
    if s.is_skipping:
        s.passes_rest = False
        return True
    portal, name, offset = hot.read_bind_names(buffer, start, end)
    statement = s.statements.get(name[:NAME_SIZE], s.batch)
    if statement is None:
        s.passes_rest = False
        return _unknown(s, name)
    found = statement.text.verdict
    if must_wait(s, found) or shapes.awaits_description(s, statement) or not _is_prepared_for(s, found):
        return False
    is_small = end - start + missing <= BIND_HOLD and not missing
    if (s.settings.is_active or statement.text.is_looked_after) and settings_bind.refuses(
        s, statement, buffer[offset:end], is_small=is_small
    ):
        s.passes_rest = False
        return True
    s.is_plain = False
    s.passes_rest = True
    if name:
        s.counts.note_bind(statement, is_replayed=False, has_own_trip=not s.outstanding)
    if s.begin:
        s.begin_now()
    if not portal:
        s.has_own_portal = False
    if s.undescribed:
        s.undescribed.discard(portal[:NAME_SIZE])
    if s.setting_portals:
        s.setting_portals.pop(portal[:NAME_SIZE], None)
    is_replayed = s.slot is not statement
    is_verified = is_replayed and shapes.replay_for_bind(s, statement)
    owed = _note_reliance(s, portal[:NAME_SIZE]) if is_replayed and shapes.relies_on_portal(statement) else BIND
    if found.touches_settings:
        settings_bind.send(s, portal, statement, buffer[offset:end])
    elif is_small and (is_verified or owed is not BIND or statement.text.is_substituted):
        s.send(_with_result_formats(portal, statement, buffer[offset:end]), owed)
    elif not name:
        s.send(buffer[start:end], BIND)
    else:
        s.send(hot.bind_unnamed(portal, end - offset + missing) + buffer[offset:end], owed)
    if len(s.portals) >= MAX_PORTALS:
        s.undescribed.clear()
        s.portals.clear()  # An Execute of a portal that is not known is taken for anything.
    s.portals[portal[:NAME_SIZE]] = statement
    if statement.text.is_substituted:
        s.substituted_batch = s.batch
    return True


def _note_reliance(s: Conversation, portal: bytes) -> Owed:
    """The Bind of a portal whose columns the client may believe to know: they are looked at before it is executed."""
    s.undescribed.add(portal)
    return shapes.BIND_RELIANT


def _with_result_formats(portal: bytes, statement: Statement, rest: bytes) -> bytes:
    """A Bind with one result-format code for each column that the client was told.

    The server then refuses another number of columns before it runs anything. For what pgshim carries out itself
    there are none: of a statement that returns nothing a server ignores them.
    """
    with suppress(MalformedMessage):  # The server says what is wrong with it.
        if statement.text.is_substituted:
            rest = rest[: hot.check_bind(rest, 0, len(rest))] + b"\0\0"
        elif not statement.text.verdict.is_pure:
            told = statement.told or statement.told_of_portal
            rest = rest if told is None else hot.expand_result_formats(rest, told.columns)
    return hot.bind_unnamed(portal, len(rest)) + rest


def on_describe(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Describe: of a statement, the unnamed one; of a portal, as it is."""
    if s.is_skipping:
        return True
    kind, name = hot.read_target(buffer, start, end)
    if kind != _STATEMENT:
        if settings.waits_for_replies(s):
            return False
        portal = s.portals.get(name[:NAME_SIZE])
        if s.has_own_portal and not name and s.status != hot.IN_FAILED_BLOCK:
            if portal is not FINISHED:
                return s.refuse(b"34000", 'portal "" does not exist')
            s.answer(hot.NO_DATA, Change({}, s.batch))
            return True
        s.is_plain = False
        s.undescribed.discard(name[:NAME_SIZE])
        s.send(buffer[start:end], owed_for_portal(portal))
        return True
    statement = s.statements.get(name[:NAME_SIZE], s.batch)
    if statement is None:
        return _unknown(s, name)
    if not _is_prepared_for(s, statement.text.verdict):
        return False
    record = None
    if s.slot is not statement:
        shapes.replay_for_describe(s, statement)
    elif s.descriptions is not None and statement.text.verdict.is_shareable:
        record = shared.recording(s, statement)
    watch = partial(_note_description, statement, record)
    s.send(hot.DESCRIBE_UNNAMED, Owed(Kind.DESCRIBE_STATEMENT, WATCH, watch=watch, described=statement))
    if name:
        s.counts.describes += 1
    return True


def owed_for_portal(statement: Statement | None) -> Owed:
    """What is owed for the Describe of a portal of that statement."""
    if statement is None or not (statement.text.is_substituted or statement.is_named):
        return DESCRIBE_PORTAL
    return Owed(Kind.DESCRIBE_PORTAL, WATCH, watch=partial(_note_portal, statement))


def _note_description(
    statement: Statement, record: shared.Recording | None, type_code: int, message: bytes
) -> bytes | None:
    """Remember what the client is told."""
    if statement.text.is_substituted:
        return hot.NO_DATA if type_code == _ROW_DESCRIPTION else None
    if type_code == _PARAMETER_DESCRIPTION:
        statement.pin(hot.read_parameter_oids(message, 0, len(message)))
    elif type_code == _ROW_DESCRIPTION:
        statement.told = statement.text.shape(message)
    else:
        statement.told = None
    if record is not None:
        record.note(statement, type_code, message)
    return None


def _note_portal(statement: Statement, type_code: int, message: bytes) -> bytes | None:
    """Remember what the client is told of a portal, by which it may decode what later ones return."""
    if statement.text.is_substituted:
        return hot.NO_DATA if type_code == _ROW_DESCRIPTION else None
    statement.told_of_portal = statement.text.shape(message) if type_code == _ROW_DESCRIPTION else None
    return None


def on_close(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """Close: of a statement, answered here; of a portal, as it is."""
    if s.is_skipping:
        return True
    kind, name = hot.read_target(buffer, start, end)
    name = name[:NAME_SIZE]
    if kind == _STATEMENT:
        s.answer(hot.CLOSE_COMPLETE, Change({name: None}, s.batch))
        s.trip_of_sync = s.batch, "close"
    elif settings.waits_for_replies(s):
        return False
    else:
        s.is_plain = False
        s.portals.pop(name, None)
        s.send(buffer[start:end], CLOSE)
    return True


def fail_unnamed(s: Conversation, owed: Owed) -> None:
    """A Parse of the unnamed statement that fails drops the one that was there."""
    if owed.kind is Kind.PARSE and owed.change is not None and b"" in owed.change.names:
        owed.change.names[b""] = None
        s.statements.settle(owed.change)


def must_wait(s: Conversation, found: Verdict) -> bool:
    """Whether a text could end the transaction while it is not known yet that what was executed may stand.

    Its Parse and Bind wait already, not its Execute alone: no batch goes up in two pieces for it.
    """
    return found.may_end_transaction and s.has_unverified


def _unknown(s: Conversation, name: bytes) -> bool:
    """26000, as a server says it."""
    if not name:
        return s.refuse(b"26000", "unnamed prepared statement does not exist")
    return s.refuse(b"26000", f'prepared statement "{_shown(name)}" does not exist', routine=b"FetchPreparedStatement")


def _shown(name: bytes) -> str:
    return name[:_SHOWN_NAME].decode("utf-8", "replace")


def _has_room(s: Conversation, size: int) -> bool:
    """Whether one more unnamed statement may be on its way, of which a batch has any number; else one is awaited.

    While a ReadyForQuery is owed there is: a batch goes up in one piece then, and had to be held whole for that.
    """
    is_much = s.statements.coming_size + size > s.limits.max_statement_bytes
    return not is_much or not s.outstanding or s.outstanding.owes_ready()


def _is_over_limit(s: Conversation, size: int) -> bool:
    """53400 when the connection may not have one more statement."""
    if len(s.statements) >= s.limits.max_statements:
        what, option, limit = "prepared statements", "--max-statements", s.limits.max_statements
    elif s.statements.size + size > s.limits.max_statement_bytes:
        what, option, limit = "bytes of prepared statements", "--max-statement-bytes", s.limits.max_statement_bytes
    else:
        return False
    return s.refuse(
        b"53400",
        f"too many {what} on one connection (limit {limit})",
        f"Close or DEALLOCATE statements that are no longer used, or start pgshim with a larger {option}.",
    )


def too_large(size: int, limit: int) -> tuple[str, str]:
    """(message, hint) of 54000 for a Parse or Query of that length."""
    return (
        f"a message of {size} bytes is too large (limit {limit})",
        "Send large values as parameters or by COPY, which are not limited, or start pgshim with a larger "
        "--max-message.",
    )
