"""What needs a session of its own is refused by name, in its place, and leaves nothing on any server of the pool."""

import asyncio
from contextlib import ExitStack
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg import errors
from psycopg.pq import TransactionStatus

from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE, connected, connected_directly, run

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


def in_one_batch(connection: psycopg.Connection[Any], *statements: str) -> None:
    """Some, up to a Sync, in a pipeline that may have others."""
    with connection.pipeline():
        for sql in statements:
            connection.execute(sql)


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
    # psycopg takes a name for prepared that the server has skipped, so none is used.
    with psycopg.connect(stack.endpoint().url, autocommit=True, prepare_threshold=None) as connection:
        for sql, feature in WITHOUT_SEQUENCES.items():
            with pytest.raises(psycopg.Error) as caught:
                in_one_batch(connection, INSERT, sql, INSERT)
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
                with pytest.raises(errors.FeatureNotSupported):
                    in_one_batch(connection, INSERT, sql)
                last = connection.execute("SELECT 'last'")
                assert (first.fetchone(), last.fetchone()) == (("first",), ("last",))
    assert asyncio.run(rows(stack)) == 0
    assert_nothing_leaked(stack)
