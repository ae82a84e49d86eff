"""Statements that cannot run in a transaction block, and the words by which texts worth a look are found."""

import pytest

from pgshim.session.hazards import HAZARD_WORDS, refuses_block
from pgshim.session.tokens import lexemes

REFUSING = [
    "vacuum",
    "vacuum (analyze) t",
    "create database d",
    "drop database if exists d",
    "create tablespace s location '/x'",
    "drop tablespace s",
    "alter system set work_mem = 1",
    "alter system reset all",
    "create index concurrently i on t (a)",
    "create unique index concurrently if not exists i on t (a)",
    "drop index concurrently i",
    "reindex (concurrently) table t",
    "reindex (verbose, concurrently true) index i",
    "reindex table concurrently t",
    "reindex database d",
    "reindex system d",
    "reindex (verbose) schema s",
    "reindex database",
    "cluster",
    "cluster verbose",
    "cluster (verbose)",
    "alter table t detach partition p concurrently",
    "create subscription s connection 'x' publication p",
    "alter subscription s refresh publication",
    "drop subscription s",
    "alter database d set tablespace s",
]
WILLING = [
    "select 1",
    "analyze t",
    "create index i on t (a)",
    "create unique index i on t (a)",
    "drop index i",
    "drop table t",
    "reindex table t",
    "reindex (verbose) index i",
    "reindex",
    "cluster t",
    "cluster verbose t using i",
    "cluster (verbose) t",
    "alter table t detach partition p",
    "alter table t detach partition p concurrently finalize",
    "alter database d set work_mem = 1",
    "refresh materialized view concurrently v",
    "alter table t add a int",
]


def lexed(sql: str) -> bool:
    statement = lexemes(sql.encode())
    assert statement
    return refuses_block(statement)


@pytest.mark.parametrize("sql", REFUSING)
@pytest.mark.parametrize("gap", [" ", "\n", "/**/", " --\n"])
def test_a_statement_that_refuses_a_block_is_known(sql: str, gap: str) -> None:
    spelt = sql.replace(" ", gap).upper() if "'" not in sql else sql.replace(" ", gap)
    assert lexed(spelt)
    assert HAZARD_WORDS.search(spelt.encode())


@pytest.mark.parametrize("sql", WILLING)
def test_one_that_does_not_refuse_is_not_taken_for_one(sql: str) -> None:
    assert not lexed(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select id, name from items where id = $1",
        "insert into t (a, b) values ($1, $2) on conflict (a) do nothing",
        "insert into t (a) values ($1) on conflict (a) do update set a = excluded.a returning *",
        "select pg_advisory_unlock_all();\nclose all;\nunlisten *;\nreset all;",
        "select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)",
        "select temperature, template, threshold, download, listeners, do_it, loaded from holds",
        "select current_database(), subscription from subscription where system = 'a' and cluster = 1",
        "select load, do, database, tablespace, uploads, holding, seeds, prepared from executed",
        "alter table t add column a int; create table t (a int); drop table t",
        "begin; commit; rollback; savepoint a; set local work_mem = 1",
    ],
)
def test_ordinary_texts_have_no_words_of_a_hazard(sql: str) -> None:
    assert HAZARD_WORDS.search(sql.encode()) is None
    assert HAZARD_WORDS.search(sql.upper().encode()) is None
