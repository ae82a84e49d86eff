"""The shop (`tests.apps.shop_app`): migrated by `alembic upgrade head`, served by uvicorn's workers, used by many."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.frameworks.servers import COMMAND_SECONDS, Servers, Uvicorn, program_environment, run_command
from tests.integration.support import ROOT, sqlalchemy_url

INI = "tests/apps/shop_app/alembic.ini"
WORKERS = 3
USERS = 12
ROUNDS = 6
STOCK = 100_000
PRICES = {1: Decimal("3.50"), 2: Decimal("2.25"), 3: Decimal("4.10"), 4: Decimal("5.00"), 5: Decimal("99.99")}
TRUFFLE = 5


def environment(servers: Servers) -> dict[str, str]:
    return {"DATABASE_URL": sqlalchemy_url(servers, "asyncpg")}


def alembic(servers: Servers, *command: str) -> "subprocess.CompletedProcess[str]":
    done = run_command(["alembic", "-c", INI, *command], environment(servers))
    assert done.returncode == 0, done.stderr
    return done


async def alembic_meanwhile(servers: Servers, *command: str) -> None:
    """The same while others go on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "alembic", "-c", INI, *command,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=program_environment(environment(servers)),
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
    assert process.returncode == 0, errors.decode()


def ask(servers: Servers, sql: str) -> list[Any]:
    with psycopg.connect(servers.direct().url, autocommit=True) as direct:
        return [row[0] for row in direct.execute(sql.encode()).fetchall()]


@pytest.fixture
def shop(servers: Servers) -> Iterator[Uvicorn]:
    """The app with empty tables, as the first migration makes them."""
    alembic(servers, "downgrade", "base")
    alembic(servers, "upgrade", "0001")
    with Uvicorn("tests.apps.shop_app.main:app", WORKERS, environment(servers)) as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


class User:
    """One customer, who knows what was ordered."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self.client = client
        self.name = name
        self.orders: dict[str, dict[str, Any]] = {}

    async def shop(self, turn: int) -> None:
        products = (await self.client.get("/products")).json()
        assert {row["id"]: Decimal(row["price"]) for row in products} == PRICES
        await self.order(turn)
        kept = await self.order(turn + 1)
        lines = [{"product_id": number, "quantity": 1} for number in (1, TRUFFLE)]
        answer = await self.client.post("/orders", json={"customer": self.name, "lines": lines})
        assert answer.status_code == 409, answer.text
        cancelled = next(iter(self.orders))
        if cancelled != kept:
            assert (await self.client.delete(f"/orders/{cancelled}")).status_code == 204
            assert (await self.client.get(f"/orders/{cancelled}")).status_code == 404
            del self.orders[cancelled]
        assert (await self.client.get(f"/orders/{kept}")).json() == self.orders[kept]
        spent = (await self.client.get(f"/customers/{self.name}/spent")).json()
        assert Decimal(spent) == sum(map(cost, self.orders.values()))

    async def order(self, turn: int) -> str:
        lines = [{"product_id": 1 + (turn + n) % 4, "quantity": 1 + (turn * n) % 3} for n in range(1 + turn % 3)]
        answer = await self.client.post("/orders", json={"customer": self.name, "lines": lines})
        assert answer.status_code == 201, answer.text
        placed: dict[str, Any] = answer.json()
        assert sorted(placed["lines"], key=by_product) == sorted(lines, key=by_product)
        # In the order of their keys, as they will be read.
        placed["lines"].sort(key=by_product)
        self.orders[placed["id"]] = placed
        return str(placed["id"])


def by_product(line: dict[str, Any]) -> int:
    return int(line["product_id"])


def cost(order: dict[str, Any]) -> Decimal:
    return sum((PRICES[line["product_id"]] * line["quantity"] for line in order["lines"]), Decimal(0))


async def crowd(shop: Uvicorn, is_enough: Callable[[int], bool]) -> list[User]:
    """All users at once, each until `is_enough` of the rounds it has gone."""

    async def go(user: User) -> User:
        turn = 0
        while not is_enough(turn):
            await user.shop(turn)
            turn += 1
        return user

    # No connections kept between requests: the next may be another worker's.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=shop.url, timeout=30, limits=limits) as client:
        return await asyncio.gather(*(go(User(client, f"customer {number}")) for number in range(USERS)))


def check_the_books(servers: Servers, users: list[User]) -> None:
    """What is left and what was sold is what there was; each order is in the tables once, and no other."""
    left = "SELECT stock + coalesce((SELECT sum(quantity) FROM order_line WHERE product_id = p.id), 0) FROM product p"
    assert ask(servers, f"{left} WHERE id <> {TRUFFLE}") == [STOCK] * 4
    placed = sorted(order for user in users for order in user.orders)
    assert ask(servers, "SELECT id::text FROM customer_order ORDER BY 1") == placed
    lines = sum(len(order["lines"]) for user in users for order in user.orders.values())
    assert ask(servers, "SELECT count(*) FROM order_line") == [lines]


def test_alembic_upgrades_and_downgrades(servers: Servers) -> None:
    alembic(servers, "upgrade", "head")
    assert "0003 (head)" in alembic(servers, "current").stdout
    assert ask(servers, "SELECT stock FROM product ORDER BY id") == [STOCK] * 4 + [0]
    # It compares the models with the tables; the models know nothing of the last two migrations.
    compared = run_command(["alembic", "-c", INI, "check"], environment(servers))
    difference = compared.stdout + compared.stderr
    assert difference.count("remove_") == 2, difference
    assert "remove_index" in difference, difference
    assert "remove_column" in difference, difference
    alembic(servers, "downgrade", "-1")
    alembic(servers, "downgrade", "base")
    assert ask(servers, "SELECT to_regclass('product') IS NULL") == [True]


def test_three_workers_serve_twelve_users_at_once(servers: Servers, shop: Uvicorn) -> None:
    users = asyncio.run(crowd(shop, lambda turn: turn == ROUNDS))
    check_the_books(servers, users)


def test_migrations_while_the_app_is_used(servers: Servers, shop: Uvicorn) -> None:
    async def story() -> list[User]:
        using = asyncio.create_task(crowd(shop, lambda turn: turn >= 2 and migrating.done()))
        migrating = asyncio.create_task(alembic_meanwhile(servers, "upgrade", "head"))
        await migrating
        return await using

    check_the_books(servers, asyncio.run(story()))
    assert ask(servers, "SELECT 1 FROM pg_indexes WHERE indexname = 'customer_order_customer'") == [1]
    assert ask(servers, "SELECT count(*) FROM customer_order WHERE note NOT IN ('old', 'new')") == [0]
