"""psqlpy (a fork of tokio-postgres), unmodified: many Syncs in flight, and it ends at the first wrong message.

Its statements are `s0`, `s1`, ... in every process, so processes collide; within one the numbers go on.
"""

import asyncio
import json
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psqlpy
import pytest
from psqlpy.exceptions import ConnectionExecuteError

from pgshim.demo.processes import clean_environment
from tests.integration.conftest import Stack

Client = psqlpy.Connection


def login(stack: Stack) -> dict[str, Any]:
    """Arguments of `psqlpy.connect`."""
    endpoint = stack.endpoint()
    arguments = {name: getattr(endpoint, name) for name in ("host", "port", "password")}
    arguments |= {"username": endpoint.user, "db_name": endpoint.database}
    if stack.ca is not None:
        arguments |= {"ssl_mode": psqlpy.SslMode.VerifyFull, "ca_file": str(stack.ca)}
    return arguments


@asynccontextmanager
async def clients(stack: Stack, number: int) -> AsyncIterator[list[Client]]:
    with ExitStack() as opened:
        yield [opened.enter_context(closing(await psqlpy.connect(**login(stack)))) for _ in range(number)]


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


async def rows(connection: Any, text: str, parameters: Any = None, prepared: bool = True) -> Any:
    """The rows as tuples."""
    return (await connection.execute(text, parameters or [], prepared=prepared)).result(as_tuple=True)


@pytest.mark.parametrize("prepared", [True, False])
def test_several_coroutines_on_each_of_several_connections(stack: Stack, prepared: bool) -> None:
    async def work(client: int, connection: Client, task: int) -> None:
        for n in range(6):
            columns = "".join(f", 'more {column}'" for column in range(client))
            text = f"SELECT $1::int4 + {client * 1000 + task * 100}, 'client {client}'{columns}"
            expected = (client * 1000 + task * 100 + n, f"client {client}", *(f"more {c}" for c in range(client)))
            assert await rows(connection, text, [n], prepared) == [expected]
            assert await rows(connection, f"SELECT '{client} {task}'", [], prepared) == [(f"{client} {task}",)]

    async def main() -> None:
        async with clients(stack, 4) as connections:
            tasks = [work(c, connection, t) for c, connection in enumerate(connections) for t in range(4)]
            await asyncio.gather(*tasks)

    run(main())


PROGRAM = """
import asyncio, json, os, sys, psqlpy
async def main(client, **login):
    if "ca_file" in login:
        login["ssl_mode"] = psqlpy.SslMode.VerifyFull
    connection = await psqlpy.connect(**login)
    print("ready", flush=True)
    sys.stdin.readline()
    wrong = 0
    for n in range(40):
        text = f"SELECT $1::int4 + {client * 1000}, 'client {client}'"
        found = (await connection.execute(text, [n])).result(as_tuple=True)
        wrong += found != [(client * 1000 + n, f"client {client}")]
        found = (await connection.execute(f"SELECT $1::text || ' {client}'", [str(n)])).result(as_tuple=True)
        wrong += found != [(f"{n} {client}",)]
    connection.close()
    print(wrong, flush=True)
asyncio.run(main(**json.loads(sys.argv[1])))
# psqlpy's threads may still want the interpreter, which aborts the process if it is being taken down.
os._exit(0)
"""


def test_processes_whose_statement_names_collide(stack: Stack, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = {name: value for name, value in login(stack).items() if name != "ssl_mode"}
    with ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, program, json.dumps(arguments | {"client": client})],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    # It waits for its start inside a coroutine, which debug mode would call slow.
                    env=clean_environment(PYTHONASYNCIODEBUG=""),
                )
            )
            for client in range(4)
        ]
        # All begin at once.
        assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 4
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.communicate(timeout=30)[0] for process in processes] == ["0\n"] * 4


def test_transactions_savepoints_and_cursors(stack: Stack) -> None:
    async def fail(connection: Client, insert: str) -> None:
        async with connection.transaction() as transaction:
            await transaction.execute(insert, [98, "undone"])
            await transaction.execute("SELECT 1 / $1::int4", [0])

    async def work(client: int, connection: Client) -> None:
        table = f"psqlpy_{client}"
        await connection.execute(f"DROP TABLE IF EXISTS {table}")
        await connection.execute(f"CREATE TABLE {table} (id int4, label text)")
        insert = f"INSERT INTO {table} VALUES ($1, $2)"
        async with connection.transaction() as transaction:
            await transaction.execute_many(insert, [[n, f"{client}:{n}"] for n in range(1, 11)])
            await transaction.create_savepoint("s")
            await transaction.execute(insert, [99, "undone"])
            await transaction.rollback_savepoint("s")
        # Closing a cursor of psqlpy's rolls back, so it has a transaction of its own.
        async with connection.transaction() as transaction:
            cursor = transaction.cursor(f"SELECT id FROM {table} WHERE id > $1 ORDER BY id", [2])
            await cursor.start()
            assert (await cursor.fetchmany(3)).result(as_tuple=True) == [(3,), (4,), (5,)]
            # Another statement while the portal is open.
            assert await rows(transaction, f"SELECT count(*) FROM {table} WHERE id < $1", [100]) == [(10,)]
            assert (await cursor.fetchone()).result(as_tuple=True) == [(6,)]
            assert (await cursor.fetchall()).result(as_tuple=True) == [(7,), (8,), (9,), (10,)]
            cursor.close()
        with pytest.raises(ConnectionExecuteError, match="division by zero"):
            await fail(connection, insert)
        found = await rows(connection, f"SELECT id, label FROM {table} WHERE id > $1 ORDER BY id", [0])
        assert found == [(n, f"{client}:{n}") for n in range(1, 11)]

    async def main() -> None:
        async with clients(stack, 5) as connections:
            await asyncio.gather(*(work(client, connection) for client, connection in enumerate(connections)))

    run(main())


def test_execute_many_and_pipelines(plain_stack: Stack) -> None:
    async def work(client: int, connection: Client) -> None:
        table = f"psqlpy_many_{client}"
        await connection.execute_batch(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id int4 PRIMARY KEY)")
        for prepared in (True, False):
            first = 1000 * prepared
            insert = f"INSERT INTO {table} VALUES ($1)"
            await connection.execute_many(insert, [[n] for n in range(first, first + 50)], prepared=prepared)
            # The last is there already: none of them stays.
            with pytest.raises(ConnectionExecuteError, match="duplicate key"):
                await connection.execute_many(insert, [[500], [501], [first]], prepared=prepared)
        assert await rows(connection, f"SELECT count(*), max(id) FROM {table} WHERE id >= $1", [0]) == [(100, 1049)]
        async with connection.transaction() as transaction:
            queries = [(f"SELECT $1::int4 + {client * 100}", [n]) for n in range(10)]
            results = await transaction.pipeline([*queries, (f"SELECT 'client {client}'", [])])
        found = [result.result(as_tuple=True) for result in results]
        assert found == [*([(client * 100 + n,)] for n in range(10)), [(f"client {client}",)]]

    async def main() -> None:
        async with clients(plain_stack, 4) as connections:
            await asyncio.gather(*(work(client, connection) for client, connection in enumerate(connections)))

    run(main())


def test_copies_of_records_and_of_binary_data(stack: Stack) -> None:
    def binary(numbers: range) -> bytes:
        """The format of COPY ... (FORMAT binary), one int4 column."""
        fields = b"".join(struct.pack("!hii", 1, 4, number) for number in numbers)
        return b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0) + fields + struct.pack("!h", -1)

    async def work(client: int, connection: Client) -> None:
        table = f"psqlpy_copied_{client}"
        await connection.execute_batch(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (n int4)")
        sums = f"SELECT count(*), sum(n) FROM {table} WHERE n >= $1"
        assert await connection.binary_copy_to_table(binary(range(20_000)), table) == 20_000
        assert await rows(connection, sums, [0]) == [(20_000, sum(range(20_000)))]
        # Right behind a COPY it closes its statement and begins the next batch, before the COPY is answered.
        for first in range(20_000, 20_500, 100):
            records = [(n,) for n in range(first, first + 100)]
            assert await connection.copy_records_to_table(table, records) == 100
            assert await rows(connection, sums, [0]) == [(first + 100, sum(range(first + 100)))]
        # A row too short: the server refuses it, and the session lives.
        with pytest.raises(psqlpy.Error):
            await connection.binary_copy_to_table(binary(range(5))[:-7] + b"\0\1", table)
        assert await rows(connection, sums, [0]) == [(20_500, sum(range(20_500)))]

    async def main() -> None:
        async with clients(stack, 4) as connections:
            await asyncio.gather(*(work(client, connection) for client, connection in enumerate(connections)))

    run(main())


def test_an_error_among_coroutines_on_one_connection_is_its_own(plain_stack: Stack) -> None:
    async def main() -> None:
        async with clients(plain_stack, 1) as (connection,):
            for _ in range(3):
                texts = ["SELECT 10 / $1::int4" if n % 3 else "SELECT 'n' || ($1::int4)::text" for n in range(12)]
                found = await asyncio.gather(
                    *(rows(connection, text, [n % 4]) for n, text in enumerate(texts)), return_exceptions=True
                )
                for n, answer in enumerate(found):
                    if n % 3 == 0:
                        assert answer == [(f"n{n % 4}",)]
                    elif n % 4 == 0:
                        assert isinstance(answer, ConnectionExecuteError)
                        assert "division by zero" in str(answer)
                    else:
                        assert answer == [(10 // (n % 4),)]

    run(main())


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN c int DEFAULT 3",
        "DROP COLUMN b",
        "ALTER COLUMN b TYPE text",
        "ALTER COLUMN b TYPE bigint",
        "ALTER COLUMN f TYPE bigint",
        "RENAME COLUMN b TO renamed",
    ],
)
def test_a_changed_result_is_an_error_and_never_wrong_data(plain_stack: Stack, change: str) -> None:
    select = "SELECT * FROM psqlpy_ddl WHERE a = $1"

    async def execute_in_a_block(connection: Client) -> None:
        async with connection.transaction() as transaction:
            await transaction.execute("INSERT INTO psqlpy_ddl (a) VALUES ($1)", [2])
            await transaction.execute(select, [1])

    async def main() -> None:
        async with clients(plain_stack, 2) as (connection, other):
            await other.execute_batch(
                "DROP TABLE IF EXISTS psqlpy_ddl; CREATE TABLE psqlpy_ddl (a int, b int, f float8);"
                "INSERT INTO psqlpy_ddl VALUES (1, 1234, 5)"
            )
            for _ in range(2):
                assert await rows(connection, select, [1]) == [(1, 1234, 5.0)]
            await other.execute_batch(f"ALTER TABLE psqlpy_ddl {change}")
            with pytest.raises(ConnectionExecuteError, match="cached plan must not change result type"):
                await connection.execute(select, [1])
            with pytest.raises(ConnectionExecuteError, match="cached plan must not change result type"):
                await execute_in_a_block(connection)
            assert await rows(connection, "SELECT count(*) FROM psqlpy_ddl WHERE a >= $1", [0]) == [(1,)]

    run(main())


def test_values_of_many_types(plain_stack: Stack) -> None:
    values: list[tuple[str, Any]] = [
        ("int2", 7),
        ("int8", 2**40),
        ("float8", 1.5),
        ("text", "é'\"\\"),
        ("bytea", b"\0\xff"),
        ("bool", True),
        ("jsonb", {"a": [1, None]}),
        ("int4[]", [1, 2, 3]),
        ("text", None),
    ]

    async def main() -> None:
        async with clients(plain_stack, 3) as connections:
            for _ in range(2):
                for kind, value in values:
                    for n, connection in enumerate(connections):
                        found = await rows(connection, f"SELECT $1::{kind}, {n}", [value])
                        assert found == [(value, n)]

    run(main())
