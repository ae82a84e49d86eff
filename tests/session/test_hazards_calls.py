"""Which names call a function, held against PostgreSQL's parser (pglast), however they are spelt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import ast, parse_sql
from pglast.visitors import Visitor

from pgshim.session.hazard_names import BUILT_IN, OF_EXTENSIONS
from pgshim.session.hazards import HAZARD_WORDS, do_ends_transaction, find_hazards, refuses_block
from pgshim.session.kinds import Kind, classify, split
from pgshim.session.tokens import TokenKind, lexemes, tokenize


class _Calls(Visitor):  # type: ignore[misc]
    """The hazardous functions that a statement calls, by its parse tree."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_FuncCall(self, ancestors: object, node: ast.FuncCall) -> None:
        *schemas, name = (part.sval.encode() for part in node.funcname)
        if name in OF_EXTENSIONS or (name in BUILT_IN and (not schemas or schemas[-1] == b"pg_catalog")):
            self.found.add(f"{name.decode()}()")


def called(sql: str) -> set[str]:
    """The hazardous functions that statements call, by PostgreSQL."""
    calls = _Calls()
    calls(parse_sql(sql))
    return calls.found


def seen(sql: str) -> set[str]:
    """The same by us."""
    text = sql.encode()
    parts = split(lexemes(text) or [])
    assert parts is not None
    found = {found.what for part in parts for found in find_hazards(text, part, classify(text, part)[0], True)}
    assert not found or HAZARD_WORDS.search(text)
    return {what for what in found if what.endswith("()")}


# Every place where a call may stand, and every one where a name with a parenthesis is something else: {} is the name.
PLACES = [
    "select {}(1)",
    "select all {}(1)",
    "select distinct {}(1), a",
    "select distinct on (a) {}(1) from t",
    "select a, {}(1) from t",
    "select (({}(1)))",
    "select 1 + {}(1), -{}(2), a[{}(1)], array[{}(1)]",
    "select 1 operator(pg_catalog.+) {}(1)",
    "select a::int + {}(1)",
    "select case when {}(1) is null then {}(2) else {}(3) end",
    "select case {}(1) when 1 then 2 end",
    "select a between {}(1) and {}(2), a not between symmetric {}(1) and 2",
    "select a like {}(1) escape {}(2), a similar to {}(1), a at time zone {}(1), a is distinct from {}(1)",
    "select coalesce({}(1), 2), greatest({}(1)), nullif(1, {}(1)), row({}(1))",
    "select cast({}(1) as int), extract(year from {}(1)), position({}(1) in 'a'), trim(both {}(1) from 'a')",
    "select substring('a' from {}(1) for {}(2)), substring('a' similar 'b' escape {}(1))",
    "select overlay('a' placing {}(1) from 1)",
    "select xmlelement(name a, {}(1)), xmlexists('a' passing {}(1)), xmlroot({}(1), version {}(2))",
    "select xmlparse(document {}(1)), xmlserialize(content {}(1) as text), xmlexists('a' passing by ref {}(1))",
    "select json_object('a' value {}(1)), json_object('a': {}(1)), json_array({}(1))",
    "select sum({}(1)) filter (where {}(2) > 1) over (partition by {}(1) order by {}(2)) from t",
    "select sum(a) over (order by b rows {}(1) preceding), sum(a) over (order by b range between {}(1) preceding and "
    "{}(2) following) from t",
    "select sum(a) over (order by b groups {}(1) preceding) from t",
    "select f(variadic {}(1)), f(a => {}(1)), f(a := {}(1))",
    "select * from {}(1)",
    "select * from t, {}(1) as x (a), lateral {}(2) y",
    "select * from t join {}(1) on {}(2) cross join {}(3) natural join {}(4)",
    "select * from rows from ({}(1), f(2)) with ordinality",
    "select a from t where {}(1) and not {}(2) or a in ({}(3)) group by {}(4), a having {}(5)",
    "select a from t order by {}(1) limit {}(2) offset {}(3)",
    "select a from t group by rollup ({}(1)), grouping sets (({}(1)), ())",
    "select a from t fetch first {}(1) rows only",
    "select a from t fetch next {}(1) rows only",
    "select a from t tablesample system ({}(1)) repeatable ({}(2))",
    "select exists (select {}(1)), a = any (select {}(1)), array(select {}(1))",
    "select 1 union all select {}(1)",
    "select 'a'\n'x' || {}(1), $1 + {}(1), e'a' = {}(1)",
    "values ({}(1), 2), (3, {}(2))",
    "with x as ({{}}) select * from x".replace("{{}}", "select {}(1)"),
    "with x (a) as not materialized (select 1), y as (select {}(1)) select * from y",
    "insert into t (a) values ({}(1)) on conflict (a) do update set a = {}(2) where {}(3) returning {}(4)",
    "insert into t select {}(1)",
    "update t set a = {}(1), (b, c) = (select {}(1), 2) from {}(3) where {}(4)",
    "delete from t using {}(1) where {}(2) returning {}(3)",
    "delete from t returning with (old as o) {}(1)",
    "merge into t using u on {}(1) when matched and {}(2) then update set a = {}(3) when not matched then insert "
    "values ({}(4))",
    "call p({}(1))",
    "execute p({}(1))",
    "explain analyze select {}(1)",
    "explain (analyze, verbose) select {}(1)",
    "copy (select {}(1)) to stdout",
    "copy t from stdin where {}(1)",
    "create table t as select {}(1)",
    "create materialized view v (a) as select {}(1)",
    "select {}(1) into t",
    "declare c cursor for select {}(1)",
    # not a call
    "select {} from t",
    "select {}, a.{} from t {} where {}.a = 1",
    "select * from t as {}(a)",
    "select * from t {}(a)",
    'select * from "t" {}(a)',
    "select * from s.t {}(a), (select 1) {}(a), f(1) {}(a)",
    "select * from f(1) as x (a {}(1)), f(1) with ordinality {}(a)",
    "select a::{}(1), cast(a as {}(1))",
    "with {} (a) as (select 1), x as (select 1) select * from {}",
    "with x as (select 1), {} (a) as materialized (select 1) select * from {}",
    "with x as (select 1), {} (a, b) as ((select 1, 2)) select 1",
    "with recursive {} (a) as (select 1) select 1",
    "insert into {} (a) values (1)",
    "insert into t as {} (a) values (1)",
    "copy {} (a) from stdin",
    "execute {} (1)",
    "select * from t tablesample {} (1)",
    "create table {} (a) as select 1",
    "create materialized view {} (a) as select 1",
    "select '{}(1)', $${}(1)$$, \"{}(1)\" /* {}(1) */ -- {}(1)",
    "select s.{}(1)",
    "select pg_catalog.{}(1), db.pg_catalog.{}(2)",
    'select "PG_CATALOG".{}(1)',
]
NAMES = ["pg_advisory_lock", "setseed", "dblink_connect"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_calls_are_those_that_postgresql_parses_as_calls(place: str, name: str) -> None:
    sql = place.replace("{}", name)
    assert seen(sql) == called(sql)


def _unicode(name: str) -> str:
    return 'U&"' + "".join(f"\\{ord(letter):04x}" if letter in "ao_" else letter for letter in name) + '"'


NAME_SPELLINGS = [
    str,
    str.upper,
    str.title,
    lambda name: f'"{name}"',
    lambda name: f'"{name.title()}"',
    lambda name: f"pg_catalog.{name}",
    lambda name: f'"pg_catalog" . {name}',
    lambda name: f"public.{name}",
    lambda name: f"PG_CATALOG/**/.{_unicode(name)}",
    lambda name: f"d.pg_catalog.{name}",
    _unicode,
    lambda name: f"u&\"{name.replace('_', '!005f')}\" uescape '!'",
]
GAPS = [" ", "\n", "/* ' \" $$ */", " -- it's\n", "/* a /* ; */ b */", "\t\r\n\f"]


@given(
    st.sampled_from(PLACES),
    st.sampled_from(sorted(name.decode() for name in BUILT_IN | OF_EXTENSIONS)),
    st.sampled_from(NAME_SPELLINGS),
    st.lists(st.sampled_from(GAPS), min_size=1, max_size=4),
)
def test_no_spelling_hides_a_call_or_fakes_one(place: str, name: str, spelling: object, gaps: list[str]) -> None:
    assert callable(spelling)
    spelt = place.replace("{}", spelling(name))
    try:
        expected = called(spelt)
    except Exception:  # a name qualified or spelt so that it may not stand there
        return
    text = spelt.encode()
    spaced = []
    for index, (kind, start, end) in enumerate(tokenize(text)):
        is_gap = kind in (TokenKind.SPACE, TokenKind.COMMENT, TokenKind.BLOCK_COMMENT)
        spaced.append(gaps[index % len(gaps)] if is_gap else text[start:end].decode())
    sql = "".join(spaced)
    assert called(sql) == expected
    if place.startswith(("insert", "update", "merge")):
        moves = "{}" not in place.partition("returning")[0]
    else:
        moves = "insert into" in place or "update t" in place or "merge" in place
    assert seen(sql) == (expected - {"currval()", "lastval()"} if moves else expected)


SOUP = """
    ( ) , . :: as with into temp pg_temp update only pg_settings set setseed currval create table on commit drop explain
    analyze execute do 'begin' 'listen;c' $$(setseed($$ listen reindex cluster ; declare cursor "setseed" u&"a" uescape
    '!' pg_catalog distinct returning
"""


@given(
    st.lists(
        st.sampled_from(SOUP.split()),
        max_size=12,
    )
)
def test_what_the_server_refuses_is_read_all_the_same(words: list[str]) -> None:
    text = " ".join(words).encode()
    for part in split(lexemes(text) or []) or []:
        find_hazards(text, part, classify(text, part)[0], True)
        refuses_block(part)
        do_ends_transaction(text, part, True)


@pytest.mark.parametrize("sql", ["select ) ( , setseed(1", "select ) setseed ( 1", "select 1) setseed(1 ("])
def test_parentheses_that_do_not_match_are_no_matter(sql: str) -> None:
    statement = lexemes(sql.encode())
    assert statement is not None
    find_hazards(sql.encode(), statement, Kind.SELECT, True)
