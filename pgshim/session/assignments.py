"""The statements that change settings, as `gram.y` reads them: SET, RESET, calls of set_config, modes of transactions.

Each is translated into SET LOCAL, which ends with the transaction. A statement that is malformed gives None, for the
server to say what is wrong with it. So does a SET that ends with the transaction by itself (SET TRANSACTION,
transaction_isolation, ...), and one that is no setting (SET CONSTRAINTS).

Two things are taken that the server refuses, since it refuses them after SET LOCAL in the same words: SET TIME ZONE
followed by a keyword that is not reserved (which words those are differs by version), and numbers that are malformed
or, in `INTERVAL(p)`, not whole.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from pgshim.session.builtins import RESERVED_WORDS
from pgshim.session.quoting import NO_COLUMN_WORDS, read_name, read_string
from pgshim.session.set_config import OF_A_TRANSACTION
from pgshim.session.set_config import SetConfig as SetConfig
from pgshim.session.set_config import read_set_config as read_set_config
from pgshim.session.tokens import Lexeme, TokenKind

# SET or RESET where a statement may begin: at the start of the text, of a line, or behind a semicolon or a comment;
# set_config; U&"set\005fconfig". It begins with a set of bytes, so that the search can skip those in between.
_END = rb"(?![A-Za-z0-9_$\x80-\xff])"
_FIRST = rb"[eE](?<!\S..)(?<!\S\s..)(?:[sS][eE])?[tT]" + _END  # `ET`: the text begins with a space before it, or not
_LATER = rb"(?<=[;\n\r/])[ \t\f\v]*+(?:[rR][eE])?[sS][eE][tT]" + _END
ASSIGNMENT_WORDS = re.compile(
    rb'[\n\r;/sSrRuU](?:%b|[eE][tT]_[cC][oO][nN][fF][iI][gG]|&"|%b)' % (_FIRST, _LATER), re.DOTALL
)
"""Finds something in every text that has an assignment in it, and in few others: not in UPDATE ... SET on one line."""


class Scope(Enum):
    """How long an assignment lasts, if the transaction commits."""

    SESSION = auto()
    LOCAL = auto()

# Stands for RESET ALL, which sets back this one as well; it takes no snapshot.
_STAND_IN = b"SET LOCAL cursor_tuple_fraction TO DEFAULT"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A SET or RESET of settings."""

    scope: Scope
    # The settings that it changes, in lower case; several only for SESSION CHARACTERISTICS, () for RESET ALL.
    names: tuple[bytes, ...]
    # It brings the default back: RESET, TO DEFAULT, TIME ZONE LOCAL, NAMES alone.
    is_default: bool
    # It is spelt RESET, and so is its command tag.
    is_reset: bool
    # The statements that do the same to the transaction; for RESET ALL, one of the many.
    upstream: tuple[bytes, ...]
    # Where in the client's text that which follows b"SET LOCAL " in `upstream[0]` begins; -1 if it is not the client's.
    at: int


# What stands behind the first word of a setting's name; else that word begins a form of its own.
_BEHIND_NAME = frozenset({(b"=",), (b"to",), (b".",), (b"from",)})
_RESETS = {(b"time", b"zone"): b"timezone", (b"session", b"authorization"): b"session_authorization"}

# transaction_mode_item in gram.y: its words, the setting and the value.
_MODES = {
    **{
        (b"isolation", b"level", *level.split()): (b"transaction_isolation", b"'%b'" % level)
        for level in (b"serializable", b"repeatable read", b"read committed", b"read uncommitted")
    },
    (b"read", b"only"): (b"transaction_read_only", b"on"),
    (b"read", b"write"): (b"transaction_read_only", b"off"),
    (b"deferrable",): (b"transaction_deferrable", b"on"),
    (b"not", b"deferrable"): (b"transaction_deferrable", b"off"),
}


class _Cursor:
    """A place in a statement; every `take` moves it behind what it finds, or leaves it."""

    __slots__ = ("position", "statement", "text")

    def __init__(self, text: bytes, statement: Sequence[Lexeme]) -> None:
        self.text = text
        self.statement = statement
        self.position = 0

    @property
    def is_at_end(self) -> bool:
        return self.position == len(self.statement)

    def words(self, count: int) -> tuple[bytes, ...]:
        return tuple(lexeme[1] for lexeme in self.statement[self.position : self.position + count])

    def take(self, *words: bytes) -> bool:
        is_there = self.words(len(words)) == words
        self.position += len(words) * is_there
        return is_there

    def take_name(self, refused: frozenset[bytes] = NO_COLUMN_WORDS) -> bytes | None:
        found = read_name(self.text, self.statement, self.position, refused)
        if found is None:
            return None
        self.position = found[1]
        return found[0]

    def take_string(self) -> bool:
        found = read_string(self.text, self.statement, self.position)
        if found is None:
            return False
        self.position = found[1]
        return True

    def take_word_or_string(self) -> bool:
        """NonReservedWord_or_Sconst."""
        return self.take_name(RESERVED_WORDS) is not None or self.take_string()

    def take_number(self, *, is_signed: bool = True) -> bool:
        """NumericOnly."""
        _ = is_signed and (self.take(b"+") or self.take(b"-"))
        is_there = not self.is_at_end and self.statement[self.position][0] is TokenKind.NUMBER
        self.position += is_there
        return is_there

    def take_value(self) -> bool:
        """var_value."""
        return any(map(self.take, (b"true", b"false", b"on"))) or self.take_word_or_string() or self.take_number()

    def take_setting(self) -> tuple[bytes, bytes] | None:
        """var_name, and its spelling."""
        first = self.position
        parts = []
        while (part := self.take_name()) is not None:
            parts.append(part)
            if not self.take(b"."):
                spelling = self.text[self.statement[first][2] : self.statement[self.position - 1][3]]
                return b".".join(parts).lower(), spelling
        return None


def _take_zone(cursor: _Cursor) -> bool:
    """zone_value, but for what means the default."""
    if not cursor.take(b"interval"):
        return cursor.take_name() is not None or cursor.take_string() or cursor.take_number()
    if cursor.take(b"("):
        return cursor.take_number(is_signed=False) and cursor.take(b")") and cursor.take_string()
    is_there = cursor.take_string()
    _ = cursor.take(b"hour", b"to", b"minute") or cursor.take(b"hour") or cursor.take(b"minute")
    return is_there


def _take_option(cursor: _Cursor) -> bool:
    return cursor.take(b"document") or cursor.take(b"content")


# Spellings of their own: the words, the setting, the words that mean its default, and how the value reads.
_FORMS: tuple[tuple[tuple[bytes, ...], bytes, tuple[bytes, ...], Callable[[_Cursor], bool]], ...] = (
    ((b"time", b"zone"), b"timezone", (b"default", b"local"), _take_zone),
    ((b"names",), b"client_encoding", (b"default",), _Cursor.take_string),
    ((b"schema",), b"search_path", (), _Cursor.take_string),
    ((b"role",), b"role", (), _Cursor.take_word_or_string),
    ((b"session", b"authorization"), b"session_authorization", (b"default",), _Cursor.take_word_or_string),
    ((b"xml", b"option"), b"xmloption", (), _take_option),
)


class _Setting(NamedTuple):
    name: bytes
    spelling: bytes  # for SET LOCAL ... TO DEFAULT
    is_default: bool


def read_assignment(text: bytes, statement: Sequence[Lexeme]) -> Assignment | None:
    """What a SET or RESET does to settings; None for any other statement, and as said above."""
    cursor = _Cursor(text, statement)
    if cursor.take(b"reset"):
        return _read_reset(cursor)
    if not cursor.take(b"set"):
        return None
    scope = _take_scope(cursor)
    if cursor.take(b"session", b"characteristics", b"as", b"transaction"):
        return _read_characteristics(cursor, scope)
    first = cursor.position
    setting = _take_generic(cursor) if cursor.words(2)[1:] in _BEHIND_NAME else _take_form(cursor)
    if setting is None or not cursor.is_at_end or setting.name in OF_A_TRANSACTION:
        return None
    if setting.is_default:
        return _default(scope, setting.name, setting.spelling, is_reset=False)
    at = statement[first][2]
    upstream = b"SET LOCAL " + text[at : statement[-1][3]]
    return Assignment(scope, (setting.name,), is_default=False, is_reset=False, upstream=(upstream,), at=at)


def _read_reset(cursor: _Cursor) -> Assignment | None:
    if cursor.words(2) == (b"all",):
        return Assignment(Scope.SESSION, (), is_default=True, is_reset=True, upstream=(_STAND_IN,), at=-1)
    for words, name in _RESETS.items():
        if cursor.words(len(words) + 1) == words:
            return _default(Scope.SESSION, name, name, is_reset=True)
    setting = cursor.take_setting()
    if setting is None or not cursor.is_at_end or setting[0] in OF_A_TRANSACTION:
        return None
    return _default(Scope.SESSION, *setting, is_reset=True)


def _default(scope: Scope, name: bytes, spelling: bytes, *, is_reset: bool) -> Assignment:
    upstream = b"SET LOCAL %b TO DEFAULT" % spelling
    return Assignment(scope, (name,), is_default=True, is_reset=is_reset, upstream=(upstream,), at=-1)


def _take_scope(cursor: _Cursor) -> Scope:
    """The scope; `SET local = 1` names a setting, and SESSION may belong to what follows it."""
    words = cursor.words(3)
    if len(words) > 1 and words[1:2] not in _BEHIND_NAME:
        if cursor.take(b"local"):
            return Scope.LOCAL
        if words[1] != b"authorization" and words[1:] != (b"characteristics", b"as"):
            cursor.take(b"session")
    return Scope.SESSION


def _take_generic(cursor: _Cursor) -> _Setting | None:
    """generic_set, and var_name FROM CURRENT."""
    setting = cursor.take_setting()
    if setting is None:
        return None
    if cursor.take(b"from", b"current"):
        return _Setting(*setting, is_default=False)
    if not (cursor.take(b"=") or cursor.take(b"to")):
        return None
    if cursor.take(b"default"):
        return _Setting(*setting, is_default=True)
    while cursor.take_value():
        if not cursor.take(b","):
            return _Setting(*setting, is_default=False)
    return None


def _take_form(cursor: _Cursor) -> _Setting | None:
    for words, name, defaults, take_value in _FORMS:
        if cursor.take(*words):
            is_default = any(map(cursor.take, defaults)) or (words == (b"names",) and cursor.is_at_end)
            return _Setting(name, name, is_default) if is_default or take_value(cursor) else None
    return _take_generic(cursor)  # its name is of several tokens


def _read_characteristics(cursor: _Cursor, scope: Scope) -> Assignment | None:
    modes = _take_modes(cursor)
    if not modes:
        return None
    names = tuple(b"default_" + name for name in modes)
    upstream = tuple(b"SET LOCAL default_%b TO %b" % mode for mode in modes.items())
    return Assignment(scope, names, is_default=False, is_reset=False, upstream=upstream, at=-1)


def _take_modes(cursor: _Cursor) -> dict[bytes, bytes] | None:
    """transaction_mode_list_or_empty: the settings and their values; of several of a kind, the last one counts."""
    modes: dict[bytes, bytes] = {}
    while not cursor.is_at_end:
        mode = next((mode for mode in _MODES if cursor.take(*mode)), None)
        if mode is None or cursor.words(2) == (b",",):
            return None
        name, value = _MODES[mode]
        modes[name] = value
        cursor.take(b",")
    return modes


def read_begin_modes(statement: Sequence[Lexeme]) -> frozenset[bytes]:
    """The transaction_... settings that a BEGIN or START TRANSACTION gives."""
    cursor = _Cursor(b"", statement)
    if cursor.take(b"begin"):
        _ = cursor.take(b"work") or cursor.take(b"transaction")
    elif not cursor.take(b"start", b"transaction"):
        return frozenset()
    return frozenset(_take_modes(cursor) or ())


def chains(statement: Sequence[Lexeme]) -> bool:
    """Whether a COMMIT or ROLLBACK begins the next transaction: AND CHAIN."""
    cursor = _Cursor(b"", statement)
    is_end = any(map(cursor.take, (b"commit", b"end", b"rollback", b"abort")))
    _ = cursor.take(b"work") or cursor.take(b"transaction")
    return is_end and cursor.take(b"and", b"chain") and cursor.is_at_end


def savepoint_name(text: bytes, statement: Sequence[Lexeme]) -> bytes | None:
    """The name in a SAVEPOINT, RELEASE or ROLLBACK TO, as the server knows it; None if it is malformed."""
    cursor = _Cursor(text, statement)
    if cursor.take(b"rollback"):
        _ = cursor.take(b"work") or cursor.take(b"transaction")
        is_one = cursor.take(b"to")
    else:
        is_one = cursor.take(b"release") or (cursor.words(1) == (b"savepoint",) and len(statement) > 1)
    if len(cursor.words(2)) == 2:  # else the word is the name
        cursor.take(b"savepoint")
    name = cursor.take_name()
    return name if is_one and cursor.is_at_end else None
