"""psycopg 3, unmodified: COPY, types of one's own, binary results."""

import datetime
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, errors
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Jsonb
from psycopg.types.range import Range, RangeInfo, register_range

from tests.integration.conftest import Stack


def connect(stack: Stack, **options: Any) -> Connection[Any]:
    return psycopg.connect(stack.endpoint().url, **options)


def prepare(stack: Stack, text: str) -> None:
    with psycopg.connect(stack.direct().url, autocommit=True) as connection:
        connection.execute(text.encode())


def test_copy_in_and_out_of_several_clients(stack: Stack) -> None:
    tables = "".join(
        f"DROP TABLE IF EXISTS copied_{n}; CREATE TABLE copied_{n} (id int, label text);" for n in range(4)
    )
    prepare(stack, tables)

    def work(client: int) -> None:
        # About a megabyte each way: more than any buffer on the way holds.
        rows = [(n, f"{client}:{n}:" + "x" * 100) for n in range(10_000)]
        with connect(stack, autocommit=client % 2 == 0, prepare_threshold=0) as connection:
            with connection.cursor().copy(f"COPY copied_{client} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            found = connection.execute(f"SELECT count(*) FROM copied_{client} WHERE id >= %s", [0]).fetchone()
            assert found == (10_000,)
            with connection.cursor().copy(f"COPY copied_{client} TO STDOUT (FORMAT binary)") as copy:
                copy.set_types(["int4", "text"])
                assert list(copy.rows()) == rows
            query = f"COPY (SELECT label FROM copied_{client} WHERE id = %s) TO STDOUT"
            with connection.cursor().copy(query, [7]) as copy:
                assert b"".join(copy) == f"{rows[7][1]}\n".encode()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_copy_that_the_server_or_the_client_fails_leaves_nothing(plain_stack: Stack, autocommit: bool) -> None:
    prepare(plain_stack, "DROP TABLE IF EXISTS copy_failed; CREATE TABLE copy_failed (id int, label text)")

    def server_fails(connection: Connection[Any]) -> None:
        with connection.cursor().copy("COPY copy_failed FROM STDIN") as copy:
            for n in range(5_000):
                copy.write(f"{n}\tlabel\n")
            copy.write("not a number\tlabel\n")
            for n in range(5_000):
                copy.write(f"{n}\tlabel\n")

    def client_fails(connection: Connection[Any]) -> None:
        with connection.cursor().copy("COPY copy_failed FROM STDIN") as copy:
            copy.write("1\tlabel\n")
            raise LookupError("the client's own")

    def reading_fails(connection: Connection[Any]) -> None:
        with connection.cursor().copy("COPY (SELECT 1 / (5 - n) FROM generate_series(1, 9) n) TO STDOUT") as copy:
            assert next(iter(copy)) == b"0\n"
            b"".join(copy)

    def client_stops_reading(connection: Connection[Any]) -> None:
        with connection.cursor().copy("COPY (SELECT n FROM generate_series(1, 1000000) n) TO STDOUT") as copy:
            next(iter(copy))
            raise LookupError("the client's own")

    failures: list[tuple[Callable[[Connection[Any]], None], type[Exception]]] = [
        (server_fails, errors.InvalidTextRepresentation),
        (client_fails, LookupError),
        (reading_fails, errors.DivisionByZero),
        (client_stops_reading, LookupError),
    ]
    with connect(plain_stack, autocommit=autocommit, prepare_threshold=0) as connection:
        for fail, error in failures:
            with pytest.raises(error):
                fail(connection)
            connection.rollback()
            assert connection.execute("SELECT count(*) + %s FROM copy_failed", [0]).fetchone() == (0,)
            connection.commit()


class Mood(Enum):
    SAD = "sad"
    HAPPY = "happy"


def test_types_of_ones_own_are_looked_up_and_travel_both_ways(stack: Stack) -> None:
    prepare(
        stack,
        """DROP TYPE IF EXISTS psycopg_pair, psycopg_span CASCADE; DROP TYPE IF EXISTS psycopg_mood CASCADE;
        CREATE TYPE psycopg_mood AS ENUM ('sad', 'happy');
        CREATE TYPE psycopg_pair AS (n int, mood psycopg_mood);
        CREATE TYPE psycopg_span AS RANGE (subtype = int);""",
    )
    with connect(stack, prepare_threshold=0) as connection, connect(stack, prepare_threshold=0) as other:
        mood = EnumInfo.fetch(connection, "psycopg_mood")
        assert mood is not None
        assert mood.labels == ["sad", "happy"]
        register_enum(mood, connection, Mood, mapping={member: member.value for member in Mood})
        pair = CompositeInfo.fetch(connection, "psycopg_pair")
        assert pair is not None
        assert list(pair.field_names) == ["n", "mood"]
        register_composite(pair, connection)
        assert pair.python_type is not None
        span = RangeInfo.fetch(connection, "psycopg_span")
        assert span is not None
        register_range(span, connection)
        assert TypeInfo.fetch(connection, "psycopg_is_not_there") is None
        basic = TypeInfo.fetch(connection, "int4")
        assert basic is not None
        assert basic.oid == 23
        for n in range(7):
            other.execute(f"SELECT 'other {n}', %s", [n])
            value = pair.python_type(n, Mood.HAPPY)
            for binary in (False, True):
                cursor = connection.cursor(binary=binary)
                values = (Mood.SAD, [Mood.SAD, Mood.HAPPY], value, [value, value], Range(n, n + 3, bounds="[)"))
                kinds = ("mood", "mood[]", "pair", "pair[]", "span")
                cursor.execute("SELECT " + ", ".join(f"%s::psycopg_{kind}" for kind in kinds), values)
                assert cursor.fetchone() == values
            connection.commit()


VALUES: list[tuple[str, Any]] = [
    ("int4", 825373492),
    ("text", "1234"),
    ("int8", 2**40),
    ("float8", 1.5),
    ("numeric", Decimal("-123456.789")),
    ("uuid", UUID(int=2**100)),
    ("jsonb", {"a": [1, None, "é"]}),
    ("bytea", b"\x00\xff" * 300),
    ("timestamp", datetime.datetime(2024, 2, 29, 12, 30, 15, 123456)),
    ("date", datetime.date(1999, 12, 31)),
    ("interval", datetime.timedelta(days=3, seconds=5)),
    ("bool", True),
    ("int4[]", [1, None, 3]),
    ("text[]", ["a", 'b"c', "d,e"]),
]


@pytest.mark.parametrize("threshold", [0, 5, None])
def test_binary_results_under_one_name_are_read_as_their_own_type(plain_stack: Stack, threshold: int | None) -> None:
    with ExitStack() as opened:
        connections = [
            opened.enter_context(connect(plain_stack, autocommit=True, prepare_threshold=threshold)) for _ in range(5)
        ]
        for number in range(8):
            for client, connection in enumerate(connections):
                kind, value = VALUES[(client * 3 + number // 7) % len(VALUES)]
                cursor = connection.cursor(binary=True)
                parameter = Jsonb(value) if kind == "jsonb" else value
                row = cursor.execute(f"SELECT %b::{kind}, {client}", [parameter]).fetchone()
                assert row == (value, client)
        for kind, value in VALUES:
            for connection in connections:
                cursor = connection.cursor(binary=True)
                parameter = Jsonb(value) if kind == "jsonb" else value
                row = cursor.execute(f"SELECT %s::{kind}, NULL::{kind}", [parameter]).fetchone()
                assert row == (value, None)
