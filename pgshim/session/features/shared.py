"""Descriptions that are shared: what a server has said of a statement to one client, others are told at once.

A Parse with the Describe of its statement and a Flush or Sync behind it needs no server when a server has answered the
same before. Only outside of a block with nothing in flight: there nothing of the client's own can have changed what it
would be told. A server need not answer before the Flush or Sync, so the Parse is held back until what follows shows
whether that is all: with a Bind behind it, say, the batch goes up anyway. The first Bind of such a statement has a
server verify what the client was told (`shapes`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from struct import Struct

from pgshim.protocol import hot
from pgshim.session.conversation import Conversation
from pgshim.session.descriptions import Description, Descriptions
from pgshim.session.hazards import Feature
from pgshim.session.injection import is_inconsequential
from pgshim.session.outstanding import Kind
from pgshim.session.refusal import REFUSE, Policy
from pgshim.session.state import Handler
from pgshim.session.statements import NAME_SIZE, Change, Shape, Statement, Text

_DESCRIBE, _FLUSH, _SYNC = b"DHS"
_STATEMENT = ord("S")
_PARAMETER_DESCRIPTION, _ROW_DESCRIPTION = b"tT"

#: What changes the meaning of a text on one server of the pool, if it is let through, unseen.
_UNSEEN = (
    Feature.TEMPORARY,
    Feature.LOAD,
    Feature.DO_SETTING,
    Feature.COMPUTED_SETTING,
    Feature.PG_SETTINGS,
)

_OIDS = Struct("!I")
#: The first OID that a server gives to what its users make (FirstNormalObjectId): enums, domains, types of extensions.
_FIRST_OF_USERS = 16384

#: Bytes of the settings that a client may have in force for what it is told to be shared: they are kept with it.
_MOST_SETTINGS = 4096


def may_share(policy: Policy) -> bool:
    """Whether what one client is told holds for another: not where a client may leave something behind on a server."""
    return all(policy.on(feature) == REFUSE for feature in _UNSEEN)


class Held:
    """A Parse that is held back, and the Describe behind it.

    handlers -- what becomes of messages when nothing is held back
    """

    __slots__ = ("describe", "handlers", "key", "name", "parse", "text")

    def __init__(
        self, handlers: Mapping[int, Handler], key: Hashable, name: bytes, text: Text, parse: bytes
    ) -> None:
        self.handlers = handlers
        self.key = key
        self.name = name
        self.text = text
        self.parse = parse
        self.describe = b""


def holds(s: Conversation, name: bytes, text: Text, message: bytes) -> bool:
    """Whether a Parse is held back: something is known that may answer it."""
    if s.descriptions is None or s.held is not None or not (s.is_at_rest_here and _is_outside(s)):
        return False
    key = _key(s, text)
    if key is None or s.descriptions.find(key) is None:
        return False
    s.held = Held(s.handlers, key, name, text, message)
    s.handlers = HOLDING
    return True


def on_next(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """What follows a Parse that is held back: any message."""
    held = s.held
    assert held is not None, "this is its handler only while one is"
    type_code = buffer[start]
    if type_code == _DESCRIBE and not held.describe:
        kind, name = hot.read_target(buffer, start, end)
        if kind == _STATEMENT and name[:NAME_SIZE] == held.name:
            held.describe = buffer[start:end]
            return True
    s.handlers = held.handlers
    if not (held.describe and type_code in (_FLUSH, _SYNC) and _answers(s, held)):
        _release(s, held)
    elif type_code == _SYNC:
        s.trip_of_sync = s.batch, "description"
    else:
        s.counts.trips["description"] += 1
    s.held = None
    return s.handlers[type_code](s, buffer, start, end, missing)


#: Type code -> handler, while a Parse is held back.
HOLDING: dict[int, Handler] = dict.fromkeys(b"PBDCEQFHScf", on_next)


def _release(s: Conversation, held: Held) -> None:
    """Deal with what was held back as if it came now."""
    for message in filter(None, (held.parse, held.describe)):
        is_dealt_with = held.handlers[message[0]](s, message, 0, len(message), 0)
        assert is_dealt_with, "with nothing in flight neither has anything to wait for"


def _answers(s: Conversation, held: Held) -> bool:
    """Whether Parse and Describe have been answered here."""
    assert s.descriptions is not None
    found = s.descriptions.find(held.key)
    if found is None or (held.name and not _is_free(s, held)):
        return False
    statement = Statement(held.text, is_named=bool(held.name))
    statement.pin(found.parameters)
    statement.told = found.shape
    statement.unverified = found
    s.answer(hot.PARSE_COMPLETE + found.messages, Change({held.name: statement}, s.batch))
    s.descriptions.note_told(found)
    return True


def _is_free(s: Conversation, held: Held) -> bool:
    """Whether there is no statement of that name, and room for one more; else a server has a word to say first."""
    size = s.statements.size + len(held.text.parse)
    return (
        s.statements.find(held.name, s.batch) is None
        and len(s.statements) < s.limits.max_statements
        and size <= s.limits.max_statement_bytes
    )


def _is_outside(s: Conversation) -> bool:
    """Whether what is sent now is outside of any block, with settings in force that are known."""
    return s.status == hot.IDLE and not s.settings.is_unsettled


def _key(s: Conversation, text: Text) -> Hashable | None:
    """What the description of a text depends on; None: on too much."""
    current = s.settings.current
    if not current:
        return s.identity, text
    if s.settings.size > _MOST_SETTINGS:
        return None
    in_force = frozenset((name, value.text) for name, value in current.items() if not is_inconsequential(name))
    return (s.identity, text, in_force) if in_force else (s.identity, text)


class Recording:
    """What a client is about to be told, on its way to all others."""

    __slots__ = ("_descriptions", "_generation", "_key", "_parameters")

    def __init__(self, descriptions: Descriptions, key: Hashable, generation: int) -> None:
        self._descriptions = descriptions
        self._key = key
        self._generation = generation
        self._parameters = b""

    def note(self, statement: Statement, type_code: int, message: bytes) -> None:
        """A reply to the Describe; the statement has been told of it."""
        if type_code == _PARAMETER_DESCRIPTION:
            self._parameters = message
        else:
            oids = hot.read_parameter_oids(self._parameters, 0, len(self._parameters))
            statement.text.is_described = True
            if _has_only_types_of_postgresql(oids, statement.told):
                found = Description(self._key, oids, self._parameters + message, statement.told)
                self._descriptions.keep(found, self._generation)


def _has_only_types_of_postgresql(parameters: bytes, shape: Shape | None) -> bool:
    """Whether all type OIDs mean the same for ever.

    Others may be of types that have been dropped and made anew since. A client looks up a type that it does not know
    before it executes the statement, so it would fail before the description could be found to be outdated.
    """
    columns = shape.key.split(b"\0")[1::2] if shape is not None else ()
    return all(oid < _FIRST_OF_USERS for (oid,) in _OIDS.iter_unpack(parameters)) and all(
        int(column.split()[0]) < _FIRST_OF_USERS for column in columns
    )


def recording(s: Conversation, statement: Statement) -> Recording | None:
    """Whether the Describe that goes up now is right behind the client's own Parse, and holds for everybody."""
    last = s.outstanding[-1] if s.outstanding else None
    if last is None or last.kind is not Kind.PARSE or last.change is None or not s.is_plain:
        return None
    if statement not in last.change.names.values() or not _is_outside(s) or s.outstanding.owes_ready():
        return None
    key = _key(s, statement.text)
    return None if key is None or s.descriptions is None else Recording(s.descriptions, key, s.parsed_at)
