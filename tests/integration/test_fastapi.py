"""A FastAPI app with SQLModel on SQLAlchemy's async engine and asyncpg, run as several workers."""

import asyncio

from tests.integration.conftest import Stack
from tests.integration.support import (
    certificate_environment,
    fill_pool,
    on_server_value,
    on_the_server,
    run_together,
    sqlalchemy_url,
)

TABLES = """
    CREATE TABLE IF NOT EXISTS team (id serial PRIMARY KEY, name varchar NOT NULL UNIQUE, city varchar NOT NULL);
    CREATE TABLE IF NOT EXISTS hero (id serial PRIMARY KEY, name varchar NOT NULL, age int,
        team_id int REFERENCES team);
"""


def test_three_workers_with_six_users_each_answer_right(stack: Stack) -> None:
    # CREATE TABLE IF NOT EXISTS fails when two workers run it at once, on any server.
    asyncio.run(on_the_server(stack, TABLES))
    asyncio.run(fill_pool(stack))
    environment = {"DATABASE_URL": sqlalchemy_url(stack, "asyncpg"), **certificate_environment(stack)}
    outputs = run_together("fastapi_client", [["0"], ["1"], ["2"]], environment)
    assert outputs == [f"worker {number}: every answer right\n" for number in range(3)]
    assert asyncio.run(on_server_value(stack, "SELECT count(*) FROM hero")) == 0
