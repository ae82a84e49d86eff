"""A table changes between two executions of one prepared statement: right rows or the server's error, never others.

The judge is the same driver at PostgreSQL itself.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from pgshim.demo.processes import Endpoint
from tests.integration.conftest import Stack
from tests.integration.schema_drivers import DRIVERS, Driver, asyncpg_fetch, asyncpg_in_transactions, rows_line
from tests.integration.support import connected, connected_directly, on_the_server, run

CACHED_PLAN = "cached plan must not change result type"
# What PostgreSQL says: most drivers give the code, psqlpy gives the message.
CHANGED = {"error 0A000", f"error {CACHED_PLAN}"}
COMPLETION_UNKNOWN = {
    "error 40003",
    "error the statement was executed, but its result columns are no longer those that were described",
}


@dataclass(frozen=True)
class Change:
    """A table, a change of it, and what `SELECT * FROM changed WHERE id = 1` returns before and after.

    The columns and the statements are SQL; `changed` is the table.
    """

    columns: str
    values: str
    ddl: str
    before: dict[str, Any]
    after: dict[str, Any]
    query: str = "SELECT * FROM changed WHERE id = $1"

    @property
    def setup(self) -> str:
        return (
            f"DROP TABLE IF EXISTS changed; CREATE TABLE changed ({self.columns});"
            f"INSERT INTO changed VALUES ({self.values})"
        )


SWAP = "ALTER TABLE changed RENAME a TO c; ALTER TABLE changed RENAME b TO a; ALTER TABLE changed RENAME c TO b"
CHANGES = {
    "a column is added": Change(
        "id int, label text",
        "1, 'one'",
        "ALTER TABLE changed ADD COLUMN extra int DEFAULT 7",
        {"id": 1, "label": "one"},
        {"id": 1, "label": "one", "extra": 7},
    ),
    "a column is dropped": Change(
        "id int, label text, gone int",
        "1, 'one', 5",
        "ALTER TABLE changed DROP COLUMN gone",
        {"id": 1, "label": "one", "gone": 5},
        {"id": 1, "label": "one"},
    ),
    "int becomes text": Change(
        "id int, v int",
        "1, 1234",
        "ALTER TABLE changed ALTER v TYPE text",
        {"id": 1, "v": 1234},
        {"id": 1, "v": "1234"},
    ),
    "int becomes bigint": Change(
        "id int, v int",
        "1, 1234",
        "ALTER TABLE changed ALTER v TYPE bigint; UPDATE changed SET v = 1234567890123",
        {"id": 1, "v": 1234},
        {"id": 1, "v": 1234567890123},
    ),
    "float8 becomes bigint": Change(
        "id int, v float8",
        "1, 1234",
        "ALTER TABLE changed ALTER v TYPE bigint",
        {"id": 1, "v": 1234.0},
        {"id": 1, "v": 1234},
    ),
    "two columns swap their names": Change(
        "id int, a int, b int",
        "1, 10, 20",
        SWAP,
        {"id": 1, "a": 10, "b": 20},
        {"id": 1, "b": 10, "a": 20},
    ),
    "the parameter's column becomes bigint": Change(
        "id int, label text",
        "1, 'one'",
        "ALTER TABLE changed ALTER id TYPE bigint; UPDATE changed SET label = 'two'",
        {"id": 1, "label": "one"},
        {"id": 1, "label": "two"},
    ),
    "the parameter's column alone becomes bigint": Change(
        "id int, label text",
        "1, 'one'",
        "ALTER TABLE changed ALTER id TYPE bigint; UPDATE changed SET label = 'two'",
        {"label": "one"},
        {"label": "two"},
        query="SELECT label FROM changed WHERE id = $1",
    ),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
each_driver = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.__name__)


async def execute_around(stack: Stack, driver: Driver, endpoint: Endpoint, change: Change) -> list[str]:
    """What the app sees of its statement twice before the change and three times after it."""
    async with connected(stack) as connection:
        await connection.execute(change.setup)  # So that pgshim knows nothing of the table before.
    async with driver(endpoint, change.query, 1) as execute:
        seen = [await execute(), await execute()]
        await on_the_server(stack, change.ddl)
        return [*seen, *[await execute() for _ in range(3)]]


@each_change
@each_driver
def test_a_select_gives_right_rows_or_the_servers_error(plain_stack: Stack, driver: Driver, change: Change) -> None:
    async def main(stack: Stack) -> None:
        straight = await execute_around(stack, driver, stack.direct(), change)
        through = await execute_around(stack, driver, stack.endpoint(), change)
        before, after = rows_line([change.before]), rows_line([change.after])
        assert straight[:2] == through[:2] == [before, before]
        for judge, seen in zip(straight[2:], through[2:], strict=True):
            assert judge == after or judge in CHANGED
            assert seen in (after, judge)

    run(main, plain_stack)


ADDED = CHANGES["a column is added"].ddl
RETYPED = CHANGES["int becomes text"].ddl
WRITES = {
    "a column is added": (ADDED, {"id": 1, "v": 1, "extra": 7}),
    "a column is dropped": ("ALTER TABLE changed DROP COLUMN v", {"id": 1}),
    "int becomes text": (RETYPED, {"id": 1, "v": "1"}),
    "two columns swap their names": (
        "ALTER TABLE changed RENAME id TO c; ALTER TABLE changed RENAME v TO id; ALTER TABLE changed RENAME c TO v",
        {"v": None, "id": 1},
    ),
}
WRITE_TABLE = Change("id int, v int DEFAULT 1", "0, 1", "", {}, {})


@pytest.mark.parametrize(("ddl", "after"), WRITES.values(), ids=list(WRITES))
@each_driver
def test_an_insert_is_carried_out_at_most_once(
    plain_stack: Stack, driver: Driver, ddl: str, after: dict[str, Any]
) -> None:
    async def main(stack: Stack) -> None:
        insert = "INSERT INTO changed (id) VALUES ($1) RETURNING *"
        await on_the_server(stack, WRITE_TABLE.setup)
        async with driver(stack.endpoint(), insert, 1) as execute, connected_directly(stack) as inspector:
            assert await execute() == rows_line([{"id": 1, "v": 1}])
            await inspector.execute("DELETE FROM changed")
            await inspector.execute(ddl)
            seen = await execute()
            written = await inspector.fetchval("SELECT count(*) FROM changed")
            if seen in CHANGED:
                assert written == 0
            elif seen in COMPLETION_UNKNOWN:
                assert written <= 1
            else:
                assert seen == rows_line([after])
                assert written == 1

    run(main, plain_stack)


def test_a_transaction_fails_with_the_insert_that_met_a_change(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        insert = "INSERT INTO changed (id) VALUES ($1) RETURNING *"
        for ddl, _ in WRITES.values():
            await on_the_server(stack, WRITE_TABLE.setup)
            async with connected(stack) as connection:
                await connection.fetchrow(insert, 1)
                await on_the_server(stack, ddl)
                transaction = connection.transaction()
                await transaction.start()
                await connection.execute("INSERT INTO changed (id) VALUES ($1)", 50)
                with pytest.raises(asyncpg.InvalidCachedStatementError):
                    await connection.fetchrow(insert, 2)
                with pytest.raises(asyncpg.InFailedSQLTransactionError):
                    await connection.fetchval("SELECT $1::int", 1)
                await transaction.rollback()
                assert await connection.fetchval("SELECT count(*) FROM changed") == 2
                async with connection.transaction():
                    assert len(await connection.fetch(insert, 3)) == 1
                assert await connection.fetchval("SELECT count(*) FROM changed") == 3

    run(main, plain_stack)


def test_the_error_after_a_write_says_what_happened(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, WRITE_TABLE.setup)
        async with connected(stack) as connection:
            statement = await connection.prepare("UPDATE changed SET id = id + $1 RETURNING *")
            assert await statement.fetch(1) == [(1, 1)]
            await on_the_server(stack, RETYPED)
            with pytest.raises(asyncpg.StatementCompletionUnknownError) as unknown:
                await statement.fetch(1)
            assert unknown.value.sqlstate == "40003"
            assert "committed" in unknown.value.hint
            assert await connection.fetch("SELECT * FROM changed") == [(2, "1")]
            assert await connection.fetch("UPDATE changed SET id = id + $1 RETURNING *", 1) == [(3, "1")]

    run(main, plain_stack)


def test_a_select_with_an_effect_has_it_at_most_once(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, WRITE_TABLE.setup)
        await on_the_server(stack, "DROP SEQUENCE IF EXISTS effects; CREATE SEQUENCE effects")
        for ddl in (RETYPED, ADDED):
            async with connected(stack) as connection:
                counted = "SELECT nextval('effects') - $1::bigint AS number, changed.* FROM changed"
                await connection.fetch(counted, 0)
                await on_the_server(stack, f"{ddl}; ALTER SEQUENCE effects RESTART")
                try:
                    rows = await connection.fetch(counted, 0)
                except asyncpg.StatementCompletionUnknownError:
                    rows = [{"number": 1}]
                assert rows[0]["number"] == 1
                assert await connection.fetchval("SELECT nextval('effects')") == 2

    run(main, plain_stack)


GROWN = """
    DROP TABLE IF EXISTS growing; DROP TYPE IF EXISTS grown;
    CREATE TYPE grown AS (a int); CREATE TABLE growing (g grown); INSERT INTO growing VALUES (ROW(1));
"""


@pytest.mark.parametrize("driver", [asyncpg_fetch, asyncpg_in_transactions])
def test_a_composite_type_that_grows_is_read_as_at_the_server(plain_stack: Stack, driver: Driver) -> None:
    async def main(stack: Stack) -> None:
        seen = []
        for endpoint in (stack.direct(), stack.endpoint()):
            await on_the_server(stack, GROWN)
            async with driver(endpoint, "SELECT g, CAST($1 AS int) AS n FROM growing", 1) as execute:
                seen.append([await execute()])
                await on_the_server(stack, "ALTER TYPE grown ADD ATTRIBUTE b text")
                for _ in range(3):
                    try:
                        seen[-1].append(await execute())
                    except asyncpg.OutdatedSchemaCacheError as error:
                        seen[-1].append(type(error).__name__)
        assert seen[0] == seen[1]
        assert seen[0][-1] == "rows [{'g': <Record a=1 b=None>, 'n': 1}]"

    run(main, plain_stack)


def test_readers_never_see_a_wrong_value_while_the_type_changes_all_the_time(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, CHANGES["int becomes text"].setup)
        is_over = asyncio.Event()

        async def change() -> None:
            async with connected_directly(stack) as connection:
                for _ in range(12):
                    await connection.execute("ALTER TABLE changed ALTER v TYPE text")
                    await asyncio.sleep(0.02)
                    await connection.execute("ALTER TABLE changed ALTER v TYPE int USING v::int")
                    await asyncio.sleep(0.02)
            is_over.set()

        async def read(number: int) -> int:
            right = 0
            async with connected(stack) as connection:
                while not is_over.is_set():
                    try:
                        row = await connection.fetchrow(f"SELECT id, v, {number} AS number FROM changed")
                    except asyncpg.InvalidCachedStatementError:
                        # asyncpg tries again only once.
                        continue
                    assert row in ((1, 1234, number), (1, "1234", number))
                    right += 1
            return right

        reading = asyncio.gather(*(read(number) for number in range(4)))
        await change()
        assert min(await reading) > 10

    run(main, stack)
