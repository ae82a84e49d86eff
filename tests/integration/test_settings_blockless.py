"""Statements that refuse a transaction block, such as VACUUM: as they are without settings, refused by name with some.

A client's settings can only be brought to a server inside a transaction, so there they cannot be brought at all.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
import pytest
from psycopg import Connection, errors

from pgshim.demo.servers import APP_USER, SUPERUSER, PgshimProcess
from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE
from tests.integration.test_psycopg import clients

Client = Connection[Any]

# (user, statement, the statement that takes it back)
BLOCKLESS = [
    (APP_USER, "VACUUM blockless", ""),
    (APP_USER, "vacuum (full, analyze) blockless", ""),
    (APP_USER, "/* a comment */ CREATE INDEX CONCURRENTLY blockless_new ON blockless (n)", "DROP INDEX blockless_new"),
    (APP_USER, "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS blockless_index ON blockless (n)", ""),
    (APP_USER, "REINDEX INDEX CONCURRENTLY blockless_index", ""),
    (APP_USER, "REINDEX (CONCURRENTLY) TABLE blockless", ""),
    (APP_USER, "DROP INDEX CONCURRENTLY IF EXISTS blockless_nowhere", ""),
    (APP_USER, "REINDEX DATABASE app", ""),
    (APP_USER, "CLUSTER", ""),
    (SUPERUSER, "CREATE DATABASE blockless_db", "DROP DATABASE blockless_db"),
    (SUPERUSER, "DROP DATABASE IF EXISTS blockless_nowhere", ""),
    (SUPERUSER, "ALTER SYSTEM SET checkpoint_timeout = '6min'", ""),
    (SUPERUSER, "ALTER SYSTEM RESET ALL", ""),
    (SUPERUSER, "DROP TABLESPACE IF EXISTS blockless_nowhere", ""),
    (SUPERUSER, "ALTER DATABASE template1 SET TABLESPACE pg_default", ""),
    (SUPERUSER, "DROP SUBSCRIPTION IF EXISTS blockless_nowhere", ""),
]

NO_SETTINGS = ["", "SET work_mem = '1MB'; RESET work_mem", "BEGIN; SET work_mem = '1MB'; ROLLBACK",
               "SET LOCAL work_mem = '1MB'", "SELECT set_config('work_mem', '1MB', true)"]  # fmt: skip
INCONSEQUENTIAL = [
    "SET jit = off",
    "SET extra_float_digits = 3",
    "SET enable_seqscan = off; SET application_name = 'mine'",
]
# Others, and the one that the refusal names.
OTHERS = {
    "SET statement_timeout = '20s'": "statement_timeout",
    "SET search_path = blockless_path, public": "search_path",
    "SET jit = off; SET lock_timeout = '3s'": "lock_timeout",
    "SET maintenance_work_mem = '32MB'": "maintenance_work_mem",
    "SET app.tenant = '7'": "app.tenant",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE": "default_transaction_read_only",
    "BEGIN; SET work_mem = '1MB'; COMMIT": "work_mem",
    "SELECT set_config('work_mem', '1MB', false)": "work_mem",
}

NUMBERS = count()

protocols = pytest.mark.parametrize("protocol", ["simple", "extended", "named"])


def carry_out(connection: Client, protocol: str, text: str) -> psycopg.pq.abc.PGresult:
    """One statement by libpq, which adds nothing to it."""
    if protocol == "simple":
        return connection.pgconn.exec_(text.encode())
    if protocol == "extended":
        return connection.pgconn.exec_params(text.encode(), [])
    name = f"named{next(NUMBERS)}".encode()
    prepared = connection.pgconn.prepare(name, text.encode())
    if prepared.status != psycopg.pq.ExecStatus.COMMAND_OK:
        return prepared
    return connection.pgconn.exec_prepared(name, [])


def field(result: psycopg.pq.abc.PGresult, name: str) -> str:
    return (result.error_field(psycopg.pq.DiagnosticField[name]) or b"").decode()


@contextmanager
def connected(stack: Stack, user: str, *settings: str, **options: Any) -> Iterator[Client]:
    with psycopg.connect(stack.endpoint(user).url, autocommit=True, **options) as connection:
        for setting in settings:
            if setting:
                connection.execute(setting)
        yield connection


@pytest.fixture(autouse=True)
def _prepared(request: pytest.FixtureRequest) -> None:
    stack: Stack = request.getfixturevalue("stack" if "stack" in request.fixturenames else "plain_stack")
    with psycopg.connect(stack.direct().url, autocommit=True) as direct:
        direct.execute("CREATE TABLE IF NOT EXISTS blockless (n int)")
        direct.execute("CREATE UNIQUE INDEX IF NOT EXISTS blockless_index ON blockless (n)")
    with clients(stack, POOL_SIZE):
        pass


@protocols
@pytest.mark.parametrize(("user", "statement", "undo"), BLOCKLESS)
def test_without_settings_they_are_carried_out(
    stack: Stack, protocol: str, user: str, statement: str, undo: str
) -> None:
    with connected(stack, user) as connection:
        for settings in NO_SETTINGS:
            if settings:
                connection.execute(settings)
            result = carry_out(connection, protocol, statement)
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message
            if undo:
                connection.execute(undo)


@protocols
@pytest.mark.parametrize("settings", INCONSEQUENTIAL)
@pytest.mark.parametrize(("user", "statement", "undo"), BLOCKLESS)
def test_with_settings_that_make_no_difference_they_are_carried_out(
    plain_stack: Stack, protocol: str, settings: str, user: str, statement: str, undo: str
) -> None:
    with connected(plain_stack, user, settings) as connection:
        result = carry_out(connection, protocol, statement)
        assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message
        if undo:
            connection.execute(undo)
        for name in ("jit", "extra_float_digits", "enable_seqscan"):
            if f"{name} = " in settings:
                expected = {"jit": "off", "extra_float_digits": "3", "enable_seqscan": "off"}[name]
                assert connection.execute(f"SHOW {name}").fetchone() == (expected,)


@protocols
@pytest.mark.parametrize(("user", "statement", "undo"), BLOCKLESS)
def test_with_other_settings_they_are_refused_with_a_hint(
    plain_stack: Stack, protocol: str, user: str, statement: str, undo: str
) -> None:
    for settings, named in OTHERS.items():
        with connected(plain_stack, user, settings) as connection:
            for _ in range(POOL_SIZE):
                result = carry_out(connection, protocol, statement)
                assert field(result, "SQLSTATE") == "0A000", (settings, result.error_message)
                verb = statement.rpartition("*/")[2].split()[0].upper()
                assert re.match(f"{verb}.* with {named} SET in this session", field(result, "MESSAGE_PRIMARY"))
                assert "RESET" in field(result, "MESSAGE_HINT")
                assert "--allow no-block" in field(result, "MESSAGE_HINT")
                assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
                assert connection.execute("SELECT %s", ["after"]).fetchone() == ("after",)
            # After a RESET ALL, as the hint says, it is carried out.
            connection.execute("RESET ALL")
            result = carry_out(connection, protocol, statement)
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, (settings, result.error_message)
            if undo:
                connection.execute(undo)


@pytest.mark.parametrize("options", ["-c statement_timeout=20s", "-c search_path=public"])
def test_startup_settings_count_as_well(plain_stack: Stack, options: str) -> None:
    with connected(plain_stack, APP_USER, options=options) as connection:
        for text in ("VACUUM blockless", "CREATE INDEX CONCURRENTLY blockless_2 ON blockless (n)"):
            with pytest.raises(errors.FeatureNotSupported):
                connection.execute(text)
        connection.execute("RESET ALL")
        # That goes back to what was given at connect.
        with pytest.raises(errors.FeatureNotSupported):
            connection.execute("VACUUM blockless")
    with connected(plain_stack, APP_USER, options="-c jit=off -c application_name=mine") as connection:
        connection.execute("VACUUM blockless")


def in_a_pipeline(connection: Client, *texts: str) -> None:
    with connection.pipeline():
        for text in texts:
            connection.execute(text)


def test_nothing_of_what_is_refused_is_done(plain_stack: Stack) -> None:
    with (
        connected(plain_stack, APP_USER, "SET statement_timeout = '20s'") as connection,
        psycopg.connect(plain_stack.direct().url, autocommit=True) as direct,
    ):
        with pytest.raises(errors.FeatureNotSupported):
            connection.execute("CREATE INDEX CONCURRENTLY blockless_refused ON blockless (n)")
        with pytest.raises(errors.FeatureNotSupported):
            in_a_pipeline(connection, "INSERT INTO blockless VALUES (4711)", "VACUUM blockless")
        assert direct.execute("SELECT to_regclass('blockless_refused')").fetchone() == (None,)
        assert direct.execute("SELECT count(*) FROM blockless WHERE n = 4711").fetchone() == (0,)


@protocols
@pytest.mark.parametrize("settings", ["", "SET statement_timeout = '20s'", "SET jit = off"])
@pytest.mark.parametrize("statement", ["VACUUM blockless", "CREATE INDEX CONCURRENTLY blockless_3 ON blockless (n)"])
def test_in_a_block_the_servers_own_error_comes(stack: Stack, protocol: str, settings: str, statement: str) -> None:
    with connected(stack, APP_USER, settings) as connection:
        for _ in range(POOL_SIZE):
            connection.execute("BEGIN")
            result = carry_out(connection, protocol, statement)
            assert field(result, "SQLSTATE") == "25001"
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
            connection.execute("ROLLBACK")


@pytest.mark.parametrize(
    "settings", ["SET statement_timeout = '20s'", "SET search_path = public", "SET role pg_monitor"]
)
def test_the_same_words_elsewhere_are_no_reason_to_refuse(plain_stack: Stack, settings: str) -> None:
    user = SUPERUSER if "role" in settings else APP_USER
    with connected(plain_stack, user, settings) as connection:
        for text in (
            "SELECT 'VACUUM blockless' AS vacuum",
            'SELECT 1 AS "CREATE INDEX CONCURRENTLY"',
            "-- VACUUM\nSELECT 1",
            "SELECT $$ALTER SYSTEM SET a = 1$$",
            "ANALYZE pg_class" if user == SUPERUSER else "ANALYZE blockless",
            "EXPLAIN SELECT 1",
        ):
            connection.execute(text)
            connection.execute(text, prepare=True)


def test_vacuum_is_let_through_when_the_operator_says_so(plain_stack: Stack) -> None:
    notices: list[str | None] = []
    for options, expected in ((["--allow", "no-block"], 0), (["--unsafe", "allow"], 0), (["--unsafe", "warn"], 1)):
        notices.clear()
        with PgshimProcess(plain_stack.pgbouncer, options=options) as shim:
            with psycopg.connect(shim.endpoint().url, autocommit=True) as connection:
                connection.add_notice_handler(lambda notice: notices.append(notice.sqlstate))
                connection.execute("SET statement_timeout = '20s'")
                connection.execute("VACUUM blockless")
                assert notices == ["01000"] * expected
                assert connection.execute("SHOW statement_timeout").fetchone() == ("20s",)
            assert "Traceback" not in shim.log()


@pytest.mark.parametrize("finish", ["COMMIT PREPARED 'blockless'", "ROLLBACK PREPARED 'blockless'"])
@protocols
def test_a_prepared_transaction_is_finished_with_any_settings_in_force(
    plain_stack: Stack, finish: str, protocol: str
) -> None:
    with connected(plain_stack, APP_USER, "SET statement_timeout = '20s'; SET search_path = public") as connection:
        for _ in range(POOL_SIZE):
            connection.execute("BEGIN; CREATE TABLE blockless_prepared (); PREPARE TRANSACTION 'blockless'")
            result = carry_out(connection, protocol, finish)
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message
            connection.execute("DROP TABLE IF EXISTS blockless_prepared")


def test_a_role_is_not_left_out_when_a_prepared_transaction_is_finished(plain_stack: Stack) -> None:
    """It may be finished by the role that made it only: done as another one it would be another answer."""
    with connected(plain_stack, SUPERUSER, "SET role pg_monitor") as connection:
        connection.execute("BEGIN; SELECT 1; PREPARE TRANSACTION 'blockless role'")
        try:
            with pytest.raises(errors.FeatureNotSupported, match="role SET in this session"):
                connection.execute("ROLLBACK PREPARED 'blockless role'")
        finally:
            with psycopg.connect(plain_stack.direct(SUPERUSER).url, autocommit=True) as direct:
                for (name,) in direct.execute(
                    "SELECT gid FROM pg_prepared_xacts WHERE gid = 'blockless role'"
                ).fetchall():
                    direct.execute(f"ROLLBACK PREPARED '{name}'")
