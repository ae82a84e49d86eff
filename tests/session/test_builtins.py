"""Purity: every text that is called pure is one that PostgreSQL parses as a query, and every effect is seen."""

import pytest
from pglast import ast, parse_sql
from pglast.parser import Error
from pglast.visitors import Visitor

from pgshim.session.builtins import FUNCTIONS
from pgshim.session.sql import judge

PURE = [
    "select 1",
    "table t",
    "values (1, $1::int), (2, lower('A'))",
    "(select 1) union all (select 2)",
    "select * from a join b on (a.x = b.x) left join (select 1) c on true where a.id = $1 and (b.y or not (b.z))",
    "select * from a cross join lateral (select 1) x, lateral generate_series(1, 3) g",
    "select 'nextval(1)', $$ f(x) $$, \"f\" from t -- f(x)",
    "select count(*) filter (where a > 1), sum(a) over (partition by (b) order by (c)), max(a) over w "
    "from t window w as (order by a)",
    "select cast(a as numeric(10, 2)), a::varchar(3), a::character varying(3), a::bit varying(3), a::timestamp(3)",
    "select a::geometry(point, 4326), cast(a as vector(3))",
    'select a::pg_catalog.varchar(3), pg_catalog.lower(a), "pg_catalog"."upper"(a), "lower"(a)',
    "select extract(year from now()), coalesce(a, 1), nullif(a, 1), greatest(1, 2), position('a' in 'b'), trim(a)",
    "select substring(a from 1 for 3), overlay(a placing 'x' from 1 for 2), interval '1 day', current_timestamp(3)",
    "select exists (select 1), a in (1, 2), a = any ($1), a = all (array(select 1)), row(1, 2), array_agg(a) from t",
    "select a from t group by (a), b order by (a) limit (1) offset (2)",
    "select a from t group by rollup (a)",
    "select a from t group by cube (a)",
    "select a from t group by grouping sets ((a), ())",
    "select percentile_cont(0.5) within group (order by a) from t",
    "select a from t order by a fetch first (1) rows with ties",
    "select a from t order by a fetch next (1) rows only",
    "select now() at time zone (select 'UTC'), a like ('x'), a ilike ('x'), a not in (1), case when (a) then (b) end",
    "select * from (values (1, 2)) t (a, b)",
    "select * from json_to_record('{}') as t (a int, b numeric(3, 1))",
    "select * from generate_series(1, 2) with ordinality as t (a, b)",
    "select * from t tablesample system (10) repeatable (1)",
    "with x (a) as (select 1), y as not materialized (select 2) select * from x",
    "with recursive x (a) as (select 1 union all select a + 1 from x) select * from x",
    "select a operator(pg_catalog.+) b, a operator(pg_catalog.~) 'x'",
    "select distinct on (a) a, (b) from t",
    "select distinct on (a) lower(b) from t",
    "select random(), clock_timestamp(), gen_random_uuid(), pg_sleep(0), starts_with('a', 'b'), hashtext('a')",
    "select pg_catalog.format_type(a.atttypid, a.atttypmod) from pg_attribute a where pg_table_is_visible(attrelid)",
    'select a as "update", "insert" from "merge" where x = \'delete\'',
    "select left(a, 1), right(a, 2), current_setting('x', true), current_schema()",
]
IMPURE = [
    "insert into t values (1)",
    "select 1; select 2",
    "explain select 1",
    "select 1 into t",
    "with x as (insert into t values (1) returning *) select * from x",
    "with x as (delete from t returning *) select * from x",
    "select * from (with y as (update t set a = 1 returning *) select 1) z",
    "select * from t for update",
    "select * from t for no key update of t nowait",
    "select * from t for share",
    "select * from t for key share",
    "select nextval('s')",
    "select NextVal /* x */ ('s')",
    "select pg_catalog.nextval('s')",
    "select \"nextval\"('s')",
    "select f(1)",
    "select lower(f(1))",
    'select "F"(1)',
    "select \"Lower\"('a')",
    "select U&\"lower\"('a')",
    'select "in"(1)',
    "select public.lower('a')",
    "select db.pg_catalog.lower('a')",
    "select \"PG_CATALOG\".lower('a')",
    "select distinct on (a) f(b) from t",
    "select distinct on ((a)) f(b) from t",
    "select * from f(1) as t(a)",
    "select * from t where a = 1 order by f(a)",
    "select * from t where (a) = f(b)",
    "select a operator(public.+) b",
    "select rollup(1)",
    "select a from t order by cube(a)",
    "select by(1)",
    "select treat(a as b)",
    "select f((select 1))",
    "select set_config('a', 'b', false)",
    "select pg_advisory_lock(1)",
    "select pg_notify('a', 'b')",
    "select lo_create(0)",
    "select txid_current()",
    "select log('x')",
    "select over(1)",
]


class Effects(Visitor):
    """What a parse tree has that a pure query has not."""

    def __init__(self) -> None:
        self.found: list[object] = []

    def visit_FuncCall(self, _: object, node: ast.FuncCall) -> None:
        if node.funcname[-1].sval.encode() not in FUNCTIONS:
            self.found.append(node.funcname[-1].sval)

    def _effect(self, _: object, node: ast.Node) -> None:
        self.found.append(type(node))

    visit_InsertStmt = visit_UpdateStmt = visit_DeleteStmt = visit_MergeStmt = visit_IntoClause = _effect
    visit_LockingClause = _effect


def effects(text: str) -> list[object]:
    visitor = Effects()
    visitor(parse_sql(text))
    return visitor.found


@pytest.mark.parametrize("text", PURE)
def test_a_query_without_effects_is_pure(text: str) -> None:
    assert effects(text) == []
    assert judge(text.encode()).is_pure
    if '"' not in text:
        assert judge(b"/* f( */" + text.upper().encode() + b" ;").is_pure


@pytest.mark.parametrize("text", IMPURE)
def test_a_text_that_may_have_an_effect_is_not_pure(text: str) -> None:
    assert not judge(text.encode()).is_pure


@pytest.mark.parametrize("text", ["select f(", "select (", "select pg_catalog.", "select .f(1)", "select on (a) b"])
def test_half_a_query_does_no_harm(text: str) -> None:
    with pytest.raises(Error):
        parse_sql(text)
    judge(text.encode())


def test_the_list_of_harmless_functions_has_none_with_effects() -> None:
    effects = b"nextval setval set_config lo_create loread pg_advisory_lock pg_try_advisory_lock pg_notify dblink"
    effects += b" pg_advisory_xact_lock txid_current pg_current_xact_id query_to_xml table_to_xml setseed treat"
    effects += b" pg_terminate_backend pg_cancel_backend pg_reload_conf pg_export_snapshot ts_stat ts_rewrite log"
    effects += b" currval lastval pg_logical_emit_message pg_stat_reset pg_read_file lo_get pg_switch_wal"
    assert FUNCTIONS.isdisjoint(effects.split())
