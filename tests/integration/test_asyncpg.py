"""asyncpg, unmodified, through pgshim and a transaction pooler: statements, preparing, the cache, the pool."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.integration.conftest import Stack
from tests.integration.support import certificate_environment, connected, fill_pool, run, run_together


@pytest.mark.parametrize("cache_size", [100, 0])
def test_processes_whose_statement_names_collide_get_their_own_answers(stack: Stack, cache_size: int) -> None:
    asyncio.run(fill_pool(stack))
    arguments = [[stack.endpoint().url, str(number), str(cache_size)] for number in (1, 2, 3)]
    outputs = run_together("asyncpg_client", arguments, certificate_environment(stack))
    assert outputs == [f"{number}: every answer right\n" for number in (1, 2, 3)]


def test_processes_that_evict_statements_all_the_time_get_their_own_answers(plain_stack: Stack) -> None:
    asyncio.run(fill_pool(plain_stack))
    arguments = [[plain_stack.endpoint().url, str(number), "2"] for number in (4, 5, 6)]
    outputs = run_together("asyncpg_client", arguments, {})
    assert outputs == [f"{number}: every answer right\n" for number in (4, 5, 6)]


@pytest.mark.parametrize("cache_size", [100, 2, 0])
def test_one_connection_gets_right_answers_from_several_servers(stack: Stack, cache_size: int) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack, statement_cache_size=cache_size) as connection:
            seen = set()
            # Four transactions a turn and three servers in turn: each statement meets every server.
            for number in range(12):
                row = await connection.fetchrow("SELECT pg_backend_pid() AS pid, $1::int AS number", number)
                assert row["number"] == number
                assert await connection.fetchval("SELECT $1 || '!'", str(number)) == f"{number}!"
                assert await connection.fetch("SELECT generate_series(1, $1)", 3) == [(1,), (2,), (3,)]
                assert await connection.fetchval("SELECT 4") == 4
                seen.add(row["pid"])
            assert len(seen) == 3

    run(main, stack)


def test_every_way_to_fetch_gives_its_rows(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            for _ in range(4):
                series = "SELECT n, 'row ' || n AS label FROM generate_series(1, $1) n"
                assert await connection.fetch(series, 2) == [(1, "row 1"), (2, "row 2")]
                assert await connection.fetchrow(series, 5) == (1, "row 1")
                assert await connection.fetchrow(series, 0) is None
                assert await connection.fetchval(series, 5, column=1) == "row 1"
                assert await connection.fetchval("SELECT $1::int WHERE false", 1) is None
                many = await connection.fetchmany("SELECT $1::int * 2 AS twice", [(1,), (2,), (3,)])
                assert many == [(2,), (4,), (6,)]
                assert await connection.execute("SELECT $1::int", 1) == "SELECT 1"
                assert await connection.execute("SELECT 1; SELECT 2 WHERE false") == "SELECT 0"
                assert await connection.fetch(";") == []

    run(main, stack)


def test_statements_prepared_early_are_used_late(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection, connected(stack) as other:
            number = await connection.prepare("SELECT $1::int + 1 AS more")
            text = await connection.prepare("SELECT 'text ' || $1::text")
            rows = await connection.prepare("SELECT n FROM generate_series(1, $1::int) n")
            for turn in range(15):
                assert await other.fetchval("SELECT $1::int", turn) == turn
                assert await connection.fetchval("SELECT -$1::int", turn) == -turn
                assert await number.fetchval(turn) == turn + 1
                assert await text.fetchval("a") == "text a"
                assert await rows.fetch(2) == [(1,), (2,)]
            async with connection.transaction():
                assert await text.fetchrow("b") == ("text b",)
                assert [row["n"] async for row in rows.cursor(5, prefetch=2)] == [1, 2, 3, 4, 5]
                assert await number.fetchval(1) == 2
            assert [attribute.name for attribute in number.get_attributes()] == ["more"]
            assert [parameter.name for parameter in number.get_parameters()] == ["int4"]
            assert await number.explain(1)
            assert (await rows.fetch(2), rows.get_statusmsg()) == ([(1,), (2,)], "SELECT 2")

    run(main, stack)


def test_the_same_name_stands_for_other_statements_on_other_connections(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as first, connected(stack) as second, connected(stack) as third:
            statements = [
                await first.prepare("SELECT $1::int + 1", name="mine"),
                await second.prepare("SELECT 'second ' || $1::int::text", name="mine"),
                await third.prepare("SELECT 7, $1::int", name="mine"),
            ]
            for number in range(10):
                found = await asyncio.gather(*(statement.fetchrow(number) for statement in statements))
                assert found == [(number + 1,), (f"second {number}",), (7, number)]
            with pytest.raises(asyncpg.DuplicatePreparedStatementError):
                await first.prepare("SELECT 1", name="mine")
            assert await statements[0].fetchval(1) == 2

    run(main, plain_stack)


def test_statements_prepared_and_not_used_hold_no_server(stack: Stack) -> None:
    """asyncpg sends no Sync until a prepared statement is used; more of them than servers must not stop others."""

    async def main(stack: Stack) -> None:
        async with connected(stack) as a, connected(stack) as b, connected(stack) as c, connected(stack) as d:
            statements = [await connection.prepare("SELECT $1::int * 3") for connection in (a, b, c, d)]
            # pgshim ends such an exchange soon after the client went silent.
            await asyncio.sleep(0.3)
            async with connected(stack) as other:
                pids = {await other.fetchval("SELECT pg_backend_pid()", timeout=10) for _ in range(9)}
                assert len(pids) == 3
            for number, statement in enumerate(statements):
                assert await statement.fetchval(number, timeout=10) == number * 3

    run(main, stack)


@pytest.mark.parametrize("options", [{"statement_cache_size": 2}, {"max_cached_statement_lifetime": 1}])
def test_evicted_statements_are_prepared_anew(plain_stack: Stack, options: dict[str, int]) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack, **options) as connection:
            for turn in range(3):
                for number in range(8):
                    assert await connection.fetchval(f"SELECT {number} + $1::int", turn) == number + turn
                async with connection.transaction():
                    for number in range(8):
                        assert await connection.fetchval(f"SELECT {number} - $1::int", turn) == number - turn
                if "max_cached_statement_lifetime" in options and turn < 2:
                    await asyncio.sleep(1.05)

    run(main, plain_stack)


def test_eviction_between_the_parse_and_the_bind_of_an_unnamed_statement(plain_stack: Stack) -> None:
    """A text over `max_cacheable_statement_size` has no name; stale statements are closed before it is bound."""

    async def main(stack: Stack) -> None:
        async with connected(stack, statement_cache_size=3, max_cacheable_statement_size=60) as connection:
            for turn in range(12):
                for number in range(4):
                    assert await connection.fetchval(f"SELECT {number} + $1::int", turn) == number + turn
                long = f"SELECT {turn}, $1::text, 'a text that is longer than sixty bytes'"
                assert (await connection.fetchrow(long, "x"))[:2] == (turn, "x")

    run(main, plain_stack)


@pytest.mark.parametrize("cache_size", [100, 0])
def test_a_text_over_the_size_that_asyncpg_caches(stack: Stack, cache_size: int) -> None:
    async def main(stack: Stack) -> None:
        async with (
            connected(stack, statement_cache_size=cache_size) as first,
            connected(stack, statement_cache_size=cache_size) as second,
        ):

            async def ask(connection: asyncpg.Connection, who: int) -> None:
                long = f"SELECT {who} * $1::int /* {'x' * 40_000} */ AS product"
                for number in range(10):
                    assert await connection.fetchval(long, number) == who * number
                statement = await connection.prepare(long)
                assert await connection.fetchval("SELECT 1") == 1
                assert await statement.fetchval(3) == who * 3
                async with connection.transaction():
                    assert [row[0] async for row in connection.cursor(long, 4)] == [who * 4]

            await asyncio.gather(ask(first, 5), ask(second, 7))

    run(main, stack)


async def use_pool(pool: asyncpg.Pool, who: int) -> None:
    """What one request of a web app does, three times."""
    for turn in range(3):
        assert await pool.fetchval(f"SELECT '{who}:' || $1::int", turn) == f"{who}:{turn}"
        async with pool.acquire() as connection, connection.transaction():
            assert await connection.fetchval("SELECT $1::int * $2::int", who, turn) == who * turn
            assert await connection.fetchrow(f"SELECT {who} AS who, $1::text", "t") == (who, "t")


def test_a_pool_serves_more_tasks_than_it_has_connections(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        prepared: list[Any] = []

        async def init(connection: asyncpg.Connection) -> None:
            prepared.append(await connection.fetchval("SELECT 41 + $1::int", 1))

        pool = await asyncpg.create_pool(stack.endpoint().url, min_size=2, max_size=6, init=init)
        async with pool:
            await asyncio.gather(*(use_pool(pool, who) for who in range(25)))
            assert set(prepared) == {42}
            await pool.expire_connections()
            await asyncio.gather(*(use_pool(pool, who) for who in range(5)))

    run(main, stack)


def test_two_pools_of_other_options_at_once(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        url = stack.endpoint().url
        async with (
            asyncpg.create_pool(url, min_size=3, max_size=3, max_queries=7) as one,
            asyncpg.create_pool(url, min_size=3, max_size=3, statement_cache_size=0) as two,
        ):
            await asyncio.gather(*(use_pool((one, two)[who % 2], who) for who in range(20)))

    run(main, plain_stack)


def test_a_reset_connection_goes_on_with_its_statements(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            statement = await connection.prepare("SELECT $1::int + 10")
            for number in range(6):
                assert await connection.fetchval("SELECT $1::text", str(number)) == str(number)
                await connection.reset()
                assert await statement.fetchval(number) == number + 10
                await connection.reload_schema_state()
            await connection.execute("BEGIN")
            await connection.execute("CREATE TABLE of_a_transaction_that_is_reset ()")
            await connection.reset()
            assert not connection.is_in_transaction()
            found = await connection.fetchval("SELECT to_regclass('of_a_transaction_that_is_reset')::text")
            assert found is None

    run(main, plain_stack)


def test_a_connection_dropped_in_a_transaction_gives_its_server_back(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as other:
            await other.execute("DROP TABLE IF EXISTS dropped; CREATE TABLE dropped (id int)")
            for _ in range(5):
                connection = await asyncpg.connect(stack.endpoint().url)
                await connection.execute("BEGIN")
                await connection.execute("INSERT INTO dropped VALUES ($1)", 1)
                connection.terminate()
            for _ in range(6):
                assert await other.fetchval("SELECT count(*) FROM dropped", timeout=10) == 0

    run(main, stack)
