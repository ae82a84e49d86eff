"""Shared descriptions: what they save, counted by a relay; and schema changes that come when nobody looks.

Never a row of another shape than the table had, and no error that asyncpg does not mend by itself, or that does not say
what happened.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest
from psycopg import pq

from pgshim.demo.relay import Relay
from pgshim.demo.servers import PgshimProcess
from tests.integration.conftest import Stack
from tests.integration.support import connected, connected_directly, on_the_server, run

TABLE = (
    "drop table if exists described; create table described(id int, label text);"
    "insert into described values (1, 'one')"
)
QUERY = "select label from described where id = $1"


@pytest.fixture
def counted(plain_stack: Stack) -> Iterator[tuple[str, Relay]]:
    """The URL of a pgshim of its own, and the relay behind it."""
    pooler = plain_stack.pgbouncer
    with (
        Relay(pooler.host, pooler.port) as relay,
        PgshimProcess(pooler, upstream_address=f"{relay.host}:{relay.port}") as shim,
    ):
        asyncio.run(on_the_server(plain_stack, TABLE))
        yield shim.endpoint().url, relay


async def trips_of_fetches(url: str, relay: Relay, count: int, **options: object) -> list[int]:
    """Round trips of the first fetch on each of so many connections."""
    found = []
    for _ in range(count):
        connection = await asyncpg.connect(url, **options)
        relay.take()
        assert await connection.fetchval(QUERY, 1) == "one"
        found.append(relay.take().queries)
        await connection.close()
    return found


def test_the_first_fetch_takes_one_when_another_connection_has_asked(counted: tuple[str, Relay]) -> None:
    assert asyncio.run(trips_of_fetches(*counted, 4)) == [2, 1, 1, 1]


def test_without_a_statement_cache_each_does(counted: tuple[str, Relay]) -> None:
    assert asyncio.run(trips_of_fetches(*counted, 3, statement_cache_size=0)) == [2, 1, 1]


def test_with_settings_in_force_too(counted: tuple[str, Relay]) -> None:
    settings = {"timezone": "Asia/Tokyo", "search_path": "public"}
    assert asyncio.run(trips_of_fetches(*counted, 3, server_settings=settings)) == [2, 1, 1]


def test_an_insert_takes_one_too(counted: tuple[str, Relay]) -> None:
    async def insert(url: str, relay: Relay) -> list[int]:
        found = []
        for number in range(3):
            connection = await asyncpg.connect(url)
            relay.take()
            await connection.execute("insert into described values ($1, $2)", number + 2, "x")
            found.append(relay.take().queries)
            await connection.close()
        return found

    assert asyncio.run(insert(*counted)) == [2, 1, 1]


def test_prepare_takes_none(counted: tuple[str, Relay]) -> None:
    async def prepare(url: str, relay: Relay) -> list[int]:
        found = []
        for _ in range(2):
            connection = await asyncpg.connect(url)
            relay.take()
            statement = await connection.prepare(QUERY)
            assert [each.name for each in statement.get_attributes()] == ["label"]
            assert [each.name for each in statement.get_parameters()] == ["int4"]
            found.append(relay.take().queries)
            await connection.close()
        return found

    assert asyncio.run(prepare(*counted)) == [1, 0]


def test_a_change_through_pgshim_is_seen_at_once(counted: tuple[str, Relay]) -> None:
    async def change(url: str) -> None:
        first, second = [await asyncpg.connect(url) for _ in range(2)]
        assert await first.fetchval(QUERY, 1) == "one"
        await second.execute("alter table described alter label type int using 7, alter id type bigint")
        statement = await second.prepare(QUERY)
        assert [each.type.name for each in statement.get_attributes()] == ["int4"]
        assert [each.name for each in statement.get_parameters()] == ["int8"]
        await first.close()
        await second.close()

    asyncio.run(change(counted[0]))


async def test_around(url: str, stack: Stack, ddl: str, query: str, *arguments: object) -> object:
    """What a connection fetches that was told what held before a change that went around pgshim."""
    first, second = [await asyncpg.connect(url) for _ in range(2)]
    try:
        await first.fetch(query, *arguments)
        await on_the_server(stack, ddl)
        return [tuple(row) for row in await second.fetch(query, *arguments)]
    finally:
        await first.close()
        await second.close()


test_around.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ddl", "rows"),
    [
        ("alter table described alter label type int using 1234", [(1, 1234)]),
        ("alter table described add extra int default 5", [(1, "one", 5)]),
        ("alter table described drop label", [(1,)]),
        ("alter table described rename label to other", [(1, "one")]),
        ("alter table described alter id type bigint", [(1, "one")]),
        ("drop table described; create table described(id int, label text)", []),
    ],
)
def test_asyncpg_mends_a_change_around_pgshim(
    counted: tuple[str, Relay], plain_stack: Stack, ddl: str, rows: list[tuple[object, ...]]
) -> None:
    query = "select * from described where id = $1"
    assert asyncio.run(test_around(counted[0], plain_stack, ddl, query, 1)) == rows


def test_what_writes_says_that_it_has(counted: tuple[str, Relay], plain_stack: Stack) -> None:
    """And does not do so again."""
    ddl = "alter table described alter id type bigint"
    sql = "insert into described values ($1, 'two')"

    async def write(url: str) -> None:
        first, second = [await asyncpg.connect(url) for _ in range(2)]
        await first.execute(sql, 2)
        await on_the_server(plain_stack, ddl)
        with pytest.raises(asyncpg.StatementCompletionUnknownError, match="no longer those that were described"):
            await second.execute(sql, 3)
        await second.execute(sql, 4)  # Refused before it runs, and prepared anew: now the parameter is a bigint.
        await second.execute(sql, 5_000_000_000)
        written = await second.fetchval("select array_agg(id order by id) from described")
        assert written == [1, 2, 3, 4, 5_000_000_000]
        await first.close()
        await second.close()

    asyncio.run(write(counted[0]))


def test_a_table_that_is_gone_is_an_error_of_the_execution(counted: tuple[str, Relay], plain_stack: Stack) -> None:
    async def gone(url: str) -> None:
        first, second = [await asyncpg.connect(url) for _ in range(2)]
        await first.fetchval(QUERY, 1)
        await on_the_server(plain_stack, "drop table described")
        with pytest.raises(asyncpg.UndefinedTableError):
            await second.fetchval(QUERY, 1)
        with pytest.raises(asyncpg.UndefinedTableError):
            await second.prepare(QUERY + " and true")
        assert await second.fetchval("select 1") == 1
        await first.close()
        await second.close()

    asyncio.run(gone(counted[0]))


def test_libpq_may_ask_for_them_one_after_the_other(plain_stack: Stack) -> None:
    """Then they are nobody else's: a Describe in a batch of its own is of a statement that was brought there."""
    asyncio.run(on_the_server(plain_stack, TABLE))
    for _ in range(2):
        connection = pq.PGconn.connect(plain_stack.endpoint().url.encode())
        connection.prepare(b"s", QUERY.encode())
        told = connection.describe_prepared(b"s")
        assert (told.nparams, told.param_type(0), told.fname(0), told.ftype(0)) == (1, 23, b"label", 25)
        assert connection.exec_prepared(b"s", [b"1"]).get_value(0, 0) == b"one"
        connection.finish()


# Eight connections, and a table that changes under them.

SHAPES = [
    "alter table flux alter v type text using 'v' || id",
    "alter table flux alter v type int using id",
    "alter table flux alter v type bigint using 5000000000 + id",
    "alter table flux alter v type float8 using id + 0.5",
    "alter table flux add if not exists more text default 'more'",
    "alter table flux drop if exists more",
    "alter table flux alter id type bigint",
    "alter table flux alter id type int",
]
QUERIES = [
    "select * from flux where id = $1",
    "select id, v from flux where id = $1",
    "select v from flux where id = $1 and v is not null",
    "select count(*), min(v) from flux where id = $1",
]
#: All that v may ever be, for a row.
VALUES = {number: {f"v{number}", number, 5_000_000_000 + number, number + 0.5} for number in range(5)}
#: What asyncpg may not mend by itself: the table changes again while it does, or what ran was committed.
UNDERSTOOD = (asyncpg.InvalidCachedStatementError, asyncpg.StatementCompletionUnknownError)
SECONDS = 6.0


class Flux:
    """What the connections were told."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.fetched = 0
        self.written: list[int] = []
        self.is_over = False

    async def read(self, url: str, random: random.Random) -> None:
        connection = await asyncpg.connect(url)
        while not self.is_over:
            if random.random() < 0.15:
                await connection.close()
                connection = await asyncpg.connect(url)
            number = random.randrange(5)
            try:
                rows = await connection.fetch(random.choice(QUERIES), number)
            except UNDERSTOOD as error:
                self.errors[type(error).__name__] += 1
                continue
            self.fetched += 1
            assert len(rows) == 1
            for name, value in rows[0].items():
                right = {"id": {number}, "more": {"more"}, "count": {1}}.get(name, VALUES[number])
                assert value in right, (name, value)
                assert type(value) in {type(each) for each in right}
        await connection.close()

    async def write(self, url: str, first: int) -> None:
        """Each number once, whatever the errors say."""
        connection = await asyncpg.connect(url)
        for number in range(first, first + 100_000):
            if self.is_over:
                break
            try:
                await connection.execute("insert into written(n) values ($1)", number)
            except asyncpg.StatementCompletionUnknownError:
                self.errors["StatementCompletionUnknownError of a write"] += 1
            self.written.append(number)
            if number % 20 == 0:
                await connection.close()
                connection = await asyncpg.connect(url)
        await connection.close()

    async def change(self, connection: asyncpg.Connection, random: random.Random) -> None:
        while not self.is_over:
            await asyncio.sleep(random.uniform(0.01, 0.1))
            await connection.execute(random.choice(SHAPES) if random.random() < 0.9 else "vacuum flux")
            kind = random.choice(["int", "bigint", "numeric"])
            await connection.execute(f"alter table written alter n type {kind}")


def test_a_table_that_changes_under_eight_connections(stack: Stack) -> None:
    run(_change_under_eight, stack)


async def _change_under_eight(stack: Stack) -> None:
    await on_the_server(
        stack,
        "drop table if exists flux, written; create table flux(id int, v int, more text default 'more');"
        "insert into flux select i, i from generate_series(0, 4) i; create table written(n int);"
        "grant all on flux, written to public; alter table flux owner to app; alter table written owner to app",
    )
    flux, url = Flux(), stack.endpoint().url
    source = random.Random(5)
    async with connected(stack) as through, connected_directly(stack) as around:
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(flux.read(url, random.Random(number)))
            for number in range(2):
                group.create_task(flux.write(url, number * 100_000))
            group.create_task(flux.change(through, source))
            group.create_task(flux.change(around, source))
            await asyncio.sleep(SECONDS)
            flux.is_over = True
        rows = [int(row["n"]) for row in await around.fetch("select n from written")]
    assert flux.fetched > 100
    assert sorted(rows) == sorted(flux.written)
