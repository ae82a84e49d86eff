"""The settings of one client: what it has SET, as its transactions make it, keep it and undo it.

No server keeps them. What a client sets lasts on the server for that transaction only (SET LOCAL); what it then has in
force is kept here, and brought to whichever server carries out its next transaction. The changes are noted as the
server's answers to the statements come, so they follow ROLLBACK, ROLLBACK TO and COMMIT as they do on a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgshim.protocol import hot
from pgshim.session.injection import Injection, Value, is_inconsequential
from pgshim.session.startup_request import as_reported

#: Bytes of names and values that one client may have in force: all of them travel with each of its transactions.
MAX_SIZE = 256 * 1024

#: Settings that change how a text is read, so that they cannot travel in the same text.
READING = frozenset({b"standard_conforming_strings", b"backslash_quote", b"client_encoding"})

#: Those that poolers keep in step with what they have reported: a value that was reported need not travel.
_TRACKED = frozenset({b"standard_conforming_strings", b"client_encoding"})

_UTC = frozenset({b"UTC", b"Etc/UTC", b"UCT", b"Etc/UCT", b"Universal", b"Etc/Universal", b"Zulu", b"Etc/Zulu"})

#: What RESET ALL leaves alone (GUC_NO_RESET_ALL).
_NOT_RESET = frozenset({b"role", b"session_authorization"})

@dataclass(frozen=True, slots=True)
class Call:
    """A call of set_config that is for the session: the setting's name, and whether it goes back to its default."""

    name: bytes
    is_default: bool


_Values = dict[bytes, Value]


class _Known:
    """ParameterStatus of an upstream at login: names as reported and values, both by lower-case name."""

    __slots__ = ("names", "values")

    def __init__(self, base: Mapping[bytes, bytes]) -> None:
        self.names = {name.lower(): name for name in base}
        self.values = {name.lower(): value for name, value in base.items()}


#: Connections to the same upstream are told the same: they share it.
_known: dict[frozenset[tuple[bytes, bytes]], _Known] = {}
_MOST_KNOWN = 64


def _shared(base: Mapping[bytes, bytes]) -> _Known:
    key = frozenset(base.items())
    found = _known.get(key)
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[key] = _Known(base)
    return found


class ClientSettings:
    """One client's settings. Names are in lower case, as they are looked up.

    base -- ParameterStatus of the upstream at login: name as reported -> value
    told -- the same as the client has it
    startup -- settings that the client gave at connect, in order
    passed -- what the pooler has been given of what the client asked for (application_name, client_encoding)
    """

    __slots__ = ("_base", "_base_at_login", "_injection", "_learned", "_now", "_reported", "_server", "_startup",
                 "_told", "begin", "current", "defaults", "has_failed", "has_news", "is_active", "is_unsettled",
                 "levels", "locals")  # fmt: skip

    def __init__(
        self,
        base: Mapping[bytes, bytes],
        told: Mapping[bytes, bytes],
        startup: Mapping[bytes, bytes],
        passed: Mapping[bytes, bytes],
    ) -> None:
        if base.get(b"application_name") == b"Supavisor":
            base = {**base, b"application_name": told.get(b"application_name", b"")}  # Its own: nobody is told.
        known = _shared(base)
        #: Lower-case name -> name as reported.
        self._reported = known.names
        #: What a server says of itself with nothing of the client's in force; never changed in place.
        self._base_at_login = self._base = known.values
        #: What the client has been told besides.
        self._told: dict[bytes, bytes] = {
            name.lower(): value for name, value in told.items() if value != known.values.get(name.lower())
        }
        derived = {b"role": (b"is_superuser",), b"session_authorization": (b"is_superuser",)}
        self._startup: _Values = {
            name: Value(value, tuple((other, self._told_of(other)) for other in derived.get(name, ())))
            for name, value in startup.items()
        }
        #: What RESET goes back to, where that is the client's own value.
        self.defaults: dict[bytes, bytes] = dict(passed) | dict(startup)
        #: What was in force when the transaction began, and is now.
        self.begin: _Values = self._startup
        self.current: _Values = self._startup
        #: Savepoints, the outermost first, each with what was in force. Those set while nothing was are not known.
        self.levels: list[tuple[bytes, _Values]] = []
        #: Names that the transaction has changed, answered or not.
        self.locals: dict[bytes, None] = {}
        #: Whether there is anything that a transaction of this client's needs looking after for.
        self.is_active = bool(startup)
        #: Whether statements that change any of this may be unanswered.
        self.is_unsettled = False
        #: Whether an error has come since the last ReadyForQuery.
        self.has_failed = False
        #: Whether the client may have to be told something by ParameterStatus.
        self.has_news = False
        #: ParameterStatus of the server: in this transaction, and since the last ReadyForQuery.
        self._server: dict[bytes, bytes] = {}
        self._now: dict[bytes, bytes] = {}
        self._injection: tuple[_Values, Injection] | None = None
        #: What the server itself has for settings that no statement means something else for.
        self._learned: dict[bytes, bytes] = {}

    # What statements make of them, in the order of the server's answers.

    def set(self, name: bytes, value: Value) -> None:
        """SET name TO value."""
        values = {known: old for known, old in self.current.items() if known != name}
        if name == b"session_authorization":
            values.pop(b"role", None)  # The server sets it to none with it.
        default = self._base.get(name) if name in _TRACKED else self._learned.get(name)
        if default != value.text or name in self._startup:
            values[name] = value
        self._become(values)

    def wants_default(self, name: bytes) -> bool:
        """Whether to ask for the server's own value before this one is set: to know when it is set back."""
        return (
            is_inconsequential(name)
            and name not in self._learned
            and name not in self.current
            and name not in self._startup
            and name not in self.locals
            and not self.is_unsettled
        )

    def learn(self, name: bytes, text: bytes) -> None:
        """The server's own value of a setting."""
        self._learned[name] = text

    def unset(self, name: bytes) -> None:
        """Leave it to the server's own default."""
        self._become({known: old for known, old in self.current.items() if known != name})

    def reset(self, name: bytes) -> None:
        """RESET name: back to what the client gave at connect."""
        if name in self._startup:
            self.set(name, self._startup[name])
        else:
            self.unset(name)
        if name == b"session_authorization":
            self.reset(b"role")  # The server does with it.

    def reset_all(self, *, with_role: bool = False) -> None:
        """RESET ALL; `with_role`: DISCARD ALL, which resets the role as well."""
        kept = {} if with_role else {n: v for n, v in self.current.items() if n in _NOT_RESET}
        startup = {n: v for n, v in self._startup.items() if with_role or n not in _NOT_RESET}
        self._become(startup | kept)

    def names_to_reset(self) -> list[bytes]:
        """The settings that RESET ALL has to set back in the running transaction."""
        names = dict.fromkeys((*self.current, *self._startup, *self.locals))
        return [name for name in names if name not in _NOT_RESET]

    def _become(self, values: _Values) -> None:
        self.current = values
        self.is_active = self.has_news = True

    def savepoint(self, name: bytes) -> None:
        """SAVEPOINT."""
        self.levels.append((name, self.current))

    def rollback_to(self, name: bytes) -> None:
        """ROLLBACK TO. One that is not known was set when nothing had been changed yet."""
        while self.levels and self.levels[-1][0] != name:
            self.levels.pop()
        self._become(self.levels[-1][1] if self.levels else self.begin)

    def release(self, name: bytes) -> None:
        """RELEASE."""
        while self.levels and self.levels.pop()[0] != name:
            pass

    def end_transaction(self, *, is_committed: bool) -> None:
        """COMMIT or ROLLBACK, as the command tag says, or the end of an implicit transaction."""
        if is_committed:
            self.begin = self.current
        elif self.current is not self.begin:
            self._become(self.begin)
        self.levels.clear()
        self.locals.clear()

    # What the server says.

    def note_status(self, name: bytes, value: bytes) -> None:
        """A ParameterStatus has come."""
        lower = name.lower()
        value = as_reported(name, value)
        if lower not in self._reported:
            self._reported = {**self._reported, lower: name}
        self._now[lower] = value
        self.has_news = True

    def end_batch(self, status: int) -> None:
        """ReadyForQuery."""
        if status == hot.IDLE:
            self.end_transaction(is_committed=not self.has_failed)
            if any(self._base.get(name) != value for name, value in self._now.items()):
                self._base = {**self._base, **self._now}
            self._server.clear()
            self.is_active = bool(self.begin) or self.is_unsettled
        elif self._now:
            self._server |= self._now
        self._now.clear()

    def news(self, status: int) -> bytes:
        """The ParameterStatus messages that the client is owed at this ReadyForQuery."""
        self.has_news = False
        messages = []
        for name in self._reported:
            value = self.shown(name, status)
            if value is not None and value != self._told_of(name):
                self._told[name] = value
                messages.append(hot.message(ord("S"), self._reported[name] + b"\0" + value + b"\0"))
        return b"".join(messages)

    def _told_of(self, name: bytes) -> bytes:
        return self._told[name] if name in self._told else self._base_at_login.get(name, b"")

    def shown(self, name: bytes, status: int) -> bytes | None:
        """What SHOW of a reported setting gives the client."""
        if status == hot.IN_BLOCK or (status == hot.IN_FAILED_BLOCK and self.levels):
            return self._server.get(name, self._base.get(name))
        # A failed transaction has undone on the server what was brought there for it, too.
        return self._in_force(name, self.current if status == hot.IDLE else self.begin)

    def _in_force(self, name: bytes, values: _Values) -> bytes | None:
        if name in values:
            return values[name].text
        for value in reversed(values.values()):
            for other, text in value.reported:
                if other == name:
                    return text
        return self._base.get(name)

    # What is to be in force.

    @property
    def injection(self) -> Injection:
        """How what was in force when the transaction began is brought into force."""
        if self._injection is None or self._injection[0] is not self.current:
            self._injection = self.current, Injection(self.current)
        return self._injection[1]

    @property
    def is_reading_changed(self) -> bool:
        """Whether texts are read in another way than the server reads them by itself."""
        return not READING.isdisjoint(self.current)

    @property
    def is_inconsequential(self) -> bool:
        """Whether every statement does the same without them."""
        return not self.consequential()

    def consequential(self) -> list[bytes]:
        """The settings without which a statement may do something else."""
        return [name for name in self.current if not (is_inconsequential(name) or self._is_same_zone(name))]

    def _is_same_zone(self, name: bytes) -> bool:
        """Whether it is the time zone that the server has, by another of its names: Django sets UTC for Etc/UTC."""
        return name == b"timezone" and {self.current[name].text, self._base.get(name, b"")} <= _UTC

    @property
    def size(self) -> int:
        """Bytes of names and values."""
        return sum(len(name) + len(value.text) for name, value in self.current.items())
