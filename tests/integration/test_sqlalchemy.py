"""SQLAlchemy 2 with asyncio, on asyncpg and on psycopg, with default settings."""

import asyncio
import datetime
import decimal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.pool import NullPool

from tests.apps.sqlalchemy_models import Base, Hero, Size, Team, Thing
from tests.integration.conftest import Stack
from tests.integration.support import certificate_environment, fill_pool, run, run_together, sqlalchemy_url

DRIVERS = ["asyncpg", "psycopg"]
each_driver = pytest.mark.parametrize("driver", DRIVERS)


@asynccontextmanager
async def engine_of(
    stack: Stack, driver: str, *, create: bool = True, **options: Any
) -> AsyncIterator[AsyncEngine]:
    """An engine on pgshim, as `create_async_engine(url)` makes it, and empty tables."""
    engine = create_async_engine(sqlalchemy_url(stack, driver), **options)
    try:
        if create:
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.drop_all)
                await connection.run_sync(Base.metadata.create_all)
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture(autouse=True)
def _certificate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "stack" in request.fixturenames:
        for name, value in certificate_environment(request.getfixturevalue("stack")).items():
            monkeypatch.setenv(name, value)


@each_driver
def test_processes_whose_statement_names_collide_get_their_own_answers(stack: Stack, driver: str) -> None:
    asyncio.run(fill_pool(stack))
    arguments = [[sqlalchemy_url(stack, driver), str(number)] for number in (1, 2, 3)]
    outputs = run_together("sqlalchemy_client", arguments, certificate_environment(stack))
    assert outputs == [f"{number}: every answer right\n" for number in (1, 2, 3)]


@each_driver
def test_core_statements_of_several_tasks_at_once(stack: Stack, driver: str) -> None:
    async def work(engine: AsyncEngine, who: int) -> None:
        name = f"hero {who}"
        for turn in range(4):
            async with engine.begin() as connection:
                added = insert(Hero).values(name=name, age=turn).returning(Hero.id, Hero.age)
                assert (await connection.execute(added)).one().age == turn
            async with engine.connect() as connection:
                ages = select(Hero.age).where(Hero.name == name).order_by(Hero.id)
                assert (await connection.scalars(ages)).all() == list(range(turn + 1))
                sent = text("SELECT CAST(:who AS integer) AS who, CAST(:turn AS text) AS turn")
                row = (await connection.execute(sent, {"who": who, "turn": str(turn)})).one()
                assert (row.who, row.turn) == (who, str(turn))

    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver) as engine:
            await asyncio.gather(*(work(engine, who) for who in range(8)))

    run(main, stack)


@each_driver
def test_units_of_work_of_several_sessions_at_once(stack: Stack, driver: str) -> None:
    async def work(sessions: async_sessionmaker[AsyncSession], who: int) -> None:
        heroes = [Hero(name=f"{who}.{n}", age=n) for n in range(5)]
        async with sessions.begin() as session:
            session.add(Team(name=f"team {who}", heroes=heroes))
        for turn in range(3):
            async with sessions() as session:
                query = select(Team).where(Team.name == f"team {who}").options(selectinload(Team.heroes))
                team = (await session.scalars(query)).one()
                assert [hero.name for hero in team.heroes] == [f"{who}.{n}" for n in range(5)]
                team.heroes[turn].age = 100 * who + turn
                await session.commit()
                await session.refresh(team.heroes[turn])
                assert team.heroes[turn].age == 100 * who + turn
        async with sessions.begin() as session:
            await session.delete(await session.get(Hero, heroes[4].id))
            count = select(func.count()).select_from(Hero).where(Hero.name.startswith(f"{who}."))
            assert await session.scalar(count) == 4

    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver) as engine:
            sessions = async_sessionmaker(engine, expire_on_commit=False)
            await asyncio.gather(*(work(sessions, who) for who in range(8)))

    run(main, stack)


@each_driver
def test_many_rows_by_insertmanyvalues_and_executemany(stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver) as engine, async_sessionmaker(engine).begin() as session:
            heroes = [Hero(name=f"hero {n}", age=n) for n in range(1500)]
            session.add_all(heroes)
            await session.flush()
            assert len({hero.id for hero in heroes}) == 1500
            connection = await session.connection()
            rows = [{"name": f"core {n}", "age": n} for n in range(1500)]
            sorted_ids = insert(Hero).returning(Hero.id, Hero.age, sort_by_parameter_order=True)
            assert [row.age for row in await connection.execute(sorted_ids, rows)] == list(range(1500))
            for _ in range(2):
                await connection.execute(insert(Hero), rows[:300])
            older = update(Hero).where(Hero.name == bindparam("known")).values(age=bindparam("new"))
            changes = [{"known": f"hero {n}", "new": n + 5000} for n in range(200)]
            await connection.execute(older, changes)
            assert await session.scalar(select(func.count()).select_from(Hero)) == 3600
            assert await session.scalar(select(func.count()).where(Hero.age >= 5000)) == 200

    run(main, stack)


@each_driver
def test_streams_of_several_connections(stack: Stack, driver: str) -> None:
    async def read(engine: AsyncEngine, who: int) -> None:
        numbers = text(f"SELECT {who} * n AS n FROM generate_series(1, CAST(:last AS integer)) n")
        async with engine.connect() as connection:
            result = await connection.stream(numbers, {"last": 2500})
            assert [row.n async for row in result] == [who * n for n in range(1, 2501)]
            chosen = {"yield_per": 70}
            parts = (await connection.stream(numbers, {"last": 200}, execution_options=chosen)).partitions(70)
            assert [len(part) async for part in parts] == [70, 70, 60]
            broken_off = await connection.stream_scalars(numbers, {"last": 5000})
            assert await broken_off.fetchmany(2) == [who, who * 2]
            await broken_off.close()
            assert await connection.scalar(text(f"SELECT {who}")) == who

    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver, create=False) as engine:
            await asyncio.gather(*(read(engine, who) for who in range(1, 5)))

    run(main, stack)


@each_driver
def test_values_of_many_types(plain_stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        document = {"a": [1, {"b": None}], "text": "é"}
        async with engine_of(stack, driver) as engine:
            sessions = async_sessionmaker(engine)
            for turn in range(4):
                thing = Thing(
                    size=Size.LARGE,
                    price=decimal.Decimal("12.50") + turn,
                    numbers=[turn, 2],
                    extra=document,
                    plain=document,
                )
                async with sessions.begin() as session:
                    session.add(thing)
                async with sessions() as session:
                    query = select(Thing).where(Thing.size == Size.LARGE, Thing.numbers.contains([turn, 2]))
                    found = (await session.scalars(query.where(Thing.extra["text"].astext == "é"))).first()
                    assert found is not None
                    assert (found.extra, found.plain, found.size) == (document, document, Size.LARGE)
                    assert isinstance(found.made, datetime.datetime)

    run(main, plain_stack)


@each_driver
@pytest.mark.parametrize("options", [{"pool_pre_ping": True}, {"poolclass": NullPool}, {"pool_recycle": 0}])
def test_engines_of_other_options(plain_stack: Stack, driver: str, options: dict[str, Any]) -> None:
    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver, **options) as engine:

            async def ask(who: int) -> None:
                for turn in range(3):
                    async with engine.begin() as connection:
                        sent = text("SELECT CAST(:who AS integer) + CAST(:turn AS integer)")
                        assert await connection.scalar(sent, {"who": who, "turn": turn}) == who + turn
                        await connection.execute(insert(Hero).values(name=str(who), age=turn))

            await asyncio.gather(*(ask(who) for who in range(5)))
            async with engine.connect() as connection:
                assert await connection.scalar(select(func.count()).select_from(Hero)) == 15

    run(main, plain_stack)


@each_driver
def test_autocommit_and_other_isolation_levels_beside_transactions(stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver) as engine:
            autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
            for turn in range(4):
                async with autocommit.connect() as connection:
                    await connection.execute(insert(Hero).values(name="kept", age=turn))
                    await connection.execute(text("VACUUM sa_team"))
                    assert await connection.scalar(text("SELECT count(*) FROM sa_hero")) == turn + 1
                async with engine.connect() as connection:
                    await connection.execute(insert(Hero).values(name="undone", age=turn))
                    await connection.rollback()
                    assert await connection.scalar(select(func.count()).where(Hero.name == "kept")) == turn + 1
                serializable = engine.execution_options(isolation_level="SERIALIZABLE")
                async with serializable.begin() as connection:
                    assert await connection.scalar(text("SHOW transaction_isolation")) == "serializable"
                async with engine.begin() as connection:
                    assert await connection.scalar(text("SHOW transaction_isolation")) == "read committed"

    run(main, stack)


@each_driver
def test_errors_rollbacks_and_savepoints(stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver) as engine:
            sessions = async_sessionmaker(engine, expire_on_commit=False)
            async with sessions.begin() as session:
                session.add(Team(name="taken"))
            for turn in range(4):
                async with sessions() as session:
                    session.add(Hero(name="undone", age=turn))
                    session.add(Team(name="taken"))
                    with pytest.raises(IntegrityError):
                        await session.commit()
                    await session.rollback()
                    with pytest.raises(ProgrammingError):
                        await session.execute(text("SELECT * FROM nowhere"))
                    await session.rollback()
                    with pytest.raises(DBAPIError):
                        await session.execute(text("SELECT 1 / CAST(:zero AS integer)"), {"zero": 0})
                    await session.rollback()
                    session.add(Hero(name="kept", age=turn))
                    savepoint = await session.begin_nested()
                    session.add(Team(name="taken"))
                    with pytest.raises(IntegrityError):
                        await session.flush()
                    await savepoint.rollback()
                    merge = upsert(Team).values(name="taken", version=1).on_conflict_do_nothing()
                    await session.execute(merge)
                    await session.commit()
                async with sessions() as session:
                    assert (await session.scalars(select(Hero.name))).all() == ["kept"] * (turn + 1)

    run(main, stack)


@each_driver
def test_two_sessions_that_change_one_row_and_reflection(plain_stack: Stack, driver: str) -> None:
    async def main(stack: Stack) -> None:
        async with engine_of(stack, driver) as engine:
            sessions = async_sessionmaker(engine)
            async with sessions.begin() as session:
                session.add(Team(id=1, name="first"))
            async with sessions() as one, sessions() as two:
                mine, theirs = await one.get_one(Team, 1), await two.get_one(Team, 1)
                mine.name, theirs.name = "mine", "theirs"
                await one.commit()
                with pytest.raises(StaleDataError):
                    await two.commit()
                await two.rollback()
            async with engine.connect() as connection:
                table = await connection.run_sync(
                    lambda sync: Table("sa_hero", MetaData(), autoload_with=sync)
                )
                assert list(table.columns.keys()) == ["id", "name", "age", "team_id"]
                assert await connection.scalar(select(Team.name)) == "mine"

    run(main, plain_stack)
