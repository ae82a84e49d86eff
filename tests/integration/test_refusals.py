"""What needs a session of its own is refused by name, in its place, and leaves nothing on any server of the pool."""

import asyncio
import subprocess
from contextlib import ExitStack, suppress
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from pgshim.demo.processes import clean_environment
from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE, connected, connected_directly, run, sqlalchemy_url

TABLE = "refusals"
INSERT = f"INSERT INTO {TABLE} (a) VALUES (1)"

# Each feature, with the name that `--allow` takes.
USES = {
    "listen news": "listen",
    "select pg_advisory_lock(1)": "advisory-locks",
    "select pg_try_advisory_lock_shared(1, 2)": "advisory-locks",
    "select pg_advisory_unlock(1)": "advisory-locks",
    "create temp table tt (a int)": "temp-tables",
    "create temp table tt (a int) on commit delete rows": "temp-tables",
    "create temporary view tv as select 1": "temp-tables",
    "create temp sequence ts": "temp-tables",
    "create table pg_temp.tt (a int)": "temp-tables",
    "select 1 as a into temp tt": "temp-tables",
    "create temp table tt as select 1": "temp-tables",
    "declare c cursor with hold for select 1": "with-hold",
    "prepare p as select 1": "sql-prepare",
    "execute p": "sql-prepare",
    "explain execute p": "sql-prepare",
    "create table te as execute p": "sql-prepare",
    f"select currval('{TABLE}_id_seq')": "currval",
    "load 'auto_explain'": "load",
    "select dblink_connect('c', 'host=x')": "dblink",
    "select setseed(0.5)": "setseed",
    "set seed = 0.5": "setseed",
    "update pg_settings set setting = '8MB' where name = 'work_mem'": "update-pg-settings",
    "select set_limit(0.5)": "set-limit",
    "select pg_replication_origin_session_setup('o')": "replication-origin",
    "do $$begin set work_mem = '8MB'; end$$": "do-settings",
    "do $$begin perform set_config('work_mem', '8MB', false); end$$": "do-settings",
    "do $$begin perform pg_advisory_lock(1); end$$": "advisory-locks",
    "select set_config('work' || '_mem', '8MB', false)": "computed-settings",
}
WITHOUT_SEQUENCES = {sql: feature for sql, feature in USES.items() if feature != "currval"}


async def clear(stack: Stack) -> None:
    async with connected_directly(stack) as direct:
        await direct.execute(f"DROP TABLE IF EXISTS {TABLE}; CREATE TABLE {TABLE} (id serial, a int)")


async def rows(stack: Stack) -> int:
    async with connected_directly(stack) as direct:
        return await direct.fetchval(f"SELECT count(*) FROM {TABLE}")


LEFT = """
SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks,
 (SELECT count(*) FROM pg_class WHERE relpersistence = 't') AS temporary,
 (SELECT count(*) FROM pg_listening_channels()) AS channels, (SELECT count(*) FROM pg_cursors) AS cursors,
 (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) AS prepared, current_setting('work_mem') <> '4MB' AS set
"""


def assert_nothing_leaked(stack: Stack) -> None:
    """Looks at every server of the pool, all of them held at once."""
    with ExitStack() as held:
        pids = set()
        for _ in range(POOL_SIZE):
            url = stack.pgbouncer.endpoint(**stack.parameters).url
            connection = held.enter_context(psycopg.connect(url, prepare_threshold=None))
            held.callback(connection.rollback)
            pids.add(connection.execute("SELECT pg_backend_pid()").fetchone())
            assert connection.execute(LEFT).fetchone() == (0, 0, 0, 0, 0, False)
        assert len(pids) == POOL_SIZE


def refused(error: Any, feature: str) -> bool:
    """An error of psycopg's."""
    hint = error.diag.message_hint or ""
    return (
        isinstance(error, errors.FeatureNotSupported)
        and error.diag.sqlstate == "0A000"
        and f"--allow {feature}." in hint
        and "pgshim.session=on" in hint
    )


# Every row of the table, in both protocols.


def test_queries_are_refused_in_autocommit(stack: Stack) -> None:
    asyncio.run(clear(stack))
    with psycopg.connect(stack.endpoint().url, autocommit=True) as connection:
        for sql, feature in USES.items():
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(sql)
            assert refused(caught.value, feature), sql
            assert connection.info.transaction_status is TransactionStatus.IDLE
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert_nothing_leaked(stack)


def test_what_stands_beside_one_in_a_query_is_undone_and_not_run(stack: Stack) -> None:
    asyncio.run(clear(stack))
    with psycopg.connect(stack.endpoint().url, autocommit=True) as connection:
        for sql, feature in WITHOUT_SEQUENCES.items():
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(f"{INSERT}; {sql}; {INSERT}".encode())
            assert refused(caught.value, feature), sql
            assert connection.info.transaction_status is TransactionStatus.IDLE
    assert asyncio.run(rows(stack)) == 0
    assert_nothing_leaked(stack)


@pytest.mark.parametrize("is_extended", [False, True])
def test_in_a_block_they_fail_it_and_nothing_of_it_is_committed(stack: Stack, is_extended: bool) -> None:
    asyncio.run(clear(stack))
    with psycopg.connect(stack.endpoint().url) as connection:
        for sql, feature in WITHOUT_SEQUENCES.items():
            connection.execute(INSERT)
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(sql, binary=is_extended)
            assert refused(caught.value, feature), sql
            assert connection.info.transaction_status is TransactionStatus.INERROR
            for again in ("SELECT 1", sql, INSERT):
                with pytest.raises(errors.InFailedSqlTransaction):
                    connection.execute(again, binary=is_extended)
            connection.rollback()
            assert connection.info.transaction_status is TransactionStatus.IDLE
            connection.execute(INSERT)
            with pytest.raises(errors.FeatureNotSupported):
                connection.execute(sql, binary=is_extended)
            connection.commit()  # of a failed block: ROLLBACK
    assert asyncio.run(rows(stack)) == 0
    assert_nothing_leaked(stack)


def test_extended_queries_are_refused_in_autocommit(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            for sql, feature in USES.items():
                for _ in range(2):
                    with pytest.raises(asyncpg.FeatureNotSupportedError) as caught:
                        await connection.fetch(sql)
                    assert f"--allow {feature}." in caught.value.hint, sql
                    assert not connection.is_in_transaction()
                    assert await connection.fetchval("SELECT 1") == 1

    run(main, stack)
    assert_nothing_leaked(stack)


def test_a_batch_is_undone_with_what_is_refused_in_it(stack: Stack) -> None:
    asyncio.run(clear(stack))
    with psycopg.connect(stack.endpoint().url, autocommit=True) as connection:
        for sql, feature in WITHOUT_SEQUENCES.items():
            with suppress(errors.PipelineAborted), connection.pipeline() as pipeline:
                connection.execute(INSERT)
                failing = connection.execute(sql)
                connection.execute(INSERT)
                with pytest.raises(psycopg.Error) as caught:
                    pipeline.sync()
                    failing.fetchall()
                assert refused(caught.value, feature), sql
            assert connection.info.transaction_status is TransactionStatus.IDLE
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert asyncio.run(rows(stack)) == 0
    assert_nothing_leaked(stack)


def test_a_pipeline_of_several_batches_keeps_its_order(stack: Stack) -> None:
    asyncio.run(clear(stack))
    with psycopg.connect(stack.endpoint().url, autocommit=True) as connection:
        for sql in WITHOUT_SEQUENCES:
            with connection.pipeline() as pipeline:
                first = connection.execute("SELECT 'first'")
                pipeline.sync()
                connection.execute(INSERT)
                with pytest.raises(errors.FeatureNotSupported):
                    connection.execute(sql)
                    pipeline.sync()
                last = connection.execute("SELECT 'last'")
                assert (first.fetchone(), last.fetchone()) == (("first",), ("last",))
    assert asyncio.run(rows(stack)) == 0
    assert_nothing_leaked(stack)


# As apps run into it.


def test_asyncpg_add_listener(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            with pytest.raises(asyncpg.FeatureNotSupportedError, match="^LISTEN needs a session") as caught:
                await connection.add_listener("news", print)
            assert "--session-upstream" in caught.value.hint
            await connection.execute("NOTIFY news, 'hello'")
            await connection.fetchval("SELECT pg_notify('news', $1)", "hello")
            async with connection.transaction():
                await connection.execute("NOTIFY news")
            await connection.reset()

    run(main, stack)
    assert_nothing_leaked(stack)


def test_psycopg_listens_in_vain_and_notifies(stack: Stack) -> None:
    with (
        psycopg.connect(stack.endpoint().url, autocommit=True) as connection,
        psycopg.connect(stack.direct().url, autocommit=True) as listener,
    ):
        with pytest.raises(errors.FeatureNotSupported, match="LISTEN"):
            connection.execute("LISTEN news")
        listener.execute("LISTEN news")
        connection.execute("NOTIFY news, 'hello'")
        assert [event.payload for event in listener.notifies(timeout=5, stop_after=1)] == ["hello"]
    assert_nothing_leaked(stack)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_sqlalchemy_advisory_lock(plain_stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        engine = create_async_engine(sqlalchemy_url(stack, driver))
        try:
            for isolation in ("AUTOCOMMIT", "READ COMMITTED"):
                async with engine.connect() as connection:
                    await connection.execution_options(isolation_level=isolation)
                    with pytest.raises(sa.exc.DBAPIError, match="pg_advisory_lock"):
                        await connection.execute(sa.select(sa.func.pg_advisory_lock(sa.bindparam("key", 7))))
                    await connection.rollback()
                    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(7)))
                    await connection.commit()
        finally:
            await engine.dispose()

    run(main, plain_stack)
    assert_nothing_leaked(plain_stack)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_sqlalchemy_currval_after_an_insert(plain_stack: Stack, driver: str) -> None:
    currval = sa.text(f"SELECT currval('{TABLE}_id_seq'), lastval()")

    async def inserted(connection: AsyncConnection) -> None:
        await connection.execute(sa.text(f"INSERT INTO {TABLE} (a) VALUES (:a)"), {"a": 1})

    async def main(stack: Stack) -> None:
        await clear(stack)
        engine = create_async_engine(sqlalchemy_url(stack, driver))
        try:
            for expected in (1, 2):
                async with engine.begin() as connection:
                    await inserted(connection)
                    assert tuple((await connection.execute(currval)).one()) == (expected, expected)
            async with engine.connect() as connection:
                with pytest.raises(sa.exc.DBAPIError, match="currval"):
                    await connection.execute(currval)
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await inserted(connection)
                with pytest.raises(sa.exc.DBAPIError, match="currval"):
                    await connection.execute(currval)
        finally:
            await engine.dispose()

    run(main, plain_stack)


@pytest.mark.parametrize("is_autocommit", [True, False])
def test_a_named_cursor_as_django_declares_it(stack: Stack, is_autocommit: bool) -> None:
    with psycopg.connect(stack.endpoint().url, autocommit=is_autocommit) as connection:
        with pytest.raises(errors.FeatureNotSupported, match="WITH HOLD") as caught:
            connection.cursor("django", scrollable=False, withhold=True).execute("SELECT generate_series(1, 9)")
        assert "DISABLE_SERVER_SIDE_CURSORS" in (caught.value.diag.message_hint or "")
        connection.rollback()
        with connection.transaction(), connection.cursor("django", scrollable=False) as cursor:
            cursor.execute("SELECT generate_series(1, 9)")
            assert len(cursor.fetchmany(5) + cursor.fetchall()) == 9
    assert_nothing_leaked(stack)


def test_asyncpg_temporary_tables(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            for use in (connection.execute, connection.fetch):
                with pytest.raises(asyncpg.FeatureNotSupportedError, match="A temporary table"):
                    await use("CREATE TEMP TABLE tt (a int)")
                with pytest.raises(asyncpg.FeatureNotSupportedError):
                    async with connection.transaction():
                        await use("CREATE TEMP TABLE tt AS SELECT 1 AS a")
                async with connection.transaction():
                    await use("CREATE TEMP TABLE tt (a int) ON COMMIT DROP")
                    await connection.executemany("INSERT INTO tt VALUES ($1)", [(1,), (2,)])
                    await connection.copy_records_to_table("tt", records=[(3,)])
                    assert await connection.fetchval("SELECT sum(a) FROM pg_temp.tt") == 6

    run(main, stack)
    assert_nothing_leaked(stack)


def test_psql_prepare(plain_stack: Stack) -> None:
    text = "PREPARE p AS SELECT 1;\nEXECUTE p;\nBEGIN;\nSELECT 'in';\nPREPARE p AS SELECT 1;\nSELECT 'E';\nROLLBACK;\nSELECT 'out';\n"
    done = subprocess.run(
        [plain_stack.postgres.binaries.bindir / "psql", "-XqAt", "-d", plain_stack.endpoint().url],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(),
    )
    assert done.stdout == "in\nout\n"
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert [line.split()[1] for line in lines] == ["PREPARE", "EXECUTE", "PREPARE", "current"]
    assert done.stderr.count("HINT:  Use the driver's own prepared statements") == 3
    assert_nothing_leaked(plain_stack)


def test_where_a_refusal_hangs_on_what_came_before_a_pipeline_is_right(plain_stack: Stack) -> None:
    asyncio.run(clear(plain_stack))
    with psycopg.connect(plain_stack.endpoint().url, autocommit=True) as connection:
        with connection.pipeline(), connection.transaction():
            connection.execute(INSERT)
            value = connection.execute("SELECT lastval()")
        assert value.fetchone() == (1,)
        with pytest.raises(errors.FeatureNotSupported), connection.pipeline():
            connection.execute("SELECT lastval()")
        assert connection.execute(f"{INSERT}; SELECT lastval()").nextset()
