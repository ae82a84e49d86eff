"""Notes, with FastAPI and SQLModel on asyncpg: nothing in here knows of a pooler, or of pgshim.

    DATABASE_URL=postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE uvicorn main:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

engine = create_async_engine(os.environ["DATABASE_URL"])


class NoteCreate(SQLModel):
    text: str


class Note(NoteCreate, table=True):
    id: int | None = Field(default=None, primary_key=True)


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


@app.post("/notes", status_code=201)
async def add(note: NoteCreate, session: Session) -> Note:
    added = Note.model_validate(note)
    session.add(added)
    await session.commit()
    return added


@app.get("/notes")
async def newest(session: Session, limit: int = 20) -> list[Note]:
    return list(await session.exec(select(Note).order_by(col(Note.id).desc()).limit(limit)))
