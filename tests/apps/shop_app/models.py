"""The tables of the shop, and what its API takes and gives."""

import datetime
import uuid
from decimal import Decimal

from sqlalchemy import DateTime, func
from sqlmodel import Field, Relationship, SQLModel


class Product(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    price: Decimal = Field(max_digits=10, decimal_places=2)
    stock: int = 0


class Order(SQLModel, table=True):
    __tablename__ = "customer_order"
    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    customer: str
    placed_at: datetime.datetime | None = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()}
    )
    lines: list["OrderLine"] = Relationship(
        cascade_delete=True, sa_relationship_kwargs={"lazy": "selectin", "order_by": "OrderLine.id"}
    )


class LineBase(SQLModel):
    product_id: int = Field(foreign_key="product.id")
    quantity: int = Field(gt=0)


class OrderLine(LineBase, table=True):
    __tablename__ = "order_line"
    id: int | None = Field(default=None, primary_key=True)
    order_id: uuid.UUID = Field(foreign_key="customer_order.id")


class OrderCreate(SQLModel):
    customer: str
    lines: list[LineBase]


class OrderPublic(SQLModel):
    id: uuid.UUID
    customer: str
    lines: list[LineBase]
