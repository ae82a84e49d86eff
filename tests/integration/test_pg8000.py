"""pg8000, unmodified: it parses the unnamed statement and binds it behind another Sync, maybe on another server.

Its prepared statements are `pg8000_statement_0`, ... on every connection.
"""

import io
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from threading import Barrier
from typing import Any

import pg8000.dbapi  # type: ignore[import-untyped]
import pg8000.native  # type: ignore[import-untyped]
import pytest

from tests.integration.conftest import Stack


def login(stack: Stack) -> dict[str, Any]:
    """Arguments of pg8000's `connect`."""
    endpoint = stack.endpoint()
    arguments = {name: getattr(endpoint, name) for name in ("host", "port", "user", "password", "database")}
    # False is plain text; None would try TLS first, without verifying.
    return arguments | {"ssl_context": ssl.create_default_context(cafile=stack.ca) if stack.ca else False}


def connect(stack: Stack) -> Any:
    """One in autocommit."""
    return closing(pg8000.native.Connection(**login(stack)))


@contextmanager
def clients(stack: Stack, number: int) -> Iterator[list[Any]]:
    with ExitStack() as opened:
        connections = [opened.enter_context(connect(stack)) for _ in range(number)]
        # The pooler goes round between the servers that it has: needed at once, all three are opened.
        for text in ("BEGIN", "SELECT 1", "ROLLBACK"):
            for connection in connections[:3]:
                connection.run(text)
        yield connections


def sqlstate(error: Exception) -> str:
    return str(error.args[0]["C"])


def test_unnamed_statements_of_several_clients_keep_their_answers(stack: Stack) -> None:
    with clients(stack, 5) as connections:
        for n in range(10):
            for client, connection in enumerate(connections):
                text = f"SELECT CAST(:n AS int) + {client * 1000}, CAST(:name AS text)" + ", 'more'" * client
                expected = [client * 1000 + n, f"client {client}", *["more"] * client]
                assert connection.run(text, n=n, name=f"client {client}") == [expected]
                assert connection.run(f"SELECT {client}") == [[client]]


def test_threads_at_once_in_autocommit_and_in_transactions(stack: Stack) -> None:
    number, rounds = 6, 15
    start = Barrier(number)

    def work(client: int) -> Any:
        table = f"pg8000_thread_{client}"
        with closing(pg8000.dbapi.connect(**login(stack))) as connection:
            connection.autocommit = client % 2 == 0
            cursor = connection.cursor()
            cursor.execute(f"DROP TABLE IF EXISTS {table}")
            cursor.execute(f"CREATE TABLE {table} (n int, label text)")
            connection.commit()
            start.wait(20)
            for n in range(rounds):
                cursor.execute(f"INSERT INTO {table} VALUES (%s, %s) RETURNING label", (n, f"{client}:{n}"))
                assert cursor.fetchall() == ([f"{client}:{n}"],)
                cursor.execute(f"SELECT count(*) FROM {table} WHERE n <= %s", (n,))
                assert cursor.fetchone() == [n + 1]
                connection.commit()
                cursor.execute(f"UPDATE {table} SET label = label || %s WHERE n = %s", ("!", n))
                connection.rollback()
            cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", [(n, "many") for n in range(100, 105)])
            connection.commit()
            cursor.execute(f"SELECT n, label FROM {table} ORDER BY n")
            return cursor.fetchall()

    with ThreadPoolExecutor(number) as pool:
        found = list(pool.map(work, range(number)))
    many = [[n, "many"] for n in range(100, 105)]
    for client, rows in enumerate(found):
        # A rollback undoes nothing in autocommit.
        mark = "!" if client % 2 == 0 else ""
        assert list(rows) == [[n, f"{client}:{n}{mark}"] for n in range(rounds)] + many


def test_prepared_statements_of_one_name_keep_their_answers(stack: Stack) -> None:
    with clients(stack, 4) as connections:
        statements = [
            [
                connection.prepare(f"SELECT CAST(:n AS int) + {client * 1000}"),
                connection.prepare(f"SELECT 'client {client}', CAST(:n AS text)" + ", 'more'" * client),
            ]
            for client, connection in enumerate(connections)
        ]
        for n in range(8):
            for client, (sums, names) in enumerate(statements):
                assert sums.run(n=n) == [[client * 1000 + n]]
                assert names.run(n=str(n)) == [[f"client {client}", str(n), *["more"] * client]]
                assert connections[client].run("SELECT CAST(:n AS int)", n=n) == [[n]]
        for client, (sums, names) in enumerate(statements):
            sums.close()
            assert names.run(n="left") == [[f"client {client}", "left", *["more"] * client]]
            # It takes the name of the one that was closed.
            again = connections[client].prepare(f"SELECT CAST(:text AS text) || {client}")
            assert again.run(text="again") == [[f"again{client}"]]
            again.close()
            names.close()


def test_a_prepared_statement_serves_in_and_after_a_failed_block(plain_stack: Stack) -> None:
    with clients(plain_stack, 2) as (connection, other):
        divide = connection.prepare("SELECT 100 / CAST(:n AS int)")
        for _ in range(3):
            other.run("SELECT CAST(:n AS int)", n=1)
            assert divide.run(n=5) == [[20]]
            connection.run("BEGIN")
            assert divide.run(n=4) == [[25]]
            with pytest.raises(pg8000.native.DatabaseError) as raised:
                divide.run(n=0)
            assert sqlstate(raised.value) == "22012"
            with pytest.raises(pg8000.native.DatabaseError) as raised:
                divide.run(n=1)
            assert sqlstate(raised.value) == "25P02"
            connection.run("ROLLBACK")
        assert divide.run(n=10) == [[10]]
        divide.close()


def test_copy_in_and_out(stack: Stack) -> None:
    def work(client: int) -> None:
        table = f"pg8000_copied_{client}"
        with connect(stack) as connection:
            connection.run(f"DROP TABLE IF EXISTS {table}")
            connection.run(f"CREATE TABLE {table} (n int, label text)")
            lines = "".join(f"{n}\t{client}:{'x' * 100}\n" for n in range(5_000))
            connection.run(f"COPY {table} FROM STDIN", stream=io.StringIO(lines))
            assert connection.run(f"SELECT count(*), sum(n) FROM {table} WHERE n >= :n", n=0) == [
                [5_000, sum(range(5_000))]
            ]
            found = io.BytesIO()
            connection.run(f"COPY {table} TO STDOUT", stream=found)
            assert found.getvalue() == lines.encode()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_failed_copy_leaves_nothing_and_the_session_lives(plain_stack: Stack) -> None:
    with connect(plain_stack) as connection:
        connection.run("DROP TABLE IF EXISTS pg8000_failed")
        connection.run("CREATE TABLE pg8000_failed (n int)")
        for _ in range(2):
            lines = "1\n" * 20_000 + "not a number\n" + "1\n" * 20_000
            with pytest.raises(pg8000.native.DatabaseError) as raised:
                connection.run("COPY pg8000_failed FROM STDIN", stream=io.StringIO(lines))
            assert sqlstate(raised.value) == "22P02"
            with pytest.raises(pg8000.native.DatabaseError) as raised:
                connection.run("COPY (SELECT 1 / (5 - n) FROM generate_series(1, 9) n) TO STDOUT", stream=io.BytesIO())
            assert sqlstate(raised.value) == "22012"
            assert connection.run("SELECT count(*) + :n FROM pg8000_failed", n=0) == [[0]]


def test_copy_by_the_extended_protocol_swallows_a_sync(plain_stack: Stack) -> None:
    with closing(pg8000.dbapi.connect(**login(plain_stack))) as connection:
        cursor = connection.cursor()
        cursor.execute("DROP TABLE IF EXISTS pg8000_extended")
        cursor.execute("CREATE TABLE pg8000_extended (n int, label text)")
        cursor.execute("COPY pg8000_extended FROM STDIN", stream=io.StringIO("1\tone\n2\ttwo\n"))
        connection.commit()
        cursor.execute("SELECT * FROM pg8000_extended WHERE n > %s", (1,))
        assert cursor.fetchall() == ([2, "two"],)
        found = io.BytesIO()
        cursor.execute("COPY pg8000_extended TO STDOUT", stream=found)
        assert found.getvalue() == b"1\tone\n2\ttwo\n"
        connection.rollback()


def test_errors_leave_the_connection_in_step(plain_stack: Stack) -> None:
    wrong = [
        ("SELECT + FROM :n", "42601"),
        ("SELECT :n FROM pg8000_is_not_there", "42P01"),
        ("SELECT 1 / CAST(:n AS int)", "22012"),
        ("SELECT CAST(CAST(:n AS text) || 'x' AS int)", "22P02"),
    ]
    with clients(plain_stack, 2) as connections:
        for text, code in wrong:
            for client, connection in enumerate(connections):
                with pytest.raises(pg8000.native.DatabaseError) as raised:
                    connection.run(text, n=0)
                assert sqlstate(raised.value) == code
                assert connection.run("SELECT CAST(:n AS int) + 1", n=client) == [[client + 1]]


def test_a_two_phase_commit(plain_stack: Stack) -> None:
    with closing(pg8000.dbapi.connect(**login(plain_stack))) as connection:
        cursor = connection.cursor()
        cursor.execute("DROP TABLE IF EXISTS pg8000_tpc")
        cursor.execute("CREATE TABLE pg8000_tpc (n int)")
        connection.commit()
        for number, finish in enumerate((connection.tpc_commit, connection.tpc_rollback)):
            connection.tpc_begin(connection.xid(0, f"pg8000 {number}", ""))
            cursor.execute("INSERT INTO pg8000_tpc VALUES (%s)", (number,))
            connection.tpc_prepare()
            finish()
        cursor.execute("SELECT n FROM pg8000_tpc")
        assert cursor.fetchall() == ([0],)
        connection.rollback()
