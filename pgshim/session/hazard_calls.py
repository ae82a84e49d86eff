"""Words of a statement with its names unquoted, and which of them call a function.

A call is told from an alias with columns, a type with a modifier and the like by the word before it.
"""

from collections.abc import Sequence

from pgshim.session.builtins import FUNCTION_OR_TYPE_WORDS, RESERVED_WORDS
from pgshim.session.quoting import read_name, read_string
from pgshim.session.tokens import Lexeme, TokenKind

QUERY_WORDS = frozenset({b"select", b"values", b"table", b"with", b"insert", b"update", b"delete", b"merge"})

STATEMENT_MAY_FOLLOW = frozenset(
    {b"", b"(", b")", b"analyze", b"analyse", b"verbose", b"then", b"else", b"loop", b"begin"}
)
"""What stands before a statement inside of another, or in PL/pgSQL; nothing before the first."""

# Behind these a name with a parenthesis is a table, a prepared statement or a CTE with its columns or arguments, a
# type with its modifiers or a sampling method. (In PL/pgSQL, what is behind EXECUTE is an expression.)
_BEFORE_NO_CALL = frozenset({b"as", b"with", b"recursive", b"into", b"tablesample", b"table", b"copy"})
# Behind any other word that is no keyword it is an alias. Behind these keywords, which may be names, an expression may
# stand; the second half is PL/pgSQL's.
_BEFORE_EXPRESSION = (
    RESERVED_WORDS
    | FUNCTION_OR_TYPE_WORDS
    | frozenset(
        b"""
        between by call content document escape first groups key next passing path range ref rows value version zone
        assert elseif elsif execute if perform return reverse slice while
        """.split()
    )
) - _BEFORE_NO_CALL


def normalize(text: bytes, statement: Sequence[Lexeme]) -> list[Lexeme]:
    """The statement with `"name` for a quoted name, however it is spelt, and `'value` for a string constant.

    Only ' where the value is not ASCII or depends on settings.
    """
    result: list[Lexeme] = []
    position = 0
    while position < len(statement):
        kind, word, start, end = statement[position]
        behind = position + 1
        if kind is TokenKind.QUOTED or kind is TokenKind.UNICODE_QUOTED:
            name, behind = read_name(text, statement, position) or (b"", behind)
            word = b'"' + name
        elif kind is TokenKind.STRING:
            value, behind = read_string(text, statement, position) or (None, behind)
            word = b"'" + (value or b"")
        result.append((kind, word, start, statement[behind - 1][3] if behind > position + 1 else end))
        position = behind
    return result


def is_name(word: bytes) -> bool:
    """Whether a word is a name or a keyword."""
    return word[:1].isalpha() or word[:1] in (b'"', b"_") or word[:1] >= b"\x80"


def name_of(word: bytes) -> bytes:
    """The name that a word stands for."""
    return word[1:] if word[:1] == b'"' else word


def at(words: Sequence[bytes], index: int) -> bytes:
    """The word at an index; an empty one beyond the ends."""
    return words[index] if 0 <= index < len(words) else b""


def closing(words: Sequence[bytes], opened: int) -> int:
    """Where the parenthesis closes that is opened at an index; the end if it does not."""
    depth = 0
    for index in range(opened, len(words)):
        depth += (words[index] == b"(") - (words[index] == b")")
        if depth == 0:
            return index
    return len(words)


def at_top(words: Sequence[bytes], word: bytes) -> int | None:
    """Where a word first stands outside of parentheses."""
    depth = 0
    for index, found in enumerate(words):
        if found == word and depth == 0:
            return index
        depth += (found == b"(") - (found == b")")
    return None


def is_call(words: Sequence[bytes], index: int, *, in_body: bool, any_schema: bool) -> bool:
    """Whether the name at an index is that of a function that is called: a built-in one, or one of any schema."""
    if at(words, index + 1) != b"(" or not is_name(words[index]):
        return False
    before = index - 1
    if at(words, before) == b"." and not any_schema and name_of(at(words, before - 1)) != b"pg_catalog":
        return False
    while at(words, before) == b".":
        before -= 2
    return before >= 0 and _may_precede_call(words, before, index, in_body=in_body)


def _may_precede_call(words: Sequence[bytes], before: int, index: int, *, in_body: bool) -> bool:
    word = words[before]
    if is_name(word):
        return word in _BEFORE_EXPRESSION and (in_body or word != b"execute")
    if word == b")":
        return _is_before_expression(words, before)
    return word != b"::" and not (word == b"," and _is_common_table(words, index))


def _is_before_expression(words: Sequence[bytes], closed: int) -> bool:
    """Whether an expression may follow a parenthesis: DISTINCT ON (a), OPERATOR(s.+), RETURNING WITH (OLD AS o)."""
    depth = 0
    opened = closed
    while opened >= 0:
        depth += (words[opened] == b")") - (words[opened] == b"(")
        if depth == 0:
            break
        opened -= 1
    before = (at(words, opened - 2), at(words, opened - 1))
    return before in ((b"distinct", b"on"), (b"returning", b"with")) or before[1] == b"operator"


def _is_common_table(words: Sequence[bytes], index: int) -> bool:
    """Whether `, name (columns) AS [[NOT] MATERIALIZED] (query` stands there."""
    behind = closing(words, index + 1) + 1
    if at(words, behind) != b"as":
        return False
    while at(words, behind + 1) in (b"not", b"materialized"):
        behind += 1
    return at(words, behind + 1) == b"(" and at(words, behind + 2) in QUERY_WORDS | {b"("}
