"""One statement of a text, and all that is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from pgshim.session.assignments import (
    ASSIGNMENT_WORDS,
    Assignment,
    SetConfig,
    chains,
    read_assignment,
    read_begin_modes,
    read_set_config,
    savepoint_name,
)
from pgshim.session.hazards import HAZARD_WORDS, Feature, Hazard, do_ends_transaction, find_hazards, refuses_block
from pgshim.session.kinds import Kind, classify
from pgshim.session.tokens import Lexeme


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text: `text[start:end]`, without the semicolon and what surrounds it."""

    kind: Kind
    start: int
    end: int
    # Of DEALLOCATE: the name as the server knows it (unquoted, folded, truncated), or None for ALL; of SAVEPOINT and
    # the like: the savepoint's.
    name: bytes | None = None
    # What it does to the session's settings: a SET or RESET, and calls of set_config.
    assignment: Assignment | None = None
    set_configs: tuple[SetConfig, ...] = ()
    # What in it needs a session of its own.
    hazards: tuple[Hazard, ...] = ()
    # What it is called if it cannot run in a transaction block: VACUUM, CREATE INDEX CONCURRENTLY, ...
    blockless: str = ""
    # A DO that ends the transaction.
    ends_transaction: bool = False
    # Of BEGIN: the transaction_... settings that it gives; of COMMIT and ROLLBACK: whether AND CHAIN follows.
    modes: frozenset[bytes] = frozenset()
    chains: bool = False
    # Of a session that holds nothing on a server it needs none: RESET ALL, CLOSE ALL, UNLISTEN, ...
    is_local_reset: bool = False
    # It may change what a text means: CREATE, ALTER, GRANT, ...
    defines: bool = False
    # What a server says of it may be told to other clients, if it has no effect or returns nothing.
    is_shareable: bool = False


#: What ends a transaction, what else there is to one, and both with what begins it.
ENDS = frozenset({Kind.COMMIT, Kind.ROLLBACK, Kind.PREPARE_TRANSACTION})
SAVEPOINTS = frozenset({Kind.SAVEPOINT, Kind.RELEASE, Kind.ROLLBACK_TO})
CONTROL = ENDS | SAVEPOINTS | {Kind.BEGIN}
#: Queries, which may be SELECT INTO, and what may have one in it.
SELECTING = frozenset({Kind.SELECT, Kind.EXPLAIN})
#: Utility statements that leave all descriptions as they are.
_UNDEFINING = frozenset(
    {b"truncate", b"analyze", b"analyse", b"vacuum", b"checkpoint", b"comment", b"reindex", b"cluster", b"deallocate"}
)
_TEMPORARY = frozenset({b"temp", b"temporary"})
#: What may call nextval().
DRAWING = frozenset({Kind.DML, Kind.COPY, Kind.COPY_FROM_STDIN, Kind.CALL, Kind.DO, Kind.SELECT})
_DESCRIBED = frozenset({Kind.SELECT, Kind.DML})
_READ_FOR_DEFINITIONS = SELECTING | _DESCRIBED
_LOCAL_RESETS = frozenset(
    {
        (b"reset", b"all"),
        (b"close", b"all"),
        (b"unlisten", b"*"),
        (b"discard", b"all"),
        (b"discard", b"plans"),
        (b"select", b"pg_advisory_unlock_all", b"(", b")"),
        (b"select", b"pg_catalog", b".", b"pg_advisory_unlock_all", b"(", b")"),
    }
)


def is_notable(text: bytes) -> bool:
    """Whether a text has words that make a closer look at its statements worth while."""
    return ASSIGNMENT_WORDS.search(text) is not None or HAZARD_WORDS.search(text) is not None


def read_statement(text: bytes, part: Sequence[Lexeme], conforming: bool, *, has_words: bool) -> Statement:
    """One statement. `has_words`: its text has words that make a closer look worth while."""
    kind, name = classify(text, part)
    start, end = part[0][2], part[-1][3]
    if kind in SAVEPOINTS:
        name = savepoint_name(text, part)
    words = {word for _, word, _, _ in part} if kind in _READ_FOR_DEFINITIONS else set()
    defines = _defines(kind, part, words)
    if not has_words:
        return Statement(
            kind,
            start,
            end,
            name,
            modes=read_begin_modes(part) if kind is Kind.BEGIN else frozenset(),
            chains=kind in (Kind.COMMIT, Kind.ROLLBACK) and chains(part),
            is_local_reset=_is_local_reset(part),
            defines=defines,
            is_shareable=kind in _DESCRIBED and not defines and b"returning" not in words,
        )
    calls = read_set_config(text, part)
    hazards = find_hazards(text, part, kind, conforming)
    if any(call.name == b"seed" for call in calls):
        hazards += (Hazard(Feature.SEED, "set_config('seed', ...)"),)
        calls = tuple(call for call in calls if call.name != b"seed")
    return Statement(
        kind,
        start,
        end,
        name,
        assignment=_assignment(text, part) if kind in (Kind.SET, Kind.RESET) else None,
        set_configs=calls,
        hazards=hazards,
        blockless=_title(part) if refuses_block(part) else "",
        ends_transaction=kind is Kind.DO and do_ends_transaction(text, part, conforming),
        modes=read_begin_modes(part) if kind is Kind.BEGIN else frozenset(),
        chains=kind in (Kind.COMMIT, Kind.ROLLBACK) and chains(part),
        is_local_reset=_is_local_reset(part),
        defines=defines,
        is_shareable=kind in _DESCRIBED and not (defines or calls or hazards) and b"returning" not in words,
    )


def _defines(kind: Kind, part: Sequence[Lexeme], words: set[bytes]) -> bool:
    """Whether a statement may change what a text means; for other sessions, so not CREATE TEMP."""
    if kind in SELECTING:
        return b"into" in words or (kind is Kind.EXPLAIN and b"create" in words)
    if kind is not Kind.UTILITY or part[0][1] in _UNDEFINING:
        return False
    return part[0][1] != b"create" or not any(word in _TEMPORARY for _, word, _, _ in part[1:3])


def _assignment(text: bytes, part: Sequence[Lexeme]) -> Assignment | None:
    """SET or RESET. That of `seed` is none: it is an act, and nothing that stays."""
    found = read_assignment(text, part)
    return None if found is not None and found.names == (b"seed",) else found


_TITLE_WORDS = frozenset(
    b"""alter cluster create database drop index reindex subscription system table tablespace type unique vacuum
    schema""".split()
)


def _title(part: Sequence[Lexeme]) -> str:
    words = [word for _, word, _, _ in part]
    title = list(takewhile(_TITLE_WORDS.__contains__, words))
    return b" ".join(title + [b"concurrently"] * (b"concurrently" in words)).upper().decode()


def _is_local_reset(part: Sequence[Lexeme]) -> bool:
    return len(part) <= 6 and tuple(word for _, word, _, _ in part) in _LOCAL_RESETS


def is_computed(call: SetConfig) -> bool:
    """Whether the text does not show what it will set, or for how long."""
    return call.is_local is None or (call.name is None and call.is_local is not True)


def localize(sql: bytes, calls: tuple[SetConfig, ...]) -> bytes:
    """The text with `false` turned into `true` in each call; what follows stays where it is, if that is possible.

    With a call in it that cannot be followed, which is let through, it is the text as it is.
    """
    if any(is_computed(call) for call in calls):
        return sql
    for call in reversed(calls):
        if call.is_local is False:
            start, end = call.at
            sql = sql[:start] + b"true".ljust(end - start) + sql[end:]
    return sql
