"""Tables as people declare them, for the tests of SQLAlchemy."""

import datetime
import decimal
import enum
import uuid
from typing import Any

from sqlalchemy import JSON, Enum, ForeignKey, Integer, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Team(Base):
    __tablename__ = "sa_team"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    version: Mapped[int] = mapped_column()
    heroes: Mapped[list["Hero"]] = relationship(
        back_populates="team", cascade="all, delete-orphan", order_by="Hero.id"
    )
    __mapper_args__ = {"version_id_col": version}


class Hero(Base):
    __tablename__ = "sa_hero"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    age: Mapped[int | None]
    team_id: Mapped[int | None] = mapped_column(ForeignKey(Team.id))
    team: Mapped[Team | None] = relationship(back_populates="heroes")


class Thing(Base):
    __tablename__ = "sa_thing"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    size: Mapped[Size] = mapped_column(Enum(Size, name="sa_size"))
    price: Mapped[decimal.Decimal]
    made: Mapped[datetime.datetime] = mapped_column(server_default=func.now())
    numbers: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    extra: Mapped[dict[str, Any]] = mapped_column(JSONB)
    plain: Mapped[dict[str, Any]] = mapped_column(JSON)
