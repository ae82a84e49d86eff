"""SET and RESET as PostgreSQL's own parser (pglast) reads them: what is taken, and what it is translated into.

pglast reads as PostgreSQL 18 does, except that it takes parameters everywhere: no text here has `$1` in it.
"""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pglast import ast, parse_sql
from pglast.enums import VariableSetKind as V
from pglast.keywords import COL_NAME_KEYWORDS, UNRESERVED_KEYWORDS
from pglast.parser import Error

from pgshim.session.assignments import ASSIGNMENT_WORDS, Assignment, Scope, read_assignment
from pgshim.session.tokens import lexemes

TRANSACTION = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")

TAKEN = [
    "set x = 1",
    "SET Work_Mem TO '64MB'",
    "set app.x to 'v'",
    "set a.b.c = d",
    "set a . /* x */ b -- y\n . c = d",
    'set "App"."X y" = 1',
    'set "App.x" = 1',
    'set U&"\\0061pp".x = 1',
    'set u&"!0061pp" uescape \'!\' . U&"x" = 1',
    "set session U&\"!0061pp\" uescape E'!' to 'v'",
    f"set {'y' * 70}.{'é' * 40} = 1",
    "set x to true, false, on, off, a, 'b', -1, +1.5, .5e3, \"C d\", between, authorization, default_",
    "set x to 'a'\n  'b'",
    "set x = e'\\n', U&'d!0061' uescape '!', $$a'b$$, $q$ $$ $q$",
    "set x to default",
    'set local "X" . y = default',
    "set session x=-1",
    "set local x=1",
    "set local x to default",
    "set x from current",
    "set local a.b from current",
    *("set session = 1", "set local to 1", "set local = default", "set session.x = 1", "set local.x to default"),
    *("set session session = 1", "set local local = 1", "set session local = 1", "set session from current"),
    *("set time = 1", "set names = 1", "set schema = a", "set catalog = 'x'", "set role = 'x'", "set role to default"),
    *(
        "set xml.x = 1",
        "set transaction = 1",
        "set constraints to 1",
        "set characteristics = 1",
        "set names from current",
    ),
    "set session characteristics = 1",
    "set time zone 'Asia/Tokyo'",
    "set local time zone utc",
    'set session time zone "Asia/Tokyo"',
    "set time zone U&\"ut!0063\" uescape '!'",
    *("set time zone -7", "set time zone +5.5", "set time zone 3", "set time zone default", "set time zone local"),
    *("set local time zone local", "set time zone interval '1'", "set time zone interval '-08:00' hour to minute"),
    *(
        "set time zone interval '1' hour",
        "set time zone interval '1' minute",
        "set time zone interval (3) '1'",
        "set time zone interval(3)'1:2'",
    ),
    *("set names", "set names default", "set names 'utf8'", "set local names 'latin1'", "set session names"),
    *("set schema 'x'", "set local schema U&'d!0061' uescape '!'"),
    *("set role x", "set role 'x'", "set role none", 'set local role "N"', "set session role none", "set role between"),
    *("set session authorization x", "set session authorization 'x'", "set session authorization default"),
    *("set session session authorization x", "set local session authorization x", "set session authorization left"),
    "set local session authorization default",
    *("set xml option document", "set local xml option content"),
    "set session characteristics as transaction isolation level serializable",
    "set session characteristics as transaction read only, isolation level repeatable read deferrable",
    "set session characteristics as transaction read only, read write not deferrable, deferrable",
    "set local session characteristics as transaction isolation level read uncommitted",
    "set session session characteristics as transaction isolation level read committed",
    *("reset x", "RESET All", 'reset "X".y', "reset u&\"!0061pp\" uescape '!' . b", "reset time zone", "reset time"),
    *("reset session authorization", "reset session", "reset session.x", "reset time.zone", "reset transaction"),
    "reset role",
]
REFUSED = [
    *("select 1", "show x", "set", "set local", "set session", "set x", "set x =", "set x to", "set x 1", "set = 1"),
    *("set x to a b", "set x to a,", "set x to a.b", "set x to 1 2", "set x to 1, default", "set x to default, 1"),
    *(
        "set x to select",
        "set x to user",
        "set x to -a",
        "set x to null",
        "set x to (1)",
        "set x to b'1'",
        "set x to x'1'",
    ),
    *("set x to n'a'", "set x to 'a' 'b'", "set x to 'a' uescape '!'", "set x to U&'a' uescape", "set x := 1"),
    *("set select = 1", "set left = 1", "set all = 1", "set a. = 1", "set a.select = 1", "set 'x' = 1", 'set "" = 1'),
    *("set x to -", "set x to +-1", 'set x to ""', "set local session x = 1", "set x from", "set x from current 1"),
    *("set U&\"a\" uescape '+' = 1", 'set U&"\\00" = 1', 'set U&"a" uescape = 1', "set x.from current"),
    *("set time zone", "set time zone = 1", "set time zone default 1", "set time zone 'a' 'b'", "set time zone select"),
    *("set time zone interval", "set time zone interval '1' hour to second"),
    *(
        "set time zone interval(3) '1' hour",
        "set time zone interval '1' day",
        "set time zone interval ()",
        "set time 1",
    ),
    *("set time zone interval(3", "set time zone interval(-3) '1'", "set names x", "set names 'x' 'y'", "set schema x"),
    *("set role", "set role select", "set role default", "set role none.x", "set role x, y", "set xml option x"),
    *(
        "set session authorization",
        "set session authorization = x",
        "set authorization x",
        "set session authorization user",
    ),
    *("set session characteristics as transaction", "set session characteristics as transaction read only,"),
    *("set session characteristics as transaction , read only", "set session characteristics as transaction read"),
    *("set session characteristics as transaction read only,, read write", "set session characteristics as x = 1"),
    *("set characteristics as transaction read only", "set catalog 'x'", "set xml document"),
    *("set transaction read only", "set local transaction read only", "set session transaction read only"),
    *("set transaction snapshot 'x'", "set constraints all deferred", "set constraints a, b immediate"),
    *(f"set {name} = 'x'" for name in TRANSACTION),
    *(f"set local {name} to default" for name in TRANSACTION),
    *(f'reset "{name.upper()}"' for name in TRANSACTION),
    *(
        "reset",
        "reset 'x'",
        "reset x y",
        "reset x.",
        "reset all x",
        "reset select",
        "reset time zone x",
        "reset names y",
    ),
    *("reset transaction isolation level", "reset session authorization x", "reset x = 1", "set reset"),
]
# Words and constants that SET and RESET are made of, and some that they are not.
WORDS = b"""
    set reset session local x "X" a.b time zone names schema role xml option document characteristics as transaction
    authorization all default none = to from current , . 'utc' 1 - interval hour minute ( ) read only write isolation
    level serializable committed deferrable not true on select utc catalog constraints u&"x" uescape '!'
""".decode().split()


def parsed(text: str) -> ast.Node | None:
    """The tree of the one statement in a text, None if PostgreSQL finds it malformed."""
    try:
        return parse_sql(text)[0].stmt
    except Error:
        return None


def read(text: str) -> Assignment | None:
    found = lexemes(text.encode())
    return read_assignment(text.encode(), found or [])


def what(tree: Any) -> Any:
    """All of a tree but its scope and its places in the text."""
    if isinstance(tree, dict):
        return {field: what(value) for field, value in tree.items() if field not in ("is_local", "location")}
    return [what(item) for item in tree] if isinstance(tree, tuple) else tree


def names(node: ast.VariableSetStmt) -> list[str]:
    if node.kind == V.VAR_SET_MULTI:
        return list(dict.fromkeys("default_" + mode.defname for mode in node.args or ()))
    return [node.name.lower().encode().decode()] if node.name else []


def is_taken(node: ast.Node | None) -> bool:
    """Whether this is an assignment by PostgreSQL's tree: a setting, and one that may outlast the transaction."""
    if not isinstance(node, ast.VariableSetStmt):
        return False
    return node.name not in ("TRANSACTION", "TRANSACTION SNAPSHOT") and (node.name or "").lower() not in TRANSACTION


def check(text: str, found: Assignment, node: ast.VariableSetStmt) -> None:
    """Holds an assignment against PostgreSQL's tree of the same text."""
    assert [name.decode() for name in found.names] == names(node)
    assert found.scope is (Scope.LOCAL if node.is_local else Scope.SESSION)
    assert found.is_default == (node.kind in (V.VAR_SET_DEFAULT, V.VAR_RESET, V.VAR_RESET_ALL))
    assert found.is_reset == (node.kind in (V.VAR_RESET, V.VAR_RESET_ALL))
    if not found.names:
        assert found.upstream == (b"SET LOCAL cursor_tuple_fraction TO DEFAULT",)
        return
    assert len(found.upstream) == len(found.names)
    upstream = [parse_sql(part.decode())[0].stmt for part in found.upstream]
    assert all(part.is_local for part in upstream)
    if found.is_default:
        assert found.at == -1
        assert [(part.kind, part.name) for part in upstream] == [(V.VAR_SET_DEFAULT, node.name)] * len(found.names)
    elif node.kind == V.VAR_SET_MULTI:
        assert found.at == -1
        assert [part.name for part in upstream] == names(node)
    else:
        assert what(upstream[0]()) == what(node())
        assert found.upstream == (b"SET LOCAL " + text.encode()[found.at :],)


@pytest.mark.parametrize("text", TAKEN)
def test_what_postgres_takes_is_taken_and_upstream_does_the_same(text: str) -> None:
    node, found = parsed(text), read(text)
    assert isinstance(node, ast.VariableSetStmt)
    assert found is not None
    check(text, found, node)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_malformed_or_no_setting_of_the_session_is_left_to_the_server(text: str) -> None:
    assert not is_taken(parsed(text))
    assert read(text) is None


def test_every_text_that_is_taken_has_a_word_that_is_looked_for() -> None:
    for text in TAKEN:
        assert ASSIGNMENT_WORDS.search(text.encode()), text


@given(st.sampled_from(("set ", "set local ", "set session ", "reset ")), st.lists(st.sampled_from(WORDS), max_size=9))
@settings(max_examples=1500)
@example("set ", ["time", "zone", "time"])
def test_any_words_are_taken_if_postgres_takes_them(beginning: str, words: list[str]) -> None:
    text = beginning + " ".join(words)
    node, found = parsed(text), read(text)
    if found is not None and found.names == (b"timezone",) and node is None:
        # A word that some version has as a keyword: refused there in the same words.
        assert words[-1] in UNRESERVED_KEYWORDS | COL_NAME_KEYWORDS
        assert parsed(found.upstream[0].decode()) is None
        return
    assert (found is not None) == is_taken(node)
    if found is not None:
        check(text, found, node)


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("set session  Work_Mem /* a */ = '1 MB' ", [b"SET LOCAL Work_Mem /* a */ = '1 MB'"]),
        ("set session authorization 'x'", [b"SET LOCAL session authorization 'x'"]),
        ("set local role none", [b"SET LOCAL role none"]),
        ('set "A" . b to default', [b'SET LOCAL "A" . b TO DEFAULT']),
        ('reset "A" . b', [b'SET LOCAL "A" . b TO DEFAULT']),
        ("set time zone local", [b"SET LOCAL timezone TO DEFAULT"]),
        ("set names", [b"SET LOCAL client_encoding TO DEFAULT"]),
        ("reset session authorization", [b"SET LOCAL session_authorization TO DEFAULT"]),
        ("reset all", [b"SET LOCAL cursor_tuple_fraction TO DEFAULT"]),
        (
            "set session characteristics as transaction read only, isolation level read committed, read write",
            [
                b"SET LOCAL default_transaction_read_only TO off",
                b"SET LOCAL default_transaction_isolation TO 'read committed'",
            ],
        ),
        ("set session characteristics as transaction deferrable", [b"SET LOCAL default_transaction_deferrable TO on"]),
    ],
)
def test_upstream_gets_the_clients_own_spelling(text: str, upstream: list[bytes]) -> None:
    found = read(text)
    assert found is not None
    assert list(found.upstream) == upstream
