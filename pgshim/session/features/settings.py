"""Session settings in the extended-query protocol.

A client's SET goes up as SET LOCAL, with a SHOW behind it that says what it has come to; what the client then has in
force is brought ahead of its next transactions, in the same write. Outside of a block that is one SELECT of
`set_config`, which shares the implicit transaction with what follows up to the Sync; in a block one SET LOCAL for each
setting right behind the BEGIN, because a SELECT would take the transaction's snapshot.
"""

from __future__ import annotations

from functools import partial

from pgshim.protocol import hot
from pgshim.session.assignments import Assignment, Scope
from pgshim.session.client_settings import MAX_SIZE, UNSAFE_ENCODINGS, Injection, Value
from pgshim.session.conversation import Conversation
from pgshim.session.outstanding import CHANGES_STATUS, WATCH, Effect, Kind, Owed, edit_own
from pgshim.session.quoting import quote_literal, set_local
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict
from pgshim.session.tokens import NAME_MAX

_DATA_ROW, _COMMAND_COMPLETE, _NOTICE = ord("D"), ord("C"), ord("N")

#: What changes nothing outside of a block, or fails there: it is not kept from it by what would go ahead.
_BARE = frozenset(
    {
        Sql.EMPTY,
        Sql.BEGIN,
        Sql.COMMIT,
        Sql.ROLLBACK,
        Sql.SAVEPOINT,
        Sql.RELEASE,
        Sql.ROLLBACK_TO,
        Sql.PREPARE_TRANSACTION,
        Sql.COMMIT_PREPARED,
        Sql.ROLLBACK_PREPARED,
        Sql.LOCK,
        Sql.DECLARE,
    }
)

_ENDS = frozenset({Sql.COMMIT, Sql.ROLLBACK, Sql.PREPARE_TRANSACTION})
_CONTROL = _ENDS | {Sql.BEGIN, Sql.SAVEPOINT, Sql.RELEASE, Sql.ROLLBACK_TO}

#: What else ParameterStatus says because of a setting.
_REPORTED_WITH = {b"role": (b"is_superuser",), b"session_authorization": (b"is_superuser",)}


def goes_bare(found: Verdict) -> bool:
    """Whether a text goes up outside of a block without settings ahead of it."""
    if found.kind in _BARE:
        return True
    if len(found.statements) > 1:
        return False
    piece = found.statements[0]
    if found.kind in (Sql.SET, Sql.RESET):
        return piece.assignment is None or piece.assignment.scope is Scope.LOCAL
    return bool(piece.blockless)


def waits_for_replies(s: Conversation) -> bool:
    """Whether what a new transaction is to have in force hangs on replies that are owed."""
    if not s.settings.is_unsettled:
        return False
    queue = s.outstanding
    return queue.changes_settings() or (not s.is_open and queue.changes_status())


def bring_into_force(s: Conversation, found: Verdict) -> bool:
    """See to it that what follows has the client's settings in force; False when it has to wait for replies."""
    if s.is_in_force:
        return True
    if waits_for_replies(s):
        return False
    if not is_outside_block(s) or not s.settings.current:
        s.is_in_force = True
    elif not goes_bare(found):
        inject(s)
    return True


def is_outside_block(s: Conversation) -> bool:
    """Whether what is sent next is in no transaction block."""
    return s.has_ended_amid or s.status == hot.IDLE


def inject(s: Conversation) -> None:
    """Bring the settings into force outside of a block."""
    injection = s.settings.injection
    if s.local_now:
        injection = Injection(s.settings.current, frozenset(s.local_now))
    for sql in injection.early:
        s.carry_out(sql)
    s.carry_out(injection.select)
    s.is_in_force = True


def wrap(s: Conversation) -> None:
    """Put what follows, up to the Sync, into a block of pgshim's own: a COMMIT inside would end the settings."""
    s.carry_out(b"BEGIN")
    if not s.is_in_force:
        for sql in (*s.settings.injection.modes.values(), *s.settings.injection.statements):
            s.carry_out(sql)
    s.is_in_force = s.is_wrapped = True
    s.settings.is_unsettled = True


# What is executed.


def before_execute(s: Conversation, found: Verdict) -> bool | None:
    """Before an Execute that has to do with settings: False when it has to wait, True when it is dealt with."""
    if not bring_into_force(s, found):
        return False
    if found.kind in _CONTROL:
        if s.is_wrapped:
            return s.refuse(b"0A000", "transaction control in one batch with CALL or DO is not supported by pgshim")
        if found.statements[0].chains and s.outstanding.changes_settings():
            return False
    return None


def owed_for(s: Conversation, found: Verdict, owed: Owed) -> Owed:
    """The reply that an Execute is owed, with what becomes of the settings once it has come."""
    piece = found.statements[0] if len(found.statements) == 1 else None
    assignment = piece.assignment if piece is not None else None
    if assignment is not None:
        s.settings.is_active = s.settings.is_unsettled = True
        if assignment.scope is Scope.LOCAL:
            return owed
        watch = _retag_reset if assignment.is_reset else None
        return Owed(Kind.EXECUTE, WATCH, watch=watch, edit=drop_local_warning, effect=default_effect(s, assignment))
    effect = effect_of(s, found)
    if effect is None:
        return owed
    s.settings.is_unsettled = True
    return Owed(Kind.EXECUTE, WATCH, effect=effect)


def _retag_reset(type_code: int, message: bytes) -> bytes | None:
    return hot.command_complete(b"RESET") if type_code == _COMMAND_COMPLETE else None


def effect_of(s: Conversation, found: Verdict) -> Effect | None:
    """What the statement makes of the settings, or of the block, once it is answered."""
    settings = s.settings
    if found.kind in _ENDS and not (settings.current is settings.begin and not s.outstanding.changes_settings()):
        return s.end_transaction
    if found.kind in _ENDS or found.kind is Sql.BEGIN:
        return CHANGES_STATUS
    if found.kind in _CONTROL:
        return partial(note_savepoint, s, found.statements[0])
    return None


def note_savepoint(s: Conversation, piece: Piece, message: bytes) -> None:
    """SAVEPOINT, RELEASE, ROLLBACK TO has been carried out."""
    verbs = {
        Sql.SAVEPOINT: s.settings.savepoint,
        Sql.RELEASE: s.settings.release,
        Sql.ROLLBACK_TO: s.settings.rollback_to,
    }
    verbs[piece.kind](piece.name or b"")


def after_execute(s: Conversation, found: Verdict) -> None:
    """Behind an Execute: what belongs to it."""
    settings = s.settings
    piece = found.statements[0] if len(found.statements) == 1 else None
    if piece is None:
        return
    if found.kind is Sql.BEGIN:
        if not s.is_in_force and is_outside_block(s) and settings.current:
            for sql in block_statements(settings.injection, piece.modes):
                s.carry_out(sql)
        s.is_in_force = True
    elif found.kind in _ENDS:
        s.has_ended_amid = True
        s.is_in_force = piece.chains
        if piece.chains:
            is_undone = found.kind is Sql.ROLLBACK or s.status == hot.IN_FAILED_BLOCK
            values = settings.begin if is_undone else settings.current
            for sql in Injection(values).statements:
                s.carry_out(sql)
    elif piece.assignment is not None:
        _after_assignment(s, piece.assignment)
    elif piece.set_configs:
        settings.locals |= {call.name: None for call in piece.set_configs if isinstance(call.name, bytes)}


def block_statements(injection: Injection, modes: frozenset[bytes]) -> list[bytes]:
    """What goes behind a BEGIN; `modes`: what it says of itself."""
    return [sql for name, sql in injection.modes.items() if name not in modes] + list(injection.statements)


def _after_assignment(s: Conversation, assignment: Assignment) -> None:
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
        owed = Owed(Kind.EXECUTE, WATCH, watch=hide, edit=edit_own, effect=effect, rows=rows)
        s.carry_out(sql if other == name else b"SHOW " + other, owed)


def _note_value(s: Conversation, answers: list[tuple[bytes, bytearray]], message: bytes) -> None:
    """The answer has come: (setting, rows) of what is reported with it, and last its own."""
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


def error_of(s: Conversation, names: tuple[bytes, ...], sql: bytes) -> bytes | None:
    """The ErrorResponse of a change of settings that a client cannot have: too many bytes, an unsafe encoding."""
    if s.settings.size + len(sql) > MAX_SIZE:
        return hot.error_response(
            "ERROR",
            b"53400",
            f"too many settings for one connection (limit {MAX_SIZE} bytes)",
            "All of them travel with each transaction: RESET what is not needed, or use SET LOCAL.",
        )
    if any(len(part) > NAME_MAX for name in names for part in name.split(b".")):
        text = f"names of settings with more than {NAME_MAX} bytes are not supported"
        return hot.error_response("ERROR", b"0A000", text, "SET cuts such a name short, so choose a shorter one.")
    if b"client_encoding" not in names:
        return None
    squeezed = bytes(char for char in sql.upper() if chr(char).isalnum())
    if not squeezed.endswith(UNSAFE_ENCODINGS):
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
    """A SELECT of a setting that may not be there."""
    return b"SELECT pg_catalog.current_setting(%b,true)" % quote_literal(name)
