"""The code of a DO statement, cut into what PL/pgSQL takes for statements and declarations.

Code in other languages is read as if it were PL/pgSQL.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pgshim.session.tokens import Lexeme, TokenKind, lexemes, unquote_unicode

# A quote that is neither doubled nor the last begins the gap before the next part of the constant.
_QUOTES = rb"'(?:'|(?:--[^\n\r]*+|[ \t\n\r\f\v]++)+')"
_PLAIN = re.compile(_QUOTES)
_ESCAPED = re.compile(
    _QUOTES + rb"|((?:\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8})+)|\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL
)
_POINT = re.compile(rb"\\[uU]([0-9a-fA-F]+)")
_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}

# Behind these a statement of PL/pgSQL begins.
_OPENERS = frozenset({b"begin", b"then", b"else", b"loop"})


@dataclass(frozen=True, slots=True)
class Piece:
    """What lies between two semicolons of a body."""

    lexemes: Sequence[Lexeme]
    # Where statements may begin; none in a declaration.
    starts: tuple[int, ...]


def do_body(text: bytes, statement: Sequence[Lexeme], conforming: bool) -> bytes | None:
    """The code of a DO statement, as the server decodes it; None for another statement, or one without code."""
    if statement[0][1] != b"do":
        return None
    words = [lexeme[1] for lexeme in statement]
    for index in range(1, len(statement)):
        kind, _, start, end = statement[index]
        if kind is TokenKind.STRING and words[index - 1] not in (b"language", b"uescape"):
            escape = b"\\"
            if words[index + 1 : index + 3] == [b"uescape", b"'"]:
                escape = text[statement[index + 2][2] + 1 : statement[index + 2][3] - 1]
            return _decode(text[start:end], conforming, escape)
    return None


def _decode(spelling: bytes, conforming: bool, escape: bytes) -> bytes | None:
    """The value of a string constant; None if it is no text or is malformed."""
    opening = spelling[:1]
    match opening:
        case b"$":
            tag = spelling.index(b"$", 1) + 1
            return spelling[tag:-tag]
        case b"e" | b"E":
            return _ESCAPED.sub(_unescape, spelling[2:-1])
        case b"u" | b"U":
            body = _PLAIN.sub(_unquote, spelling[3:-1])
            return unquote_unicode(b'U&"%b"' % body.replace(b'"', b'""'), escape)
        case b"'":
            return _PLAIN.sub(_unquote, spelling[1:-1]) if conforming else _ESCAPED.sub(_unescape, spelling[1:-1])
    return None


def _unquote(match: re.Match[bytes]) -> bytes:
    return b"'" if match[0] == b"''" else b""


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1]:  # two surrogates make one character
        points = [int(point, 16) for point in _POINT.findall(match[1])]
        characters = "".join(chr(point) if point < 0x110000 else "\ufffd" for point in points)
        return characters.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    if match[2]:
        return bytes([int(match[2], 8) & 0xFF])
    if match[3]:
        return bytes([int(match[3], 16)])
    return _CONTROLS.get(match[4], match[4]) if match[4] else _unquote(match)


def pieces(body: bytes, conforming: bool) -> Iterator[Piece]:
    """The statements and declarations of a body; none if it cannot be scanned."""
    in_declarations = False
    current: list[Lexeme] = []
    for lexeme in [*(lexemes(body, conforming) or ()), (TokenKind.CHARACTER, b";", 0, 0)]:
        if lexeme[1] != b";":
            current.append(lexeme)
        elif current:
            starts, in_declarations = _starts([found[1] for found in current], in_declarations)
            yield Piece(current, starts)
            current = []


def _starts(words: Sequence[bytes], in_declarations: bool) -> tuple[tuple[int, ...], bool]:
    """Where statements may begin, and whether the declarations of a block go on behind the semicolon."""
    if in_declarations and words[0] != b"begin":
        return (), True
    starts = [0]
    for index, word in enumerate(words):
        if index == starts[-1]:
            if word == b"declare":
                rest, in_declarations = _starts(words[index + 1 :] or [b""], True)
                return (*starts[:-1], *(index + 1 + start for start in rest)), in_declarations
            if word == b"<<" and words[index + 2 : index + 3] == [b">>"]:
                starts.append(index + 3)
                continue
        if word in _OPENERS:
            starts.append(index + 1)
    return tuple(starts), False
