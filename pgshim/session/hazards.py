"""What in a statement needs a session of its own, as far as its tokens show.

A call counts only where the statement carries it out: not in a view, a default, a function's body, nor in EXPLAIN
without ANALYZE. The code of a DO is read as well; what it runs as dynamic SQL is not, nor is any other string.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pgshim.session.hazard_blocks import refuses_block as refuses_block
from pgshim.session.hazard_bodies import Piece, pieces
from pgshim.session.hazard_bodies import do_body as do_body
from pgshim.session.hazard_calls import STATEMENT_MAY_FOLLOW, at, at_top, closing, is_call, is_name, name_of, normalize
from pgshim.session.hazard_names import BUILT_IN, OF_EXTENSIONS
from pgshim.session.hazard_names import HAZARD_WORDS as HAZARD_WORDS
from pgshim.session.hazard_names import OIDS as OIDS
from pgshim.session.hazard_names import Feature as Feature
from pgshim.session.hazard_names import Hazard as Hazard
from pgshim.session.hazard_temporary import creates_temporary, reads_temporary, selects_into_temporary
from pgshim.session.kinds import Kind
from pgshim.session.set_config import read_set_config
from pgshim.session.tokens import Lexeme, lexemes

_HARMLESS = frozenset(
    {
        *(Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK, Kind.SAVEPOINT, Kind.RELEASE, Kind.ROLLBACK_TO),
        *(Kind.PREPARE_TRANSACTION, Kind.COMMIT_PREPARED, Kind.ROLLBACK_PREPARED),
        *(Kind.DEALLOCATE, Kind.DISCARD_ALL, Kind.DISCARD_PLANS, Kind.DISCARD),
        *(Kind.RESET, Kind.SHOW, Kind.FETCH, Kind.CLOSE, Kind.UNLISTEN, Kind.NOTIFY),
    }
)

# Statements that are read whole, because they carry out all that is in them.
_CARRIED_OUT = frozenset(
    {b"select", b"values", b"table", b"with", b"(", b"insert", b"update", b"delete", b"merge", b"call", b"copy"}
)
# Statements of SQL inside of PL/pgSQL that are not read whole. Any other word begins one that is.
_APART = frozenset(
    {b"listen", b"load", b"prepare", b"explain", b"create", b"set", b"reset", b"alter", b"comment", b"do"}
)
_TRANSACTION_MODES = frozenset({b"transaction", b"constraints"})
_FALSE = frozenset({b"false", b"off", b"0", b"no"})
_AFTER_OPTIONS = frozenset({b"select", b"values", b"table", b"with", b"("})

# A DO in a DO, and so on: those further inside are not read.
_MOST_NESTED = 8


def find_hazards(text: bytes, statement: Sequence[Lexeme], kind: Kind, conforming: bool) -> tuple[Hazard, ...]:
    """What in a statement needs a session, each once. `conforming`: the value of standard_conforming_strings."""
    if kind in _HARMLESS:
        return ()
    if kind is Kind.DO:
        found = _in_body(do_body(text, statement, conforming), conforming)
    else:
        words = _words(text, statement)
        found = _without_idle_sequences(list(_in_statement(words)), words)
    return tuple(dict.fromkeys(found))


def do_ends_transaction(text: bytes, statement: Sequence[Lexeme], conforming: bool, nested: int = 0) -> bool:
    """Whether COMMIT or ROLLBACK is a statement in the code of a DO."""
    body = do_body(text, statement, conforming)
    if body is None or nested == _MOST_NESTED:
        return False
    for piece in pieces(body, conforming):
        words = [lexeme[1] for lexeme in piece.lexemes]
        for start in piece.starts:
            if words[start : start + 1] in ([b"commit"], [b"rollback"]) and at(words, start + 1) in (b"", b"and"):
                return True
            if at(words, start) == b"do" and do_ends_transaction(body, piece.lexemes[start:], conforming, nested + 1):
                return True
    return False


def _words(text: bytes, statement: Sequence[Lexeme]) -> list[bytes]:
    return [lexeme[1] for lexeme in normalize(text, statement)]


def _in_body(body: bytes | None, conforming: bool, nested: int = 0) -> list[Hazard]:
    if body is None or nested == _MOST_NESTED:
        return []
    found: list[Hazard] = []
    for piece in pieces(body, conforming):
        found += _in_piece(body, piece, conforming, nested)
    words = _words(body, lexemes(body, conforming) or ())
    if any(word in (b"temp", b"temporary") for word in words) or (b"commit", b"drop") in pairwise(words):
        # What it refers to it may have created.
        found = [hazard for hazard in found if not hazard.is_reference]
    return _without_idle_sequences(found, words)


def _in_piece(body: bytes, piece: Piece, conforming: bool, nested: int) -> Iterator[Hazard]:
    for start in piece.starts:
        head, *rest = [lexeme[1] for lexeme in piece.lexemes[start : start + 2]] or [b""]
        if head not in _APART or not rest or not (is_name(rest[0]) or rest[0] in (b"'", b"(")):
            continue
        yield from _in_query(_words(body, piece.lexemes[:start]), in_body=True)
        statement = piece.lexemes[start:]
        words = _words(body, statement)
        if head == b"do":
            yield from _in_body(do_body(body, statement, conforming), conforming, nested + 1)
        elif head in (b"set", b"reset") and _changes_session(words):
            yield Hazard(Feature.DO_SETTING, f"{head.upper().decode()} in a DO block")
        yield from _in_statement(words)
        break
    else:
        yield from _in_query(_words(body, piece.lexemes), in_body=True)
    if any(call.is_local is not True for call in read_set_config(body, piece.lexemes)):
        yield Hazard(Feature.DO_SETTING, "set_config() in a DO block")


def _changes_session(words: Sequence[bytes]) -> bool:
    """Whether a SET or RESET is for the session: not SET LOCAL, SET TRANSACTION, SET CONSTRAINTS."""
    return at(words, 1) not in _TRANSACTION_MODES | {b"local"}


def _in_statement(words: Sequence[bytes]) -> Iterator[Hazard]:
    """What is in a statement of SQL that is no DO."""
    match words[0]:
        case b"listen" if len(words) == 2 and is_name(words[1]):
            yield Hazard(Feature.LISTEN, "LISTEN")
        case b"load" if len(words) == 2 and words[1].startswith(b"'"):
            yield Hazard(Feature.LOAD, "LOAD")
        case b"prepare":
            yield Hazard(Feature.PREPARE, "PREPARE")
        case b"execute":
            yield Hazard(Feature.PREPARE, "EXECUTE")
            yield from _in_query(words)
        case b"set":
            seed = words[2:] if at(words, 1) in (b"session", b"local") else words[1:]
            if name_of(at(seed, 0)).lower() == b"seed" and at(seed, 1) in (b"=", b"to"):
                yield Hazard(Feature.SEED, "SET seed")
            return  # pg_temp.x is a setting's name here
        case b"explain":
            yield from _in_explain(words)
        case b"create":
            yield from _in_create(words)
        case b"declare":
            yield from _in_declare(words)
        case word if word in _CARRIED_OUT:
            yield from _in_query(words)
            return
    if reads_temporary(words):
        yield Hazard(Feature.TEMPORARY, "pg_temp", is_reference=True)


def _in_query(words: Sequence[bytes], *, in_body: bool = False) -> Iterator[Hazard]:
    """What is in a statement that carries out all of it."""
    for index, word in enumerate(words):
        name = name_of(word)
        feature = BUILT_IN.get(name) or OF_EXTENSIONS.get(name)
        if feature and is_call(words, index, in_body=in_body, any_schema=name in OF_EXTENSIONS):
            yield Hazard(feature, f"{name.decode()}()", needs_nextval=feature is Feature.SEQUENCE_VALUE)
        elif word == b"update" and _updates_settings(words, index + 1):
            yield Hazard(Feature.PG_SETTINGS, "UPDATE pg_settings")
        elif word == b"into" and selects_into_temporary(words, index, in_body=in_body):
            yield Hazard(Feature.TEMPORARY, "A temporary table")
    if reads_temporary(words):
        yield Hazard(Feature.TEMPORARY, "pg_temp", is_reference=True)


def _updates_settings(words: Sequence[bytes], index: int) -> bool:
    """Whether [ONLY] [(] [[database.]pg_catalog.]pg_settings [)] [*] [[AS] alias] SET stands there."""
    if at(words, index) == b"only":
        index += 2 if at(words, index + 1) == b"(" else 1
    while at(words, index + 1) == b"." and (
        name_of(words[index]) == b"pg_catalog" or name_of(at(words, index + 2)) == b"pg_catalog"
    ):
        index += 2
    if name_of(at(words, index)) != b"pg_settings":
        return False
    index += 1
    while at(words, index) in (b")", b"*"):
        index += 1
    if at(words, index) == b"as":
        index += 1
    return b"set" in (at(words, index), at(words, index + 1))


def _in_explain(words: Sequence[bytes]) -> Iterator[Hazard]:
    """EXPLAIN [ANALYZE] [VERBOSE] or EXPLAIN (options), and a statement. An EXECUTE is looked up in any case."""
    is_carried_out = False
    start = 1
    if at(words, 1) == b"(" and at(words, 2) not in _AFTER_OPTIONS:
        end = closing(words, 1)
        for option, value in zip(words[2:end], words[3 : end + 1], strict=False):
            if name_of(option) in (b"analyze", b"analyse"):
                is_carried_out = value.lstrip(b"'\"").lower() not in _FALSE
        start = end + 1
    else:
        if at(words, start) in (b"analyze", b"analyse"):
            is_carried_out = True
            start += 1
        start += at(words, start) == b"verbose"
    for hazard in _in_statement(words[start:] or [b""]):
        # No cursor comes of EXPLAIN ANALYZE DECLARE, but a table of EXPLAIN ANALYZE CREATE TABLE AS.
        if hazard.feature is Feature.PREPARE or (is_carried_out and hazard.feature is not Feature.WITH_HOLD):
            yield hazard


def _in_create(words: Sequence[bytes]) -> Iterator[Hazard]:
    """CREATE, and the query of CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
    created = creates_temporary(words)
    if created:
        yield Hazard(Feature.TEMPORARY, created)
    query = at_top(words, b"as")
    if query is None or not (b"table" in words[1:4] or words[1:3] == [b"materialized", b"view"]):
        return
    if words[query + 1 : query + 2] == [b"execute"]:
        yield Hazard(Feature.PREPARE, "EXECUTE")
    if words[-3:] != [b"with", b"no", b"data"]:
        yield from _in_query(words[query + 1 :])


def _in_declare(words: Sequence[bytes]) -> Iterator[Hazard]:
    """DECLARE name [options] CURSOR [WITH HOLD] FOR query."""
    for index in range(2, len(words)):
        if words[index] == b"cursor":
            if words[index + 1 : index + 3] == [b"with", b"hold"]:
                yield Hazard(Feature.WITH_HOLD, "DECLARE ... WITH HOLD")
            yield from _in_query(words[index + 1 :])
            return


def _without_idle_sequences(found: list[Hazard], words: Sequence[bytes]) -> list[Hazard]:
    """Without currval() and lastval() if the statement itself may move a sequence first: it calls nextval(), or writes.

    What an INSERT writes is worked out before it has moved anything; its RETURNING comes after.
    """
    if not any(hazard.needs_nextval for hazard in found):
        return found
    if words[0] in (b"insert", b"update", b"merge"):
        first = next(index for index, word in enumerate(words) if name_of(word) in (b"currval", b"lastval"))
        moves = b"returning" in words[:first] or any(_calls_nextval(words, index) for index in range(len(words)))
    else:
        moves = any(_moves_sequence(words, index) for index in range(len(words)))
    return [hazard for hazard in found if not (moves and hazard.needs_nextval)]


def _calls_nextval(words: Sequence[bytes], index: int) -> bool:
    return name_of(words[index]) == b"nextval" and is_call(words, index, in_body=True, any_schema=False)


def _moves_sequence(words: Sequence[bytes], index: int) -> bool:
    word = words[index]
    if word in (b"insert", b"merge"):
        return at(words, index + 1) == b"into"
    if word == b"update":
        return at(words, index - 1) in STATEMENT_MAY_FOLLOW
    return _calls_nextval(words, index)
