"""Has a server judge the settings of a login, and say what they are in its own words.

One Query with one SELECT after the upstream's first ReadyForQuery: `set_config` raises what PostgreSQL raises at
connect, and returns the value as SHOW gives it. In transaction mode the settings end with that transaction; towards
the session endpoint they stay. Nothing of its replies is the client's but notices and, when it fails, its error.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from struct import Struct

from pgshim.errors import UpstreamViolation
from pgshim.protocol import hot
from pgshim.session.set_config import OF_A_TRANSACTION
from pgshim.session.startup_options import set_config

_INT16 = Struct("!H")
_INT32 = Struct("!i")

_ERROR, _READY, _DATA_ROW, _ROW_DESCRIPTION, _COMMAND_COMPLETE = b"EZDTC"
_SEVERITIES, _PLACES = b"SV", b"PpqW"

#: What a change of role makes of them is told to the client too.
_ROLES = frozenset({b"role", b"session_authorization"})
_FOLLOWING_ROLES = b"is_superuser", b"session_authorization"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a server made of settings, each name in lower case -> value as SHOW gives it."""

    #: In the order in which they are put in force.
    settings: dict[bytes, bytes]
    #: What ParameterStatus is to say of these names, where the server reports them.
    reported: dict[bytes, bytes]


class AcceptedSettings:
    """The settings that servers have accepted, for the logins that ask for the same; the latest `limit` of them.

    For one upstream: the key says database, user and everything that was asked for.
    """

    __slots__ = ("_accepted", "_limit")

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._accepted: OrderedDict[Hashable, Accepted] = OrderedDict()

    def find(self, key: Hashable) -> Accepted | None:
        """What a server made of them; None if none was asked, or it is too long ago."""
        found = self._accepted.get(key)
        if found is not None:
            self._accepted.move_to_end(key)
        return found

    def keep(self, key: Hashable, accepted: Accepted) -> None:
        """A server has accepted them."""
        self._accepted[key] = accepted
        if len(self._accepted) > self._limit:
            self._accepted.popitem(last=False)


class SettingsCheck:
    """One question to a server, and its answer."""

    __slots__ = ("_columns", "_error", "_names", "_values", "query")

    def __init__(self, settings: tuple[tuple[bytes, bytes], ...], *, is_local: bool) -> None:
        self._names = [name.lower() for name, _ in settings]
        columns = [set_config(name, value, is_local=is_local) for name, value in settings]
        if not _ROLES.isdisjoint(self._names):
            columns += [b"pg_catalog.current_setting('%s')" % name for name in _FOLLOWING_ROLES]
        self._columns = len(columns)
        self._values: list[bytes] = []
        self._error = b""
        #: The Query to be sent.
        self.query = hot.query(b"SELECT " + b",".join(columns))

    def receive(self, type_code: int, message: bytes) -> None:
        """Take a reply. Raises UpstreamViolation."""
        if type_code == _DATA_ROW:
            self._values = _read_row(message)
        elif type_code == _ERROR:
            self._error = message
        elif type_code == _READY:
            is_idle = len(message) == 6 and message[5] == hot.IDLE
            if not is_idle or not (self._error or len(self._values) == self._columns):
                raise UpstreamViolation("the upstream answered out of order when asked for the client's settings")
        elif type_code not in (_ROW_DESCRIPTION, _COMMAND_COMPLETE):
            raise UpstreamViolation(f"the upstream sent message type {chr(type_code)!r} during login")

    @property
    def refusal(self) -> bytes:
        """The server's error as the FATAL that it would be at connect, without a place in a text; empty: none."""
        if not self._error:
            return b""
        fields = [field for field in self._error[5:].split(b"\0") if field and field[0] not in _SEVERITIES + _PLACES]
        return hot.message(_ERROR, b"\0".join((b"SFATAL", b"VFATAL", *fields)) + b"\0\0")

    @property
    def is_final(self) -> bool:
        """Whether the server ends the connection with its error."""
        fields = hot.read_fields(self._error, 0, len(self._error))
        return fields.get(ord("V"), fields.get(ord("S"))) in (b"FATAL", b"PANIC")

    @property
    def accepted(self) -> Accepted:
        """What the server made of the settings; the last of those with the same name, in its place."""
        settings: dict[bytes, bytes] = {}
        for name, value in zip(self._names, self._values, strict=False):
            settings.pop(name, None)
            # At connect, those of one transaction are accepted and have no effect.
            if name not in OF_A_TRANSACTION:
                settings[name] = value
        following = dict(zip(_FOLLOWING_ROLES, self._values[len(self._names) :], strict=False))
        return Accepted(settings, settings | following)


def _read_row(message: bytes) -> list[bytes]:
    """The values of a DataRow without NULLs. Raises UpstreamViolation."""
    values: list[bytes] = []
    pos = 7
    while pos + 4 <= len(message):
        size = _INT32.unpack_from(message, pos)[0]
        if size < 0:
            break
        values.append(message[pos + 4 : pos + 4 + size])
        pos += 4 + size
    if pos != len(message) or len(values) != _INT16.unpack_from(message, 5)[0]:
        raise UpstreamViolation("the upstream sent a row that is none during login")
    return values
