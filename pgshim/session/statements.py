"""The prepared statements of a client, and the texts that all clients share.

A statement's name follows the server's answers: it exists once its ParseComplete has come, and is gone once its Close
(or DEALLOCATE) has been answered. Until then the `Change` is pending; messages of the same batch may count on it
(if it fails, the server skips them too), those of a later batch have to wait until it is settled.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakValueDictionary

from pgshim.protocol import hot
from pgshim.session.assignments import Scope
from pgshim.session.descriptions import Description
from pgshim.session.sql import Kind, Verdict, localize, verdict

#: PostgreSQL keeps statement and portal names in tables with keys of NAMEDATALEN bytes: what lies beyond is ignored.
NAME_SIZE = 63

#: Stands on a pooled server for a statement that must not run there. Like DEALLOCATE it returns no rows, takes its
#: snapshot when it is executed (a SELECT's Parse does), and is refused in a failed block; it costs new plans at most.
SUBSTITUTE = b"DISCARD PLANS"

_SUBSTITUTED = frozenset({Kind.DEALLOCATE, Kind.DISCARD_ALL})


#: Bytes of unnamed statements that are kept, and of one of them.
_MOST_RECENT = 1024 * 1024
_LONG_TEXT = 4096


class Text:
    """A statement's text with its declared parameter types: one object for all connections that use it."""

    __slots__ = ("__weakref__", "_pinned", "_shapes", "is_described", "is_looked_after", "is_ordinary",
                 "is_substituted", "parse",
                 "shift", "upstream_parse", "verdict")  # fmt: skip

    def __init__(self, sql: bytes, parse: bytes, *, standard_strings: bool) -> None:
        #: The client's Parse, of the unnamed statement.
        self.parse = parse
        self.verdict: Verdict = verdict(sql, standard_strings)
        #: Whether pgshim carries it out itself (DEALLOCATE, DISCARD ALL).
        self.is_substituted = self.verdict.kind in _SUBSTITUTED
        found = self.verdict
        #: Whether it has to do with settings, with what needs a session of its own, or with schemas.
        self.is_looked_after = self.is_substituted or found.touches_settings or found.has_hazards or found.may_define
        #: Whether a description of it has ever been kept for other clients.
        self.is_described = False
        #: Whether it is a query and no more: see `pgshim.session.express`.
        self.is_ordinary = self.verdict.has_result_check and not self.is_looked_after
        #: The Parse that goes up.
        self.upstream_parse = parse
        #: What an error's position in it has more than in the client's, in characters.
        self.shift = 0
        upstream = self._upstream_sql(sql)
        if upstream is not None:
            self.upstream_parse = hot.parse_unnamed(upstream + parse[6 + len(sql) :])
        self._pinned: dict[bytes, bytes] = {}
        self._shapes: dict[bytes, Shape] = {}

    def _upstream_sql(self, sql: bytes) -> bytes | None:
        """The text that goes up, where it is not the client's: see `features.settings`, `features.deallocation`."""
        if self.is_substituted:
            return SUBSTITUTE
        if not self.verdict.touches_settings or len(self.verdict.statements) > 1:
            return None
        piece = self.verdict.statements[0]
        assignment = piece.assignment
        if assignment is None:
            return localize(sql, piece.set_configs)
        if assignment.scope is Scope.LOCAL:
            return None
        if assignment.at >= 0:
            before = len(sql[: assignment.at].decode("utf-8", "replace"))
            self.shift = len(assignment.upstream[0]) - (piece.end - assignment.at) - before
        return assignment.upstream[0]

    @property
    def upstream_sql(self) -> bytes:
        """The text that goes up."""
        return self.upstream_parse[6 : self.upstream_parse.index(b"\0", 6)]

    def pinned(self, oids: bytes) -> bytes:
        """The Parse with the parameter types that the server has found (OIDs of four bytes each)."""
        if not oids or self.is_substituted:
            return self.upstream_parse
        found = self._pinned.get(oids)
        if found is None:
            found = hot.parse_unnamed(self.upstream_sql + b"\0" + hot.parameter_types(oids))
            found = self.upstream_parse if found == self.upstream_parse else found
            self._pinned[oids] = found
        return found

    def shape(self, description: bytes) -> Shape:
        """The result shape that a RowDescription of it shows. Raises MalformedMessage."""
        columns, key = hot.read_shape(description, 0, len(description))
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = Shape(columns, key)
        found.description = description
        return found


class Shape:
    """What a client was told a statement returns: names, type OIDs and typmods of the columns."""

    __slots__ = ("columns", "description", "key")

    def __init__(self, columns: int, key: bytes) -> None:
        self.columns = columns
        self.key = key
        #: The RowDescription that showed it last: of several with that shape the one that comes again most likely.
        self.description = b""


class SharedTexts:
    """All texts in use, each once."""

    __slots__ = ("_recent", "_recent_size", "_texts")

    def __init__(self) -> None:
        #: Unnamed statements, which no connection holds for long: their Parse -> text, bounded.
        self._recent: dict[bytes, Text] = {}
        self._recent_size = 0
        self._texts: WeakValueDictionary[tuple[bytes, bool], Text] = WeakValueDictionary()

    def get(self, sql: bytes, tail: bytes, *, standard_strings: bool) -> Text:
        """The Text for a Parse; `tail` is what follows its name."""
        parse = hot.parse_unnamed(tail)
        text = self._texts.get((parse, standard_strings))
        if text is None:
            text = Text(sql, parse, standard_strings=standard_strings)
            self._texts[(text.parse, standard_strings)] = text
        return text

    def keep(self, text: Text) -> None:
        """Of an unnamed statement: it will be parsed again, likely."""
        size = len(text.parse)
        if not text.is_ordinary or size > _LONG_TEXT or text.parse in self._recent:
            return
        self._recent_size += size
        if self._recent_size > _MOST_RECENT:
            self._recent.clear()
            self._recent_size = size
        self._recent[text.parse] = text

    def recent(self, parse: bytes) -> Text | None:
        """The Text of the Parse of an unnamed statement that was kept."""
        return self._recent.get(parse)

    def __len__(self) -> int:
        return len(self._texts)


class Statement:
    """What one client's one Parse has made."""

    __slots__ = ("is_named", "is_used", "replay", "text", "told", "told_of_portal", "unverified")

    def __init__(self, text: Text, *, is_named: bool = False) -> None:
        self.text = text
        #: Whether it has a name; whether it was bound before.
        self.is_named, self.is_used = is_named, False
        #: The Parse that brings it to another server.
        self.replay = text.upstream_parse
        #: What Describe has told the client that it returns; None before, and where it returns nothing.
        self.told: Shape | None = None
        #: What Describe has told the client of a portal of it; known of named statements only.
        self.told_of_portal: Shape | None = None
        #: The description of another client's that this one has been told, until a server has confirmed it.
        self.unverified: Description | None = None

    def pin(self, oids: bytes) -> None:
        """The client knows its parameters by these types from now on."""
        self.replay = self.text.pinned(oids)


class Change:
    """What one message makes of the statements once it is answered.

    names -- name -> the statement that it then means (None: none)
    batch -- the number of the batch that the message is in
    """

    __slots__ = ("batch", "names")

    def __init__(self, names: dict[bytes, Statement | None], batch: int) -> None:
        self.names = names
        self.batch = batch


class Unsettled:
    """Nothing can be said about a name until earlier replies have come."""


UNSETTLED = Unsettled()


def _stands_for_a_portal() -> Statement:
    return Statement(Text(b"", hot.parse_unnamed(b"\0\0\0"), standard_strings=True))


#: In place of a portal's statement: it has been executed to its end, and as one that returns no rows cannot be again.
FINISHED = _stands_for_a_portal()
#: The portal is gone, though the server still has one of that name.
GONE = _stands_for_a_portal()


class Statements:
    """The statements of one connection, the unnamed one (the empty name) included."""

    __slots__ = ("_coming", "_coming_size", "_pending", "_settled", "_size")

    def __init__(self) -> None:
        #: What the server's answers have established.
        self._settled: dict[bytes, Statement] = {}
        #: name -> the newest Change of it that has not been answered yet.
        self._pending: dict[bytes, Change] = {}
        #: Bytes of text of the settled statements.
        self._size = 0
        #: How many statements are on their way, and the bytes of their text.
        self._coming = self._coming_size = 0

    def __len__(self) -> int:
        return len(self._settled) + self._coming

    @property
    def size(self) -> int:
        """Bytes of text of all statements, those on their way included."""
        return self._size + self._coming_size

    @property
    def coming_size(self) -> int:
        """Bytes of text of the statements that are on their way."""
        return self._coming_size

    def find(self, name: bytes, batch: int) -> Statement | None | Unsettled:
        """The statement of that name as a message of that batch will find it."""
        if self._pending:
            change = self._pending.get(name)
            if change is not None:
                return change.names[name] if change.batch == batch else UNSETTLED
        return self._settled.get(name)

    def get(self, name: bytes, batch: int) -> Statement | None:
        """`find`, for a message whose batch has waited until nothing that it depends on is pending."""
        found = self.find(name, batch)
        assert not isinstance(found, Unsettled), "its batch has waited"
        return found

    def settled(self, name: bytes) -> Statement | None:
        """The statement of that name; None: there is none, or a change of any is on its way."""
        return None if self._pending else self._settled.get(name)

    def put_unnamed(self, statement: Statement) -> None:
        """A Parse of the unnamed statement has been answered that was not announced."""
        self.drop_unnamed()
        self._settled[b""] = statement
        self._size += len(statement.text.parse)

    def drop_unnamed(self) -> None:
        """A Query has been answered whose change was not announced."""
        before = self._settled.pop(b"", None)
        if before is not None:
            self._size -= len(before.text.parse)

    def names(self) -> set[bytes]:
        """All names that exist or may come to exist, without the unnamed one."""
        return (self._settled.keys() | self._pending.keys()) - {b""}

    def announce(self, change: Change) -> None:
        """The message that makes this change is on its way."""
        for name, statement in change.names.items():
            self._pending[name] = change
            if statement is not None:
                self._coming += 1
                self._coming_size += len(statement.text.parse)

    def settle(self, change: Change) -> None:
        """The message that makes this change has been answered."""
        for name, statement in change.names.items():
            if self._pending.get(name) is change:
                del self._pending[name]
            before = self._settled.pop(name, None)
            if before is not None:
                self._size -= len(before.text.parse)
            if statement is not None:
                self._settled[name] = statement
                self._size += len(statement.text.parse)
                self._coming -= 1
                self._coming_size -= len(statement.text.parse)

    def forget_pending(self, changes: Iterable[Change]) -> None:
        """An error has dropped messages: only these changes are still to come."""
        self._pending.clear()
        self._coming = self._coming_size = 0
        for change in changes:
            self.announce(change)
