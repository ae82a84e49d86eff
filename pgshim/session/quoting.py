"""Names and string constants as SQL spells them: what a token stands for, and how a value is written.

What is written is ASCII and means the same to a server whatever its client_encoding, standard_conforming_strings and
backslash_quote are. Names and values are in UTF-8.
"""

import re
from collections.abc import Sequence

from pgshim.session.builtins import FUNCTION_OR_TYPE_WORDS, RESERVED_WORDS
from pgshim.session.tokens import NAME_MAX, Lexeme, TokenKind, truncate_name, unquote, unquote_unicode

NO_COLUMN_WORDS = RESERVED_WORDS | FUNCTION_OR_TYPE_WORDS
"""Keywords that name no setting, savepoint or column unless quoted (all that are not a `ColId` in gram.y)."""

LIST_SETTINGS = frozenset(
    {b"search_path", b"temp_tablespaces", b"local_preload_libraries", b"session_preload_libraries"}
)
"""Settings whose values SET spells by quoting each element as a name (GUC_LIST_QUOTE) and a session may set."""

# A constant that goes on in a later line is several quoted parts.
_BETWEEN = rb"(?:\s++|--[^\n\r]*+)*"
_PLAIN_PART = re.compile(rb"'([^']*+(?:''[^']*+)*)'(?!')" + _BETWEEN)
_ESCAPE_PART = re.compile(rb"'([^'\\]*+(?:(?:''|\\.)[^'\\]*+)*)'(?!')" + _BETWEEN, re.DOTALL)
_ESCAPED = re.compile(rb"''|\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}

_ELEMENT = re.compile(rb'\s*+(?:"([^"]*+(?:""[^"]*+)*)"|([^"\s,][^\s,]*+))\s*+(,|\Z)')
_PRINTABLE = re.compile(rb"[ -\[\]-~]*")
_TO_ESCAPE = re.compile(r"[^ -~]|['\\]")
_PLAIN_NAME = re.compile(rb"[a-z_][a-z0-9_$]*")


def read_name(
    text: bytes, statement: Sequence[Lexeme], position: int, refused: frozenset[bytes] = NO_COLUMN_WORDS
) -> tuple[bytes, int] | None:
    """The name at a position as the server knows it (unquoted, folded, truncated), and the position behind it.

    `refused` are the keywords that are no name there. None if no name is there.
    """
    if position >= len(statement):
        return None
    name: bytes | None = None
    kind, word, _, _ = statement[position]
    behind = position + 1
    if kind is TokenKind.WORD and word not in refused:
        name = word
    elif kind is TokenKind.QUOTED:
        name = unquote(word)
    elif kind is TokenKind.UNICODE_QUOTED:
        escape, behind = _escape(text, statement, behind)
        name = unquote_unicode(word, escape)
    return (truncate_name(name), behind) if name else None


def read_string(text: bytes, statement: Sequence[Lexeme], position: int) -> tuple[bytes | None, int] | None:
    """The value of the string constant at a position, and the position behind it. None if no such constant is there.

    The value is None where it is not ASCII, or malformed, or depends on standard_conforming_strings.
    """
    if position >= len(statement) or statement[position][0] is not TokenKind.STRING:
        return None
    _, _, start, end = statement[position]
    spelling = text[start:end]
    behind = position + 1
    escape = b""
    if spelling[:1] in b"bBxX":
        return None
    if spelling[:1] in b"uU":
        escape, behind = _escape(text, statement, behind)
    value = _string_value(spelling, escape)
    return (value if value is not None and value.isascii() else None), behind


def _escape(text: bytes, statement: Sequence[Lexeme], position: int) -> tuple[bytes, int]:
    """The escape character of a U& token, by the UESCAPE that may follow it, and the position behind that."""
    following = statement[position : position + 2]
    if [lexeme[1] for lexeme in following] != [b"uescape", b"'"]:
        return b"\\", position
    start, end = following[1][2:]
    return _string_value(text[start:end], b"") or b"", position + 2


def _string_value(spelling: bytes, escape: bytes) -> bytes | None:
    opening = spelling[:1]
    if opening == b"$":
        tag = spelling.index(b"$", 1) + 1
        return spelling[tag:-tag]
    if opening in b"eE":
        return b"".join(_ESCAPED.sub(_unescaped, part) for part in _ESCAPE_PART.findall(spelling, 1))
    if opening in b"uU":
        body = b"".join(_PLAIN_PART.findall(spelling, 2)).replace(b"''", b"'")
        return unquote_unicode(b'U&"%b"' % body.replace(b'"', b'""'), escape)
    if b"\\" in spelling:
        return None
    return b"".join(_PLAIN_PART.findall(spelling)).replace(b"''", b"'")


def _unescaped(match: re.Match[bytes]) -> bytes:
    """What an escape in an E'' stands for; a byte that is not ASCII for every character that is not."""
    if match[0] == b"''":
        return b"'"
    if match[5]:
        return _CONTROLS.get(match[5], match[5])
    point = int(match[1], 8) & 0xFF if match[1] else int(match[2] or match[3] or match[4], 16)
    return bytes([point]) if 0 < point < 0x80 else b"\xff"


def quote_literal(value: bytes) -> bytes:
    """A string constant for a value. Bytes that are not UTF-8 are written as they are, in octal."""
    if _PRINTABLE.fullmatch(value):
        return b"'%b'" % value.replace(b"'", b"''")
    return b"E'%b'" % _TO_ESCAPE.sub(_escaped, value.decode(errors="surrogateescape")).encode()


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    point = ord(character)
    if character in "'\\":
        return character * 2
    if 0xDC80 <= point <= 0xDCFF:  # a byte that could not be decoded
        return f"\\{point - 0xDC00:03o}"
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def quote_name(name: bytes) -> bytes:
    """An identifier for a name; quoted only if it has to be."""
    if _PLAIN_NAME.fullmatch(name) and name not in NO_COLUMN_WORDS | {b"system_user"}:  # reserved from 16 on
        return name
    quoted = name.replace(b'"', b'""')
    try:
        decoded = quoted.decode()
    except UnicodeDecodeError:
        return b'"%b"' % quoted
    if decoded.isascii():
        return b'"%b"' % quoted
    escaped = re.sub(r"[^\x00-\x7f]", lambda match: f"\\+{ord(match[0]):06x}", decoded.replace("\\", "\\\\"))
    return b'U&"%b"' % escaped.encode()


def split_list(value: bytes) -> list[bytes] | None:
    """The elements of a list of names (`SplitIdentifierString`): unquoted and folded, but not truncated.

    None if the list is malformed.
    """
    elements: list[bytes] = []
    position = 0
    if not value.strip():
        return elements
    while match := _ELEMENT.match(value, position):
        quoted, plain, separator = match.groups()
        elements.append(quoted.replace(b'""', b'"') if plain is None else plain.lower())
        if not separator:
            return elements
        position = match.end()
    return None


def set_local(name: bytes, value: bytes) -> bytes:
    """The SET LOCAL after which SHOW gives a value that it has given before.

    Three values cannot be had from SET, only from set_config; what comes next to them is written. An empty list becomes
    the list of the empty name, a list of names that SET would space or quote otherwise gets its spacing and quotes, and
    a part of a name is cut to NAMEDATALEN - 1 bytes.
    """
    constant = quote_literal(value)
    if name in LIST_SETTINGS:
        elements = split_list(value)
        if elements is not None:
            constant = b", ".join(map(quote_literal, elements)) or b"''"
    return b"SET LOCAL %b TO %b" % (_setting(name), constant)


def _setting(name: bytes) -> bytes:
    parts = name.split(b".")
    # To quote the whole is the same to the server, and the one way to write an empty part; but it may be too long.
    if b"" in parts and len(name) <= NAME_MAX:
        return quote_name(name)
    return b".".join(map(quote_name, parts))
