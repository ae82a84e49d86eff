"""The Bind of a statement that has to do with settings: what goes ahead of it, and what it says of them."""

from __future__ import annotations

from contextlib import suppress

from pgshim.errors import MalformedMessage
from pgshim.protocol import hot
from pgshim.session.assignments import Scope
from pgshim.session.client_settings import Call
from pgshim.session.conversation import Conversation
from pgshim.session.features import assigning, refusals, set_config, settings
from pgshim.session.hazards import Feature, Hazard
from pgshim.session.outstanding import BIND
from pgshim.session.pieces import is_computed
from pgshim.session.statements import NAME_SIZE, Statement


def refuses(s: Conversation, statement: Statement, rest: bytes, *, is_small: bool) -> bool:
    """Refuse what cannot be done with the settings that are in force, or do what has to go ahead of the Bind.

    rest -- the Bind behind its names
    """
    found = statement.text.verdict
    if not found.statements:
        return False
    piece = found.statements[0]
    hazard = refusals.without_settings(s, piece) if settings.is_outside_block(s) else None
    if hazard is not None and refusals.refuses(s, hazard):
        return True
    if not found.touches_settings:
        needs_block = found.kind in settings.ATOMIC and not hazard and not s.settings.is_inconsequential
        if needs_block and not s.is_wrapped and settings.is_outside_block(s):
            if s.outstanding.may_copy():
                return s.refuse(b"0A000", "CALL and DO in one batch with COPY are not supported by pgshim")
            settings.wrap(s)
        return False
    if not is_small:
        return refusals.refuses(s, Hazard(Feature.COMPUTED_SETTING, "A Bind of this size for set_config()"))
    names = set_config.names_in(piece)
    error = assigning.error_of(s, piece, names, statement.text.upstream_sql, rest)
    if error is not None:
        s.raise_error(error)
        return True
    assignment = piece.assignment
    if assignment is not None and (assignment.scope is Scope.LOCAL or assignment.is_default):
        return False
    for name in names:
        if s.settings.wants_default(name):
            assigning.learn_default(s, name)
    return False


def send(s: Conversation, portal: bytes, statement: Statement, rest: bytes) -> None:
    """Send the Bind; what its parameters say of settings is kept for the portal's Execute."""
    found = statement.text.verdict
    piece = found.statements[0]
    calls: list[Call] = []
    with suppress(MalformedMessage):  # The server says what is wrong with it.
        if not any(map(is_computed, piece.set_configs)):
            calls = set_config.literal_calls(piece.set_configs)
            if set_config.has_parameters(found) or any(call.value for call in piece.set_configs):
                rest, calls = set_config.read_bind(found, rest, s.settings.defaults)
    s.send(hot.bind_unnamed(portal, len(rest)) + rest, BIND)
    s.setting_portals[portal[:NAME_SIZE]] = calls
