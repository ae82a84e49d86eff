"""A small FastAPI app with SQLModel, as people write it. It knows nothing of pgshim.

`DATABASE_URL` names the database; every setting of the engine is at its default.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import selectinload
from sqlmodel import Field, Relationship, SQLModel, col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

engine = create_async_engine(os.environ["DATABASE_URL"])


class TeamBase(SQLModel):
    name: str = Field(index=True, unique=True)
    city: str


class Team(TeamBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    heroes: list["Hero"] = Relationship(
        back_populates="team", cascade_delete=True, sa_relationship_kwargs={"order_by": "Hero.id"}
    )


class HeroBase(SQLModel):
    name: str = Field(index=True)
    age: int | None = None
    team_id: int | None = Field(default=None, foreign_key="team.id")


class Hero(HeroBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    team: Team | None = Relationship(back_populates="heroes")


class HeroPublic(HeroBase):
    id: int


class HeroUpdate(SQLModel):
    name: str | None = None
    age: int | None = None


class TeamPublic(TeamBase):
    id: int
    heroes: list[HeroPublic] = []


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    yield
    await engine.dispose()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]
app = FastAPI(lifespan=lifespan)


@app.post("/teams", status_code=201)
async def create_team(team: TeamBase, session: Session) -> TeamPublic:
    row = Team.model_validate(team)
    session.add(row)
    try:
        await session.commit()
    except IntegrityError as error:
        raise HTTPException(409, "there is a team of that name") from error
    await session.refresh(row)
    return TeamPublic(**row.model_dump())


@app.get("/teams/{team_id}", response_model=TeamPublic)
async def read_team(team_id: int, session: Session) -> Team:
    query = select(Team).where(Team.id == team_id).options(selectinload(Team.heroes))  # type: ignore[arg-type]
    team = (await session.exec(query)).one_or_none()
    if team is None:
        raise HTTPException(404, "no such team")
    return team


@app.delete("/teams/{team_id}", status_code=204)
async def delete_team(team_id: int, session: Session) -> None:
    await session.delete(await read_team(team_id, session))
    await session.commit()


@app.post("/heroes", status_code=201, response_model=HeroPublic)
async def create_hero(hero: HeroBase, session: Session) -> Hero:
    row = Hero.model_validate(hero)
    session.add(row)
    try:
        await session.commit()
    except IntegrityError as error:
        raise HTTPException(422, "no such team") from error
    await session.refresh(row)
    return row


@app.patch("/heroes/{hero_id}", response_model=HeroPublic)
async def update_hero(hero_id: int, changes: HeroUpdate, session: Session) -> Hero:
    hero = await session.get(Hero, hero_id)
    if hero is None:
        raise HTTPException(404, "no such hero")
    hero.sqlmodel_update(changes.model_dump(exclude_unset=True))
    session.add(hero)
    await session.commit()
    await session.refresh(hero)
    return hero


@app.get("/heroes", response_model=list[HeroPublic])
async def read_heroes(
    session: Session,
    prefix: str = "",
    offset: int = 0,
    limit: Annotated[int, Query(le=100)] = 100,
) -> list[Hero]:
    query = select(Hero).where(col(Hero.name).startswith(prefix)).order_by(col(Hero.id))
    return list((await session.exec(query.offset(offset).limit(limit))).all())


@app.get("/statistics")
async def read_statistics(session: Session, prefix: str = "") -> dict[str, float | int | None]:
    of_prefix = col(Hero.name).startswith(prefix)
    count, age = (await session.exec(select(func.count(), func.avg(Hero.age)).where(of_prefix))).one()
    return {"count": count, "average_age": None if age is None else float(age)}
