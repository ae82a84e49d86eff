"""A Query that has to do with settings, refusals or statements that pgshim carries out itself, on its way up."""

from __future__ import annotations

from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.features import deallocation, refusals, settings
from pgshim.session.features.composition import Composer
from pgshim.session.outstanding import CHANGES_STATUS, QUERY, WATCH, Kind, Owed
from pgshim.session.sql import Verdict

_READING = hot.error_response(
    "ERROR",
    b"0A000",
    "a Query of several statements that controls transactions or copies data in is not supported by pgshim while "
    "client_encoding or another setting is in force that changes how its text is read",
    "Send the statements in Queries of their own.",
)


def on_query(s: Conversation, found: Verdict, sql: bytes, message: bytes) -> bool:
    """Send it as it has to go up; True: dealt with, False: it has to wait."""
    if refusals.is_moot(s) and len(found.statements) == 1 and not found.has_control:
        return _send_as_it_is(s, found, message)
    if (found.has_hazards or found.touches_settings) and refusals.refuses_alone(s, found):
        return True
    replaced = deallocation.replaced(s, found)
    if replaced is None:
        return False
    is_read_anew = settings.is_outside_block(s) and s.settings.is_reading_changed and not settings.goes_bare(s, found)
    if is_read_anew and not s.is_open:
        if found.has_control or found.may_copy_in:
            s.fail_query(_READING)
            return True
        settings.wrap(s)
    composer = Composer(s, found, sql, is_in_force=s.is_in_force or not settings.is_outside_block(s) or s.is_wrapped)
    script = composer.compose(replaced.pieces)
    if not script.is_changed and not s.is_wrapped:
        return _send_as_it_is(s, found, message)
    change = replaced.change()
    if change is not None:
        s.statements.announce(change)
        script.on_error(replaced.keep_only_done)
    if s.settings.current or composer.changes:
        s.settings.is_active = True
    owed = Owed(
        Kind.QUERY,
        WATCH,
        watch=script,
        edit=script.edit,
        rows=script.rows,
        change=change,
        effect=CHANGES_STATUS if composer.changes else None,
        may_copy=found.may_copy,
        may_copy_in=found.may_copy_in,
    )
    s.settings.is_unsettled |= composer.changes
    script.hides_ready = s.is_wrapped
    s.send_query(hot.query(script.text()), owed)
    if s.is_wrapped:
        s.end_wrapped(script)
    return True


def _send_as_it_is(s: Conversation, found: Verdict, message: bytes) -> bool:
    change = s.drop_unnamed()
    owed = QUERY
    if change is not None or found.may_copy:
        owed = Owed(Kind.QUERY, WATCH, change=change, may_copy=found.may_copy, may_copy_in=found.may_copy_in)
    s.send_query(message, owed)
    return True
