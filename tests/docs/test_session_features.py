"""docs/session-features.md, held against what runs: the names, and what a client is told, through a real pooler."""

import re
from collections.abc import Iterator

import psycopg
import pytest

from pgshim.demo.servers import APP_USER, PgshimProcess
from pgshim.session.hazards import Feature
from pgshim.session.injection import is_inconsequential
from tests.docs.conftest import Place
from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs" / "session-features.md").read_text()
#: What is refused -> how the page says that its message begins.
REFUSED = {
    "LISTEN news": "LISTEN needs",
    "SELECT pg_try_advisory_lock(1)": "pg_try_advisory_lock() needs",
    "CREATE TEMPORARY TABLE t (n int)": "A temporary table needs",
    "SELECT 1 AS n INTO TEMP t": "A temporary table needs",
    "SELECT * FROM pg_temp.x": "pg_temp needs",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1": "DECLARE ... WITH HOLD needs",
    "PREPARE s AS SELECT 1": "PREPARE needs",
    "EXECUTE s": "EXECUTE needs",
    "EXPLAIN EXECUTE s": "EXECUTE needs",
    "CREATE TABLE t AS EXECUTE s": "EXECUTE needs",
    "SELECT currval('s')": "currval() needs",
    "LOAD 'auto_explain'": "LOAD needs",
    "SELECT dblink_connect('dbname=app')": "dblink_connect() needs",
    "SELECT setseed(0.5)": "setseed() needs",
    "SET seed = 0.5": "SET seed needs",
    "UPDATE pg_settings SET setting = '1' WHERE name = 'work_mem'": "UPDATE pg_settings needs",
    "SELECT set_limit(0.5)": "set_limit() needs",
    "SELECT pg_replication_origin_session_setup('o')": "pg_replication_origin_session_setup() needs",
    "DO $$BEGIN SET work_mem = '5MB'; END$$": "SET in a DO block",
    "DO $$BEGIN PERFORM set_config('work_mem', '5MB', false); END$$": "set_config() in a DO block",
    "SELECT set_config(name, setting, false) FROM pg_settings": "set_config() of a computed setting",
}
#: The same with `SET work_mem` in force.
REFUSED_WITH_SETTINGS = {
    "VACUUM": "VACUUM with",
    "DO $$BEGIN COMMIT; END$$": "DO with COMMIT or ROLLBACK in it with",
}
BLOCKLESS = [
    "VACUUM", "ALTER SYSTEM SET work_mem = '5MB'", "CLUSTER", "CREATE DATABASE d", "DROP DATABASE d",
    "CREATE TABLESPACE t LOCATION '/x'", "DROP TABLESPACE t", "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
    "DROP SUBSCRIPTION s", "CREATE INDEX CONCURRENTLY i ON t (n)", "DROP INDEX CONCURRENTLY i",
    "REINDEX INDEX CONCURRENTLY i", "REINDEX DATABASE d", "REINDEX SYSTEM d", "REINDEX SCHEMA s",
    "ALTER DATABASE d SET TABLESPACE t", "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
    "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
]  # fmt: skip
WORKS = [
    "DEALLOCATE ALL", "DISCARD PLANS", "SET TIME ZONE 'UTC'", "SET NAMES 'UTF8'", "SET SCHEMA 'public'", "RESET ALL",
    "SELECT set_config('work_mem', '5MB', false)", "SET ROLE app", "SET SESSION AUTHORIZATION app", "RESET ROLE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "SET default_transaction_isolation = 'serializable'",
    "DISCARD ALL", "CLOSE ALL", "UNLISTEN *", "SELECT pg_advisory_unlock_all()", "NOTIFY news",
    "BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c; SAVEPOINT s; ROLLBACK TO s; COMMIT",
    "BEGIN; CREATE TEMP TABLE t (n int) ON COMMIT DROP; COMMIT", "SELECT pg_advisory_xact_lock(1)",
    "BEGIN; SELECT lo_create(4711); SELECT lo_unlink(4711); COMMIT",
    "SELECT pg_catalog.pg_typeof('pg_advisory_lock(1)')", "SELECT 1 -- LISTEN news",
    "EXPLAIN SELECT pg_advisory_lock(1)",
]  # fmt: skip


@pytest.fixture(scope="module")
def url(plain_place: Place) -> Iterator[str]:
    with PgshimProcess(plain_place.pooler) as process:
        yield process.endpoint(APP_USER).url


def told(url: str, *statements: str) -> str:
    """What the last of them is answered: the error's text; empty: it succeeds."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements[:-1]:
            connection.execute(statement.encode())
        try:
            connection.execute(statements[-1].encode())
        except psycopg.Error as error:
            return error.diag.message_primary or ""
    return ""


def test_the_names_are_those_that_allow_takes() -> None:
    rows = re.findall(r"^\| ((?:`[a-z-]+`(?:, )?)+) +\|", PAGE, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"[a-z-]+", row)]
    assert {name for name in names if names.count(name) == 2} == {feature.value for feature in Feature}


@pytest.mark.parametrize("statement", REFUSED)
def test_what_is_refused_is_told_in_the_words_of_the_page(url: str, statement: str) -> None:
    text = told(url, statement)
    assert text.startswith(REFUSED[statement])
    assert f"\n{text}\n" in PAGE


@pytest.mark.parametrize("statement", REFUSED_WITH_SETTINGS)
def test_what_is_refused_with_settings_in_force_is_told_in_the_words_of_the_page(url: str, statement: str) -> None:
    text = told(url, "SET work_mem = '5MB'", statement)
    assert text.startswith(REFUSED_WITH_SETTINGS[statement])
    assert f"\n{text}\n" in PAGE


@pytest.mark.parametrize("statement", BLOCKLESS)
def test_statements_without_a_block_pass_until_settings_are_in_force(url: str, statement: str) -> None:
    refusal = "cannot run through a transaction pooler"
    if statement not in ("VACUUM", "CLUSTER"):  # They succeed, and take their time.
        assert refusal not in told(url, statement)
        assert refusal not in told(url, "SET jit = 'off'", statement)
    assert refusal in told(url, "SET work_mem = '5MB'", statement)


@pytest.mark.parametrize("statement", WORKS)
def test_what_works_works(url: str, statement: str) -> None:
    assert told(url, statement) == ""


def test_the_settings_that_do_not_count_are_those_of_the_page() -> None:
    start = PAGE.index("For all but FunctionCall these settings do not count")
    names = re.findall(r"`([a-z_]+\*?)`", PAGE[start : PAGE.index("Nor does `TimeZone`")])
    assert len(names) > 20
    assert all(is_inconsequential(name.replace("*", "x").encode()) for name in names)
    assert not is_inconsequential(b"work_mem")
