"""The reading of SQL: any text is judged, in time that grows with its length, and the same way wherever it stands.

A record is a text: `y` read with standard_conforming_strings on, `n` with it off, `r` repeated up to 8 KiB, and `l` up
to 64 KiB, judged for its time alone. What PostgreSQL's own parser (pglast) takes is cut into the statements and kinds
that it finds.
"""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import pglast
from pglast.parser import ParseError

from pgshim.session.encodings import mentions_unsafe, to_utf8
from pgshim.session.kinds import split
from pgshim.session.quoting import quote_literal, quote_name, split_list
from pgshim.session.sql import LONG_TEXT, Kind, Statement, Verdict, judge, localize, verdict
from pgshim.session.tokens import TokenKind, lexemes, outline, tokenize, without_strings
from tests.fuzz.inputs import unpack

#: Seconds of CPU time that a text may take: a hundred times what it does.
_PATIENCE = 5.0
_REPEATED = {ord("r"): 8 * 1024, ord("l"): 64 * 1024}

_DATA = frozenset({Kind.SELECT, Kind.DML})
_COPY = frozenset({Kind.COPY, Kind.COPY_FROM_STDIN})
#: The node of PostgreSQL's parser -> what its statement may be called here.
KINDS: dict[str, frozenset[Kind]] = {
    "SelectStmt": frozenset({Kind.SELECT}),
    **dict.fromkeys(("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"), frozenset({Kind.DML})),
    "VariableSetStmt": frozenset({Kind.SET, Kind.RESET}),
    "VariableShowStmt": frozenset({Kind.SHOW}),
    "PrepareStmt": frozenset({Kind.PREPARE}),
    "ExecuteStmt": frozenset({Kind.EXECUTE}),
    "DeallocateStmt": frozenset({Kind.DEALLOCATE}),
    "DiscardStmt": frozenset({Kind.DISCARD, Kind.DISCARD_ALL, Kind.DISCARD_PLANS}),
    "CopyStmt": _COPY,
    "CallStmt": frozenset({Kind.CALL}),
    "DoStmt": frozenset({Kind.DO}),
    "DeclareCursorStmt": frozenset({Kind.DECLARE}),
    "FetchStmt": frozenset({Kind.FETCH}),
    "ClosePortalStmt": frozenset({Kind.CLOSE}),
    "ListenStmt": frozenset({Kind.LISTEN}),
    "UnlistenStmt": frozenset({Kind.UNLISTEN}),
    "NotifyStmt": frozenset({Kind.NOTIFY}),
    "ExplainStmt": frozenset({Kind.EXPLAIN}),
    "LockStmt": frozenset({Kind.LOCK}),
}
TRANSACTIONS = {
    "TRANS_STMT_BEGIN": Kind.BEGIN,
    "TRANS_STMT_START": Kind.BEGIN,
    "TRANS_STMT_COMMIT": Kind.COMMIT,
    "TRANS_STMT_ROLLBACK": Kind.ROLLBACK,
    "TRANS_STMT_SAVEPOINT": Kind.SAVEPOINT,
    "TRANS_STMT_RELEASE": Kind.RELEASE,
    "TRANS_STMT_ROLLBACK_TO": Kind.ROLLBACK_TO,
    "TRANS_STMT_PREPARE": Kind.PREPARE_TRANSACTION,
    "TRANS_STMT_COMMIT_PREPARED": Kind.COMMIT_PREPARED,
    "TRANS_STMT_ROLLBACK_PREPARED": Kind.ROLLBACK_PREPARED,
}


def run(data: bytes) -> None:
    """Raises only on a fault."""
    for operation, text in unpack(data):
        conforming = operation != ord("n")
        started = process_time()
        if operation in _REPEATED:
            text *= _REPEATED[operation] // len(text) if text else 0
            judge(text)
        else:
            _check(text, conforming)
        assert process_time() - started < _PATIENCE, "this text takes too long"


def _check(text: bytes, conforming: bool) -> None:
    _check_tokens(text, conforming)
    found = judge(text, conforming)
    assert found == verdict(text, conforming) == verdict(text, conforming)
    _check_statements(text, found, conforming)
    if found.kind is not Kind.UNKNOWN and len(text) < LONG_TEXT // 3:
        _check_joined(text, found, conforming)
        _check_skimmed(text, found, conforming)
    if conforming and len(text) < 2000:
        _check_against_postgresql(text, found)
    quote_literal(text.replace(b"\0", b""))
    quote_name(text.replace(b"\0", b""))
    split_list(text)
    mentions_unsafe(text)
    to_utf8(text, text[:8])


def _check_tokens(text: bytes, conforming: bool) -> None:
    tokens = tokenize(text, conforming)
    position = 0
    for kind, start, end in tokens:
        assert start == position < end
        assert kind is not TokenKind.ERROR or end == len(text)
        position = end
    assert position == len(text)
    scanned = lexemes(text, conforming)
    has_error = bool(tokens) and tokens[-1][0] is TokenKind.ERROR
    assert (scanned is None) == has_error
    assert (outline(text, conforming) is None) == has_error
    assert len(without_strings(text, conforming)) <= len(text) + 2
    if scanned is not None:
        split(scanned)


def _check_statements(text: bytes, found: Verdict, conforming: bool) -> None:
    """They lie one behind the other, and each is the same by itself."""
    position = 0
    for piece in found.statements:
        assert position <= piece.start <= piece.end <= len(text)
        position = piece.end
        localize(text, piece.set_configs)
        if piece.kind is not Kind.UNKNOWN and len(text) <= LONG_TEXT:
            alone = judge(text[piece.start : piece.end], conforming)
            assert [_moved(each) for each in alone.statements] == [_moved(piece)]


def _moved(piece: Statement) -> Statement:
    """A statement without its place in the text."""
    assignment = piece.assignment
    return replace(
        piece,
        start=0,
        end=0,
        assignment=None if assignment is None else replace(assignment, at=0),
        set_configs=tuple(replace(call, at=(0, 0)) for call in piece.set_configs),
    )


def _check_joined(text: bytes, found: Verdict, conforming: bool) -> None:
    """A text behind itself is its statements twice, unless it ends in the body of a function."""
    if b"atomic" in text.lower():
        return
    twice = judge(text + b"\n;\n" + text, conforming)
    assert [_moved(piece) for piece in twice.statements] == [_moved(piece) for piece in found.statements] * 2


def _check_skimmed(text: bytes, found: Verdict, conforming: bool) -> None:
    """Where a long text is only skimmed, nothing that matters is overlooked."""
    skimmed = judge(b" " * LONG_TEXT + b"\n" + text, conforming)
    assert not skimmed.is_pure
    for name in ("may_copy_in", "may_copy", "deallocates", "touches_settings", "has_hazards", "has_control"):
        assert getattr(skimmed, name) >= getattr(found, name), name
    if not any(b";" in text[piece.start : piece.end] for piece in found.statements):
        assert {piece.kind for piece in skimmed.statements} >= {piece.kind for piece in found.statements}


def _check_against_postgresql(text: bytes, found: Verdict) -> None:
    if b"\0" in text:
        return
    try:
        parsed = pglast.parse_sql(text.decode())
    except (ParseError, UnicodeDecodeError, ValueError):
        return
    assert len(parsed) == len(found.statements)
    for raw, piece in zip(parsed, found.statements, strict=True):
        name = type(raw.stmt).__name__
        if name == "TransactionStmt":
            assert piece.kind is TRANSACTIONS[raw.stmt.kind.name]
        else:
            assert piece.kind in KINDS.get(name, {Kind.UTILITY}), name
