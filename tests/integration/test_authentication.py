"""Every kind of password authentication passes end to end; a wrong password brings the pooler's own error."""

import asyncio
from dataclasses import replace

import asyncpg
import psycopg
import pytest

from pgshim.demo.servers import PgBouncer, PgshimProcess
from tests.integration.conftest import Stack


async def answer(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        found: int = await connection.fetchval("SELECT $1::int + 1", 41)
        return found
    finally:
        await connection.close()


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "plain", "trust"])
def test_a_login_passes_end_to_end(plain_stack: Stack, method: str) -> None:
    with (
        PgBouncer(plain_stack.postgres, settings={"auth_type": method}) as pooler,
        PgshimProcess(pooler) as shim,
    ):
        assert asyncio.run(answer(shim.endpoint().url)) == 42
        with psycopg.connect(shim.endpoint().url) as connection:
            assert connection.execute("SELECT 42").fetchone() == (42,)


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "plain"])
def test_a_wrong_password_is_refused_with_a_hint_and_is_not_logged(plain_stack: Stack, method: str) -> None:
    with (
        PgBouncer(plain_stack.postgres, settings={"auth_type": method}) as pooler,
        PgshimProcess(pooler) as shim,
    ):
        wrong = replace(shim.endpoint(), password="not-the-password")
        with pytest.raises(psycopg.OperationalError, match=r"(?s)authentication failed.*percent-encoded"):
            psycopg.connect(wrong.url)
        assert "not-the-password" not in shim.log()
