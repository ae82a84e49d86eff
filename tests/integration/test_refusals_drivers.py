"""What needs a session of its own, as apps run into it with their drivers."""

import subprocess

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from pgshim.demo.processes import clean_environment
from tests.integration.conftest import Stack
from tests.integration.support import connected, run, sqlalchemy_url
from tests.integration.test_refusals import TABLE, assert_nothing_leaked, clear


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
        with (
            connection.cursor("django", scrollable=False, withhold=True) as cursor,
            pytest.raises(errors.FeatureNotSupported, match="WITH HOLD") as caught,
        ):
            cursor.execute("SELECT generate_series(1, 9)")
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
    prepare = "PREPARE p AS SELECT 1;\n"
    text = f"{prepare}EXECUTE p;\nBEGIN;\nSELECT 'in';\n{prepare}SELECT 'E';\nROLLBACK;\nSELECT 'out';\n"
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
