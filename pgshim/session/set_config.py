"""The calls of set_config in a statement, and what of their arguments its text shows.

Whether a call is ever carried out is not looked into, nor whether a function of the user's hides the built-in one.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pgshim.session.quoting import read_name, read_string
from pgshim.session.tokens import Lexeme, TokenKind

#: Settings of one transaction, however they are set.
OF_A_TRANSACTION = frozenset({b"transaction_isolation", b"transaction_read_only", b"transaction_deferrable"})

_TEXT_TYPES = frozenset(
    {
        *((b"text",), (b"varchar",), (b"character", b"varying"), (b"char", b"varying")),
        *((b"pg_catalog", b".", b"text"), (b"pg_catalog", b".", b"varchar")),
    }
)
_BOOLEAN_TYPES = frozenset({(b"bool",), (b"boolean",), (b"pg_catalog", b".", b"bool")})
# A longer argument counts as computed, though it may be a constant in many parentheses.
_MOST_TOKENS = 64
# Of a parameter's number: a server refuses larger ones.
_MOST_DIGITS = 9

_TRUE = re.compile(rb"\s*(?:t(?:r(?:ue?)?)?|y(?:es?)?|on|1)\s*", re.IGNORECASE)
_FALSE = re.compile(rb"\s*(?:f(?:a(?:l(?:se?)?)?)?|no?|off?|0)\s*", re.IGNORECASE)

_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SetConfig:
    """A call of set_config(name, value, is_local)."""

    # Of the setting, in lower case; n if it is $n; None if it is computed.
    name: bytes | int | None
    # n if the value is $n.
    value: int | None
    # The value is the literal NULL: the setting goes back to its default.
    is_null: bool
    # A literal (NULL means false); n if it is $n; None if it is computed.
    is_local: bool | int | None
    # Where is_local stands: `text[at[0]:at[1]]`.
    at: tuple[int, int]


def read_set_config(text: bytes, statement: Sequence[Lexeme]) -> tuple[SetConfig, ...]:
    """Every call with three arguments, in the order of the text; also one inside of another's arguments."""
    openings = []
    for position, (kind, word, _, _) in enumerate(statement):
        if word in (b"set_config", b'"set_config"') or kind is TokenKind.UNICODE_QUOTED:
            name = read_name(text, statement, position)
            if name is not None and name[0] == b"set_config" and _is_built_in(text, statement, position):
                openings.append(name[1])
    if not openings:
        return ()
    arguments = _arguments(statement, frozenset(openings))
    found = (arguments.get(opening, []) for opening in openings)
    return tuple(_call(text, statement, *spans) for spans in found if len(spans) == 3)


def _is_built_in(text: bytes, statement: Sequence[Lexeme], position: int) -> bool:
    """Whether the name at a position stands alone, or behind pg_catalog: the database may be named before that."""
    if position == 0 or statement[position - 1][1] != b".":
        return True
    # The last of three tokens may be a UESCAPE's.
    starts = (position - 2, position - 4)
    return any(start >= 0 and read_name(text, statement, start) == (b"pg_catalog", position - 1) for start in starts)


def _arguments(statement: Sequence[Lexeme], openings: Container[int]) -> dict[int, list[_Span]]:
    """Where the arguments lie that stand in parentheses opened at some positions; not if one of them is empty."""
    arguments = {}
    open_: list[list[int]] = []  # of each pair that is open: where it begins, and its commas
    for position, (_, word, _, _) in enumerate(statement):
        if word in (b"(", b"["):
            open_.append([position])
        elif word in (b",", b")", b"]") and open_:
            open_[-1].append(position)
            if word != b",":
                edges = open_.pop()
                spans = [(before + 1, behind) for before, behind in pairwise(edges)]
                if edges[0] in openings and all(start < end for start, end in spans):
                    arguments[edges[0]] = spans
    return arguments


def _call(text: bytes, statement: Sequence[Lexeme], name: _Span, value: _Span, is_local: _Span) -> SetConfig:
    setting = _constant(text, _peeled(statement, name, _TEXT_TYPES))
    new = _peeled(statement, value, _TEXT_TYPES)
    parameter = _constant(text, new)
    setting = setting.lower() if isinstance(setting, bytes) else setting
    is_of_transaction = setting in OF_A_TRANSACTION
    return SetConfig(
        name=setting,
        value=parameter if isinstance(parameter, int) else None,
        is_null=_words(new) == (b"null",),
        is_local=is_of_transaction or _boolean(text, _peeled(statement, is_local, _BOOLEAN_TYPES)),
        at=(statement[is_local[0]][2], statement[is_local[1] - 1][3]),
    )


def _words(expression: Sequence[Lexeme]) -> tuple[bytes, ...]:
    return tuple(lexeme[1] for lexeme in expression)


def _peeled(statement: Sequence[Lexeme], span: _Span, types: frozenset[tuple[bytes, ...]]) -> Sequence[Lexeme]:
    """What is left of an argument when it is taken out of parentheses and of casts to some types.

    Right only where a single constant is left: the parentheses are not matched.
    """
    start, end = span
    if end - start > _MOST_TOKENS:
        return ()
    expression = statement[start:end]
    while True:
        words = _words(expression)
        kept = slice(1, -1) if words[0] == b"(" else None
        for type_ in types:
            size = len(type_)
            if words[: size + 1] == (*type_, b"'"):
                kept = slice(size, None)
            elif words[-size - 1 :] == (b"::", *type_):
                kept = slice(0, -size - 1)
            elif words[:2] == (b"cast", b"(") and words[-size - 2 :] == (b"as", *type_, b")"):
                kept = slice(2, -size - 2)
        if kept is None or not expression[kept]:
            return expression
        expression = expression[kept]


def _constant(text: bytes, expression: Sequence[Lexeme]) -> bytes | int | None:
    """The value of a string constant, the number of a parameter, or None."""
    if len(expression) == 1 and expression[0][0] is TokenKind.PARAMETER:
        digits = expression[0][1][1:]
        return int(digits) if len(digits) <= _MOST_DIGITS else None
    string = read_string(text, expression, 0)
    return string[0] if string is not None and string[1] == len(expression) else None


def _boolean(text: bytes, expression: Sequence[Lexeme]) -> bool | int | None:
    words = _words(expression)
    if words in ((b"true",), (b"false",), (b"null",)):
        return words == (b"true",)
    constant = _constant(text, expression)
    if not isinstance(constant, bytes):
        return constant
    if _TRUE.fullmatch(constant):
        return True
    return False if _FALSE.fullmatch(constant) else None
