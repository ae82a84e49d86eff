"""psycopg 3, unmodified: pipelines, executemany, and all of it from coroutines."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, errors

from tests.integration.conftest import Stack

AsyncClient = AsyncConnection[Any]


def prepare_tables(stack: Stack, text: str) -> None:
    with psycopg.connect(stack.direct().url, autocommit=True) as connection:
        connection.execute(text.encode())


@asynccontextmanager
async def async_clients(stack: Stack, number: int, **options: Any) -> AsyncIterator[list[AsyncClient]]:
    async with AsyncExitStack() as opened:
        url = stack.endpoint().url
        yield [
            await opened.enter_async_context(await AsyncConnection.connect(url, **options)) for _ in range(number)
        ]


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


@pytest.mark.parametrize("threshold", [5, 0, None])
def test_pipelines_of_several_clients_give_each_its_own_answers(stack: Stack, threshold: int | None) -> None:
    def work(client: int) -> None:
        url = stack.endpoint().url
        with psycopg.connect(url, autocommit=True, prepare_threshold=threshold) as connection:
            for _ in range(3):
                with connection.pipeline() as pipeline:
                    cursors = []
                    for n in range(20):
                        cursors.append(connection.execute(f"SELECT {client} * 1000 + %s", [n]))
                        if n % 7 == 6:
                            pipeline.sync()
                    first = connection.execute(f"SELECT 'client {client}', %s", ["read before the end"])
                    assert first.fetchone() == (f"client {client}", "read before the end")
                    cursors.append(connection.execute(f"SELECT {client} * 1000 + %s", [20]))
                    with connection.transaction():
                        cursors.append(connection.execute(f"SELECT {client} * 1000 + %s", [21]))
                assert [cursor.fetchall() for cursor in cursors] == [[(client * 1000 + n,)] for n in range(22)]

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))


def test_an_error_in_a_pipeline_undoes_its_batch_and_no_other(stack: Stack) -> None:
    prepare_tables(stack, "DROP TABLE IF EXISTS pipelined; CREATE TABLE pipelined (client int, n int)")

    def fail(client: int, connection: psycopg.Connection[Any], insert: str) -> None:
        with connection.pipeline() as pipeline:
            connection.execute(insert, [1])
            pipeline.sync()
            connection.execute(insert, [2])
            connection.execute(f"SELECT {client} / %s", [0])
            connection.execute(insert, [3])

    with ExitStack() as opened:
        connections = [
            opened.enter_context(psycopg.connect(stack.endpoint().url, autocommit=True, prepare_threshold=threshold))
            for threshold in (0, 5, None, 0)
        ]
        for client, connection in enumerate(connections):
            insert = f"INSERT INTO pipelined VALUES ({client}, %s) RETURNING n"
            with pytest.raises(errors.DivisionByZero):
                fail(client, connection, insert)
            with connection.pipeline() as pipeline:
                with pytest.raises(errors.DivisionByZero):
                    connection.execute(f"SELECT {client} / %s", [0]).fetchone()
                with pytest.raises(errors.PipelineAborted):
                    connection.execute(insert, [3]).fetchone()
                pipeline.sync()
                again = connection.execute(insert, [4])
            assert again.fetchone() == (4,)
            found = connection.execute("SELECT n FROM pipelined WHERE client = %s ORDER BY n", [client])
            assert found.fetchall() == [(1,), (4,)]


def test_a_parse_error_in_a_pipeline_leaves_the_session_usable(plain_stack: Stack) -> None:
    def fail(connection: psycopg.Connection[Any]) -> None:
        with connection.pipeline():
            connection.execute("SELECT 1 + %s", [1])
            connection.execute("SELECT + FROM WHERE %s", [1])
            connection.execute("SELECT 2 + %s", [1])

    with psycopg.connect(plain_stack.endpoint().url, autocommit=True, prepare_threshold=0) as connection:
        for _ in range(3):
            with pytest.raises(errors.SyntaxError):
                fail(connection)
            assert connection.execute("SELECT 2 + %s", [1]).fetchone() == (3,)


def test_a_pipeline_in_a_block_is_rolled_back_and_goes_on(plain_stack: Stack) -> None:
    prepare_tables(plain_stack, "DROP TABLE IF EXISTS pipeline_block; CREATE TABLE pipeline_block (n int)")
    insert = "INSERT INTO pipeline_block VALUES (%s)"

    def fail(connection: psycopg.Connection[Any]) -> None:
        with connection.transaction():
            connection.execute(insert, [99])
            connection.execute("SELECT 1 / %s", [0])

    with psycopg.connect(plain_stack.endpoint().url, prepare_threshold=0) as connection, connection.pipeline():
        for n in range(3):
            connection.execute(insert, [n])
        connection.rollback()
        # After its ROLLBACK psycopg sends DEALLOCATE ALL in the same pipeline, then prepares anew.
        for n in range(10, 13):
            connection.execute(insert, [n])
        connection.commit()
        with pytest.raises(errors.DivisionByZero):
            fail(connection)
        found = connection.execute("SELECT n FROM pipeline_block WHERE n >= %s ORDER BY n", [0])
        assert found.fetchall() == [(10,), (11,), (12,)]


def test_evictions_inside_a_pipeline_keep_the_answers_right(plain_stack: Stack) -> None:
    with psycopg.connect(plain_stack.endpoint().url, autocommit=True, prepare_threshold=0) as connection:
        connection.prepared_max = 2
        for _ in range(3):
            with connection.pipeline():
                cursors = [connection.execute(f"SELECT {n % 5} * 10 + %s", [n]) for n in range(15)]
            assert [cursor.fetchone() for cursor in cursors] == [(n % 5 * 10 + n,) for n in range(15)]


def test_executemany_of_several_clients(stack: Stack) -> None:
    number = 4
    tables = "".join(
        f"DROP TABLE IF EXISTS many_{n}; CREATE TABLE many_{n} (id int PRIMARY KEY, label text);"
        for n in range(number)
    )
    prepare_tables(stack, tables)

    def work(client: int) -> None:
        autocommit = client % 2 == 0
        with psycopg.connect(stack.endpoint().url, autocommit=autocommit) as connection:
            cursor = connection.cursor()
            insert = f"INSERT INTO many_{client} VALUES (%s, %s)"
            cursor.executemany(insert, [(n, f"{client}:{n}") for n in range(300)])
            assert cursor.rowcount == 300
            cursor.executemany(f"{insert} RETURNING label", [(n, f"r{n}") for n in range(300, 320)], returning=True)
            assert [result.fetchall() for result in cursor.results()] == [[(f"r{n}",)] for n in range(300, 320)]
            cursor.executemany(f"SELECT {client} + %s", [(n,) for n in range(30)], returning=True)
            assert [result.fetchone() for result in cursor.results()] == [(client + n,) for n in range(30)]
            connection.commit()
            # The last row is there already: none of them stays.
            with pytest.raises(errors.UniqueViolation):
                cursor.executemany(insert, [(n, "twice") for n in (400, 401, 0)])
            connection.rollback()
            cursor.execute(f"SELECT count(*), sum(id), max(label) FROM many_{client} WHERE id < %s", [1000])
            assert cursor.fetchone() == (320, sum(range(320)), "r319")

    with ThreadPoolExecutor(number) as pool:
        list(pool.map(work, range(number)))


@pytest.mark.parametrize("threshold", [5, 0, None])
def test_coroutines_whose_statement_names_collide_get_their_own_answers(stack: Stack, threshold: int | None) -> None:
    async def fail(connection: AsyncClient, insert: str) -> None:
        async with connection.transaction():
            await connection.execute(insert, [1000, "undone"])
            await connection.execute("SELECT %s / 0", [1])

    async def work(client: int, connection: AsyncClient) -> None:
        table = f"psycopg_async_{client}"
        await connection.execute(f"DROP TABLE IF EXISTS {table}")
        await connection.execute(f"CREATE TABLE {table} (n int, label text)")
        for n in range(12):
            query = f"SELECT {client} * 1000 + %s, 'client {client}'"
            assert await (await connection.execute(query, [n])).fetchone() == (client * 1000 + n, f"client {client}")
            async with connection.transaction():
                insert = f"INSERT INTO {table} VALUES (%s, %s)"
                await connection.execute(insert, [n, f"{client}:{n}"])
                with pytest.raises(errors.DivisionByZero):
                    await fail(connection, insert)
            async with connection.pipeline():
                sums = [await connection.execute(f"SELECT {client} + %s", [i]) for i in range(4)]
            assert [await cursor.fetchone() for cursor in sums] == [(client + i,) for i in range(4)]
        cursor = await connection.execute(f"SELECT n, label FROM {table} WHERE n >= %s ORDER BY n", [0])
        assert await cursor.fetchall() == [(n, f"{client}:{n}") for n in range(12)]

    async def main() -> None:
        async with async_clients(stack, 6, autocommit=True, prepare_threshold=threshold) as connections:
            await asyncio.gather(*(work(client, connection) for client, connection in enumerate(connections)))

    run(main())


def test_coroutines_with_cursors_streams_copy_and_executemany(plain_stack: Stack) -> None:
    async def work(client: int, connection: AsyncClient) -> None:
        table = f"psycopg_async_long_{client}"
        await connection.execute(f"DROP TABLE IF EXISTS {table}")
        await connection.execute(f"CREATE TABLE {table} (n int)")
        await connection.commit()
        async with connection.cursor() as cursor:
            await cursor.executemany(f"INSERT INTO {table} VALUES (%s)", [(n,) for n in range(client, client + 50)])
            async with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for n in range(1000):
                    await copy.write_row([n])
            total = 0
            async for (n,) in cursor.stream(f"SELECT n FROM {table} WHERE n >= %s", [0]):
                total += n
        assert total == sum(range(1000)) + sum(range(client, client + 50))
        async with connection.cursor("c") as named:
            await named.execute(f"SELECT n FROM {table} WHERE n < %s ORDER BY n LIMIT 100", [500])
            rows = [row async for row in named]
        assert len(rows) == 100
        assert rows == sorted(rows)
        await connection.rollback()
        assert await (await connection.execute(f"SELECT count(*) FROM {table}")).fetchone() == (0,)
        # An open transaction would keep a server of the pool from those who still wait for one.
        await connection.rollback()

    async def main() -> None:
        async with async_clients(plain_stack, 5, prepare_threshold=0) as connections:
            await asyncio.gather(*(work(client, connection) for client, connection in enumerate(connections)))

    run(main())


def test_a_cancelled_task_cancels_its_query_and_keeps_the_connection(plain_stack: Stack) -> None:
    async def main() -> None:
        async with async_clients(plain_stack, 2, autocommit=True, prepare_threshold=0) as (first, second):
            neighbour = asyncio.create_task(second.execute("SELECT 'kept', pg_sleep(0.8), %s", [1]))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(first.execute("SELECT pg_sleep(30), %s", [1]), 0.3)
            assert await (await first.execute("SELECT %s", [2])).fetchone() == (2,)
            assert await (await neighbour).fetchone() == ("kept", "", 1)

    run(main())
