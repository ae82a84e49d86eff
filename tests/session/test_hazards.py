"""What needs a session is seen however it is spelt, and nothing else is taken for it."""

import pytest

from pgshim.session.hazards import HAZARD_WORDS, OIDS, Feature, Hazard, find_hazards
from pgshim.session.kinds import classify, split
from pgshim.session.tokens import lexemes


def hazards(sql: str, conforming: bool = True) -> list[Hazard]:
    """Those of every statement of a text, which HAZARD_WORDS must then have found something in."""
    text = sql.encode()
    parts = split(lexemes(text, conforming) or [])
    assert parts is not None
    found = [hazard for part in parts for hazard in find_hazards(text, part, classify(text, part)[0], conforming)]
    assert not found or HAZARD_WORDS.search(text), sql
    return found


def names(sql: str) -> list[str]:
    return [hazard.what for hazard in hazards(sql)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("listen c", "LISTEN"),
        ('/* a */ LISTEN\n-- b\n"c"', "LISTEN"),
        ("select 1; listen u&\"c!0061\" uescape '!'", "LISTEN"),
        ("load 'auto_explain'", "LOAD"),
        ("load/**/e'auto_explain'", "LOAD"),
        ("load $$auto_explain$$", "LOAD"),
        ("prepare p as select 1", "PREPARE"),
        ("prepare transaction as select 1", "PREPARE"),
        ("prepare p (int) as select pg_advisory_lock($1)", "PREPARE"),
        ("execute p", "EXECUTE"),
        ("execute pg_advisory_lock(1)", "EXECUTE"),
        ("explain execute p(1)", "EXECUTE"),
        ("explain (analyze, costs off) execute p(1)", "EXECUTE"),
        ("explain analyze verbose execute p", "EXECUTE"),
        ("create table t as execute p(1)", "EXECUTE"),
        ("create table t (a) on commit drop as execute p with no data", "EXECUTE"),
        ("explain create table t as execute p", "EXECUTE"),
        ("set seed = 0.5", "SET seed"),
        ("set session seed to 0.5", "SET seed"),
        ('set local "Seed" to 0.5', "SET seed"),
        ('set u&"\\0073eed" = 1', "SET seed"),
        ("select setseed(0.5)", "setseed()"),
        ("update pg_settings set setting = '1' where name = 'x'", "UPDATE pg_settings"),
        ("update only pg_catalog.pg_settings * as s set setting = 1", "UPDATE pg_settings"),
        ('update only ("pg_settings") s set setting = 1', "UPDATE pg_settings"),
        ("update db.pg_catalog.pg_settings set setting = 1", "UPDATE pg_settings"),
        ("with x as (update pg_settings set setting = 1 returning *) select * from x", "UPDATE pg_settings"),
        ("explain analyze update pg_settings set setting = 1", "UPDATE pg_settings"),
        ("declare c cursor with hold for select 1", "DECLARE ... WITH HOLD"),
        ("declare cursor binary no scroll cursor with hold for select 1", "DECLARE ... WITH HOLD"),
        ("select dblink_connect('x')", "dblink_connect()"),
        ("select ext.dblink_connect_u('x', 'y')", "dblink_connect_u()"),
        ("select a.b.set_limit(0.1)", "set_limit()"),
        ("select pg_replication_origin_session_setup('x')", "pg_replication_origin_session_setup()"),
        ("select pg_replication_origin_session_reset()", "pg_replication_origin_session_reset()"),
    ],
)
def test_what_needs_a_session_is_seen(sql: str, expected: str) -> None:
    assert names(sql) == [expected]


@pytest.mark.parametrize(
    "sql",
    [
        "create temp table t (a int)",
        "create temporary table if not exists t (a int) on commit delete rows",
        "create local temp table t (a int) on commit preserve rows",
        "create global temporary table t as select 1",
        "create temp table t on commit delete rows as select 1",
        "create table pg_temp.t (a int)",
        'create table if not exists "pg_temp".t as select 1',
        "create table db.pg_temp.t ()",
        "explain analyze create temp table t as select 1",
        "explain (analyze) select 1 into temp t",
        "select 1 into temp t",
        "select 1 into local temporary table t from x",
        'select 1 into temp "t"',
        "select insert into temp t from x",
        "select a, merge into temp t from x",
        "with x as (select 1) select * into temporary t from x",
        "select 1 as a into pg_temp.t",
        'select 1 into table u&"pg\\005ftemp".t',
        "select 1 into db.pg_temp.t",
    ],
)
def test_a_temporary_table_is_seen(sql: str) -> None:
    assert hazards(sql)[0] == Hazard(Feature.TEMPORARY, "A temporary table")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("create or replace temp view v as select 1", "A temporary view"),
        ("create temp recursive view v (a) as select 1", "A temporary view"),
        ("create view pg_temp.v as select 1", "A temporary view"),
        ("create temp sequence s", "A temporary sequence"),
        ("create function pg_temp.f() returns int language sql as 'select 1'", "An object in pg_temp"),
        ("create type pg_temp.t as (a int)", "An object in pg_temp"),
        ("create text search configuration pg_temp.c (copy = simple)", "An object in pg_temp"),
        ("create operator pg_temp.+ (function = f)", "An object in pg_temp"),
    ],
)
def test_other_temporary_objects_are_seen(sql: str, expected: str) -> None:
    assert hazards(sql) == [Hazard(Feature.TEMPORARY, expected)]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from pg_temp.t",
        'drop table "pg_temp".t',
        "insert into pg_temp . t values (1)",
        "alter table pg_temp.t add a int",
        "create index on pg_temp.t (a)",
        "create view v as select * from pg_temp.t",
        "create temp table x on commit drop as select * from pg_temp.t",
        "explain select * from pg_temp.t",
        "copy pg_temp.t from stdin",
    ],
)
def test_a_reference_to_pg_temp_is_only_that(sql: str) -> None:
    assert hazards(sql) == [Hazard(Feature.TEMPORARY, "pg_temp", is_reference=True)]


@pytest.mark.parametrize("name", ["currval('s')", "lastval()", "pg_catalog.currval('s')"])
@pytest.mark.parametrize(
    "sql", ["select {}", "select {}, insert from t for update", "delete from t where a = {}", "select a.nextval({})"]
)
def test_what_a_sequence_gave_last_is_seen(sql: str, name: str) -> None:
    found = hazards(sql.format(name))
    assert [hazard.feature for hazard in found] == [Feature.SEQUENCE_VALUE]
    assert found[0].needs_nextval


@pytest.mark.parametrize(
    "sql",
    [
        "select nextval('s'), currval('s')",
        "insert into t values (1) returning currval('s')",
        "with x as (insert into t values (1)) select lastval()",
        "with x as (update t set a = 1) select lastval()",
        "explain analyze update t set a = lastval()",
    ],
)
def test_a_statement_that_moves_the_sequence_may_ask_for_its_value(sql: str) -> None:
    assert hazards(sql) == []


@pytest.mark.parametrize(
    "sql",
    [
        "unlisten c",
        "notify listen",
        "select 'listen c', $$listen c$$, \"listen\" -- listen c",
        'select listen, load, temp, hold, currval, prepare, "execute" from temporary',
        "listen",
        "load x",
        "prepare transaction 'x'",
        "grant execute on function f() to x",
        "set x = 'seed'",
        "set seed.x = 1",
        "set local work_mem = 1",
        "set pg_temp.x = 1",
        "reset seed",
        "show seed",
        "select * from pg_settings where name = 'x'",
        "update t set a = (select setting from pg_settings)",
        "update s.pg_settings set a = 1",
        "update s.pg_settings.x set a = 1",
        "select * from update pg_settings where true",
        "declare c cursor for select 1",
        "declare c cursor without hold for select 1",
        "declare c cursor for select hold from cursor",
        "declare c binary",
        "explain analyze declare c cursor with hold for select 1",
        "select pg_advisory_unlock_all(), pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1)",
        'select s.pg_advisory_lock(1), "PG_ADVISORY_LOCK"(1), s.setseed(1), pg_advisory_lock from t',
        "explain select pg_advisory_lock(1)",
        "explain (analyze false) select pg_advisory_lock(1)",
        "explain (analyze, analyze 'off') select pg_advisory_lock(1)",
        "explain (verbose, costs off) select pg_advisory_lock(1)",
        "explain (select pg_advisory_lock(1))",
        "explain create temp table t as select 1",
        "create view v as select pg_advisory_lock(1)",
        "create table t (a int default currval('s'), b int generated always as (setseed(1)) stored)",
        "create table t as select setseed(1) with no data",
        "create function f() returns int language sql begin atomic select setseed(1); end",
        "create rule r as on insert to t do also select pg_advisory_lock(1)",
        "create policy p on t using (pg_advisory_lock(1) is null)",
        "alter table t add a int default currval('s')",
        "comment on table t is 'select pg_advisory_lock(1)'",
        "create temp table t (a int) on commit drop",
        "create temp table t (a, b) with (fillfactor = 10) on commit drop as select 1",
        "create table pg_temp.t (a int) on commit drop",
        "create table temp (temp int, temporary int)",
        "create table temp.t (a int)",
        "create view temp as select 1",
        "insert into temp values (1)",
        "insert into temp table t",
        "insert into temporary (a) select 1",
        "with x as (insert into temp values (1) returning *) select * from x",
        "explain analyze insert into temp overriding user value select 1",
        "merge into temp t using u on true when matched then do nothing",
        "select 1 into temp",
        "select 1 into temp from t",
        "select 1 into temp.t",
        "select 1 into local",
        "select 'pg_temp.t', pg_temp, a.pg_temp.b from t",
        "set search_path = pg_temp, public",
        "create temp frobnicate x",
        "explain",
    ],
)
def test_nothing_else_is_taken_for_it(sql: str) -> None:
    assert hazards(sql) == []


@pytest.mark.parametrize(
    "sql",
    [
        "explain analyze select pg_advisory_lock(1)",
        "explain (verbose, analyze on) select pg_advisory_lock(1)",
        "explain (analyse) select pg_advisory_lock(1)",
        "explain (\"analyze\" 'true') select pg_advisory_lock(1)",
        "explain analyze (select pg_advisory_lock(1))",
        "explain analyze declare c cursor with hold for select pg_advisory_lock(1)",
        "explain analyze create table t as select pg_advisory_lock(1)",
        "create table t as select pg_advisory_lock(1)",
        "create unlogged table t (a) as values (pg_advisory_lock(1))",
        "create materialized view if not exists v as select pg_advisory_lock(1) with data",
        "select pg_advisory_lock(1) into t",
        "declare c cursor for select pg_advisory_lock(1)",
        "copy (select pg_advisory_lock(1)) to stdout",
        "call p(pg_advisory_lock(1))",
        "select pg_catalog.pg_advisory_lock(1)",
        "select db.pg_catalog.pg_advisory_lock(1)",
        'select "pg_catalog" . "pg_advisory_lock" (1)',
        "select u&\"pg!005fadvisory_lock\" uescape '!' (1)",
        "values (1), (pg_advisory_lock(1))",
        "table t union (select pg_advisory_lock(1))",
        "delete from t where pg_advisory_lock(1) is null",
    ],
)
def test_a_call_is_seen_where_it_is_carried_out(sql: str) -> None:
    assert hazards(sql) == [Hazard(Feature.ADVISORY_LOCK, "pg_advisory_lock()")]


def test_several_in_one_statement_are_named_once_each() -> None:
    assert names("execute p(setseed(1), setseed(2), pg_try_advisory_lock(1))") == [
        "EXECUTE",
        "setseed()",
        "pg_try_advisory_lock()",
    ]


def test_functions_are_known_by_their_oids() -> None:
    assert OIDS[2880] == (Feature.ADVISORY_LOCK, "pg_advisory_lock()")
    assert OIDS[1575] == (Feature.SEQUENCE_VALUE, "currval()")
