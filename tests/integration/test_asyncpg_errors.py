"""asyncpg: errors of every kind, cancels, timeouts and transactions; the connection is right afterwards."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE, connected, in_transaction, on_server_value, on_the_server, run

ACCOUNTS = """
    DROP TABLE IF EXISTS entries, accounts;
    CREATE TABLE accounts (id int PRIMARY KEY, amount int NOT NULL CHECK (amount >= 0), name text UNIQUE);
    CREATE TABLE entries (account int REFERENCES accounts DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO accounts SELECT n, 100, 'account ' || n FROM generate_series(1, 9) n;
"""
RAISE = "DO $$ BEGIN RAISE 'a message' USING ERRCODE = 'P1234', DETAIL = 'a detail', HINT = 'a hint'; END $$"
Failure = tuple[type[Exception], str, list[Any]]
FAILURES: list[Failure] = [
    (asyncpg.PostgresSyntaxError, "SELEC 1", []),
    (asyncpg.PostgresSyntaxError, "SELECT $1::int FROM", [1]),
    (asyncpg.UndefinedTableError, "SELECT * FROM nowhere WHERE id = $1", [1]),
    (asyncpg.UndefinedColumnError, "SELECT nothing FROM accounts", []),
    (asyncpg.UndefinedFunctionError, "SELECT no_function($1::int)", [1]),
    (asyncpg.DivisionByZeroError, "SELECT 1 / $1::int", [0]),
    (asyncpg.DivisionByZeroError, "SELECT 1 / (3 - n) FROM generate_series(1, $1::int) n", [9]),
    (asyncpg.NumericValueOutOfRangeError, "SELECT ($1::bigint * 1000000)::int", [1 << 30]),
    (asyncpg.InvalidTextRepresentationError, "SELECT $1::text::int", ["x"]),
    (asyncpg.UniqueViolationError, "INSERT INTO accounts VALUES ($1, 1, 'new')", [1]),
    (asyncpg.NotNullViolationError, "INSERT INTO accounts (id) VALUES ($1)", [100]),
    (asyncpg.CheckViolationError, "UPDATE accounts SET amount = -1 WHERE id = $1 RETURNING id", [2]),
    (asyncpg.ForeignKeyViolationError, "INSERT INTO entries VALUES ($1)", [999]),
    (asyncpg.IndeterminateDatatypeError, "SELECT $1 IS NULL", [1]),
    (asyncpg.DataError, "SELECT $1::int", ["not a number"]),
    (asyncpg.InterfaceError, "SELECT $1::int", [1, 2]),
    (asyncpg.RaiseError, "DO $$ BEGIN RAISE 'in a block'; END $$", []),
]
ONLY_IN_A_TRANSACTION: Failure = (asyncpg.ActiveSQLTransactionError, "VACUUM", [])


async def check_alive(connection: asyncpg.Connection, number: int) -> None:
    assert await connection.fetchval("SELECT $1::int * 2", number) == number * 2
    assert await connection.fetchval("SELECT name FROM accounts WHERE id = $1", 3) == "account 3"


def test_the_connection_goes_on_after_an_error_of_every_kind(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        async with connected(stack) as connection:
            for turn in range(2):
                for number, (expected, sql, arguments) in enumerate(FAILURES):
                    with pytest.raises(expected):
                        await connection.fetch(sql, *arguments)
                    await check_alive(connection, number + turn)
            assert await connection.fetchval("SELECT sum(amount) FROM accounts") == 900
            assert await connection.fetchval("SELECT count(*) FROM entries") == 0

    run(main, stack)


def test_a_failed_transaction_is_rolled_back_and_the_next_one_is_right(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        async with connected(stack) as connection:
            for number, (expected, sql, arguments) in enumerate([*FAILURES, ONLY_IN_A_TRANSACTION]):
                update = ("UPDATE accounts SET amount = $1 WHERE id = 3", number)
                with pytest.raises(expected):
                    await in_transaction(connection, update, ("SELECT $1::int", 7), (sql, *arguments))
                assert not connection.is_in_transaction()
                assert await connection.fetchval("SELECT amount FROM accounts WHERE id = 3") == 100
                async with connection.transaction():
                    await check_alive(connection, number)

    run(main, plain_stack)


def test_the_fields_of_an_error_and_of_a_notice_are_the_servers(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            for prepared in (False, True):
                with pytest.raises(asyncpg.PostgresError) as raised:
                    await (connection.fetch(RAISE) if prepared else connection.execute(RAISE))
                error = raised.value
                assert (error.sqlstate, error.message) == ("P1234", "a message")
                assert (error.detail, error.hint) == ("a detail", "a hint")
            with pytest.raises(asyncpg.UndefinedColumnError) as wrong:
                await connection.fetch("SELECT $1::int, missing", 1)
            assert wrong.value.position == "17"
            notices: list[str] = []
            connection.add_log_listener(lambda _, notice: notices.append(notice.message))
            await connection.execute("DO $$ BEGIN RAISE NOTICE 'first'; END $$")
            await connection.fetch("DO $$ BEGIN RAISE WARNING 'second'; END $$")
            await connection.fetchval("SELECT 1")
            assert notices == ["first", "second"]

    run(main, stack)


def test_an_aborted_transaction_refuses_everything_until_it_ends(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        async with connected(stack) as connection:
            known = await connection.prepare("SELECT $1::int + 1")
            for ending, tag in (("COMMIT", "ROLLBACK"), ("ROLLBACK", "ROLLBACK")):
                await connection.execute("BEGIN")
                await connection.execute("DELETE FROM accounts WHERE id = $1", 9)
                with pytest.raises(asyncpg.UniqueViolationError):
                    await connection.execute("INSERT INTO accounts VALUES ($1, 1, 'x')", 1)
                for _ in range(2):
                    with pytest.raises(asyncpg.InFailedSQLTransactionError):
                        await known.fetchval(1)
                    with pytest.raises(asyncpg.InFailedSQLTransactionError):
                        await connection.fetchval("SELECT 'never seen before'")
                assert await connection.execute(ending) == tag
                assert await known.fetchval(1) == 2
                assert await connection.fetchval("SELECT count(*) FROM accounts") == 9

    run(main, plain_stack)


async def transfer(connection: asyncpg.Connection, source: int, target: int, amount: int) -> None:
    async with connection.transaction():
        for account, change in sorted([(source, -amount), (target, amount)]):
            update = "UPDATE accounts SET amount = amount + $2 WHERE id = $1 RETURNING amount"
            await connection.fetchval(update, account, change)


def test_transactions_at_once_keep_the_sum(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)

        async def work(who: int) -> int:
            refused = 0
            async with connected(stack) as connection:
                for turn in range(12):
                    source, target = (who + turn) % 9 + 1, (who + turn * 2 + 3) % 9 + 1
                    try:
                        await transfer(connection, source, target, 30)
                    except asyncpg.CheckViolationError:
                        refused += 1
                    assert await connection.fetchval("SELECT sum(amount) FROM accounts") == 900
            return refused

        assert sum(await asyncio.gather(*(work(who) for who in range(8)))) < 8 * 12
        assert await on_server_value(stack, "SELECT min(amount) FROM accounts") >= 0

    run(main, stack)


def test_nested_transactions_keep_what_was_not_rolled_back(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        update = "UPDATE accounts SET amount = amount + 1 WHERE id = $1"
        async with connected(stack) as connection:
            for turn in range(1, 4):
                async with connection.transaction():
                    await connection.execute(update, 1)
                    taken = ("INSERT INTO accounts VALUES ($1, 1, 'x')", 1)
                    with pytest.raises(asyncpg.UniqueViolationError):
                        await in_transaction(connection, (update, 2), taken)
                    async with connection.transaction():
                        await connection.execute(update, 3)
                        inner = connection.transaction()
                        await inner.start()
                        await connection.execute(update, 4)
                        await inner.rollback()
                amounts = await connection.fetch("SELECT amount FROM accounts WHERE id < 5 ORDER BY id")
                assert amounts == [(100 + turn,), (100,), (100 + turn,), (100,)]

    run(main, stack)


def test_isolation_levels_are_kept_through_a_transaction(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        amount = "SELECT amount FROM accounts WHERE id = $1"
        async with connected(stack) as one, connected(stack) as two:
            for level, sees in (("read_committed", 101), ("repeatable_read", 100), ("serializable", 100)):
                await one.execute("UPDATE accounts SET amount = 100 WHERE id = $1", 1)
                async with one.transaction(isolation=level):
                    assert await one.fetchval("SHOW transaction_isolation") == level.replace("_", " ")
                    assert await one.fetchval(amount, 1) == 100
                    await two.execute("UPDATE accounts SET amount = amount + 1 WHERE id = $1", 1)
                    assert await one.fetchval(amount, 1) == sees
                assert await one.fetchval(amount, 1) == 101
            add = "UPDATE accounts SET amount = amount + 1 WHERE id = $1"
            transaction = one.transaction(isolation="repeatable_read")
            await transaction.start()
            await one.fetchval(amount, 1)
            await two.execute(add, 1)
            with pytest.raises(asyncpg.SerializationError):
                await one.execute(add, 1)
            await transaction.rollback()
            modes = {"isolation": "serializable", "readonly": True, "deferrable": True}
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await in_transaction(one, (add, 1), **modes)
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                await in_transaction(one, ("INSERT INTO entries VALUES ($1)", 999))
            assert await one.fetchval(amount, 1) == 102
            assert await one.fetchval("SELECT count(*) FROM entries") == 0

    run(main, plain_stack)


async def cancel_a_task(connection: asyncpg.Connection, sql: str) -> None:
    task = asyncio.create_task(connection.fetch(sql, 20))
    await asyncio.sleep(0.15)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def time_out(connection: asyncpg.Connection, sql: str) -> None:
    with pytest.raises(TimeoutError):
        await connection.fetch(sql, 20, timeout=0.15)


async def time_out_at_the_server(connection: asyncpg.Connection, sql: str) -> None:
    with pytest.raises(asyncpg.QueryCanceledError):
        await in_transaction(connection, ("SET LOCAL statement_timeout = 150",), (sql, 20))


@pytest.mark.parametrize("stop", [cancel_a_task, time_out, time_out_at_the_server])
def test_a_stopped_query_ends_at_the_server_and_no_other_does(stack: Stack, stop: Any) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        sql = "SELECT pg_sleep($1::int) /* to be stopped */"
        async with connected(stack) as connection, connected(stack) as other:
            sleeping = asyncio.create_task(other.fetchval("SELECT 'slept ' || pg_sleep($1::float8)", 0.7))
            for turn in range(2):
                await stop(connection, sql)
                await check_alive(connection, turn)
            assert await sleeping == "slept "
            running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%to be stopped%' AND state = "
            assert await on_server_value(stack, f"{running} 'active' AND pid <> pg_backend_pid()") == 0
            await check_alive(other, 5)

    run(main, stack)


def test_a_query_that_timed_out_before_it_had_a_server_is_not_carried_out_later(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        async with AsyncExitStack() as opened:
            holders = [await opened.enter_async_context(connected(stack)) for _ in range(POOL_SIZE)]
            connection = await opened.enter_async_context(connected(stack))
            sql = "SELECT pg_sleep($1::int)"
            await connection.fetch(sql, 0)
            for holder in holders:
                await holder.execute("BEGIN; SELECT 1")
            # PgBouncer has no server for it.
            with pytest.raises(TimeoutError):
                await connection.fetch(sql, 20, timeout=0.2)
            for holder in holders:
                await holder.execute("COMMIT")
            async with asyncio.timeout(8):
                await check_alive(connection, 1)

    run(main, plain_stack)


def test_timeouts_of_many_connections_hit_only_their_own_queries(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)

        async def hasty(number: int) -> None:
            async with connected(stack, command_timeout=5) as connection:
                for turn in range(3):
                    with pytest.raises(TimeoutError):
                        await connection.execute("SELECT pg_sleep(20)", timeout=0.03 * (number + 1))
                    await check_alive(connection, turn)

        async def patient(number: int) -> None:
            async with connected(stack) as connection:
                for turn in range(30):
                    await check_alive(connection, number + turn)
                    assert await connection.fetchval("SELECT 7 + length(pg_sleep(0.01)::text)") == 7

        await asyncio.gather(*(hasty(number) for number in range(2)), *(patient(n) for n in range(3)))

    run(main, plain_stack)


#: 10 GB of rows, if nobody stops it.
ENDLESS = "SELECT n, repeat('x', 1000) FROM generate_series(1, $1::int) n"


def test_a_timeout_in_a_transaction(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        async with connected(stack) as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("UPDATE accounts SET amount = 1 WHERE id = $1", 3)
            with pytest.raises(TimeoutError):
                await connection.fetch("SELECT pg_sleep($1::int)", 20, timeout=0.1)
            await transaction.rollback()
            assert await connection.fetchval("SELECT amount FROM accounts WHERE id = 3") == 100
            await check_alive(connection, 1)

    run(main, plain_stack)


def test_a_timeout_while_rows_flow(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        async with connected(stack) as connection:
            with pytest.raises(TimeoutError):
                await connection.fetch(ENDLESS, 10_000_000, timeout=0.3)
            await check_alive(connection, 1)

    run(main, plain_stack)


def test_a_timeout_while_a_copy_flows(plain_stack: Stack) -> None:
    async def slow(data: bytes) -> None:
        await asyncio.sleep(0.05)

    async def main(stack: Stack) -> None:
        await on_the_server(stack, ACCOUNTS)
        async with connected(stack) as connection:
            with pytest.raises(TimeoutError):
                await connection.copy_from_query(ENDLESS, 10_000_000, output=slow, timeout=0.3)
            await check_alive(connection, 1)

    run(main, plain_stack)
