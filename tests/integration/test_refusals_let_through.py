"""`--unsafe=warn`, `--unsafe=allow`, `--allow FEATURE`, and what settings in force refuse, on servers of their own."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.pq import TransactionStatus

from pgshim.demo.servers import SUPERUSER, PgBouncer, PgshimProcess, PostgresServer
from tests.integration.conftest import Stack
from tests.integration.test_refusals import refused

# What runs on a server without anything set up; not so that it leaves what the next one would run into.
RUNNING = {
    "listen news": "listen",
    "select pg_advisory_lock(1)": "advisory-locks",
    "create temp table tt (a int)": "temp-tables",
    "declare c cursor with hold for select 1": "with-hold",
    "prepare p as select 1": "sql-prepare",
    "select setseed(0.5)": "setseed",
    "set seed = 0.5": "setseed",
    "update pg_settings set setting = '8MB' where name = 'work_mem'": "update-pg-settings",
    "do $$begin set work_mem = '8MB'; end$$": "do-settings",
    "select set_config('work' || '_mem', '8MB', false)": "computed-settings",
    "load 'auto_explain'": "load",
}


@contextmanager
def shim(postgres: PostgresServer, *options: str, pool_size: int = 1) -> Iterator[PgshimProcess]:
    """A pgshim with a PgBouncer of its own, so that nothing stays that others see."""
    with ExitStack() as servers:
        pooler = servers.enter_context(PgBouncer(postgres, pool_size=pool_size))
        found = servers.enter_context(PgshimProcess(pooler, options=options))
        yield found
        assert "Traceback" not in found.log()


@contextmanager
def connected(found: PgshimProcess, **options: Any) -> Iterator[tuple[psycopg.Connection[Any], list[str]]]:
    """A connection, and the notices that it is given."""
    notices: list[str] = []
    with psycopg.connect(found.endpoint(SUPERUSER).url, **{"autocommit": True, **options}) as connection:
        connection.add_notice_handler(
            lambda diagnostic: notices.append(f"{diagnostic.severity}: {diagnostic.message_primary}")
        )
        yield connection, notices


def clean(connection: psycopg.Connection[Any]) -> None:
    for sql in ("DROP TABLE IF EXISTS tt", "CLOSE c", "DEALLOCATE p", "UNLISTEN news", "SELECT pg_advisory_unlock(1)"):
        try:
            connection.execute(sql)
        except psycopg.Error:
            connection.rollback()


# Letting through.


@pytest.mark.parametrize("is_extended", [False, True])
def test_with_warn_each_runs_behind_a_warning(plain_stack: Stack, is_extended: bool) -> None:
    with shim(plain_stack.postgres, "--unsafe=warn") as found, connected(found) as (connection, notices):
        for sql in RUNNING:
            notices.clear()
            connection.execute(sql, binary=is_extended)
            ours = [notice for notice in notices if "let through" in notice]
            assert len(ours) == 1, (sql, notices)
            assert ours[0].startswith("WARNING: ")
            assert connection.info.transaction_status is TransactionStatus.IDLE
        notices.clear()
        assert connection.execute("SELECT count(*) FROM tt").fetchone() == (0,)
        assert connection.execute("SELECT pg_listening_channels()").fetchone() == ("news",)
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (1,)
        assert connection.execute("FETCH ALL FROM c").fetchone() == (1,)
        assert not notices
        assert connection.execute("EXECUTE p").fetchone() == (1,)
        assert len(notices) == 1


@pytest.mark.parametrize("is_extended", [False, True])
def test_with_allow_each_runs_without_a_word(plain_stack: Stack, is_extended: bool) -> None:
    with shim(plain_stack.postgres, "--unsafe=allow") as found, connected(found) as (connection, notices):
        for sql in RUNNING:
            connection.execute(sql, binary=is_extended)
        assert connection.execute("EXECUTE p").fetchone() == (1,)
        assert connection.execute("SHOW work_mem").fetchone() == ("8MB",)
        assert not notices


def test_with_warn_they_run_in_blocks_and_among_others(plain_stack: Stack) -> None:
    with shim(plain_stack.postgres, "--unsafe", "warn") as found, connected(found) as (connection, notices):
        with connection.transaction():
            connection.execute("CREATE TEMP TABLE tt AS SELECT 1 AS a")
            connection.execute("DECLARE c CURSOR WITH HOLD FOR SELECT a FROM tt")
        assert len(notices) == 2
        assert connection.execute("FETCH c").fetchone() == (1,)
        connection.execute("SELECT 1; LISTEN news; SELECT 2; PREPARE p AS SELECT 3")
        assert len(notices) == 4
        with pytest.raises(errors.DuplicatePreparedStatement):
            connection.execute("PREPARE p AS SELECT 3")


@pytest.mark.parametrize("sql", [sql for sql in RUNNING if RUNNING[sql] != "load"])
def test_what_is_allowed_runs_and_all_else_is_refused(plain_stack: Stack, allowing: PgshimProcess, sql: str) -> None:
    feature = RUNNING[sql]
    if feature not in ALLOWED:
        with connected(allowing) as (connection, notices):
            for is_extended in (False, True):
                with pytest.raises(psycopg.Error) as caught:
                    connection.execute(sql, binary=is_extended)
                assert refused(caught.value, feature)
            assert not notices
    else:
        with connected(allowing) as (connection, notices):
            connection.execute(sql)
            clean(connection)
            connection.execute(sql, binary=True)
            clean(connection)
            assert not [notice for notice in notices if "let through" in notice]


ALLOWED = ("advisory-locks", "temp-tables", "listen")


@pytest.fixture(scope="module")
def allowing(plain_stack: Stack) -> Iterator[PgshimProcess]:
    options = [option for feature in ALLOWED for option in ("--allow", feature)]
    with shim(plain_stack.postgres, *options) as found:
        yield found


def test_currval_is_let_through(plain_stack: Stack) -> None:
    with shim(plain_stack.postgres, "--unsafe=warn") as found, connected(found) as (connection, notices):
        connection.execute("CREATE TABLE IF NOT EXISTS let_through (id serial)")
        value = connection.execute("INSERT INTO let_through DEFAULT VALUES RETURNING id").fetchone()
        for is_extended in (False, True):
            assert connection.execute("SELECT lastval()", binary=is_extended).fetchone() == value
        assert len([notice for notice in notices if notice.startswith("WARNING: lastval() ")]) == 2


def test_an_extension_can_be_let_through(plain_stack: Stack) -> None:
    with shim(plain_stack.postgres, "--allow", "dblink") as found, connected(found) as (connection, notices):
        connection.execute("CREATE EXTENSION IF NOT EXISTS dblink")
        url = plain_stack.direct(SUPERUSER)
        target = f"host={url.host} port={url.port} user={url.user} password={url.password} dbname={url.database}"
        assert connection.execute("SELECT dblink_connect('a', %s)", (target,)).fetchone() == ("OK",)
        assert connection.execute("SELECT dblink_disconnect('a')").fetchone() == ("OK",)
        assert not notices
        with pytest.raises(errors.FeatureNotSupported):
            connection.execute("SELECT setseed(0.5)")


def test_the_hint_names_the_session_endpoint_which_then_takes_it(plain_stack: Stack) -> None:
    upstream = f"{plain_stack.postgres.host}:{plain_stack.postgres.port}"
    with shim(plain_stack.postgres, "--session-upstream", upstream) as found, connected(found) as (connection, _):
        with pytest.raises(errors.FeatureNotSupported) as caught:
            connection.execute("CREATE TEMP TABLE tt (a int)")
        assert "connect with pgshim.session=on among the startup parameters" in caught.value.diag.message_hint
        with connected(found, options="-c pgshim.session=on") as (session, notices):
            for sql in RUNNING:
                session.execute(sql)
            assert not notices


# Statements that refuse a block.


@pytest.mark.parametrize("is_extended", [False, True])
def test_what_refuses_a_block_runs_while_no_settings_are_in_force(plain_stack: Stack, is_extended: bool) -> None:
    with shim(plain_stack.postgres, pool_size=3) as found, connected(found) as (connection, notices):
        connection.execute("CREATE TABLE IF NOT EXISTS unblocked (a int)")
        blockless = (
            "VACUUM unblocked",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS unblocked_a ON unblocked (a)",
            "REINDEX INDEX CONCURRENTLY unblocked_a",
            "DROP INDEX CONCURRENTLY unblocked_a",
            "DO $$BEGIN INSERT INTO unblocked VALUES (1); COMMIT; END$$",
        )
        for sql in blockless:
            connection.execute(sql, binary=is_extended)
        connection.execute("SET search_path = elsewhere, public")
        for sql in blockless:
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(sql, binary=is_extended)
            assert refused(caught.value, "do-commit" if sql.startswith("DO") else "no-block")
            assert "search_path" in (caught.value.diag.message_primary or "")
            assert connection.execute("SHOW search_path").fetchone() == ("elsewhere, public",)
        connection.execute("RESET search_path")
        for sql in blockless:
            connection.execute(sql, binary=is_extended)
        assert connection.execute("SELECT count(*) FROM unblocked").fetchone() == (2,)
        connection.execute("DROP TABLE unblocked")
        assert not notices


@pytest.mark.parametrize("is_extended", [False, True])
def test_what_refuses_a_block_is_let_through(plain_stack: Stack, stack_18: Stack, is_extended: bool) -> None:
    for postgres in (plain_stack.postgres, stack_18.postgres):
        with shim(postgres, "--unsafe=warn") as found, connected(found) as (connection, notices):
            connection.execute("CREATE TABLE IF NOT EXISTS blockless_2 (a int)")
            connection.execute("SET search_path = elsewhere, public")
            do = "DO $$BEGIN INSERT INTO public.blockless_2 VALUES (1); COMMIT; END$$"
            for sql in ("VACUUM public.blockless_2", do):
                notices.clear()
                connection.execute(sql, binary=is_extended)
                assert len(notices) == 1, (sql, notices)
            assert connection.execute("SELECT count(*) FROM public.blockless_2").fetchone() == (1,)
            connection.execute("DROP TABLE public.blockless_2")
