"""What is looked for in a text before it is read, and what BEGIN, COMMIT, SAVEPOINT and the like say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pglast import ast, parse_sql
from pglast.enums import TransactionStmtKind as T
from pglast.parser import Error

from pgshim.session.assignments import ASSIGNMENT_WORDS, chains, read_begin_modes, read_set_config, savepoint_name
from pgshim.session.kinds import split
from pgshim.session.tokens import Lexeme, lexemes
from tests.session.test_assignments import read

WITHOUT = [
    "UPDATE t SET a = 1 WHERE b = 2",
    "update only t as x set a = 1",
    "select a from t order by a limit 1 offset 3",
    "select 'set'",
    "insert into t values (1) on conflict do update set a = 1",
    "select * from settings where reset = 1",
    "alter role x set y = 1",
    "set_x",
    "resetting",
    "setü",
    "/* set */ selecting",
]
# What may stand before a statement: the end of another, white space and comments.
BEFORE = [
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\f ",
    "/* a */",
    "-- b\n",
    "-- b\r",
    ";",
    "select 1;",
    "begin;\t",
    "/**/ \n ",
]
CALLS = [
    "set_config",
    "pg_catalog . SET_CONFIG",
    '"set_config"',
    'U&"set\\005fconfig"',
    "u&\"set!005fconfig\" uescape '!'",
]
SETS = ["set x = 1", 'SeT"x" = 1', "set/**/x = 1", "RESET x", 'reset"x"', "reset -- a\n all"]
STATEMENTS = [*SETS, *(f"select {call}('a', 'b', false)" for call in CALLS)]

TRANSACTIONS = [
    *("begin", "begin work", "begin transaction", "start transaction", "BEGIN isolation level serializable"),
    *("begin work read only deferrable", "start transaction not deferrable, read write", "begin read only, read write"),
    *("begin transaction isolation level read committed isolation level repeatable read", "begin read only,"),
    *("begin , read only", "begin read", "start work", "start", "begin work transaction", "begin read only x"),
    *("commit", "commit and chain", "commit work and chain", "end transaction and chain", "end and no chain"),
    *("rollback and chain", "abort work and chain", "abort and no chain", "commit and", "commit and chain x", "abort"),
    *(
        "commit work transaction and chain",
        "and chain",
        "prepare and chain",
        "rollback transaction",
        "commit prepared 'x'",
    ),
    *(
        "savepoint x",
        "savepoint X",
        'savepoint "X y"',
        "savepoint savepoint",
        "savepoint select",
        "savepoint",
        "savepoint x y",
    ),
    *(
        "release x",
        "release savepoint x",
        "release savepoint",
        "release",
        "release savepoint savepoint",
        "release left",
    ),
    *("release U&\"!0061\" uescape '!'", 'savepoint U&"\\0061"', "savepoint 'x'", "savepoint between", "savepoint x.y"),
    *(
        "rollback to x",
        "rollback work to x",
        "rollback transaction to savepoint x",
        "rollback to savepoint",
        "abort to x",
    ),
    *(
        "rollback to",
        "rollback work x",
        "rollback to savepoint savepoint",
        "rollback to x and chain",
        "savepoint savepoint x",
    ),
    f"savepoint {'x' * 70}",
    f'savepoint "{"é" * 40}"',
    "release to",
]


def tokens(text: str) -> list[Lexeme]:
    return lexemes(text.encode()) or []


@pytest.mark.parametrize("text", WITHOUT)
def test_a_text_without_assignments_is_not_read(text: str) -> None:
    assert ASSIGNMENT_WORDS.search(text.encode()) is None


@given(
    st.lists(st.sampled_from(BEFORE), max_size=3),
    st.sampled_from(STATEMENTS),
    st.sampled_from(["", ";", " ; select 1"]),
)
@settings(max_examples=500)
def test_no_assignment_is_overlooked(before: list[str], statement: str, after: str) -> None:
    text = "".join(before) + statement + after
    parts = split(tokens(text))
    assert parts
    assert ASSIGNMENT_WORDS.search(text.encode())


def test_the_statements_that_may_not_be_overlooked_are_assignments() -> None:
    assert all(read(text) for text in SETS)
    assert all(read_set_config(text.encode(), tokens(text)) for text in STATEMENTS[len(SETS) :])


@pytest.mark.parametrize("text", TRANSACTIONS)
def test_transaction_statements_say_what_postgres_reads_in_them(text: str) -> None:
    try:
        node = parse_sql(text)[0].stmt
    except Error:
        node = None
    modes: frozenset[bytes] = frozenset()
    is_chain, name = False, None
    if isinstance(node, ast.TransactionStmt):
        modes = frozenset(mode.defname.encode() for mode in node.options or ())
        is_chain = bool(node.chain)
        is_savepoint = node.kind in (T.TRANS_STMT_SAVEPOINT, T.TRANS_STMT_RELEASE, T.TRANS_STMT_ROLLBACK_TO)
        name = node.savepoint_name.encode() if is_savepoint else None
    assert read_begin_modes(tokens(text)) == modes
    assert chains(tokens(text)) == is_chain
    assert savepoint_name(text.encode(), tokens(text)) == name
