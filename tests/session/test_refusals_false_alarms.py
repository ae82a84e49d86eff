"""What only looks like it needs a session passes as it is, and what does passes in none of its spellings."""

from __future__ import annotations

import pytest

from pgshim.protocol.frontend import Query, Sync
from tests.session.in_force import SAID, said
from tests.session.messages import A_PARSE_THAT_FAILS, IDLE, IN_BLOCK, done, error, server_error
from tests.session.script import SessionScript, Start
from tests.session.test_refusals import A_ROW

HARMLESS = [
    # In strings, comments, names.
    b"select 'listen x', 'a''; listen x; --', 'pg_advisory_lock(1)'",
    b"select e'\\'; listen x; --'",
    b"select 'a' -- b\n '; listen x; --'",
    b"select U&'!0027; listen x; --' uescape '!'",
    b"select $$; listen x; select pg_advisory_lock(1)$$, $q$$$; prepare p as select 1; $q$",
    b"select 1 -- ; listen x\n",
    b"/* ; listen x; /* pg_advisory_lock(1) */ create temp table t(); */ select 1",
    b'select "pg_advisory_lock", "listen", "a""; listen x; --" from "temp"',
    b'select 1 as "setseed(1)", 2 as listen, 3 load, 4 "prepare"',
    b"select pg_advisory_lock, t.currval, (t).lastval from t setseed",
    b"select a from t as currval(a)",
    b"select a from t currval (a)",
    b"with setseed(a) as (select 1) select a from setseed",
    b"create table t (listen int, load int, temp text, prepare int, execute int, setseed int, pg_temp int)",
    b"create table temporary_users (a int)",
    b"create table temp (a int)",
    b"create table my.pg_temp (a int)",
    b"insert into temp (listen, load) values (1, 'listen x')",
    b"select temp.a, my.pg_temp.a, pg_temp from temp, my.pg_temp",
    b"update t set setting = 'pg_settings' where temp = 1",
    b"update my.pg_settings set setting = '1'",
    b"select * from pg_settings where name = 'seed'",
    b"drop table if exists temp",
    b"comment on table t is 'listen x'",
    b"select hold from cursor_with_hold",
    b"grant execute on function f() to public",
    b"create trigger g after insert on t for each row execute function f()",
    b"alter table t rename column a to load",
    # Functions of the user's own, functions being created, what is not carried out.
    b"select my.pg_advisory_lock(1), my.currval('s'), \"my\".setseed(0.5), my . lastval()",
    b'select pg_advisory_locks(1), xpg_advisory_lock(1), "PG_ADVISORY_LOCK"(1), setseeds(1)',
    b"create function f() returns void language sql as $$select pg_advisory_lock(1)$$",
    b"create function f() returns void language sql as 'listen x'",
    b"create function my.setseed(a int) returns int language sql return a",
    b"create or replace procedure p() language plpgsql as $$begin perform set_config('a', 'b', false); end$$",
    b"create view v as select pg_try_advisory_lock(1)",
    b"create table t (a int default currval('s'))",
    b"explain select pg_advisory_lock(1)",
    b"explain (costs off, analyze false) select setseed(0.5)",
    b"explain verbose select currval('s')",
    b"drop function currval(int)",
    b"alter function my.setseed(int) owner to bob",
    # What lasts no longer than the transaction, or does not need a session.
    b"select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1, 2)",
    b"notify listen, 'listen'",
    b"unlisten x",
    b"declare c cursor without hold for select 1",
    b"declare hold cursor for select 1 as with_hold",
    b"select nextval('s'), currval('s')",
    b"select setval('s', 1)",
    b"insert into t values (nextval('s')) returning currval('s'), lastval()",
    b"with i as (insert into t values (1) returning a) select a, lastval() from i",
    b"do $$begin perform pg_advisory_xact_lock(1); raise notice 'listen x'; end$$",
    b"do $$declare listen int; begin listen := 1; perform my.pg_advisory_lock(1); end$$",
    b"do $$begin set local work_mem = 5; perform set_config('a.b', 'c', true); end$$",
    b"do $$begin create temp table t (a int) on commit drop; insert into pg_temp.t values (1); end$$",
    b"do $$begin perform nextval('s'); perform currval('s'); end$$",
    b"do $$begin execute 'select 1'; end$$",
    b"select random()",
    b"select dblink('host=x', 'select 1')",
    b"select show_limit()",
]

HARMFUL = [
    (b"LISTEN", b"/* a */ ListeN -- b\n x"),
    (b"LISTEN", b'listen"x"'),
    (b"LISTEN", b" ;; listen x ; "),
    (b"LISTEN", b'listen U&"\\0078"'),
    (b"LISTEN", b"do $$begin listen x; end$$"),
    (b"LISTEN", b"do language plpgsql 'begin if true then listen x; end if; end'"),
    (b"LISTEN", b"do e'begin\\nlisten\\x20x; end'"),
    (b"pg_advisory_lock()", b"SELECT PG_Advisory_Lock /* a */ ( 1 )"),
    (b"pg_advisory_lock()", b'select"pg_advisory_lock"(1)'),
    (b"pg_advisory_lock()", b'select U&"pg\\005fadvisory!005flock" (1), U&"pg!005fadvisory_lock" uescape \'!\' (1)'),
    (b"pg_advisory_lock()", b'select pg_catalog . "pg_advisory_lock"(1)'),
    (b"pg_advisory_lock()", b"select 'a' || $$b$$, pg_advisory_lock(1)"),
    (b"pg_advisory_lock()", b"select * from pg_advisory_lock(1)"),
    (b"pg_advisory_lock()", b"select a from t where a in (select 1 order by pg_advisory_lock(1))"),
    (b"pg_try_advisory_lock()", b"with l as (select pg_try_advisory_lock(1) as l) select l from l"),
    (b"pg_try_advisory_lock()", b"copy (select pg_try_advisory_lock(1)) to stdout"),
    (b"pg_try_advisory_lock()", b"call p(pg_try_advisory_lock(1))"),
    (b"pg_try_advisory_lock()", b"create table t as select pg_try_advisory_lock(1)"),
    (b"pg_try_advisory_lock()", b"explain (costs off, analyze) select pg_try_advisory_lock(1)"),
    (b"pg_try_advisory_lock()", b"insert into t values (pg_try_advisory_lock(1)) on conflict do nothing"),
    (b"pg_try_advisory_lock()", b"values (case when pg_try_advisory_lock(1) then 1 end)"),
    (b"pg_try_advisory_lock()", b"do $$declare a bool := pg_try_advisory_lock(1); begin end$$"),
    (b"A temporary table", b"create /* a */ local temporary /* b */ table if not exists t (a int)"),
    (b"A temporary table", b"create global temp table t (a int) on commit preserve rows"),
    (b"A temporary table", b'create table "pg_temp".t (a int)'),
    (b"A temporary table", b"select * into local temporary table t from u"),
    (b"A temporary table", b"with a as (select 1) select * into pg_temp.t from a"),
    (b"A temporary table", b"do $$begin create temp table t (a int); end$$"),
    (b"A temporary view", b"create or replace temp recursive view v (a) as select 1"),
    (b"A temporary view", b"create view pg_temp.v as select 1"),
    (b"A temporary sequence", b"create temporary sequence if not exists s"),
    (b"An object in pg_temp", b"create function pg_temp.f() returns int language sql return 1"),
    (b"pg_temp", b"select * from pg_temp.t"),
    (b"pg_temp", b"insert into pg_temp.t values (1)"),
    (b"DECLARE ... WITH HOLD", b'declare "c" insensitive no scroll binary cursor with /* a */ hold for select 1'),
    (b"PREPARE", b"prepare p (int, text) as select $1, $2"),
    (b"EXECUTE", b"explain (analyze, buffers) execute p (1)"),
    (b"EXECUTE", b"create unlogged table t (a) as execute p (1) with no data"),
    (b"currval()", b"select currval('my.s'::regclass)"),
    (b"lastval()", b"select a from t where b = pg_catalog.lastval ( )"),
    (b"LOAD", b"load e'auto\\x5fexplain'"),
    (b"dblink_connect()", b"select public.dblink_connect('host=x')"),
    (b"dblink_connect_u()", b"select dblink_connect_u('host=x')"),
    (b"set_config('seed', ...)", b"select set_config('SEED', '0.5', true)"),
    (b"SET seed", b'set session "seed" to 0.5'),
    (b"SET seed", b"set local SEED = 0.5"),
    (b"UPDATE pg_settings", b"update only pg_catalog.pg_settings as s set setting = '1'"),
    (b"UPDATE pg_settings", b"with u as (update pg_settings set setting = '1' returning 1) select 1"),
    (b"set_limit()", b"select my.set_limit(0.5)"),
    (b"RESET in a DO", b"do $$begin reset work_mem; end$$"),
    (b"SET in a DO", b"do $$begin set session role bob; end$$"),
    (b"SET in a DO", b"do $$begin do 'begin set work_mem = 5; end'; end$$"),
    (b"set_config()", b"do $$begin perform set_config('a', 'b', 1 = 2); end$$"),
    (b"set_config()", b"select set_config('work_mem', '5', 1 = 2)"),
    (b"set_config()", b"select set_config(name, setting, false) from pg_settings"),
]


@pytest.mark.parametrize("sql", HARMLESS, ids=bytes.decode)
def test_no_false_alarm_in_autocommit(script: SessionScript, sql: bytes) -> None:
    script.queries(sql, *A_ROW, IDLE)
    script.frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
    script.upstream_answers(*SAID, done(), IDLE)


@pytest.mark.parametrize("sql", HARMLESS, ids=bytes.decode)
def test_no_false_alarm_in_a_block(script: SessionScript, sql: bytes) -> None:
    script.begins().queries(sql, *A_ROW, IN_BLOCK)
    script.frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
    script.upstream_answers(*SAID, done(), IN_BLOCK)


@pytest.mark.parametrize("sql", HARMLESS, ids=bytes.decode)
def test_no_false_alarm_among_other_statements(script: SessionScript, sql: bytes) -> None:
    several = b"select 1; " + sql + b"\n; select 2"
    script.queries(several, *A_ROW, done(), *A_ROW, IDLE)


@pytest.mark.parametrize(("what", "sql"), HARMFUL, ids=lambda value: value.decode())
def test_no_spelling_hides_it_from_a_query(script: SessionScript, what: bytes, sql: bytes) -> None:
    script.frontend_sends(Query(sql)).frontend_receives(error(b"0A000"), IDLE)
    script.frontend_sends(Query(b"show a;" + sql)).forgets()
    script.upstream_sends(*A_ROW, server_error(b"22012"), IDLE).frontend_receives(*A_ROW, error(b"0A000"), IDLE)


@pytest.mark.parametrize(("what", "sql"), HARMFUL, ids=lambda value: value.decode())
def test_no_spelling_hides_it_from_an_extended_query(script: SessionScript, what: bytes, sql: bytes) -> None:
    script.frontend_sends(*said(sql), Sync())
    went_up = script.gone_up()
    script.forgets()
    assert any(A_PARSE_THAT_FAILS.fits(message) for message in went_up if not isinstance(message, bytes))
    answers = SAID if what in (b"currval()", b"lastval()") else ()
    script.upstream_sends(*answers, server_error(b"42601"), IDLE).frontend_receives(*answers, error(b"0A000"), IDLE)


# Where it depends on what came before.


ON_COMMIT_DROP = [
    b"create temp table t (a int) on commit drop",
    b"create temporary table t on commit drop as select 1",
    b"create table pg_temp.t (a int) on commit drop",
    b"select * from pg_temp.t",
    b"insert into pg_temp.t values (1)",
    b"create index on pg_temp.t (a)",
    b"drop table pg_temp.t",
]


@pytest.mark.parametrize("sql", ON_COMMIT_DROP, ids=bytes.decode)
def test_temporary_tables_of_the_transaction_work_in_a_block(script: SessionScript, sql: bytes) -> None:
    script.begins().queries(sql, *A_ROW, IN_BLOCK)
    script.frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
    script.upstream_answers(*SAID, done(), IN_BLOCK)


def test_temporary_tables_of_the_transaction_work_in_a_query_that_is_a_block(script: SessionScript) -> None:
    each = [done() for _ in ON_COMMIT_DROP]
    script.queries(b"begin; " + b"; ".join(ON_COMMIT_DROP) + b"; commit", done(b"BEGIN"), *each, done(b"COMMIT"), IDLE)


def test_temporary_tables_of_the_transaction_work_in_one_batch(script: SessionScript) -> None:
    batch = *said(b"begin"), *said(ON_COMMIT_DROP[0]), *said(b"commit")
    script.frontend_sends(*batch, Sync()).upstream_receives(*batch, Sync())
    script.upstream_answers(*(*SAID, done()) * 3, IDLE)


@pytest.mark.parametrize(("standard_strings", "is_refused"), [(True, True), (False, False)])
def test_a_backslash_is_read_as_the_server_reads_it(start: Start, standard_strings: bool, is_refused: bool) -> None:
    sql = b"select 'a\\'; listen x; --'"
    script = start(standard_strings=standard_strings)
    if not is_refused:
        script.queries(sql, *A_ROW, IDLE)
        return
    script.frontend_sends(Query(sql)).forgets()
    script.upstream_sends(*A_ROW, server_error(b"22012"), IDLE).frontend_receives(*A_ROW, error(b"0A000"), IDLE)


def test_the_release_of_all_locks_is_no_use_of_a_lock(script: SessionScript) -> None:
    script.begins().queries(b"select pg_advisory_unlock_all()", *A_ROW, IN_BLOCK)
