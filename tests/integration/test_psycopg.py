"""psycopg 3, unmodified: statement names, transactions, cursors, cancelling. Pipelines and types are next door.

Every connection names its prepared statements `_pg3_0`, `_pg3_1`, ...: names of different clients always collide.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg import Connection, errors
from psycopg.rows import dict_row, scalar_row

from tests.integration.conftest import Stack

Client = Connection[Any]


@contextmanager
def clients(stack: Stack, number: int, **options: Any) -> Iterator[list[Client]]:
    """So many connections through pgshim, to a pooler that has all of its servers open."""
    with ExitStack() as opened:
        url = stack.endpoint().url
        connections = [opened.enter_context(psycopg.connect(url, **options)) for _ in range(number)]
        # The pooler goes round between the servers that it has: needed at once, all three are opened.
        for text in (b"BEGIN", b"SELECT 1", b"ROLLBACK"):
            for connection in connections[:3]:
                connection.pgconn.exec_(text)
        yield connections


def prepare_tables(stack: Stack, text: str) -> None:
    with psycopg.connect(stack.direct().url, autocommit=True) as connection:
        connection.execute(text.encode())


def wait_until_running(stack: Stack, *marks: str) -> None:
    """Returns once a statement with each of these comments runs on the server."""
    running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
    deadline = time.monotonic() + 10
    with psycopg.connect(stack.direct().url, autocommit=True, row_factory=scalar_row) as connection:
        for mark in marks:
            while connection.execute(running, [f"%-- {mark}"]).fetchone() != 1:
                assert time.monotonic() < deadline, f"{mark} does not run"
                time.sleep(0.01)


@pytest.mark.parametrize("threshold", [5, 0, None])
@pytest.mark.parametrize("autocommit", [True, False])
def test_statements_of_one_name_keep_their_clients_answers(
    stack: Stack, threshold: int | None, autocommit: bool
) -> None:
    # Twelve rounds: with the default threshold, run 6 is the first that prepares.
    with clients(stack, 5, autocommit=autocommit, prepare_threshold=threshold) as connections:
        for number in range(12):
            for client, connection in enumerate(connections):
                columns = ", ".join(f"{client} * 1000 + {column} + %(n)s::int" for column in range(client + 1))
                row = connection.execute(f"SELECT {columns}", {"n": number}).fetchone()
                assert row == tuple(client * 1000 + column + number for column in range(client + 1))
                name = connection.execute(f"SELECT 'client {client} ' || %s", [str(number)]).fetchone()
                assert name == (f"client {client} {number}",)
                if not autocommit:
                    connection.commit()


def test_threads_that_read_and_write_at_once_see_their_own_tables(stack: Stack) -> None:
    number, rounds = 6, 30
    start = Barrier(number)

    def work(client: int) -> list[tuple[int, str]]:
        table = f"psycopg_thread_{client}"
        with psycopg.connect(stack.endpoint().url, autocommit=True) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.execute(f"CREATE TABLE {table} (id int, label text)")
            start.wait(20)
            for n in range(rounds):
                insert = f"INSERT INTO {table} VALUES (%s, %s) RETURNING label"
                label = f"{client}:{n}"
                assert connection.execute(insert, [n, label]).fetchone() == (label,)
                with connection.transaction():
                    connection.execute(f"UPDATE {table} SET id = id + %s WHERE id = %s", [1000, n])
                    count = connection.execute(f"SELECT count(*) FROM {table} WHERE id >= %s", [1000])
                    assert count.fetchone() == (n + 1,)
                select = f"SELECT label FROM {table} WHERE id = %s"
                assert connection.execute(select, [1000 + n]).fetchall() == [(label,)]
            return connection.execute(f"SELECT id, label FROM {table} ORDER BY id").fetchall()

    with ThreadPoolExecutor(number) as pool:
        found = list(pool.map(work, range(number)))
    assert found == [[(1000 + n, f"{client}:{n}") for n in range(rounds)] for client in range(number)]


def test_a_rollback_and_what_it_deallocates_leaves_the_others_statements_alone(plain_stack: Stack) -> None:
    # After a ROLLBACK psycopg forgets all its statements and sends DEALLOCATE ALL.
    with clients(plain_stack, 4, prepare_threshold=0) as connections:
        for number in range(6):
            for client, connection in enumerate(connections):
                for step in range(3):
                    found = connection.execute(f"SELECT {client} + %s::int, %s::int", [number, step]).fetchone()
                    assert found == (client + number, step)
                if number % 2 == client % 2:
                    connection.rollback()
                else:
                    connection.commit()


def test_the_own_ddl_between_two_executions_gives_the_new_columns(plain_stack: Stack) -> None:
    prepare_tables(
        plain_stack,
        "DROP TABLE IF EXISTS psycopg_ddl_0, psycopg_ddl_1, psycopg_ddl_2;"
        + "".join(f"CREATE TABLE psycopg_ddl_{n} AS SELECT {n} AS a;" for n in range(3)),
    )
    with clients(plain_stack, 3, autocommit=True, prepare_threshold=0) as connections:
        for client, connection in enumerate(connections):
            table = f"psycopg_ddl_{client}"
            select = f"SELECT * FROM {table} WHERE a::text = %s"
            neighbour = connections[(client + 1) % 3]
            for _ in range(3):
                assert connection.execute(select, [str(client)]).fetchall() == [(client,)]
                assert neighbour.execute("SELECT %s || 'n'", [str(client)]).fetchall() == [(f"{client}n",)]
            connection.execute(f"ALTER TABLE {table} ADD COLUMN b text DEFAULT 'b{client}'")
            assert connection.execute(select, [str(client)]).fetchall() == [(client, f"b{client}")]
            connection.execute(f"ALTER TABLE {table} ALTER COLUMN a TYPE text")
            assert connection.execute(select, [str(client)]).fetchall() == [(str(client), f"b{client}")]
            connection.execute(f"DROP TABLE {table}")
            with pytest.raises(errors.UndefinedTable):
                connection.execute(select, [str(client)])
            assert neighbour.execute("SELECT %s || 'n'", [str(client)]).fetchall() == [(f"{client}n",)]


@pytest.mark.parametrize("threshold", [0, 5])
def test_statements_beyond_prepared_max_are_evicted_and_prepared_again(plain_stack: Stack, threshold: int) -> None:
    with clients(plain_stack, 3, autocommit=True, prepare_threshold=threshold) as connections:
        for connection in connections:
            connection.prepared_max = 3
        for number in range(4):
            for statement in range(6):
                for client, connection in enumerate(connections):
                    for _ in range(threshold + 1):
                        found = connection.execute(f"SELECT {client * 10 + statement} + %s", [number]).fetchone()
                        assert found == (client * 10 + statement + number,)


def test_transactions_nest_and_only_what_failed_is_undone(stack: Stack) -> None:
    prepare_tables(stack, "DROP TABLE IF EXISTS psycopg_nested; CREATE TABLE psycopg_nested (client int, step text)")
    with clients(stack, 4, prepare_threshold=0) as connections:

        def add(client: int, step: str) -> None:
            connections[client].execute("INSERT INTO psycopg_nested VALUES (%s, %s)", [client, step])

        def fail(client: int) -> None:
            with connections[client].transaction():
                add(client, "undone")
                connections[client].execute("SELECT %s / 0", [client])

        with ExitStack() as outer:
            for client, connection in enumerate(connections[:3]):
                outer.enter_context(connection.transaction())
                add(client, "outer")
            for client, connection in enumerate(connections[:3]):
                with pytest.raises(errors.DivisionByZero):
                    fail(client)
                with connection.transaction():
                    add(client, "inner")
                    with connection.transaction(force_rollback=True):
                        add(client, "forced")
        with connections[3].transaction(force_rollback=True):
            add(3, "gone")
        found = connections[3].execute("SELECT client, step FROM psycopg_nested ORDER BY client, step DESC").fetchall()
    assert found == [(client, step) for client in range(3) for step in ("outer", "inner")]


def test_an_error_in_a_block_fails_the_block_until_its_end(plain_stack: Stack) -> None:
    with clients(plain_stack, 4, prepare_threshold=0) as connections:
        for connection in connections[:3]:
            with pytest.raises(errors.UndefinedTable):
                connection.execute("SELECT %s FROM psycopg_is_not_there", [1])
            with pytest.raises(errors.InFailedSqlTransaction):
                connection.execute("SELECT %s", [1])
        for client, connection in enumerate(connections):
            connection.rollback()
            assert connection.execute("SELECT %s + 1", [client]).fetchone() == (client + 1,)
            connection.rollback()


def test_server_side_cursors_of_one_name_are_read_in_turns(stack: Stack) -> None:
    with clients(stack, 3) as connections, ExitStack() as opened:
        cursors = [opened.enter_context(connection.cursor("c")) for connection in connections]
        for client, cursor in enumerate(cursors):
            cursor.itersize = 7
            query = "SELECT n * %s, repeat('x', n) FROM generate_series(1, 50) n"
            cursor.execute(query, [client + 1])
        for first in range(1, 50, 10):
            for client, cursor in enumerate(cursors):
                expected = [(n * (client + 1), "x" * n) for n in range(first, first + 10)]
                assert cursor.fetchmany(10) == expected
        assert cursors[0].fetchone() is None


def test_a_server_side_cursor_scrolls_iterates_and_reads_binary(plain_stack: Stack) -> None:
    with clients(plain_stack, 1, prepare_threshold=0) as (connection,):
        with connection.cursor("s", scrollable=True, binary=True) as cursor:
            cursor.itersize = 4
            cursor.execute("SELECT n, n::text FROM generate_series(1, %s) n", [10])
            assert [column.name for column in cursor.description or ()] == ["n", "n"]
            assert [row[0] for row in cursor] == list(range(1, 11))
            cursor.scroll(2, mode="absolute")
            assert cursor.fetchone() == (3, "3")
            cursor.scroll(-2)
            assert cursor.fetchall() == [(n, str(n)) for n in range(2, 11)]
        assert connection.execute("SELECT %s", ["after"]).fetchone() == ("after",)


def test_streams_are_read_in_turns(plain_stack: Stack) -> None:
    with clients(plain_stack, 3, autocommit=True, prepare_threshold=0) as connections:
        query = "SELECT n * %s FROM generate_series(1, 3000) n"
        for size in (1, 100):
            streams = [
                connection.cursor().stream(query, [client + 1], size=size)
                for client, connection in enumerate(connections)
            ]
            for number, rows in enumerate(zip(*streams, strict=True), 1):
                assert rows == ((number,), (number * 2,), (number * 3,))
        for client, connection in enumerate(connections):
            assert connection.execute("SELECT %s", [client]).fetchone() == (client,)


def test_one_text_with_several_statements_gives_every_result(plain_stack: Stack) -> None:
    notices: list[str | None] = []
    with clients(plain_stack, 1, autocommit=True) as (connection,):
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        cursor = connection.execute(
            "SELECT 1; DO $$ BEGIN RAISE NOTICE 'told'; END $$; SELECT 'two', 2; SELECT 3 WHERE false"
        )
        results = [result.fetchall() for result in cursor.results() if result.description]
        assert results == [[(1,)], [("two", 2)], []]
        assert notices == ["told"]
        with pytest.raises(errors.DivisionByZero):
            connection.execute("SELECT 1; SELECT 1 / 0; SELECT 3")
        assert connection.cursor(row_factory=dict_row).execute("SELECT %s AS n", [4]).fetchone() == {"n": 4}


def test_a_two_phase_commit_is_finished_by_another_client(plain_stack: Stack) -> None:
    prepare_tables(plain_stack, "DROP TABLE IF EXISTS psycopg_tpc; CREATE TABLE psycopg_tpc (n int)")
    with clients(plain_stack, 1, prepare_threshold=0) as (last,):
        for number, finish in enumerate((last.tpc_commit, last.tpc_rollback)):
            with closing(psycopg.connect(plain_stack.endpoint().url, prepare_threshold=0)) as first:
                first.tpc_begin(first.xid(1, f"psycopg {number}", "branch"))
                first.execute("INSERT INTO psycopg_tpc VALUES (%s)", [number])
                first.tpc_prepare()
            (xid,) = (xid for xid in last.tpc_recover() if xid.gtrid == f"psycopg {number}")
            last.rollback()
            finish(xid)
        assert last.execute("SELECT n FROM psycopg_tpc").fetchall() == [(0,)]


@pytest.mark.parametrize("method", ["cancel_safe", "cancel"])
def test_a_cancel_ends_the_own_query_and_no_other(stack: Stack, method: str) -> None:
    with clients(stack, 3, autocommit=True, prepare_threshold=0) as (first, second, idle), ThreadPoolExecutor() as pool:
        long = pool.submit(first.execute, "SELECT pg_sleep(30), %s -- psycopg long", [1])
        short = pool.submit(second.execute, "SELECT 'kept', pg_sleep(1), %s -- psycopg short", [2])
        wait_until_running(stack, "psycopg long", "psycopg short")
        getattr(idle, method)()
        getattr(first, method)()
        with pytest.raises(errors.QueryCanceled):
            long.result(10)
        assert short.result(10).fetchone() == ("kept", "", 2)
        assert first.execute("SELECT %s", [3]).fetchone() == (3,)
        assert idle.execute("SELECT %s", [4]).fetchone() == (4,)
