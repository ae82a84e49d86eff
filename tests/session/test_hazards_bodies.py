"""The code of a DO: how it is decoded, held against PostgreSQL's parser, and what is seen in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import parse_sql

from pgshim.session.hazards import HAZARD_WORDS, do_body, do_ends_transaction
from pgshim.session.tokens import lexemes
from tests.session.test_hazards import names


def body_of(sql: str, conforming: bool = True) -> bytes | None:
    text = sql.encode()
    statement = lexemes(text, conforming)
    assert statement is not None
    return do_body(text, statement, conforming)


def ends(sql: str) -> bool:
    text = sql.encode()
    statement = lexemes(text)
    assert statement is not None
    return do_ends_transaction(text, statement, True)


SPELLINGS = [
    "do 'a''b'",
    "do $$a'b$$",
    "do $x$a$$b$x$ language plpgsql",
    "do language 'plpgsql' 'a\\b'",
    "do language plpgsql e'a\\'b\\\\\\n\\t\\q''\\101\\x41\\u00e9\\U0001F600\\ud83d\\ude00'",
    "do 'a'\n'b' -- c\n  'd''e'",
    "do E'a\\'' -- it's\n  '\\'b'",
    "do u&'a\\0062!\\+000063''\"' language plpgsql",
    "do u&'a!0062' uescape '!'",
]


@pytest.mark.parametrize("sql", SPELLINGS)
def test_the_code_is_decoded_as_by_the_server(sql: str) -> None:
    (statement,) = parse_sql(sql)
    code = next(argument.arg.sval for argument in statement.stmt.args if argument.defname == "as")
    assert body_of(sql) == code.encode()
    assert HAZARD_WORDS.search(sql.encode())


@given(st.text("ab'\\\n-;$ é", max_size=12), st.sampled_from(["'", "e'", "$"]))
def test_whatever_is_quoted_comes_back(code: str, quote: str) -> None:
    if quote == "$":
        assert body_of(f"do $x$ {code}$x$") == b" " + code.encode()
        return
    doubled = code.replace("'", "''")
    spelt = doubled if quote == "'" else doubled.replace("\\", "\\\\")
    assert body_of(f"do {quote}{spelt}'") == code.encode()


def test_a_plain_string_has_escapes_where_strings_do_not_conform() -> None:
    assert body_of("do 'a\\'b\\n'", conforming=False) == b"a'b\n"


@pytest.mark.parametrize("sql", ["select 'a'", "do language 'plpgsql'", "do nothing", "do b'01'", "do u&'\\zz'"])
def test_what_has_no_code_has_no_body(sql: str) -> None:
    assert body_of(sql) is None
    assert not ends(sql)
    assert names(sql) == []


def test_a_point_beyond_unicode_becomes_a_replacement() -> None:
    assert body_of("do e'a\\U7fffffff'") == "a\ufffd".encode()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("begin perform pg_advisory_lock(1); end", "pg_advisory_lock()"),
        ("declare x int := pg_advisory_lock(1); begin end", "pg_advisory_lock()"),
        ("begin x := pg_advisory_lock(1); end", "pg_advisory_lock()"),
        ("begin if pg_try_advisory_lock(1) then return; end if; end", "pg_try_advisory_lock()"),
        ("begin while setseed(1) is null loop null; end loop; end", "setseed()"),
        ("begin execute setseed(1); end", "setseed()"),
        ("begin return setseed(1); end", "setseed()"),
        ("begin listen c; end", "LISTEN"),
        ("begin if a then listen c; end if; end", "LISTEN"),
        ("begin if a then null; else listen c; end if; end", "LISTEN"),
        ("begin for i in 1..2 loop listen c; end loop; end", "LISTEN"),
        ("declare a int; begin <<l>> listen c; end", "LISTEN"),
        ("<<l>> declare begin listen c; end", "LISTEN"),
        ("begin declare a int; b int; begin load 'x'; end; end", "LOAD"),
        ("begin exception when others then listen c; end", "LISTEN"),
        ("begin prepare p as select 1; end", "PREPARE"),
        ("begin create temp table t (a int); end", "A temporary table"),
        ("begin create table pg_temp.t (a int); end", "A temporary table"),
        ("begin create table t as select setseed(1); end", "setseed()"),
        ("begin if setseed(1) is null then create view v as select setseed(1); end if; end", "setseed()"),
        ("begin select 1 into temp t; end", "A temporary table"),
        ("begin select a from pg_temp.t; end", "pg_temp"),
        ("begin update pg_settings set setting = 1; end", "UPDATE pg_settings"),
        ("begin x := currval('s'); end", "currval()"),
        ("begin set x = 1; end", "SET in a DO block"),
        ("begin set session authorization x; end", "SET in a DO block"),
        ("begin set session characteristics as transaction read only; end", "SET in a DO block"),
        ("begin reset x; end", "RESET in a DO block"),
        ("begin perform set_config('a', 'b', false); end", "set_config() in a DO block"),
        ("begin perform set_config('a', 'b', x); end", "set_config() in a DO block"),
        ("begin do 'begin listen c; end'; end", "LISTEN"),
        ("begin do language plpgsql 'begin listen c; end'; end", "LISTEN"),
        ("begin explain (analyze) select setseed(1); end", "setseed()"),
    ],
)
def test_what_needs_a_session_is_seen_in_a_body(code: str, expected: str) -> None:
    assert names(f"do $x${code}$x$") == [expected]


@pytest.mark.parametrize(
    "code",
    [
        "declare listen text; load text; commit int; begin end",
        "declare listen text; begin listen := 'x'; execute 'listen c'; end",
        "begin execute 'select pg_advisory_lock(1)' into temp; end",
        "begin execute p; select 1 into x; select a into pg_temp.t from b; end".replace("pg_temp.t", "t"),
        "begin set local x = 1; set transaction read only; set constraints all deferred; end",
        "begin update t set a = 1; set := 1; create = 1; end",
        "begin perform set_config('a', 'b', true); end",
        "begin insert into t values (1); x := currval('s'); end",
        "begin x := nextval('s'); y := lastval(); end",
        "begin create temp table t (a int) on commit drop; insert into pg_temp.t values (1); end",
        "begin create table pg_temp.t (a int) on commit drop; insert into pg_temp.t values (1); end",
        "begin create view v as select setseed(1); alter table t add a int default setseed(1); end",
        "begin select case when a then listen else load end into temp from t; end",
        "-- listen c;\n/* listen c; */ begin raise notice 'listen c;'; end",
        "begin 'not closed; listen c; end",
        "begin select 1 into pg_temp from t; end",
        "",
        ";;",
        "declare",
        "declare a int",
    ],
)
def test_nothing_else_in_a_body_is_taken_for_it(code: str) -> None:
    assert names(f"do $x${code}$x$") == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("begin commit; end", True),
        ("begin if a then rollback; end if; end", True),
        ("begin COMMIT /* a */ and chain; end", True),
        ("begin insert into t values (1); <<l>> commit; end", True),
        ("begin do 'begin commit; end'; end", True),
        ("begin do 'begin null; end'; end", False),
        ("begin commit := 1; x := commit; raise notice 'commit;'; end", False),
        ("declare commit int; begin select case when a then commit end; end", False),
        ("begin execute 'commit'; end", False),
    ],
)
def test_a_body_that_ends_the_transaction_is_known(code: str, expected: bool) -> None:
    assert ends(f"do $x${code}$x$") is expected


def test_bodies_in_bodies_are_read_to_some_depth() -> None:
    def nested(depth: int, code: str) -> str:
        for level in range(depth):
            code = f"begin do $x{level}${code}$x{level}$; end"
        return f"do $y${code}$y$"

    assert names(nested(7, "begin listen c; commit; end")) == ["LISTEN"]
    assert ends(nested(7, "begin listen c; commit; end"))
    assert names(nested(99, "begin listen c; commit; end")) == []
    assert not ends(nested(99, "begin listen c; commit; end"))
