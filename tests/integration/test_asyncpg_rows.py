"""asyncpg: many rows at a time. Cursors, executemany and COPY, and what is left when they fail half-way."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from pgshim.demo.servers import PgshimProcess
from tests.integration.conftest import Stack
from tests.integration.support import connected, on_server_value, run


@pytest.mark.parametrize("cache_size", [100, 0])
def test_cursors_of_several_connections_give_their_own_rows(stack: Stack, cache_size: int) -> None:
    async def read(stack: Stack, who: int) -> None:
        query = f"SELECT {who} AS who, n FROM generate_series(1, $1::int) n"
        async with connected(stack, statement_cache_size=cache_size) as connection:
            for _ in range(3):
                async with connection.transaction():
                    rows = [tuple(row) async for row in connection.cursor(query, 25, prefetch=4)]
                    assert rows == [(who, n) for n in range(1, 26)]
                    cursor = await connection.cursor(query, 12)
                    assert await cursor.fetchrow() == (who, 1)
                    assert await connection.fetchval("SELECT $1::int * 2", who) == who * 2
                    assert await cursor.fetch(3) == [(who, 2), (who, 3), (who, 4)]
                    assert await cursor.forward(5) == 5
                    assert await cursor.fetch(10) == [(who, 10), (who, 11), (who, 12)]
                    assert await cursor.fetchrow() is None

    async def main(stack: Stack) -> None:
        await asyncio.gather(*(read(stack, who) for who in range(5)))

    run(main, stack)


def test_cursors_opened_and_left_in_the_middle(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            statement = await connection.prepare("SELECT n FROM generate_series(1, $1::int) n")
            for _ in range(4):
                async with connection.transaction():
                    first, second = await statement.cursor(3), await statement.cursor(4)
                    assert await second.fetch(2) == [(1,), (2,)]
                    assert await first.fetchrow() == (1,)
                    assert await second.fetch(9) == [(3,), (4,)]
                    async for row in statement.cursor(100, prefetch=10):
                        if row["n"] == 15:
                            break
                    assert await statement.fetchval(1) == 1
            with pytest.raises(asyncpg.NoActiveSQLTransactionError):
                await connection.cursor("SELECT 1")
            transaction = connection.transaction()
            await transaction.start()
            cursor = await connection.cursor("SELECT 10 / (3 - n) FROM generate_series(1, $1) n", 5)
            assert await cursor.fetch(2) == [(5,), (10,)]
            with pytest.raises(asyncpg.DivisionByZeroError):
                await cursor.fetch(2)
            await transaction.rollback()
            assert await statement.fetch(2) == [(1,), (2,)]

    run(main, plain_stack)


def test_executemany_writes_every_row(stack: Stack) -> None:
    async def write(stack: Stack, who: int) -> None:
        insert = f"INSERT INTO asyncpg_many_{who} VALUES ($1, $2)"
        async with connected(stack) as connection:
            await connection.execute(f"DROP TABLE IF EXISTS asyncpg_many_{who}")
            await connection.execute(f"CREATE TABLE asyncpg_many_{who} (id int PRIMARY KEY, note text)")
            for start in (0, 3000):
                rows = [(n, f"{who}:{n}" + "x" * 50) for n in range(start, start + 3000)]
                await connection.executemany(insert, rows)
            async with connection.transaction():
                await connection.executemany(f"UPDATE asyncpg_many_{who} SET note = $2 WHERE id = $1", [(1, "one")])
            await connection.executemany(insert, [])
            assert await connection.fetchval(f"SELECT count(DISTINCT note) FROM asyncpg_many_{who}") == 6000
            assert await connection.fetchval(f"SELECT note FROM asyncpg_many_{who} WHERE id = $1", 1) == "one"

    async def main(stack: Stack) -> None:
        await asyncio.gather(*(write(stack, who) for who in range(3)))

    run(main, stack)


@pytest.mark.parametrize("wrong", [(5, "taken"), ("not a number", "of a wrong type")])
@pytest.mark.parametrize("is_in_transaction", [False, True])
def test_an_executemany_with_a_row_that_fails_writes_nothing(
    plain_stack: Stack, wrong: tuple[Any, str], is_in_transaction: bool
) -> None:
    """One row is refused by the server, the other by asyncpg in the middle of its messages."""

    async def main(stack: Stack) -> None:
        insert = "INSERT INTO asyncpg_many_fail VALUES ($1, $2)"
        async with connected(stack) as connection:
            await connection.execute("DROP TABLE IF EXISTS asyncpg_many_fail")
            await connection.execute("CREATE TABLE asyncpg_many_fail (id int PRIMARY KEY, note text)")
            await connection.execute("INSERT INTO asyncpg_many_fail VALUES (5, 'five')")
            for length in (3, 2000):
                rows = [(n, "x" * 80) for n in range(10, 10 + length)]
                transaction = connection.transaction()
                if is_in_transaction:
                    await transaction.start()
                with pytest.raises((asyncpg.UniqueViolationError, asyncpg.DataError)):
                    await connection.executemany(insert, [*rows, wrong, (9, "behind")])
                if is_in_transaction:
                    await transaction.rollback()
                assert not connection.is_in_transaction()
                assert await connection.fetch("SELECT * FROM asyncpg_many_fail WHERE id > $1", 0) == [(5, "five")]
            await connection.executemany(insert, [(6, "six"), (7, "seven")])
            assert await connection.fetchval("SELECT count(*) FROM asyncpg_many_fail") == 3

    run(main, plain_stack)


async def create_copied(connection: asyncpg.Connection, table: str) -> None:
    await connection.execute(
        f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id int PRIMARY KEY, note text)"
    )


def test_copy_in_and_out_of_several_connections(stack: Stack) -> None:
    async def copy(stack: Stack, who: int) -> None:
        table = f"asyncpg_copied_{who}"
        records = [(n, f"{who}:{n}" if n % 7 else None) for n in range(4000)]
        async with connected(stack) as connection:
            await create_copied(connection, table)
            for _ in range(2):
                assert await connection.copy_records_to_table(table, records=records) == "COPY 4000"
                out = io.BytesIO()
                query = f"SELECT id, note FROM {table} WHERE id < $1 ORDER BY id"
                assert await connection.copy_from_query(query, 3, output=out, format="csv") == "COPY 3"
                assert out.getvalue() == f"0,\n1,{who}:1\n2,{who}:2\n".encode()
                whole = io.BytesIO()
                assert await connection.copy_from_table(table, output=whole) == "COPY 4000"
                await connection.execute(f"TRUNCATE {table}")
                whole.seek(0)
                assert await connection.copy_to_table(table, source=whole) == "COPY 4000"
                rows = await connection.fetch(f"SELECT * FROM {table} ORDER BY id")
                assert [tuple(row) for row in rows] == records
                await connection.execute(f"TRUNCATE {table}")

    async def main(stack: Stack) -> None:
        await asyncio.gather(*(copy(stack, who) for who in range(4)))

    run(main, stack)


def test_copy_of_generated_rows_with_columns_named_in_a_transaction(plain_stack: Stack) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(0)
            yield f"note {number};{number}\n".encode()

    async def records() -> AsyncIterator[tuple[int, str]]:
        for number in range(3, 6):
            await asyncio.sleep(0)
            yield number, f"note {number}"

    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            await create_copied(connection, "copied_lines")
            async with connection.transaction():
                options = {"columns": ["note", "id"], "format": "csv", "delimiter": ";"}
                assert await connection.copy_to_table("copied_lines", source=lines(), **options) == "COPY 3"
                count = "SELECT count(*) FROM copied_lines WHERE id >= $1"
                assert await connection.fetchval(count, 0) == 3
                status = await connection.copy_records_to_table("copied_lines", records=records())
                assert status == "COPY 3"
                assert await connection.fetchval(count, 0) == 6
            rows = await connection.fetch("SELECT * FROM copied_lines ORDER BY id")
            assert rows == [(number, f"note {number}") for number in range(6)]

    run(main, plain_stack)


async def break_off() -> AsyncIterator[bytes]:
    for number in range(500):
        yield f"{number}\tnote\n".encode()
    raise RuntimeError("the source failed")


async def fail_at_the_client(connection: asyncpg.Connection) -> None:
    with pytest.raises(RuntimeError, match="the source failed"):
        await connection.copy_to_table("asyncpg_copy_fails", source=break_off())


async def fail_at_the_server(connection: asyncpg.Connection) -> None:
    bad = io.BytesIO(b"1\tone\nnot a number\ttwo\n" + b"3\tthree\n" * 100)
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await connection.copy_to_table("asyncpg_copy_fails", source=bad)


async def fail_on_a_constraint(connection: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.copy_records_to_table("asyncpg_copy_fails", records=[(1, "a"), (1, "b")])


async def fail_on_a_record(connection: asyncpg.Connection) -> None:
    with pytest.raises((asyncpg.DataError, TypeError)):
        await connection.copy_records_to_table("asyncpg_copy_fails", records=[(1, "a"), ("two", "b")])


async def fail_before_it_begins(connection: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await connection.copy_to_table("no_such_table", source=io.BytesIO(b"1\ta\n"))


async def fail_on_a_column(connection: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError):
        await connection.copy_records_to_table("asyncpg_copy_fails", records=[(1,)], columns=["no_such_column"])


async def fail_on_the_way_out(connection: asyncpg.Connection) -> None:
    query = "SELECT 10 / (2000 - n) FROM generate_series(1, $1::int) n"
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.copy_from_query(query, 3000, output=io.BytesIO())


FAILURES = [
    fail_at_the_client,
    fail_at_the_server,
    fail_on_a_constraint,
    fail_on_a_record,
    fail_before_it_begins,
    fail_on_a_column,
    fail_on_the_way_out,
]


@pytest.mark.parametrize("fail", FAILURES)
def test_a_connection_goes_on_after_a_copy_that_failed(plain_stack: Stack, fail: Any) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection, connected(stack) as other:
            await create_copied(connection, "asyncpg_copy_fails")
            for turn in range(3):
                await fail(connection)
                assert await connection.fetchval("SELECT $1::int", turn) == turn
                transaction = connection.transaction()
                await transaction.start()
                await connection.execute("INSERT INTO asyncpg_copy_fails VALUES (70, 'undone')")
                await fail(connection)
                with pytest.raises(asyncpg.InFailedSQLTransactionError):
                    await connection.fetchval("SELECT $1::int", turn)
                await transaction.rollback()
                assert await connection.fetchval("SELECT count(*) FROM asyncpg_copy_fails") == 0
                # More than the pool's servers: none of them is held.
                for number in range(4):
                    assert await other.fetchval("SELECT $1::int", number, timeout=10) == number
            assert await connection.copy_records_to_table("asyncpg_copy_fails", records=[(8, "ok")]) == "COPY 1"
        assert await on_server_value(stack, "SELECT note FROM asyncpg_copy_fails") == "ok"

    run(main, plain_stack)


def test_a_large_copy_that_fails_at_its_second_line(plain_stack: Stack) -> None:
    """At PostgreSQL itself: PgBouncer 1.18 sends the rest of such a COPY to another server, whoever the client is."""

    async def main(stack: Stack, url: str) -> None:
        connection = await asyncpg.connect(url)
        await create_copied(connection, "asyncpg_copy_fails")
        for turn in range(5):
            bad = io.BytesIO(b"1\tone\nnot a number\ttwo\n" + b"3\tthree\n" * 200_000)
            with pytest.raises(asyncpg.InvalidTextRepresentationError):
                await connection.copy_to_table("asyncpg_copy_fails", source=bad)
            assert await connection.fetchval("SELECT $1::int", turn) == turn
        assert await connection.fetchval("SELECT count(*) FROM asyncpg_copy_fails") == 0
        await connection.close()

    with PgshimProcess(plain_stack.postgres) as pgshim:
        run(main, plain_stack, pgshim.endpoint().url)
