"""An asyncpg program with answers of its own. It knows nothing of pgshim.

    python -m tests.apps.asyncpg_client postgresql://... NUMBER [STATEMENT_CACHE_SIZE]

asyncpg counts statements by process, so several of these at once use the same names for other texts: NUMBER is
part of every text and of every answer, and decides the type that a statement of a given name returns.
"""

import asyncio
import sys
from typing import Any

import asyncpg

ROUNDS = 8
STATEMENTS = 9


def question(number: int, which: int) -> str:
    """The text of a statement; its type is another one in the next process."""
    return [
        f"SELECT {number * 1000 + which} + $1::int",
        f"SELECT '{number}:{which}:' || $1::int::text",
        f"SELECT ARRAY[{number}, {which}, $1::int]",
    ][(number + which) % 3]


def answer(number: int, which: int, argument: int) -> Any:
    return [
        number * 1000 + which + argument,
        f"{number}:{which}:{argument}",
        [number, which, argument],
    ][(number + which) % 3]


async def read(connection: asyncpg.Connection, number: int) -> None:
    for turn in range(ROUNDS):
        for which in range(STATEMENTS):
            found = await connection.fetchval(question(number, which), turn)
            assert found == answer(number, which, turn), (number, which, turn, found)


async def read_in_transactions(connection: asyncpg.Connection, number: int) -> None:
    for turn in range(ROUNDS):
        async with connection.transaction():
            for which in (0, 4, 8, 0, 4):
                found = await connection.fetchrow(question(number, which), turn)
                assert found == (answer(number, which, turn),), (number, which, turn, found)


async def use_prepared(connection: asyncpg.Connection, number: int) -> None:
    prepared = [await connection.prepare(question(number, which)) for which in range(STATEMENTS)]
    for turn in range(ROUNDS):
        for which, statement in enumerate(prepared):
            assert await statement.fetchval(turn) == answer(number, which, turn)
            await asyncio.sleep(0)


async def write(connection: asyncpg.Connection, number: int) -> None:
    table = f"asyncpg_client_{number}"
    await connection.execute(
        f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id serial, number int, note text)"
    )
    insert = f"INSERT INTO {table} (number, note) VALUES ($1, $2)"
    await connection.executemany(insert, [(number, f"many {n}") for n in range(100)])
    for turn in range(ROUNDS):
        row = await connection.fetchrow(f"{insert} RETURNING number, note", number, f"one {turn}")
        assert row == (number, f"one {turn}")
    async with connection.transaction():
        query = f"SELECT number, note FROM {table} WHERE note LIKE $1 ORDER BY id"
        notes = [tuple(row) async for row in connection.cursor(query, "many %", prefetch=30)]
    assert notes == [(number, f"many {n}") for n in range(100)]
    count = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE number = $1", number)
    assert count == 100 + ROUNDS


async def main(url: str, number: int, cache_size: int) -> None:
    tasks = (read, read_in_transactions, use_prepared, write)
    connections = [await asyncpg.connect(url, statement_cache_size=cache_size) for _ in tasks]
    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(
        *(task(connection, number) for task, connection in zip(tasks, connections, strict=True))
    )
    for connection in connections:
        await connection.close()
    print(f"{number}: every answer right")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
