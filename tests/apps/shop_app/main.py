"""The shop's API, every setting of the engine at its default.

    DATABASE_URL=postgresql+asyncpg://... uvicorn tests.apps.shop_app.main:app --workers 3

The tables are Alembic's: `alembic -c tests/apps/shop_app/alembic.ini upgrade head`.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from tests.apps.shop_app.models import Order, OrderCreate, OrderLine, OrderPublic, Product

engine = create_async_engine(os.environ["DATABASE_URL"])
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]
app = FastAPI(lifespan=lifespan)


@app.get("/products")
async def read_products(session: Session) -> list[Product]:
    return list((await session.exec(select(Product).order_by(col(Product.id)))).all())


@app.post("/orders", status_code=201, response_model=OrderPublic)
async def place_order(wanted: OrderCreate, session: Session) -> Order:
    """Takes from the stock what is ordered, all or nothing."""
    order = Order(customer=wanted.customer)
    async with session.begin():
        # In the order of the keys, or two orders could wait for each other.
        for line in sorted(wanted.lines, key=lambda line: line.product_id):
            product = await session.get(Product, line.product_id, with_for_update=True)
            if product is None:
                raise HTTPException(404, "no such product")
            if product.stock < line.quantity:
                raise HTTPException(409, f"only {product.stock} of {product.name} left")
            product.stock -= line.quantity
            order.lines.append(OrderLine.model_validate(line, update={"order_id": order.id}))
        session.add(order)
    return order


@app.get("/orders/{order_id}", response_model=OrderPublic)
async def read_order(order_id: uuid.UUID, session: Session) -> Order:
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, "no such order")
    return order


@app.delete("/orders/{order_id}", status_code=204)
async def cancel_order(order_id: uuid.UUID, session: Session) -> None:
    """Puts back what was ordered."""
    order = await read_order(order_id, session)
    for line in sorted(order.lines, key=lambda line: line.product_id):
        product = await session.get_one(Product, line.product_id, with_for_update=True)
        product.stock += line.quantity
    await session.delete(order)
    await session.commit()


@app.get("/customers/{customer}/spent")
async def read_spent(customer: str, session: Session) -> Decimal:
    total = func.coalesce(func.sum(col(OrderLine.quantity) * Product.price), Decimal(0))
    query = select(total).select_from(Order).join(OrderLine).join(Product).where(Order.customer == customer)
    return (await session.exec(query)).one()
