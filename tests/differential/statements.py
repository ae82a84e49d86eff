"""The statements that clients of the differential tests say, by what they do. `{c}` is the client's own number.

Each client has tables of its own, so none waits for another's locks, and what one sees does not depend on when another
comes to its turn.
"""

from __future__ import annotations

#: What prepares the database; clients own t0 to t3 and their kind.
SETUP = """
drop schema public cascade; create schema public; grant all on schema public to public;
drop schema if exists s1 cascade; create schema s1; grant all on schema s1 to public;
create type mood as enum ('sad', 'ok', 'happy');
create domain positive as int check (value > 0);
create table shared(i int, s text); insert into shared select i, 'row ' || i from generate_series(1, 100) i;
create function f_work_mem() returns text language sql as $$ select current_setting('work_mem') $$;
create function f_local() returns text language sql set work_mem = '123kB' as $$ select current_setting('work_mem') $$;
create function f_noted(i int) returns int language plpgsql as $$ begin raise notice 'noted %', i; return i; end $$;
create procedure p_plain() language plpgsql as $$ begin raise notice 'work_mem %', current_setting('work_mem'); end $$;
create procedure p_commit() language plpgsql as $$ begin commit; raise notice 'committed'; end $$;
grant all on all tables in schema public to public;
"""

#: Before each conversation, for each client.
RESET = """
drop view if exists y{c}, s1.y{c}; drop table if exists t{c}, d{c}, x{c} cascade; drop table if exists s1.t{c}, s1.x{c};
create table t{c}(i int, s text); insert into t{c} values (1, 'one'), (2, 'two');
create table d{c}(i int unique deferrable initially deferred);
create table s1.t{c}(i int, s text); insert into s1.t{c} values (7, 'other schema');
alter table t{c} owner to app; alter table d{c} owner to app; alter table s1.t{c} owner to app;
"""

#: Without parameters and without effect.
QUERIES = [
    "select 1",
    "select 'text', 2.5, null, true",
    "values (1, 'a'), (2, 'b')",
    "select i, s from t{c} order by i, s",
    "table t{c} order by 1, 2",
    "select * from t{c} order by i, s",
    "select generate_series(1, 5)",
    "select i from shared order by i limit 30",
    "select date '2020-02-03', interval '1 day', 1.5::float8, timestamptz '2020-01-01 00:00+00'",
    "select count(*) from t{c}",
    "select 'ok'::mood, 5::positive",
    "select array[1, 2, 3], row(1, 'x'), '{}'::jsonb",
    "select f_noted(3)",
    "select f_work_mem(), f_local()",
    "select current_setting('work_mem')",
    "select current_user, session_user, current_schemas(false)",
    "select",
    "select repeat('x', 70000)",
    "select length(repeat('é', 5)), octet_length('é')",
    "select 'a\\\\b', E'a\\\\b', $q$a'b$q$, U&'d\\\\0061t'",
    "with w as (select 1 as n) select n from w",
    "select 1 where false",
    "show work_mem",
    "show transaction isolation level",
    "explain (costs off) select i from t{c}",
    "select /* a; b */ 2 -- c",
]

#: SQL, declared types, values that fit: the first value of each is for use, the others too.
PARAMETERISED: list[tuple[str, str, list[str]]] = [
    ("select $1::int", "", ["1", "~", "-7"]),
    ("select $1", "25", ["x", "", "~", "{z*70000}"]),
    ("select concat($1, 'suffix'), length($1)", "25", ["abc", "é"]),
    ("select $1::int + $2::int", "", ["1|2", "~|1", "2147483647|1"]),
    ("select i, s from t{c} where i >= $1 order by i, s", "", ["0", "2", "x"]),
    ("select 10 / $1::int", "", ["2", "0"]),
    ("insert into t{c} values ($1, $2)", "", ["3|three", "4|~", "bad|x"]),
    ("insert into t{c} values ($1, $2) returning i, s", "", ["5|five", "6|~"]),
    ("update t{c} set s = $1 where i = $2", "", ["new|1", "none|99"]),
    ("delete from t{c} where i = $1 returning *", "", ["1", "99"]),
    ("insert into d{c} values ($1)", "", ["1", "1", "2"]),
    ("select set_config($1, $2, $3::bool)", "", ["work_mem|3MB|f", "work_mem|4MB|t", "app.x|v|f", "nosuch|1|f"]),
    ("select $1::mood, $2::positive", "", ["ok|1", "bad|1", "sad|-1"]),
    ("select generate_series(1, $1::int)", "", ["3", "0", "200"]),
    ("select pg_sleep(0.002), $1::text", "", ["slept"]),
    ("select $1::bytea", "", ["\\\\x00ff", "abc"]),
    ("select * from t{c} where s = $1", "25", ["one", "nosuch"]),
]

EFFECTS = [
    "insert into t{c} values (11, 'eleven')",
    "insert into t{c} select i, 'many' from generate_series(1, 3) i returning i",
    "update t{c} set i = i + 1",
    "delete from t{c} where i > 20",
    "insert into d{c} values (1)",
    "insert into d{c} values (5), (5)",
    "truncate t{c}",
    "notify q, 'payload'",
    "lock table t{c}",
    "do $$ begin raise notice 'n %', current_setting('work_mem'); end $$",
    "do $$ begin raise warning 'w'; end $$",
    "do $$ begin insert into t{c} values (99, 'do'); end $$",
    "call p_plain()",
    "select pg_advisory_xact_lock({c})",
    "create temp table tt(i int) on commit drop",
    "comment on table t{c} is 'x'",
]

DEFINITIONS = [
    "create table x{c}(i int)",
    "drop table if exists x{c}",
    "create table x{c} as select 1 as i",
    "alter table t{c} add column n int default 5",
    "alter table t{c} drop column if exists n",
    "alter table t{c} alter column i type bigint",
    "alter table t{c} alter column i type int",
    "alter table t{c} rename column s to u",
    "alter table t{c} rename column u to s",
    "create index on t{c}(i)",
    "create or replace view y{c} as select 1 as one",
    "drop view if exists y{c}",
    "analyze t{c}",
]

ERRORS = [
    "selec 1",
    "select 1 +",
    "select nosuch",
    "select * from nosuch",
    "select 1/0",
    "select 'x'::int",
    "insert into t{c} values (1, 2, 3)",
    "do $$ begin raise exception 'raised'; end $$",
    "select 1::mood",
    "select 'unfinished",
    "call nosuch()",
    "fetch 1 from nosuch",
    "close nosuch",
    "insert into t{c} values (1/0, 'zero')",
]

EMPTY = ["", " ", "-- nothing", ";", "/* nothing */ ;"]

CURSORS = [
    "declare c1 cursor for select i from shared order by i",
    "declare c1 scroll cursor for values (1), (2), (3)",
    "fetch 2 from c1",
    "fetch all c1",
    "move 1 in c1",
    "fetch backward 1 from c1",
    "close c1",
    "fetch 3 from p1",
]

LEVELS = ["read committed", "repeatable read", "serializable", "read uncommitted"]

TRANSACTIONS = [
    *["begin"] * 4,
    *["commit"] * 4,
    *["rollback"] * 3,
    "start transaction",
    "begin read only",
    "start transaction read write",
    "begin isolation level serializable read only deferrable",
    *[f"begin isolation level {level}" for level in LEVELS],
    "end",
    "abort",
    "commit and chain",
    "rollback and chain",
    "commit and no chain",
    *[f"savepoint {name}" for name in "aab"],
    *[f"rollback to {name}" for name in "aab"],
    *[f"release {name}" for name in "ab"],
    "set constraints all immediate",
    "set constraints all deferred",
]

SESSION = [
    "deallocate s1",
    "deallocate prepare s2",
    "deallocate all",
    "deallocate nosuch",
    "discard plans",
    "discard all",
    "discard sequences",
    "reset all",
    "close all",
    "unlisten *",
    "select pg_advisory_unlock_all(); close all; unlisten *; reset all",
]

COPIES_IN = [
    ("copy t{c} from stdin", ["d 1\\tx\\n  d 2\\ty\\n  c", "d bad\\tx\\n  c", "d 1\\tx\\n  f no"]),
    ("copy t{c} from stdin", ["c", "d 1\\t  d z\\n  c", "f "]),
    ("copy t{c}(i) from stdin with csv", ["d 1\\n2\\n3\\n  c", "d \\n  c", "d 1,2\\n  c", "d 5\\n  S  d 6\\n  H  c"]),
    ("copy t{c} from stdin", ["d 8\\t{y*300000}\\n  c", "d x\\t{y*300000}\\n  d 9\\t9\\n  c"]),
    ("copy nosuch from stdin", ["d 1\\n  c"]),
    ("copy t{c} from stdin where i > 1", ["d 1\\tx\\n  d 2\\ty\\n  c"]),
]

COPIES_OUT = [
    "copy t{c} to stdout",
    "copy (select i, s from shared order by i) to stdout with csv header",
    "copy (select 10 / (5 - i) from shared order by i) to stdout",
    "copy (select current_setting('work_mem')) to stdout",
    "copy (select repeat('w', 200000)) to stdout",
    "copy nosuch to stdout",
]

FUNCTION_CALLS = ["F 1317|hello", "F 870|ABC", "F 154|0", "F 177|2|3", "F 1|x", "F 2077|work_mem"]

#: Bind values and texts of some size.
BULKY = [
    "P |select length($1::text), md5($1)  B ||{v*3000000}  E ",
    "Q select length('{q*2000000}')",
    "P |select length('{p*1000000}')  B |  D P|  E ",
    "P |select repeat($1, 1000000)  B ||ab  E ",
    "Q select repeat('r', 3000000), repeat('s', 100000)",
    "Q select i, repeat('t', 20000) from shared order by i",
]
