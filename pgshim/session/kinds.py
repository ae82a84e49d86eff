"""Cuts a scanned text into its statements and says of each what kind it is.

The server has the last word on syntax: a malformed statement gets the kind that its first words suggest,
except that a DEALLOCATE or DISCARD is called one only if it would run, because those may be answered without
asking the server.
"""

from collections.abc import Sequence
from enum import StrEnum, auto

from pgshim.session.builtins import FUNCTION_OR_TYPE_WORDS, RESERVED_WORDS
from pgshim.session.tokens import Lexeme, TokenKind, truncate_name, unquote, unquote_unicode


class Kind(StrEnum):
    """What a statement is; of a text: the kind of its one statement, EMPTY or MULTIPLE."""

    EMPTY = auto()
    MULTIPLE = auto()
    UNKNOWN = auto()  # the text cannot be cut into statements: the server refuses it
    SELECT = auto()  # also VALUES and TABLE, with parentheses or a WITH in front or not
    DML = auto()  # INSERT, UPDATE, DELETE, MERGE
    BEGIN = auto()  # also START TRANSACTION
    COMMIT = auto()  # also END
    ROLLBACK = auto()  # also ABORT
    SAVEPOINT = auto()
    RELEASE = auto()
    ROLLBACK_TO = auto()
    PREPARE_TRANSACTION = auto()
    COMMIT_PREPARED = auto()
    ROLLBACK_PREPARED = auto()
    PREPARE = auto()
    EXECUTE = auto()
    DEALLOCATE = auto()
    DISCARD_ALL = auto()
    DISCARD_PLANS = auto()
    DISCARD = auto()  # SEQUENCES, TEMP
    COPY_FROM_STDIN = auto()
    COPY = auto()
    CALL = auto()
    DO = auto()
    SET = auto()
    RESET = auto()
    SHOW = auto()
    DECLARE = auto()
    FETCH = auto()  # also MOVE
    CLOSE = auto()
    LISTEN = auto()
    UNLISTEN = auto()
    NOTIFY = auto()
    EXPLAIN = auto()
    LOCK = auto()
    UTILITY = auto()  # every other statement


_QUERY_KINDS = {
    b"select": Kind.SELECT,
    b"values": Kind.SELECT,
    b"table": Kind.SELECT,
    b"insert": Kind.DML,
    b"update": Kind.DML,
    b"delete": Kind.DML,
    b"merge": Kind.DML,
}

# Kinds that the first word alone decides. The others are decided by `classify`.
_FIRST_WORDS = _QUERY_KINDS | {
    b"(": Kind.SELECT,
    b"begin": Kind.BEGIN,
    b"abort": Kind.ROLLBACK,
    b"move": Kind.FETCH,
    **{
        kind.encode(): kind
        for kind in (
            *(Kind.SAVEPOINT, Kind.RELEASE, Kind.EXECUTE, Kind.CALL, Kind.DO, Kind.SET, Kind.RESET),
            *(Kind.SHOW, Kind.DECLARE, Kind.FETCH, Kind.CLOSE, Kind.LISTEN, Kind.UNLISTEN, Kind.NOTIFY),
            *(Kind.EXPLAIN, Kind.LOCK),
        )
    },
}

_DISCARDS = {
    b"all": Kind.DISCARD_ALL,
    b"plans": Kind.DISCARD_PLANS,
    b"sequences": Kind.DISCARD,
    b"temp": Kind.DISCARD,
    b"temporary": Kind.DISCARD,
}

# Inside WITH, what stands behind one of these is a name, though it may be spelt like the main statement's
# keyword.
_BEFORE_NAME = frozenset({b"with", b"recursive", b",", b"by", b"set", b"using", b"cycle"})

# What opens and closes the body of a function in the SQL standard's style.
_BODY_WORDS = frozenset({b"atomic", b"case", b"end"})


def split(text: list[Lexeme]) -> list[list[Lexeme]] | None:
    """The lexemes of each statement that is not empty; None if a parenthesis or a body is not closed."""
    words = [lexeme[1] for lexeme in text]
    end = len(words)
    while end and words[end - 1] == b";":
        end -= 1
    if words.count(b";") == len(words) - end and words.count(b"(") == words.count(b")"):
        return [text[:end]] if end else []
    return _split_many(text)


def _split_many(text: Sequence[Lexeme]) -> list[list[Lexeme]] | None:
    statements: list[list[Lexeme]] = []
    current: list[Lexeme] = []
    parentheses = 0
    body = 0  # in the body of a function: 1, and one more for each open CASE
    for lexeme in text:
        word = lexeme[1]
        if word == b";" and not parentheses and not body:
            if current:
                statements.append(current)
                current = []
            continue
        if word == b"(":
            parentheses += 1
        elif word == b")":
            parentheses -= 1
        elif word in _BODY_WORDS:
            body = _body_depth(body, current, word)
        current.append(lexeme)
    if current:
        statements.append(current)
    return None if parentheses or body else statements


def _body_depth(depth: int, statement: Sequence[Lexeme], word: bytes) -> int:
    """The depth of bodies behind `word`: CREATE {FUNCTION|PROCEDURE} ... BEGIN ATOMIC statement; ... END."""
    before = statement[-1][1] if statement else b""
    if depth == 0:
        is_opened = word == b"atomic" and before == b"begin" and _is_create_routine(statement)
        return 1 if is_opened else 0
    if before in (b".", b"as"):  # there, any keyword is a name
        return depth
    return depth + {b"atomic": 0, b"case": 1, b"end": -1}[word]


def _is_create_routine(statement: Sequence[Lexeme]) -> bool:
    words = [lexeme[1] for lexeme in statement[:4]]
    if words[:3] == [b"create", b"or", b"replace"]:
        del words[1:3]
    return words[0] == b"create" and words[1] in (b"function", b"procedure")


def kind_of_first_word(word: bytes) -> Kind | None:
    """The kind of a statement whose first word alone decides it."""
    return _FIRST_WORDS.get(word)


def classify(text: bytes, statement: Sequence[Lexeme]) -> tuple[Kind, bytes | None]:
    """The kind of a statement, and the name of the prepared statement if it is a DEALLOCATE of one."""
    words = [lexeme[1] for lexeme in statement[:3]] + [b""] * 2
    first, second, third = words[:3]
    if first in _FIRST_WORDS:
        return _FIRST_WORDS[first], None
    kind = Kind.UTILITY
    match first:
        case b"with":
            kind = _kind_of_with(statement)
        case b"start" if second == b"transaction":
            kind = Kind.BEGIN
        case b"commit" | b"end":
            kind = Kind.COMMIT_PREPARED if second == b"prepared" else Kind.COMMIT
        case b"rollback":
            kind = _kind_of_rollback(second, third)
        case b"prepare":
            # PREPARE transaction AS ... is an ordinary name
            is_two_phase = second == b"transaction" and third == b"'"
            kind = Kind.PREPARE_TRANSACTION if is_two_phase else Kind.PREPARE
        case b"copy":
            kind = _kind_of_copy(statement)
        case b"deallocate":
            return _deallocate(text, statement[1:])
        case b"discard":
            kind = _DISCARDS.get(second, kind) if len(statement) == 2 else kind
    return kind, None


def _kind_of_rollback(second: bytes, third: bytes) -> Kind:
    if second == b"prepared":
        return Kind.ROLLBACK_PREPARED
    is_to = second == b"to" or (second in (b"work", b"transaction") and third == b"to")
    return Kind.ROLLBACK_TO if is_to else Kind.ROLLBACK


def _kind_of_with(statement: Sequence[Lexeme]) -> Kind:
    """The kind of the main statement behind the list of WITH."""
    depth = 0
    before = b""
    for _, word, _, _ in statement:
        if depth == 0 and word in _QUERY_KINDS and before not in _BEFORE_NAME:
            return _QUERY_KINDS[word]
        depth += (word == b"(") - (word == b")")
        before = word
    return Kind.SELECT  # in parentheses: nothing else may be


def _kind_of_copy(statement: Sequence[Lexeme]) -> Kind:
    """Whether data comes from the client: the grammar takes FROM STDOUT for FROM STDIN."""
    depth = 0
    before = b""
    for _, word, _, _ in statement:
        if depth == 0 and before == b"from" and word in (b"stdin", b"stdout"):
            return Kind.COPY_FROM_STDIN
        depth += (word == b"(") - (word == b")")
        before = word
    return Kind.COPY


def _deallocate(text: bytes, rest: Sequence[Lexeme]) -> tuple[Kind, bytes | None]:
    """DEALLOCATE [PREPARE] {name|ALL}. A malformed one is left to the server."""
    if len(rest) > 1 and rest[0][1] == b"prepare":
        rest = rest[1:]
    name: bytes | None = None
    match rest:
        case [(TokenKind.WORD, b"all", _, _)]:
            return Kind.DEALLOCATE, None
        case [(TokenKind.WORD, word, _, _)] if word not in RESERVED_WORDS | FUNCTION_OR_TYPE_WORDS:
            name = word
        case [(TokenKind.QUOTED, word, _, _)]:
            name = unquote(word)
        case [(TokenKind.UNICODE_QUOTED, word, _, _)]:
            name = unquote_unicode(word)
        case [(TokenKind.UNICODE_QUOTED, word, _, _), (_, b"uescape", _, _), (_, b"'", start, end)]:
            name = unquote_unicode(word, text[start + 1 : end - 1])
    return (Kind.DEALLOCATE, truncate_name(name)) if name else (Kind.UTILITY, None)
