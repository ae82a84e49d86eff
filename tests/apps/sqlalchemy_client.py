"""A SQLAlchemy program with answers of its own, every setting at its default. It knows nothing of pgshim.

    python -m tests.apps.sqlalchemy_client postgresql+asyncpg://... NUMBER

Several of these at once give the same statement names to other texts: NUMBER is part of every table and answer.
"""

import asyncio
import sys

from sqlalchemy import ForeignKey, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

ROUNDS = 4
NUMBER = int(sys.argv[2])


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = f"order_{NUMBER}"
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str]
    lines: Mapped[list["Line"]] = relationship(order_by="Line.id", cascade="all, delete-orphan")


class Line(Base):
    __tablename__ = f"line_{NUMBER}"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id))
    amount: Mapped[int]


async def work(session: AsyncSession, turn: int) -> None:
    """One unit of work: an order with its lines is written, read, changed."""
    order = Order(note=f"{NUMBER}:{turn}", lines=[Line(amount=NUMBER * n) for n in range(1, 5)])
    session.add(order)
    await session.commit()
    query = select(Order).where(Order.note == f"{NUMBER}:{turn}").options(selectinload(Order.lines))
    found = (await session.scalars(query)).one()
    assert [line.amount for line in found.lines] == [NUMBER * n for n in range(1, 5)]
    found.lines[0].amount = 1000
    del found.lines[3]
    await session.commit()
    total = select(func.sum(Line.amount)).where(Line.order_id == found.id)
    assert await session.scalar(total) == 1000 + NUMBER * 5
    await session.rollback()


async def ask(engine: AsyncEngine) -> None:
    """Statements of which each process has others under the same names."""
    for turn in range(ROUNDS):
        async with engine.connect() as connection:
            for which in range(6):
                kind = ("int", "text")[(which + NUMBER) % 2]
                answer = await connection.scalar(text(f"SELECT CAST({NUMBER * 100 + which} AS {kind})"))
                assert answer == (NUMBER * 100 + which if kind == "int" else str(NUMBER * 100 + which)), turn


async def write_many(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        rows = [{"note": f"{NUMBER} of many"} for _ in range(50)]
        await connection.execute(insert(Order), rows)
        ids = (await connection.scalars(insert(Order).returning(Order.id), rows)).all()
        assert len(set(ids)) == 50
        await connection.execute(update(Order).where(Order.id.in_(ids[:10])).values(note=f"{NUMBER} of ten"))
        for note, count in ((f"{NUMBER} of many", 90), (f"{NUMBER} of ten", 10)):
            counted = await connection.scalar(select(func.count()).where(Order.note == note))
            assert counted == count


async def main(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    print("ready", flush=True)
    sys.stdin.readline()
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def units() -> None:
        for turn in range(ROUNDS):
            async with sessions() as session:
                await work(session, turn)

    await asyncio.gather(units(), ask(engine), write_many(engine))
    await engine.dispose()
    print(f"{NUMBER}: every answer right")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
