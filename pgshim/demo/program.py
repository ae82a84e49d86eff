"""An ordinary asyncpg program, with every setting at its default. It knows nothing of pgshim.

    python -m pgshim.demo.program postgresql://... orders

One process is one service of an app, with a table of its own. Every answer says which service it belongs to,
so that a wrong row is told from a right one. Prints its tally as JSON.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import asyncpg

ROUNDS = 40
ROWS = 40


class Tally:
    """What happened: right answers, wrong answers, errors by class and message."""

    def __init__(self) -> None:
        self.right = 0
        self.wrong = 0
        self.errors: Counter[str] = Counter()

    async def check(self, answer: Awaitable[Any], expected: Any) -> None:
        """Counts one step of the program, whose answer should be `expected`."""
        try:
            found = await answer
        # All, for asyncpg decodes a foreign row with its own statement's types: anything may come of that.
        except Exception as error:
            message = "".join(str(error).splitlines()[:1])
            self.errors[f"{type(error).__name__}: {message}"] += 1
        else:
            if found == expected:
                self.right += 1
            else:
                self.wrong += 1

    def as_json(self) -> str:
        return json.dumps(vars(self))


class Service:
    """The queries of one service, on its own table of `ROWS` rows (id, label, amount)."""

    def __init__(self, name: str, tally: Tally) -> None:
        self.name = name
        self.tally = tally

    def label(self, number: int) -> str:
        return f"{self.name} {number}"

    async def create_table(self, connection: asyncpg.Connection) -> None:
        await connection.execute(f"""
            DROP TABLE IF EXISTS {self.name}, {self.name}_log;
            CREATE TABLE {self.name} (id int PRIMARY KEY, label text, amount int);
            INSERT INTO {self.name} SELECT n, '{self.name} ' || n, n * 10 FROM generate_series(1, {ROWS}) n;
            CREATE TABLE {self.name}_log (entry text);
        """)

    async def read(self, connection: asyncpg.Connection) -> None:
        """Three statements, again and again: after the first time asyncpg has them prepared."""
        check, name = self.tally.check, self.name
        for number in range(1, ROUNDS + 1):
            await check(
                connection.fetchval(f"SELECT label FROM {name} WHERE id = $1", number), self.label(number)
            )
            await check(
                connection.fetchrow(f"SELECT id, label FROM {name} WHERE amount = $1", number * 10),
                (number, self.label(number)),
            )
            await check(
                connection.fetch(f"SELECT label FROM {name} WHERE id <= $1 ORDER BY id", number),
                [(self.label(n),) for n in range(1, number + 1)],
            )

    async def read_from_pool(self, pool: asyncpg.Pool) -> None:
        """Takes a connection for each query, as a web app does for each request."""
        for number in range(1, ROUNDS + 1):
            await self.tally.check(
                pool.fetchval(f"SELECT label FROM {self.name} WHERE id = $1", number), self.label(number)
            )

    async def write(self, connection: asyncpg.Connection) -> None:
        """Transactions, executemany and a cursor."""
        for number in range(ROUNDS):
            await self.tally.check(self._log(connection, self.label(number)), self.label(number))
        entries = [(self.label(number),) for number in range(ROWS)]
        insert = f"INSERT INTO {self.name}_log VALUES ($1)"
        await self.tally.check(connection.executemany(insert, entries), None)
        count = f"SELECT count(*) FROM {self.name}_log WHERE entry LIKE $1"
        await self.tally.check(connection.fetchval(count, f"{self.name} %"), ROUNDS + ROWS)
        await self.tally.check(self._scan(connection), [self.label(number) for number in range(1, ROWS + 1)])

    async def _log(self, connection: asyncpg.Connection, entry: str) -> str:
        async with connection.transaction():
            returned: str = await connection.fetchval(
                f"INSERT INTO {self.name}_log VALUES ($1) RETURNING entry", entry
            )
            await connection.fetch(f"SELECT entry FROM {self.name}_log WHERE entry = $1", entry)
        return returned

    async def _scan(self, connection: asyncpg.Connection) -> list[str]:
        labels = []
        async with connection.transaction():
            async for row in connection.cursor(f"SELECT label FROM {self.name} ORDER BY id", prefetch=20):
                labels.append(row["label"])
        return labels


async def run(dsn: str, name: str) -> Tally:
    """Runs one service: a connection that reads, one that writes, and a pool, all at once."""
    tally = Tally()
    service = Service(name, tally)
    reader = await asyncpg.connect(dsn)
    writer = await asyncpg.connect(dsn)
    pool = await asyncpg.create_pool(dsn, min_size=2, max_size=2)
    await service.create_table(writer)
    await asyncio.gather(
        service.read(reader),
        service.write(writer),
        service.read_from_pool(pool),
        service.read_from_pool(pool),
    )
    await pool.close()
    await writer.close()
    await reader.close()
    return tally


if __name__ == "__main__":
    print(asyncio.run(run(sys.argv[1], sys.argv[2])).as_json())
