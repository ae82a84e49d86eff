"""The Bind of a statement that has to do with settings: what goes ahead of it, and what it says of them."""

from __future__ import annotations

from contextlib import suppress

from pgshim.errors import MalformedMessage
from pgshim.protocol import hot
from pgshim.session.client_settings import UNSAFE_ENCODINGS
from pgshim.session.conversation import Conversation
from pgshim.session.features import refusals, set_config, settings
from pgshim.session.hazards import Feature, Hazard
from pgshim.session.outstanding import BIND
from pgshim.session.sql import Kind as Sql
from pgshim.session.statements import NAME_SIZE, Statement

_ATOMIC = frozenset({Sql.CALL, Sql.DO})


def refuses(s: Conversation, statement: Statement, *, is_small: bool) -> bool:
    """Refuse what cannot be done with the settings that are in force, or do what has to go ahead of the Bind."""
    found = statement.text.verdict
    if not found.statements:
        return False
    piece = found.statements[0]
    if s.settings.current and settings.is_outside_block(s) and not s.settings.is_inconsequential:
        hazard = refusals.without_settings(piece)
        if hazard is not None and refusals.refuses(s, hazard):
            return True
    if not found.touches_settings:
        if found.kind in _ATOMIC and s.settings.current and settings.is_outside_block(s) and not s.is_wrapped:
            settings.wrap(s)
        return False
    if not is_small and set_config.has_parameters(found):
        return refusals.refuses(s, Hazard(Feature.COMPUTED_SETTING, "set_config() with values of this size"))
    if piece.assignment is not None and refuses_encoding(s, piece.assignment.names, statement.text.upstream_sql):
        return True
    names = piece.assignment.names if piece.assignment is not None else ()
    for name in (*names, *(call.name for call in piece.set_configs if isinstance(call.name, bytes))):
        if s.settings.wants_default(name):
            settings.learn_default(s, name)
    return False


def refuses_encoding(s: Conversation, names: tuple[bytes, ...], sql: bytes) -> bool:
    """Refuse a client_encoding in which SQL cannot be read safely."""
    if b"client_encoding" not in names:
        return False
    squeezed = bytes(char for char in sql.upper() if chr(char).isalnum())
    if not any(squeezed.endswith(encoding) for encoding in UNSAFE_ENCODINGS):
        return False
    return s.refuse(
        b"0A000",
        "this client_encoding is not supported",
        "Its characters can contain the bytes of quotes, so SQL cannot be read safely; use UTF8.",
    )


def send(s: Conversation, portal: bytes, statement: Statement, rest: bytes) -> None:
    """Send the Bind; what its parameters say of settings is kept for the portal's Execute."""
    found = statement.text.verdict
    calls = set_config.literal_calls(found.statements[0].set_configs)
    with suppress(MalformedMessage):  # The server says what is wrong with it.
        if statement.text.is_substituted:
            rest = rest[: hot.check_bind(rest, 0, len(rest))] + b"\0\0"
        elif set_config.has_parameters(found) or any(call.value for call in found.statements[0].set_configs):
            rest, calls = set_config.read_bind(found, rest)
    s.send(hot.bind_unnamed(portal, len(rest)) + rest, BIND)
    s.setting_portals[portal[:NAME_SIZE]] = calls
