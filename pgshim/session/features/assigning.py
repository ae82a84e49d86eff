"""SET, RESET and what is asked behind them: a setting is what the server says it has come to be."""

from __future__ import annotations

import re
from functools import partial

from pgshim.protocol import hot
from pgshim.session.assignments import Assignment, Scope
from pgshim.session.client_settings import MAX_SIZE
from pgshim.session.conversation import Conversation
from pgshim.session.encodings import mentions_unsafe
from pgshim.session.injection import Value
from pgshim.session.outstanding import CHANGES_STATUS, WATCH, Effect, Kind, Owed, edit_own
from pgshim.session.pieces import Statement as Piece
from pgshim.session.quoting import quote_literal, set_local
from pgshim.session.tokens import NAME_MAX

_NOTICE = ord("N")

_CURRENT_SETTING = (
    b"SELECT CASE WHEN pg_catalog.octet_length(v)OPERATOR(pg_catalog.>)%d "
    b"THEN pg_catalog.int4div(pg_catalog.octet_length(v),0)::pg_catalog.text ELSE v END "
    b"FROM(SELECT pg_catalog.current_setting(%%b,true)AS v)AS s" % MAX_SIZE
)

TOO_MUCH = hot.error_response(
    "ERROR",
    b"53400",
    f"too many settings for one connection (limit {MAX_SIZE} bytes)",
    "All of them travel with each transaction: RESET what is not needed, or use SET LOCAL.",
)

#: The end of a SET to zero; and how much of the text is looked at for it, so that it takes no time whatever is there.
_ZERO = re.compile(rb"(?:\b0+'?|'0+\s*[a-z]+')\Z", re.IGNORECASE)
_LONGEST_ZERO = 32

#: What else ParameterStatus says because of a setting.
_REPORTED_WITH = {b"role": (b"is_superuser",), b"session_authorization": (b"is_superuser",)}


def after_assignment(s: Conversation, assignment: Assignment) -> None:
    settings = s.settings
    for sql in assignment.upstream[1:]:
        s.carry_out(sql)
    settings.locals |= dict.fromkeys(assignment.names)
    if assignment.scope is Scope.LOCAL and not s.is_in_force:
        s.local_now |= dict.fromkeys(assignment.names)
    if assignment.is_default:
        for sql in default_statements(s, assignment):
            s.carry_out(sql)
    elif assignment.scope is Scope.SESSION:
        for name in assignment.names:
            read_back(s, name, b"SHOW " + quoted_name(name))


def default_statements(s: Conversation, assignment: Assignment) -> list[bytes]:
    """What has to follow a RESET, so that it goes back to what the client gave at connect."""
    settings = s.settings
    statements = []
    for name in assignment.names or settings.names_to_reset():
        if name in settings.defaults:
            statements.append(set_local(name, settings.defaults[name]))
        elif not assignment.names:
            statements.append(b"SET LOCAL %b TO DEFAULT" % quoted_name(name))
    return statements


def default_effect(s: Conversation, assignment: Assignment) -> Effect | None:
    """What a RESET, or a SET ... TO DEFAULT, makes of the settings."""
    if assignment.scope is Scope.LOCAL or not assignment.is_default:
        return None
    return partial(_reset, s, assignment.names)


def _reset(s: Conversation, names: tuple[bytes, ...], message: bytes) -> None:
    for name in names:
        s.settings.reset(name)
    if not names:
        s.settings.reset_all()


def questions(s: Conversation, name: bytes) -> list[tuple[bytes, bytearray, Effect]]:
    """What is asked once a setting has been changed: (setting, where its rows go, what is done then), its own last."""
    answers = [(other, bytearray()) for other in (*_REPORTED_WITH.get(name, ()), name)]
    s.settings.is_active = s.settings.is_unsettled = True
    return [
        (other, rows, partial(_note_value, s, answers) if other == name else CHANGES_STATUS) for other, rows in answers
    ]


def read_back(s: Conversation, name: bytes, sql: bytes) -> None:
    """Ask what a setting has come to be."""
    for other, rows, effect in questions(s, name):
        owed = Owed(
            Kind.EXECUTE, WATCH, watch=hide, edit=edit_own, effect=effect, rows=rows, error=TOO_MUCH
        )
        s.carry_out(sql if other == name else b"SHOW " + other, owed)


def _note_value(s: Conversation, answers: list[tuple[bytes, bytearray]], message: bytes) -> None:
    """The answer has come: (setting, rows) of what is reported with it, and last its own."""
    if not all(rows for _, rows in answers):
        return
    reported = [(name, s.to_utf8(hot.read_only_value(rows))) for name, rows in answers]
    name, text = reported.pop()
    s.settings.set(name, Value(text, tuple(reported)))


def learn_default(s: Conversation, name: bytes) -> None:
    """Ask for the server's own value of a setting that is about to be changed and, by many, to be changed back."""
    rows = bytearray()
    effect = partial(note_default, s, name, rows)
    owed = Owed(Kind.EXECUTE, WATCH, watch=hide, edit=edit_own, effect=effect, rows=rows)
    s.carry_out(b"SHOW " + quoted_name(name), owed)


def note_default(s: Conversation, name: bytes, rows: bytearray, message: bytes) -> None:
    """The answer to `learn_default` has come."""
    s.settings.learn(name, hot.read_only_value(rows))


def hide(type_code: int, message: bytes) -> bytes:
    """The client sees nothing of it."""
    return b""


def quoted_name(name: bytes) -> bytes:
    """A setting's name, each of its parts in quotes."""
    return b".".join(b'"%b"' % part.replace(b'"', b'""') for part in name.split(b"."))


def error_of(s: Conversation, piece: Piece, names: tuple[bytes, ...], sql: bytes, values: bytes = b"") -> bytes | None:
    """The ErrorResponse of a change of settings that a client cannot have: too many bytes, an unsafe encoding.

    sql -- the statement's text
    values -- its Bind
    """
    is_default = piece.assignment is not None and piece.assignment.is_default
    if s.settings.size + len(sql) + len(values) > MAX_SIZE and not is_default:
        return TOO_MUCH
    if any(len(part) > NAME_MAX for name in names for part in name.split(b".")):
        text = f"names of settings with more than {NAME_MAX} bytes are not supported"
        return hot.error_response("ERROR", b"0A000", text, "SET cuts such a name short, so choose a shorter one.")
    if b"idle_session_timeout" in names and not is_default and not _ZERO.search(sql.rstrip()[-_LONGEST_ZERO:]):
        return hot.error_response(
            "ERROR",
            b"0A000",
            "idle_session_timeout has no effect through a transaction pooler",
            "Start pgshim with --idle-timeout.",
        )
    if b"client_encoding" not in names and b"client_encoding" not in values.lower():
        return None
    if not mentions_unsafe(sql + values):
        return None
    return hot.error_response(
        "ERROR",
        b"0A000",
        "this client_encoding is not supported",
        "Its characters can contain the bytes of quotes, so SQL cannot be read safely; use UTF8.",
    )


def drop_local_warning(type_code: int, message: bytes) -> bytes:
    """A SET that went up as SET LOCAL is not what the warning (25P01) is about."""
    return b"" if type_code == _NOTICE and b"\0C25P01\0" in message else message


def current_setting(name: bytes) -> bytes:
    """A SELECT of a setting that may not be there; a division by zero if its value is beyond the limit."""
    return _CURRENT_SETTING % quote_literal(name)
