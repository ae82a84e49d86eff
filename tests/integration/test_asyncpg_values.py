"""asyncpg: types that it must look up in the catalogue, codecs, and large values."""

import asyncio
import datetime
import decimal
import ipaddress
import json
import uuid
from typing import Any

import asyncpg
import pytest

from tests.integration.conftest import Stack
from tests.integration.support import connected, on_the_server, run

MEBIBYTE = 1 << 20
TYPES = """
    DROP TABLE IF EXISTS shirts;
    DROP TYPE IF EXISTS shirt, shirt_size, sale_point;
    DROP DOMAIN IF EXISTS shirt_count;
    CREATE TYPE shirt_size AS ENUM ('small', 'large');
    CREATE DOMAIN shirt_count AS int CHECK (VALUE > 0);
    CREATE TYPE sale_point AS (city text, number shirt_count);
    CREATE TYPE shirt AS (of shirt_size, price numeric(8, 2), sold_at sale_point);
    CREATE TABLE shirts (id shirt_count PRIMARY KEY, of shirt_size, whole shirt, sizes shirt_size[],
        counts shirt_count[], sales sale_point[]);
"""


async def store_and_read_shirts(connection: asyncpg.Connection, start: int) -> None:
    whole = ("large", decimal.Decimal("12.50"), ("Oslo", 3))
    values = ("small", whole, ["small", "large"], [1, 2, 3], [("Rome", 1), ("Bern", 2)])
    insert = "INSERT INTO shirts VALUES ($1, $2, $3, $4, $5, $6) RETURNING *"
    for number in range(start, start + 3):
        assert await connection.fetchrow(insert, number, *values) == (number, *values)
        row = await connection.fetchrow("SELECT * FROM shirts WHERE id = $1 AND of = $2", number, "small")
        assert row == (number, *values)
        assert row["whole"]["sold_at"]["city"] == "Oslo"
        assert row["sales"][1]["number"] == 2
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO shirts (id) VALUES ($1)", -start)
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await connection.fetchval("SELECT $1::shirt_size", "medium")
    assert await connection.fetchval("SELECT $1::shirt_size[]", ["large"]) == ["large"]


@pytest.mark.parametrize("cache_size", [100, 0])
def test_enums_domains_composites_and_arrays_of_them(stack: Stack, cache_size: int) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, TYPES)
        async with (
            connected(stack, statement_cache_size=cache_size) as one,
            connected(stack, statement_cache_size=cache_size) as two,
        ):
            await asyncio.gather(store_and_read_shirts(one, 10), store_and_read_shirts(two, 20))
            assert await one.fetchval("SELECT count(*) FROM shirts") == 6

    run(main, stack)


async def use_json(connection: asyncpg.Connection, who: str) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        document = {"who": who, "list": [1, None, "é"], "nested": {"a": 1.5}}
        for _ in range(4):
            assert await connection.fetchval(f"SELECT $1::{name}", document) == document
            assert await connection.fetchval(f"SELECT json_build_object('who', '{who}')::{name}") == {"who": who}
            assert await connection.fetchval(f"SELECT $1::{name}[]", [document, 1]) == [document, 1]
        await connection.reset_type_codec(name, schema="pg_catalog")
        assert await connection.fetchval(f"SELECT $1::{name}", '{"a": 1}') == '{"a": 1}'


def test_json_codecs_of_several_connections(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as one, connected(stack) as two:
            await asyncio.gather(use_json(one, "one"), use_json(two, "two"))

    run(main, stack)


def test_codecs_for_an_enum_and_a_composite(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, TYPES)
        async with connected(stack) as connection:
            assert await connection.fetchval("SELECT $1::shirt_size", "small") == "small"
            await connection.set_type_codec("shirt_size", encoder=str.lower, decoder=str.upper)
            for _ in range(4):
                assert await connection.fetchval("SELECT $1::shirt_size", "SMALL") == "SMALL"
                assert await connection.fetchval("SELECT ARRAY['large'::shirt_size, $1]", "SMALL") == ["LARGE", "SMALL"]
            await connection.set_type_codec(
                "sale_point",
                encoder=lambda sale: (sale["city"], sale["number"]),
                decoder=lambda fields: {"city": fields[0], "number": fields[1]},
                format="tuple",
            )
            for number in range(1, 5):
                sale = {"city": "Oslo", "number": number}
                assert await connection.fetchval("SELECT $1::sale_point", sale) == sale
                assert await connection.fetchval("SELECT ($1::sale_point).number", sale) == number
            await connection.reset_type_codec("shirt_size")
            assert await connection.fetchval("SELECT $1::shirt_size", "small") == "small"

    run(main, plain_stack)


NOW = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.UTC)
VALUES: list[tuple[str, Any]] = [
    ("bool", True),
    ("int2", -7),
    ("int8", 1 << 40),
    ("float8", 1.5),
    ("numeric", decimal.Decimal("12345.678900")),
    ("text", "a 'quoted' \\ text with \u20ac and \U0001f600"),
    ("bytea", bytes(range(256))),
    ("uuid", uuid.UUID(int=42)),
    ("date", NOW.date()),
    ("timestamptz", NOW),
    ("timestamp", NOW.replace(tzinfo=None)),
    ("interval", datetime.timedelta(days=3, seconds=4)),
    ("inet", ipaddress.ip_address("10.0.0.1")),
    ("cidr", ipaddress.ip_network("10.0.0.0/8")),
    ("jsonb", '{"a": [1, 2]}'),
    ("int4[]", [[1, 2], [3, None]]),
    ("text[]", ["", 'a "b"', None]),
    ("int4range", asyncpg.Range(1, 5)),
    ("tstzrange", asyncpg.Range(NOW, None)),
    ("point", asyncpg.Point(1.0, 2.0)),
    ("bit", asyncpg.BitString("1")),
]


def test_values_of_built_in_types_come_back_as_they_went(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            for _ in range(3):
                for name, value in VALUES:
                    assert await connection.fetchrow(f"SELECT $1::{name}, 1", value) == (value, 1)
                    assert await connection.fetchrow(f"SELECT $1::{name}, 2", None) == (None, 2)
            columns = ", ".join(f"${n}::{name}" for n, (name, _) in enumerate(VALUES, 1))
            values = [value for _, value in VALUES]
            async with connection.transaction():
                for _ in range(3):
                    assert await connection.fetchrow(f"SELECT {columns}", *values) == tuple(values)
            many = ", ".join(f"${n}::int" for n in range(1, 1001))
            assert await connection.fetchrow(f"SELECT {many}", *range(1000)) == tuple(range(1000))

    run(main, plain_stack)


async def send_and_receive(connection: asyncpg.Connection, letter: str) -> None:
    text = letter * (5 * MEBIBYTE)
    data = text.encode()
    for _ in range(2):
        assert await connection.fetchval("SELECT $1::text", text) == text
        assert await connection.fetchval("SELECT length($1::bytea)", data) == len(data)
        assert await connection.fetchval("SELECT repeat($1, $2)", letter, len(text)) == text
    async with connection.transaction():
        assert await connection.fetch("SELECT $1::bytea FROM generate_series(1, 2)", data) == [(data,), (data,)]
        assert await connection.fetchval("SELECT $1::text", letter) == letter


def test_values_of_five_mebibytes_both_ways_at_once(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as one, connected(stack) as two:
            await asyncio.gather(send_and_receive(one, "a"), send_and_receive(two, "b"))

    run(main, stack)


def test_a_simple_query_of_five_mebibytes_and_a_copy_of_wide_rows(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            await connection.execute("DROP TABLE IF EXISTS wide")
            await connection.execute("CREATE TABLE wide (id int, note text)")
            await connection.execute(f"INSERT INTO wide VALUES (1, '{'x' * (5 * MEBIBYTE)}')")
            records = [(2, "y" * (5 * MEBIBYTE)), (3, None)]
            await connection.copy_records_to_table("wide", records=records)
            await connection.executemany("INSERT INTO wide VALUES ($1, $2)", [(4, "z" * (5 * MEBIBYTE))])
            lengths = await connection.fetch("SELECT id, length(note), left(note, 1) FROM wide ORDER BY id")
            size = 5 * MEBIBYTE
            assert lengths == [(1, size, "x"), (2, size, "y"), (3, None, None), (4, size, "z")]
            assert await connection.fetchval("SELECT note FROM wide WHERE id = $1", 2) == "y" * size

    run(main, plain_stack)


def test_a_result_of_many_rows(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            for _ in range(2):
                rows = await connection.fetch("SELECT n, md5(n::text) FROM generate_series(1, $1) n", 50_000)
                assert len(rows) == 50_000
                assert rows[-1] == (50_000, "1017bfd4673955ffee4641ad3d481b1c")

    run(main, stack)
