"""Session settings in the extended-query protocol.

A client's SET goes up as SET LOCAL, with a SHOW behind it that says what it has come to; what the client then has in
force is brought ahead of its next transactions, in the same write. Outside of a block that is one SELECT of
`set_config`, which shares the implicit transaction with what follows up to the Sync; in a block one SET LOCAL for each
setting right behind the BEGIN, because a SELECT would take the transaction's snapshot.
"""

from __future__ import annotations

from functools import partial

from pgshim.protocol import hot
from pgshim.session.assignments import Scope
from pgshim.session.conversation import Conversation
from pgshim.session.features import assigning
from pgshim.session.features.scripts import retag
from pgshim.session.injection import Injection
from pgshim.session.outstanding import CHANGES_STATUS, WATCH, Effect, Kind, Owed
from pgshim.session.pieces import CONTROL, ENDS
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict

#: What changes nothing outside of a block, or fails there: it is not kept from it by what would go ahead.
_BARE = CONTROL | {Sql.EMPTY, Sql.COMMIT_PREPARED, Sql.ROLLBACK_PREPARED, Sql.LOCK, Sql.DECLARE}

#: What runs in a block of pgshim's own.
ATOMIC = frozenset({Sql.CALL, Sql.DO})

_ROLES = frozenset({b"role", b"session_authorization"})


def goes_bare(s: Conversation, found: Verdict) -> bool:
    """Whether a text goes up outside of a block without settings ahead of it."""
    if found.kind in _BARE:
        return True
    if len(found.statements) > 1:
        return False
    piece = found.statements[0]
    if found.kind in (Sql.SET, Sql.RESET):
        assignment = piece.assignment
        # RESET ALL has nothing to do with what is in force, which a server may no longer take.
        return assignment is None or assignment.scope is Scope.LOCAL or not assignment.names
    if found.kind in ATOMIC and s.settings.is_inconsequential:
        return True  # A procedure may end its transaction, and what is in force with it.
    return bool(piece.blockless) or piece.ends_transaction


def left_out(found: Verdict) -> frozenset[bytes]:
    """Settings that a text changes whatever they were before: a server may no longer take them."""
    assignment = found.statements[0].assignment if len(found.statements) == 1 else None
    if assignment is None or assignment.scope is Scope.LOCAL:
        return frozenset()
    return frozenset(assignment.names) if assignment.is_default else _ROLES.intersection(assignment.names)


def waits_for_replies(s: Conversation) -> bool:
    """Whether what a new transaction is to have in force hangs on replies that are owed."""
    if not s.settings.is_unsettled:
        return False
    # Of the batches before, it is only known at their ReadyForQuery.
    return not s.is_open or s.outstanding.changes_settings()


def bring_into_force(s: Conversation, found: Verdict) -> bool:
    """See to it that what follows has the client's settings in force; False when it has to wait for replies."""
    if not _is_settled(s):
        return False
    if not s.is_in_force and not goes_bare(s, found):
        inject(s, left_out(found))
    return True


def _is_settled(s: Conversation) -> bool:
    """Whether it is known what is to be in force now, and if nothing has to be done for it: that it is."""
    if s.is_in_force:
        return True
    if waits_for_replies(s):
        return False
    if not is_outside_block(s) or not s.settings.current:
        s.is_in_force = True
    return True


def is_outside_block(s: Conversation) -> bool:
    """Whether what is sent next is in no transaction block."""
    return (s.has_ended_amid or s.status == hot.IDLE) and not s.has_begun_amid


def inject(s: Conversation, leave_out: frozenset[bytes]) -> None:
    """Bring the settings into force outside of a block."""
    injection = s.settings.injection
    leave_out |= frozenset(s.local_now)
    if leave_out:
        injection = Injection(s.settings.current, leave_out)
    s.counts.injections += bool(injection.outside)
    for sql in injection.outside:
        s.carry_out(sql)
    s.is_in_force = True


def wrap(s: Conversation) -> None:
    """Put what follows, up to the Sync, into a block of pgshim's own: a COMMIT inside would end the settings."""
    s.carry_out(b"BEGIN")
    if not s.is_in_force:
        s.counts.injections += bool(s.settings.current)
        for sql in (*s.settings.injection.modes.values(), *s.settings.injection.statements):
            s.carry_out(sql)
    s.is_in_force = s.is_wrapped = True
    s.settings.is_unsettled = True


# What is executed.


def before_execute(s: Conversation, found: Verdict) -> bool | None:
    """Before an Execute that has to do with settings: False when it has to wait, True when it is dealt with."""
    # Nothing is brought into force for it: a portal that was bound before the transaction is gone.
    if not _is_settled(s):
        return False
    if s.is_wrapped and (found.kind in _BARE or found.may_copy_in):
        text = "transaction control and COPY in one batch with CALL or DO are not supported by pgshim"
        return s.refuse(b"0A000", text, "Send them in batches of their own.")
    if found.kind in CONTROL and found.statements[0].chains and s.outstanding.changes_settings():
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
        watch = partial(retag, b"RESET") if assignment.is_reset else None
        effect = assigning.default_effect(s, assignment)
        return Owed(Kind.EXECUTE, WATCH, watch=watch, edit=assigning.drop_local_warning, effect=effect)
    effect = effect_of(s, found)
    if effect is None:
        return owed
    s.settings.is_unsettled = True
    return Owed(Kind.EXECUTE, WATCH, effect=effect)


def effect_of(s: Conversation, found: Verdict) -> Effect | None:
    """What the statement makes of the settings, or of the block, once it is answered."""
    settings = s.settings
    if found.kind in ENDS and not (settings.current is settings.begin and not s.outstanding.changes_settings()):
        return s.end_transaction
    if found.kind in ENDS or found.kind is Sql.BEGIN:
        return CHANGES_STATUS
    if found.kind in CONTROL:
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
        if not s.is_in_force and settings.current:
            s.counts.injections += 1
            for sql in block_statements(settings.injection, piece.modes):
                s.carry_out(sql)
        s.is_in_force = True
    elif found.kind in ENDS:
        s.is_in_force = piece.chains
        if piece.chains:
            has_failed = s.status == hot.IN_FAILED_BLOCK
            injection = Injection(settings.begin if has_failed or found.kind is Sql.ROLLBACK else settings.current)
            s.counts.injections += bool(injection.statements)
            # A failed block has lost its modes: the next one begins with the session's.
            for sql in (*(injection.modes.values() if has_failed else ()), *injection.statements):
                s.carry_out(sql)
    elif piece.assignment is not None:
        assigning.after_assignment(s, piece.assignment)
    elif piece.set_configs:
        settings.locals |= {call.name: None for call in piece.set_configs if isinstance(call.name, bytes)}


def block_statements(injection: Injection, modes: frozenset[bytes]) -> list[bytes]:
    """What goes behind a BEGIN; `modes`: what it says of itself."""
    return [sql for name, sql in injection.modes.items() if name not in modes] + list(injection.statements)
