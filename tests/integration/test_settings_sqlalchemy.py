"""SQLAlchemy 2 with asyncio, on asyncpg and on psycopg: isolation levels, startup parameters, settings of a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE, certificate_environment, on_the_server, run, sqlalchemy_url
from tests.integration.test_psycopg import clients

DRIVERS = ["asyncpg", "psycopg"]
LEVELS = ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED", "AUTOCOMMIT"]
each_driver = pytest.mark.parametrize("driver", DRIVERS)
TENANT = func.current_setting("app.tenant", True)
# In force beside what a test is about.
OTHERS = {"work_mem": "77MB", "timezone": "Asia/Tokyo", "search_path": "elsewhere, public"}


@pytest.fixture(autouse=True)
def _certificate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "stack" in request.fixturenames:
        for name, value in certificate_environment(request.getfixturevalue("stack")).items():
            monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _all_servers(request: pytest.FixtureRequest) -> None:
    """PgBouncer sets servers aside that nobody needed for half a minute, until they are needed again."""
    with clients(request.getfixturevalue("stack" if "stack" in request.fixturenames else "plain_stack"), POOL_SIZE):
        pass


def startup_settings(driver: str, settings: dict[str, str]) -> dict[str, Any]:
    """`connect_args` that give settings at connect, as each driver takes them."""
    if driver == "asyncpg":
        return {"server_settings": settings}
    pairs = ((name, value.replace(" ", "\\ ")) for name, value in settings.items())
    return {"options": " ".join(f"-c {name}={value}" for name, value in pairs)}


@asynccontextmanager
async def engine_of(stack: Stack, driver: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(sqlalchemy_url(stack, driver), **options)
    try:
        yield engine
    finally:
        await engine.dispose()


async def shown(connection: AsyncConnection | AsyncSession, *names: str) -> tuple[str, ...]:
    return tuple((await connection.execute(select(*(func.current_setting(name, True) for name in names)))).one())


async def pid(connection: AsyncConnection | AsyncSession) -> int:
    return int((await connection.execute(select(func.pg_backend_pid()))).scalar_one())


MODES = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")


@each_driver
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("others", [{}, OTHERS], ids=["alone", "with others"])
def test_the_engines_isolation_level_holds_on_every_server(
    stack: Stack, driver: str, level: str, others: dict[str, str]
) -> None:
    async def main(stack: Stack) -> None:
        expected = "read committed" if level == "AUTOCOMMIT" else level.lower()
        connect_args = startup_settings(driver, others)
        async with engine_of(stack, driver, isolation_level=level, connect_args=connect_args) as engine:
            pids = set()
            for turn in range(2 * POOL_SIZE):
                async with engine.connect() as connection:
                    assert await shown(connection, "transaction_isolation", *others) == (expected, *others.values())
                    pids.add(await pid(connection))
                    if turn % 2:
                        await connection.commit()
            assert len(pids) == POOL_SIZE

    run(main, stack)


@each_driver
def test_isolation_levels_of_connections_and_sessions_in_turns(stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver, connect_args=startup_settings(driver, OTHERS), pool_size=2) as engine:
            sessions = async_sessionmaker(engine)
            for level in (*LEVELS, *reversed(LEVELS)):
                expected = "read committed" if level == "AUTOCOMMIT" else level.lower()
                async with engine.connect() as connection:
                    await connection.execution_options(isolation_level=level)
                    for _ in range(POOL_SIZE):
                        found = await shown(connection, "transaction_isolation", *OTHERS)
                        assert found == (expected, *OTHERS.values())
                        await connection.rollback()
                async with sessions() as session:
                    await session.connection(execution_options={"isolation_level": level})
                    assert await shown(session, "transaction_isolation") == (expected,)
                    await session.commit()
                    assert await shown(session, "transaction_isolation") == ("read committed",)

    run(main, stack)


@each_driver
def test_read_only_and_deferrable_connections(stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, "DROP TABLE IF EXISTS sa_read_only; CREATE TABLE sa_read_only (id int)")
        options = {"isolation_level": "SERIALIZABLE", "postgresql_readonly": True, "postgresql_deferrable": True}
        async with engine_of(stack, driver, connect_args=startup_settings(driver, OTHERS)) as engine:
            for turn in range(POOL_SIZE):
                async with engine.connect() as connection:
                    await connection.execution_options(**options)
                    assert await shown(connection, *MODES, "work_mem") == ("serializable", "on", "on", "77MB")
                    with pytest.raises(DBAPIError) as caught:
                        await connection.execute(text("INSERT INTO public.sa_read_only VALUES (1)"))
                    assert caught.value.orig is not None
                    assert getattr(caught.value.orig, "sqlstate", None) == "25006"
                async with engine.begin() as connection:
                    assert await shown(connection, *MODES, "work_mem") == ("read committed", "off", "off", "77MB")
                    await connection.execute(text("INSERT INTO public.sa_read_only VALUES (2)"))
                    count = text("SELECT count(*) FROM public.sa_read_only")
                    assert await connection.scalar(count) == turn + 1

    run(main, stack)


@each_driver
def test_startup_settings_hold_for_every_connection_of_the_pool(stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        settings = OTHERS | {"jit": "off", "statement_timeout": "5s", "app.tenant": "seven"}
        async with engine_of(stack, driver, connect_args=startup_settings(driver, settings)) as engine:

            async def ask(who: int) -> None:
                for _ in range(3):
                    async with engine.begin() as connection:
                        assert await shown(connection, *settings) == tuple(settings.values())
                        await connection.execute(text(f"SET LOCAL app.tenant = 'who {who}'"))
                        assert await connection.scalar(select(TENANT)) == f"who {who}"

            await asyncio.gather(*(ask(who) for who in range(8)))
        async with engine_of(stack, driver) as engine:
            for _ in range(2 * POOL_SIZE):
                async with engine.connect() as connection:
                    assert (await shown(connection, "jit", "statement_timeout"))[1] == "0"
                    assert await shown(connection, "work_mem", "search_path") != ("77MB", "elsewhere, public")
                    assert not await connection.scalar(select(TENANT))

    run(main, stack)


@each_driver
@pytest.mark.parametrize("others", [{}, OTHERS], ids=["alone", "with others"])
def test_a_tenant_of_each_transaction(stack: Stack, driver: str, others: dict[str, str]) -> None:
    """What row-level security is built on: `set_config(..., true)` first in each transaction."""

    async def main(stack: Stack) -> None:
        await on_the_server(
            stack,
            "DROP TABLE IF EXISTS sa_notes; CREATE TABLE sa_notes (tenant text, note text);"
            "ALTER TABLE sa_notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON sa_notes USING (tenant = current_setting('app.tenant', true))",
        )
        async with engine_of(stack, driver, connect_args=startup_settings(driver, others)) as engine:
            sessions = async_sessionmaker(engine)

            async def ask(who: int) -> None:
                for turn in range(4):
                    async with sessions.begin() as session:
                        await session.execute(select(func.set_config("app.tenant", f"t{who}", True)))
                        await session.execute(
                            text("INSERT INTO public.sa_notes VALUES (:tenant, :note)"),
                            {"tenant": f"t{who}", "note": f"{who}.{turn}"},
                        )
                        notes = await session.scalars(text("SELECT note FROM public.sa_notes ORDER BY note"))
                        assert notes.all() == [f"{who}.{number}" for number in range(turn + 1)]
                    async with sessions() as session:
                        # Without a tenant there are no rows: nothing of another transaction's is left.
                        assert await session.scalar(text("SELECT count(*) FROM public.sa_notes")) == 0

            await asyncio.gather(*(ask(who) for who in range(6)))

    run(main, stack)


@each_driver
def test_a_tenant_of_the_session_lasts_as_its_transaction_does(stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        async with (
            engine_of(stack, driver, connect_args=startup_settings(driver, OTHERS)) as engine,
            engine.connect() as connection,
            engine.connect() as other,
        ):
            for turn in range(3):
                assert await connection.scalar(select(func.set_config("app.tenant", f"t{turn}", False))) == f"t{turn}"
                await connection.commit()
                assert await connection.scalar(select(func.set_config("app.tenant", "gone", False))) == "gone"
                await connection.rollback()
                pids = set()
                for _ in range(2 * POOL_SIZE):
                    assert await connection.scalar(select(TENANT)) == f"t{turn}"
                    assert not await other.scalar(select(TENANT))
                    pids |= {await pid(connection), await pid(other)}
                    await connection.rollback()
                    await other.rollback()
                assert len(pids) == POOL_SIZE
            savepoint = await connection.begin_nested()
            await connection.execute(select(func.set_config("app.tenant", "nested", False)))
            assert await connection.scalar(select(TENANT)) == "nested"
            await savepoint.rollback()
            assert await connection.scalar(select(TENANT)) == "t2"

    run(main, stack)


@each_driver
def test_a_listener_that_sets_the_search_path(stack: Stack, driver: str) -> None:
    """As SQLAlchemy's documentation sets an alternate search path on connect."""

    async def main(stack: Stack) -> None:
        await on_the_server(stack, "DROP SCHEMA IF EXISTS sa_mine CASCADE; CREATE SCHEMA sa_mine;"
                            "CREATE TABLE sa_mine.things AS SELECT 'mine' AS place")  # fmt: skip
        async with engine_of(stack, driver) as mine, engine_of(stack, driver) as other:

            @event.listens_for(mine.sync_engine, "connect", insert=True)
            def set_search_path(dbapi_connection: Any, connection_record: Any) -> None:
                was = dbapi_connection.autocommit
                dbapi_connection.autocommit = True
                cursor = dbapi_connection.cursor()
                cursor.execute("SET SESSION search_path='sa_mine'")
                cursor.close()
                dbapi_connection.autocommit = was

            for _ in range(2 * POOL_SIZE):
                async with mine.connect() as connection:
                    assert await connection.scalar(text("SELECT place FROM things")) == "mine"
                    assert await connection.scalar(text("SHOW search_path")) == "sa_mine"
                async with other.connect() as connection:
                    assert await connection.scalar(text("SELECT to_regclass('things')::text")) is None
            await mine.dispose()
            async with mine.connect() as connection:
                assert await connection.scalar(text("SELECT place FROM things")) == "mine"

    run(main, stack)


@each_driver
def test_a_listener_at_begin_and_translated_schemas_beside_a_search_path(plain_stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver, connect_args=startup_settings(driver, OTHERS)) as engine:

            @event.listens_for(engine.sync_engine, "begin")
            def set_role(connection: Any) -> None:
                connection.exec_driver_sql("SET LOCAL statement_timeout = '4s'")

            for _ in range(POOL_SIZE):
                async with engine.begin() as connection:
                    assert await shown(connection, "statement_timeout", "work_mem") == ("4s", "77MB")
                autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
                async with autocommit.connect() as connection:
                    assert await shown(connection, "statement_timeout", "work_mem") == ("0", "77MB")

    run(main, plain_stack)
