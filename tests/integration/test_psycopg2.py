"""psycopg2, unmodified. It speaks the simple protocol only: what could go wrong is whose server a Query lands on."""

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import psycopg2.extras  # type: ignore[import-untyped]
import pytest
from psycopg2 import errors

from tests.integration.conftest import Stack


@contextmanager
def clients(stack: Stack, number: int) -> Iterator[list[Any]]:
    with ExitStack() as opened:
        url = stack.endpoint().url
        yield [opened.enter_context(closing(psycopg2.connect(url))) for _ in range(number)]


def query(connection: Any, text: str, parameters: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def prepare(stack: Stack, text: str) -> None:
    with closing(psycopg2.connect(stack.direct().url)) as connection:
        connection.autocommit = True
        query(connection, text)


def test_transactions_of_several_clients_in_turns(stack: Stack) -> None:
    prepare(stack, "DROP TABLE IF EXISTS psycopg2_turns; CREATE TABLE psycopg2_turns (client int, n int)")
    # Two hold a server of the pool each; the other three share what is left.
    with clients(stack, 5) as connections:
        for connection in connections[2:]:
            connection.autocommit = True
        for n in range(10):
            for client, connection in enumerate(connections):
                assert query(connection, "SELECT %s * 1000 + %s", (client, n)) == [(client * 1000 + n,)]
                assert query(connection, "INSERT INTO psycopg2_turns VALUES (%s, %s)", (client, n)) == 1
            for client, connection in enumerate(connections):
                # What a transaction wrote is seen by itself only, until its commit.
                seen = query(connection, "SELECT client FROM psycopg2_turns WHERE n = %s ORDER BY 1", (n,))
                assert [other for (other,) in seen] == sorted({client, 2, 3, 4})
            connections[0].commit()
            connections[1].commit() if n % 2 else connections[1].rollback()
        found = query(connections[4], "SELECT client, count(*) FROM psycopg2_turns GROUP BY 1 ORDER BY 1")
        assert found == [(0, 10), (1, 5), (2, 10), (3, 10), (4, 10)]


def test_threads_read_and_write_at_once(stack: Stack) -> None:
    def work(client: int) -> Any:
        table = f"psycopg2_thread_{client}"
        with clients(stack, 1) as (connection,):
            query(connection, f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (n int, label text)")
            connection.commit()
            insert = f"INSERT INTO {table} VALUES (%s, %s) RETURNING label"
            for n in range(25):
                with connection:
                    assert query(connection, insert, (n, f"{client}:{n}")) == [(f"{client}:{n}",)]
                query(connection, insert, (1000, "undone"))
                with pytest.raises(errors.DivisionByZero), connection:
                    query(connection, "SELECT 1 / 0")
            return query(connection, f"SELECT n, label FROM {table} ORDER BY n")

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(work, range(6)))
    assert found == [[(n, f"{client}:{n}") for n in range(25)] for client in range(6)]


def test_named_cursors_of_one_name_are_read_in_turns(stack: Stack) -> None:
    with clients(stack, 3) as connections, ExitStack() as opened:
        cursors = [opened.enter_context(connection.cursor("c", scrollable=True)) for connection in connections]
        for client, cursor in enumerate(cursors, 1):
            cursor.itersize = 7
            cursor.execute("SELECT n * %s, repeat('x', n) FROM generate_series(1, 50) n", (client,))
        for first in range(1, 50, 10):
            for client, cursor in enumerate(cursors, 1):
                expected = [(n * client, "x" * n) for n in range(first, first + 10)]
                assert cursor.fetchmany(10) == expected
        for client, cursor in enumerate(cursors, 1):
            cursor.scroll(9, mode="absolute")
            assert [n for n, _ in cursor] == [n * client for n in range(10, 51)]


def test_execute_values_and_execute_batch(plain_stack: Stack) -> None:
    prepare(plain_stack, "DROP TABLE IF EXISTS psycopg2_many; CREATE TABLE psycopg2_many (id int, label text)")
    with clients(plain_stack, 1) as (connection,), connection.cursor() as cursor:
        rows = [(n, f"label {n}") for n in range(250)]
        insert = "INSERT INTO psycopg2_many VALUES %s RETURNING id"
        returned = psycopg2.extras.execute_values(cursor, insert, rows, fetch=True)
        assert returned == [(n,) for n in range(250)]
        update = "UPDATE psycopg2_many SET label = %s WHERE id = %s"
        psycopg2.extras.execute_batch(cursor, update, [(f"new {n}", n) for n in range(250)], page_size=30)
        cursor.executemany(update, [("newest", n) for n in range(5)])
        connection.commit()
        cursor.execute("SELECT count(*), count(*) FILTER (WHERE label = 'new ' || id), max(id) FROM psycopg2_many")
        assert cursor.fetchone() == (250, 245, 249)


def test_copy_in_and_out(stack: Stack) -> None:
    prepare(stack, "DROP TABLE IF EXISTS psycopg2_copied; CREATE TABLE psycopg2_copied (client int, id int, t text)")

    def work(client: int) -> bytes:
        with clients(stack, 1) as (connection,), connection.cursor() as cursor:
            lines = "".join(f"{client}\t{n}\t{'x' * 100}\n" for n in range(5_000))
            cursor.copy_expert("COPY psycopg2_copied FROM STDIN", io.StringIO(lines))
            assert cursor.rowcount == 5_000
            connection.commit()
            found = io.BytesIO()
            select = f"SELECT * FROM psycopg2_copied WHERE client = {client} ORDER BY id"
            cursor.copy_expert(f"COPY ({select}) TO STDOUT", found)
            assert found.getvalue() == lines.encode()
            return found.getvalue()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(work, range(4)))) == 4


def test_a_copy_that_the_server_or_the_client_fails_leaves_nothing(plain_stack: Stack) -> None:
    class Broken(io.StringIO):
        def read(self, size: int | None = -1) -> str:
            raise LookupError("the client's own")

    prepare(plain_stack, "DROP TABLE IF EXISTS psycopg2_failed; CREATE TABLE psycopg2_failed (id int)")
    with clients(plain_stack, 1) as (connection,), connection.cursor() as cursor:
        for autocommit in (False, True):
            connection.autocommit = autocommit
            lines = "1\n" * 20_000 + "not a number\n" + "1\n" * 20_000
            with pytest.raises(errors.InvalidTextRepresentation):
                cursor.copy_expert("COPY psycopg2_failed FROM STDIN", io.StringIO(lines))
            connection.rollback()
            with pytest.raises(errors.QueryCanceled, match="the client's own"):
                cursor.copy_expert("COPY psycopg2_failed FROM STDIN", Broken("1\n"))
            connection.rollback()
            with pytest.raises(errors.DivisionByZero):
                cursor.copy_expert("COPY (SELECT 1 / (5 - n) FROM generate_series(1, 9) n) TO STDOUT", io.StringIO())
            connection.rollback()
            assert query(connection, "SELECT count(*) FROM psycopg2_failed") == [(0,)]
            connection.rollback()


def test_reset_ends_the_transaction_and_the_client_goes_on(stack: Stack) -> None:
    prepare(stack, "DROP TABLE IF EXISTS psycopg2_reset; CREATE TABLE psycopg2_reset (n int)")
    with clients(stack, 4) as connections:
        for n, connection in enumerate(connections):
            query(connection, "INSERT INTO psycopg2_reset VALUES (%s)", (n,))
            connection.reset()
            assert query(connection, "SELECT count(*) FROM psycopg2_reset") == [(0,)]
            connection.reset()
            connection.reset()
        for n, connection in enumerate(connections):
            connection.autocommit = True
            assert query(connection, "SELECT %s + 1", (n,)) == [(n + 1,)]
            connection.reset()
            # In a transaction block it is PostgreSQL that refuses it.
            query(connection, "BEGIN")
            with pytest.raises(errors.ActiveSqlTransaction):
                query(connection, "DISCARD ALL")
            query(connection, "ROLLBACK")


def test_isolation_levels_belong_to_their_own_transactions(plain_stack: Stack) -> None:
    with clients(plain_stack, 3) as connections:
        levels = ("serializable", "repeatable read", "read committed")
        for connection, level in zip(connections, levels, strict=True):
            connection.set_session(isolation_level=level, readonly=level == "repeatable read")
        for _ in range(3):
            for connection, level in zip(connections, levels, strict=True):
                assert query(connection, "SHOW transaction_isolation") == [(level,)]
                read_only = "on" if level == "repeatable read" else "off"
                assert query(connection, "SHOW transaction_read_only") == [(read_only,)]
            for connection in connections:
                connection.commit()


def test_values_errors_and_notices(plain_stack: Stack) -> None:
    with clients(plain_stack, 1) as (connection,):
        connection.autocommit = True
        values = (None, "é'\\\"\n", psycopg2.Binary(b"\0\xff"), [1, 2], psycopg2.extras.Json({"a": 1}))
        ((null, text, blob, array, json),) = query(connection, "SELECT %s, %s, %s, %s, %s::jsonb", values)
        assert (null, text, bytes(blob), array, json) == (None, values[1], b"\0\xff", [1, 2], {"a": 1})
        with pytest.raises(errors.UndefinedColumn) as raised:
            query(connection, "SELECT 1, absent")
        assert raised.value.diag.statement_position == "11"
        query(connection, "DO $$ BEGIN RAISE NOTICE 'told'; END $$")
        assert connection.notices == ["NOTICE:  told\n"]


def test_a_cancel_ends_the_own_query_and_no_other(stack: Stack) -> None:
    with clients(stack, 3) as (first, second, idle), ThreadPoolExecutor(2) as pool:
        for connection in (first, second, idle):
            connection.autocommit = True
        long = pool.submit(query, first, "SELECT pg_sleep(30) -- psycopg2 long")
        short = pool.submit(query, second, "SELECT 'kept', pg_sleep(1) -- psycopg2 short")
        running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%%-- psycopg2 ' || %s"
        with closing(psycopg2.connect(stack.direct().url)) as watcher:
            watcher.autocommit = True
            for mark in ("long", "short"):
                deadline = time.monotonic() + 10
                while query(watcher, running, (mark,)) != [(1,)]:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
        idle.cancel()
        first.cancel()
        with pytest.raises(errors.QueryCanceled):
            long.result(10)
        assert short.result(10) == [("kept", "")]
        assert [query(connection, "SELECT %s", (7,)) for connection in (first, idle)] == [[(7,)], [(7,)]]
