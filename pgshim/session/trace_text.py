"""What a trace says of one message: its name and its fields, in the order of the manual.

It is read off the declarations (`pgshim.protocol`), and so is what may be shown: numbers, and bytes that are declared a
name. What else there is of bytes may hold a value, and only its size is told, unless values are asked for. What is left
out of the repr of a message is secret, and is never told. A text of any kind stays on its line.
"""

from __future__ import annotations

import re
from dataclasses import fields
from enum import Enum
from typing import Any

from pgshim.protocol.backend import FieldDescription, ParameterStatus
from pgshim.protocol.fields import Content, content_of
from pgshim.protocol.message import Message
from pgshim.session.conversation import BAD_TEXT
from pgshim.session.sql import LONG_TEXT, Kind, verdict

#: Bytes of a message that are looked at: the rest of a larger one is not worth the time.
MOST_OF_A_MESSAGE = 16 * 1024

#: Bytes shown of a name or a value, and of a text of SQL; elements shown of a list.
_MOST_OF_A_VALUE, _MOST_OF_SQL, _MOST_ELEMENTS = 80, 1000, 12

#: Statements of a text whose kinds are told.
_MOST_STATEMENTS = 4

#: Settings whose values are names, or say nothing of anybody; in lower case.
_PLAIN = frozenset({
    *(b"user", b"database", b"replication", b"session_authorization", b"is_superuser", b"server_version"),
    *(b"server_encoding", b"client_encoding", b"datestyle", b"intervalstyle", b"timezone", b"integer_datetimes"),
    *(b"standard_conforming_strings", b"in_hot_standby", b"default_transaction_read_only"),
})  # fmt: skip

#: First words that say more than the kind of their statement.
_FIRST_WORD = re.compile(
    rb"\s*(insert|update|delete|merge|create|alter|drop|truncate|grant|revoke|comment|vacuum|analyze|reindex|cluster"
    rb"|checkpoint|refresh)\b",
    re.IGNORECASE,
)

#: In a text of SQL: the next word, or the value it is compared with, may be one.
_PASSWORD = re.compile(rb"\bpassword\b", re.IGNORECASE)

_SECRET = "<secret>"


def describe(cls: type[Message], body: bytes, *, is_cut: bool = False, shows_values: bool = False) -> str:
    """`Parse "s1" <SELECT, 8 bytes> []`. The body may end early (`is_cut`): then `...` stands for what is missing."""
    declared = fields(cls)  # type: ignore[arg-type]  # `message` makes it a dataclass
    has_secret = any(not field.repr for field in declared)
    if len(body) > MOST_OF_A_MESSAGE:
        body, is_cut = body[:MOST_OF_A_MESSAGE], True
    values, rest = cls.decode_head(body)
    is_whole = len(values) == len(declared) and not rest
    # A password that comes where something else was asked for must not be read as that.
    if has_secret and (is_cut or not is_whole):
        return f"{cls.__name__} {_SECRET}"
    if not (is_whole or is_cut):
        return f"{cls.__name__} <malformed>"
    if cls is ParameterStatus and is_whole:
        name, text = values
        return f"{cls.__name__} {_setting(name, text, shows_values)}"
    parts = [cls.__name__]
    for field, value in zip(declared, values, strict=False):
        if field.name == "minor_version":
            value = f"3.{value}"
        parts.append(_shown(value, content_of(field.type), shows_values) if field.repr else _SECRET)
    if is_cut:
        is_text = len(values) < len(declared) and content_of(declared[len(values)].type) is Content.SQL
        parts.append(f"{_shown(rest, Content.SQL, True)}..." if is_text and shows_values else "...")
    return " ".join(part for part in parts if part)


def broken(data: bytes, *, shows_values: bool) -> str:
    """What is said of bytes in which no message can be found: the place of a header, or more."""
    head = data[:64] if shows_values else data[:5]
    return f"<no message> {head.hex(' ')}{' ...' if len(data) > len(head) else ''}"


def quoted(data: bytes, most: int = _MOST_OF_A_VALUE) -> str:
    """Bytes as text between quotes, on one line whatever they are, and safe for a terminal."""
    text = data[:most].decode("utf-8", "backslashreplace")
    escaped = "".join(_escaped(char) for char in text)
    return f'"{escaped}"' + (f"... {len(data)} bytes" if len(data) > most else "")


def _escaped(char: str) -> str:
    if char == '"':
        return "\\" + char
    # What is no character was made a backslash's sequence above.
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def _shown(value: Any, content: Content, shows_values: bool) -> str:
    if content is Content.SETTINGS:
        return _list([_setting(name, text, shows_values) for name, text in value[:_MOST_ELEMENTS]], len(value))
    if content is Content.DIAGNOSTIC:
        return _diagnostic(value, shows_values)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, FieldDescription):
        return f"{quoted(value.name)}:{value.type_oid}"
    if isinstance(value, tuple):
        return _list([_shown(each, content, shows_values) for each in value[:_MOST_ELEMENTS]], len(value))
    if value is None:
        return "NULL"
    if not isinstance(value, bytes):
        return str(value)
    if content is Content.SQL:
        is_shown = value == BAD_TEXT or (shows_values and not _PASSWORD.search(value))
        return quoted(value, _MOST_OF_SQL) if is_shown else f"<{kind_of(value)}{_size(value)}>"
    return quoted(value) if shows_values or content is Content.NAME else f"<{_size(value)}>"


def _size(data: bytes) -> str:
    return f"{len(data)} byte{'' if len(data) == 1 else 's'}"


def _list(shown: list[str], size: int) -> str:
    rest = [f"{size - len(shown)} more"] if size > len(shown) else []
    return f"[{', '.join(shown + rest)}]"


def _setting(name: bytes, value: bytes, shows_values: bool) -> str:
    return f"{quoted(name)}={quoted(value) if shows_values or name.lower() in _PLAIN else f'<{_size(value)}>'}"


def _diagnostic(pairs: tuple[tuple[bytes, bytes], ...], shows_values: bool) -> str:
    found = dict(pairs)
    words = [_word(found.get(b"V") or found.get(b"S", b"")), _word(found.get(b"C", b""))]
    if shows_values:
        others = [(code, text) for code, text in pairs if code not in (b"S", b"V", b"C")]
        words += [f"{_word(code)}={quoted(text, _MOST_OF_SQL)}" for code, text in others]
    return " ".join(word for word in words if word)


def _word(data: bytes) -> str:
    """A word as it is; quoted if it is none."""
    return data.decode() if data.isalnum() and len(data) <= _MOST_OF_A_VALUE else quoted(data) if data else ""


def kind_of(text: bytes) -> str:
    """`SELECT, `: what kind of statement a text is, or of which it is made; empty where that would take long."""
    if len(text) > LONG_TEXT:
        return ""
    found = verdict(text)
    kinds = [_kind(text[each.start : each.end], each.kind) for each in found.statements[:_MOST_STATEMENTS]]
    rest = "; ..." if len(found.statements) > len(kinds) else ""
    return f"{'; '.join(kinds or [_kind(text, found.kind)])}{rest}, "


def _kind(statement: bytes, kind: Kind) -> str:
    word = _FIRST_WORD.match(statement) if kind in (Kind.DML, Kind.UTILITY) else None
    return word[1].decode().upper() if word is not None else kind.upper().replace("_", " ")
