"""What needs a session of its own: refused where it stands, or let through, as `--unsafe` and `--allow` say."""

from __future__ import annotations

from collections.abc import Iterator

from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.features import settings
from pgshim.session.features.set_config import names_in
from pgshim.session.hazards import OIDS, Feature, Hazard
from pgshim.session.outstanding import FAKE, Kind, Owed
from pgshim.session.pieces import is_computed
from pgshim.session.refusal import REFUSE, WARN
from pgshim.session.sql import Kind as Sql
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict

COMPUTED = Hazard(Feature.COMPUTED_SETTING, "set_config() of a computed setting")
#: Who finishes a prepared transaction must be who made it.
_PREPARED = frozenset({Sql.COMMIT_PREPARED, Sql.ROLLBACK_PREPARED})
_ROLES = frozenset({b"role", b"session_authorization"})

#: Settings that a message names.
_MOST_NAMES = 4
#: pg_proc's OID of set_config.
_SET_CONFIG = 2078
_FUNCTION_CALL = Hazard(Feature.FUNCTION_CALL, "FunctionCall")


def is_refused(s: Conversation, hazard: Hazard) -> bool:
    """Whether it is; if it is let through with a warning, the client gets that."""
    policy = s.policy.on(hazard.feature)
    if policy == WARN:
        s.outstanding.append(Owed(Kind.LOCAL, FAKE, answer=s.policy.notice(hazard)))
        s.give_answers()
    if policy == REFUSE:
        s.counts.note_refusal(hazard)
    return policy == REFUSE


def refuses(s: Conversation, hazard: Hazard) -> bool:
    """The same for a message of the extended-query protocol, with the refusal sent."""
    if not is_refused(s, hazard):
        return False
    s.raise_error(s.policy.error(hazard))
    return True


def concerns(s: Conversation, hazard: Hazard, *, is_outside: bool, text: bytes = b"") -> bool:
    """Whether it is one here and now: some are only outside of a block, or before anything has called nextval().

    text -- what stands ahead of it in the Query
    """
    if hazard.needs_nextval:
        return not s.drawing.may_have_drawn(text, standard_strings=s.standard_strings)
    return is_outside or not hazard.is_reference


def is_moot(s: Conversation) -> bool:
    """Whether the server refuses everything anyway: the block has failed."""
    return s.status == hot.IN_FAILED_BLOCK and not s.outstanding and not s.has_ended_amid


def refuses_parse(s: Conversation, found: Verdict) -> bool:
    """Refuse a Parse for what the text will do."""
    if is_moot(s):
        return False
    is_outside = settings.is_outside_block(s)
    for piece in found.statements:
        for hazard in piece.hazards:
            if not hazard.needs_nextval and concerns(s, hazard, is_outside=is_outside) and refuses(s, hazard):
                return True
        if any(refuses(s, hazard) for hazard in of_settings(s, piece)):
            return True
    return False


def of_settings(s: Conversation, piece: Piece) -> Iterator[Hazard]:
    """What cannot be followed, or not be forgotten, of the settings that a statement changes."""
    if any(is_computed(call) for call in piece.set_configs):
        yield COMPUTED
    if s.policy.is_strict:
        for name in names_in(piece):
            if b"." in name:
                yield Hazard(Feature.CUSTOM_SETTING, name.decode("utf-8", "replace"))


def refuses_execute(s: Conversation, found: Verdict) -> bool:
    """Refuse an Execute for what was not executed in its transaction before."""
    if s.status == hot.IN_FAILED_BLOCK and not s.has_ended_amid:
        return False  # The server refuses it.
    return any(
        hazard.needs_nextval and concerns(s, hazard, is_outside=False) and refuses(s, hazard)
        for piece in found.statements
        for hazard in piece.hazards
    )


def without_settings(s: Conversation, piece: Piece) -> Hazard | None:
    """What cannot be given the settings that are in force, if they matter to it."""
    current = s.settings.current
    if piece.kind in _PREPARED and not _ROLES.isdisjoint(current):
        title = f"{piece.kind.replace('_', ' ').upper()} with a role"
        return Hazard(Feature.NO_BLOCK, f"{title} SET in this session")
    if not current or not (piece.blockless or piece.ends_transaction) or s.settings.is_inconsequential:
        return None
    names = [name.decode("utf-8", "replace") for name in s.settings.consequential()]
    title = piece.blockless or "DO with COMMIT or ROLLBACK in it"
    feature = Feature.NO_BLOCK if piece.blockless else Feature.DO_TRANSACTION
    shown = ", ".join(names[:_MOST_NAMES]) + ", ..." * (len(names) > _MOST_NAMES)
    return Hazard(feature, f"{title} with {shown} SET in this session")


def refuses_alone(s: Conversation, found: Verdict) -> bool:
    """Refuse a Query that is nothing else, with nothing in flight that would have to fail with it."""
    if len(found.statements) != 1 or s.status != hot.IDLE or not s.is_at_rest_here:
        return False
    piece = found.statements[0]
    for hazard in (*piece.hazards, *of_settings(s, piece)):
        if concerns(s, hazard, is_outside=True) and s.policy.on(hazard.feature) == REFUSE:
            s.counts.note_refusal(hazard)
            s.fail_query(s.policy.error(hazard))
            return True
    return False


def refuses_function_call(s: Conversation, oid: int) -> bool:
    """Refuse a FunctionCall; the batch that it is fails with it."""
    found = OIDS.get(oid)
    hazard = Hazard(*found, needs_nextval=found[0] is Feature.SEQUENCE_VALUE) if found is not None else None
    if oid == _SET_CONFIG:
        hazard = COMPUTED
    if hazard is None and s.settings.current and settings.is_outside_block(s) and (s.is_wrapped or not s.is_in_force):
        hazard = _FUNCTION_CALL
    return hazard is not None and concerns(s, hazard, is_outside=True) and refuses_query(s, hazard)


def refuses_query(s: Conversation, hazard: Hazard) -> bool:
    """The same for a message that is a batch of its own."""
    if not is_refused(s, hazard):
        return False
    s.fail_query(s.policy.error(hazard))
    return True
