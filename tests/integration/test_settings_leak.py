"""What one client sets, however it ends, no other client ever sees, on any server of the pool.

Client A sets whatever can be set and then leaves in one of many ways. Client B, straight at the pooler, takes all of
its servers at once and compares each with a new session of the server's.
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import permutations

import psycopg
import pytest

from pgshim.demo.servers import APP_USER, SUPERUSER, PgBouncer
from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE
from tests.oracle.wire import collect, encode_burst, expected_readies, frames

# One setting may be set to what changes nothing else of the list.
SETTERS = [
    "set work_mem = '77MB'",
    "set session timezone to 'Asia/Tokyo'",
    "set time zone interval '+02:00' hour to minute",
    "set datestyle to german",
    "set intervalstyle = 'iso_8601'",
    'set search_path = elsewhere, "B c", public',
    "set schema 'elsewhere'",
    "set statement_timeout = '29s'",
    "set lock_timeout = 12345",
    "set idle_in_transaction_session_timeout = '59s'",
    "set app.x = 'it''s A''s'",
    'set "App.Y" = 1',
    "select set_config('app.z', 'A', false), set_config('hash_mem_multiplier', '7', false)",
    "set default_transaction_isolation = serializable",
    "set session characteristics as transaction isolation level repeatable read, deferrable",
    "set client_encoding to latin1",
    "set names 'latin9'",
    "set standard_conforming_strings = off",
    "set backslash_quote = on",
    "set jit = off",
    "set enable_seqscan to off",
    "set plan_cache_mode = force_generic_plan",
    "set extra_float_digits = -5",
    "set bytea_output = escape",
    "set xmloption = document",
    "set client_min_messages = error",
    "set row_security = off",
    "set constraint_exclusion = on",
    "set default_tablespace = 'pg_default'",
    "set temp_tablespaces = pg_default",
    "set application_name = 'A'",
    "set role leak_role",
    "set session characteristics as transaction read only",
]
AS_SUPERUSER = [
    "set log_min_messages = error",
    "set session_replication_role = replica",
    "set log_statement = 'none'",
    "set zero_damaged_pages = off",
    "set role pg_monitor",
    "set session authorization leak_role",
    "set local role none",
]
RESETS = ["reset work_mem", "set timezone to default", "set role none", "reset all"]
WITHOUT_ROLES = [sql for sql in SETTERS if "role" not in sql]

# Ways to set them: bursts in the notation of tests.oracle.wire, each written at once.
Way = Callable[[list[str]], list[str]]


def execute(sql: str) -> str:
    return f"P |{sql}  B |  E"


WAYS: dict[str, Way] = {
    "Queries in autocommit": lambda all: [f"Q {sql}" for sql in all],
    "Queries in one write": lambda all: ["  ".join(f"Q {sql}" for sql in all)],
    "one Query": lambda all: [f"Q {'; '.join(all)}"],
    "one Query that fails": lambda all: [f"Q {'; '.join(all)}; select 1/0"],
    "Queries that fail amid": lambda all: [f"Q {sql}; select 1/0; set work_mem = '1MB'" for sql in all],
    "one Query with a block": lambda all: [f"Q begin; {'; '.join(all)}; commit"],
    "one Query with a block that is left open": lambda all: [f"Q begin; {'; '.join(all)}"],
    "one Query with a block that fails": lambda all: [f"Q begin; {'; '.join(all)}; select 1/0; commit"],
    "a block that is committed": lambda all: ["Q begin", *(f"Q {sql}" for sql in all), "Q commit"],
    "a block that is rolled back": lambda all: ["Q begin", *(f"Q {sql}" for sql in all), "Q rollback"],
    "a block that fails and stays": lambda all: ["Q begin", *(f"Q {sql}" for sql in all), "Q select 1/0"],
    "a block that fails and is committed": lambda all: ["Q begin", *(f"Q {sql}" for sql in all), "Q 1", "Q commit"],
    "a block that is left open": lambda all: ["Q set work_mem = '1MB'", "Q begin", *(f"Q {sql}" for sql in all)],
    "a block that is chained": lambda all: ["Q begin", f"Q {'; '.join(all)}", "Q commit and chain", "Q select 1"],
    "savepoints": lambda all: [
        "Q begin",
        *(f"Q savepoint s; {sql}" for sql in all),
        "Q rollback to s",
        "Q release s",
        f"Q {all[0]}; select 1/0",
        "Q rollback to s",
        "Q commit",
    ],
    "a prepared transaction": lambda all: [
        # Who prepares it as another role may not finish it as himself.
        f"Q begin; {'; '.join(sql for sql in all if 'role' not in sql)}",
        "Q prepare transaction 'leak'",
        "Q rollback prepared 'leak'",
    ],
    "batches in autocommit": lambda all: [f"{execute(sql)}  S" for sql in all],
    "batches in one write": lambda all: ["  ".join(f"{execute(sql)}  S" for sql in all)],
    "one batch": lambda all: ["  ".join([*map(execute, all), "S"])],
    "one batch that fails": lambda all: ["  ".join([*map(execute, all), execute("select 1/0"), "S"])],
    "one batch without its Sync": lambda all: ["  ".join([*map(execute, all), "H"])],
    "one batch that fails without its Sync": lambda all: ["  ".join([*map(execute, all), execute("select 1/0"), "H"])],
    "named statements, executed twice": lambda all: [
        *(f"P s{n}|{sql}  D S|s{n}  S" for n, sql in enumerate(all)),
        *(f"B |s{n}  E  S" for n, sql in enumerate(all)),
        "  ".join([*(f"B |s{n}  E" for n, sql in enumerate(all)), "S"]),
    ],
    "a block in batches that is committed": lambda all: [
        f"{execute('begin')}  S",
        *(f"{execute(sql)}  S" for sql in all),
        f"{execute('commit')}  S",
    ],
    "a block in one batch that is committed": lambda all: ["  ".join([*map(execute, ["begin", *all, "commit"]), "S"])],
    "a block in one batch that fails": lambda all: ["  ".join([*map(execute, ["begin", *all, "select 1/0"]), "S"])],
    "a block in one batch that is left open": lambda all: ["  ".join([*map(execute, ["begin", *all]), "S"])],
    "two transactions in one batch": lambda all: [
        "  ".join([*map(execute, ["begin", *all, "commit", "begin", *all, "rollback", *all]), "S"])
    ],
    "then statements and resets in turns": lambda all: [
        *(f"Q {sql}" for sql in all),
        *(step for sql in RESETS for step in (f"Q {sql}", "Q select 1", "Q begin; select 1; commit")),
        *(f"{execute(sql)}  S" for sql in all),
        "Q discard all",
        f"Q {'; '.join(all)}",
    ],
    "then a long statement": lambda all: [f"Q {'; '.join(all)}", "Q select pg_sleep(0.05)"],
    "then a COPY that is left": lambda all: [f"Q {'; '.join(all)}", "Q copy leak_copied from stdin  d 1\\n"],
    "then an unfinished message": lambda all: [f"Q {'; '.join(all)}", "unfinished"],
}

# Of a setting's source, what PgBouncer keeps in step by SETs of its own tells nothing.
# Nor does that of the running transaction's modes, which every transaction sets anew. A space as application_name
# is no client's: pgshim gives it where the client gives none, so that PgBouncer does not keep the last client's.
LOOK = """
SELECT name, CASE name WHEN 'application_name' THEN trim(setting) ELSE setting END,
CASE WHEN name IN ('client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings', 'application_name')
OR name LIKE 'transaction%' THEN '' ELSE source END FROM pg_settings
UNION ALL SELECT 'current_user', current_user, session_user
UNION ALL SELECT 'cursors', (SELECT count(*)::text FROM pg_cursors), ''
UNION ALL SELECT 'statements', (SELECT count(*)::text FROM pg_prepared_statements), ''
UNION ALL SELECT 'locks', (SELECT count(*)::text FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'advisory'), ''
UNION ALL SELECT 'temporary', (SELECT count(*)::text FROM pg_class WHERE relnamespace = pg_my_temp_schema()), ''
UNION ALL SELECT 'custom', concat(current_setting('app.x', true), current_setting('app.y', true),
current_setting('app.z', true)), ''
"""

Session = dict[bytes, tuple[bytes, bytes]]


def look(connection: psycopg.Connection) -> Session:
    result = connection.pgconn.exec_(LOOK.encode())
    assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message
    cells = ([result.get_value(row, column) or b"" for column in range(3)] for row in range(result.ntuples))
    return {name: (setting, source) for name, setting, source in cells}


def changed(session: Session, fresh: Session) -> Session:
    """What differs, but for the defaults of libraries that the server has loaded in the meantime (plpgsql's)."""
    return {name: value for name, value in session.items() if fresh.get(name, (value[0], b"default")) != value}


@contextmanager
def every_server(stack: Stack, user: str) -> Iterator[list[psycopg.Connection]]:
    """A transaction on each server of the user's pool at once, straight at the pooler."""
    with ExitStack() as held:
        connections = []
        for _ in range(POOL_SIZE):
            url = stack.pgbouncer.endpoint(user, **stack.parameters).url
            connections.append(held.enter_context(psycopg.connect(url, autocommit=True)))
            connections[-1].pgconn.exec_(b"BEGIN")
            held.callback(connections[-1].pgconn.exec_, b"ROLLBACK")
        pids = {connection.pgconn.exec_(b"SELECT pg_backend_pid()").get_value(0, 0) for connection in connections}
        assert len(pids) == POOL_SIZE
        yield connections


def leaks(stack: Stack, user: str) -> list[Session]:
    """What differs on each server of the pool from a new session of the server's."""
    with psycopg.connect(stack.direct(user).url, autocommit=True) as direct:
        direct.pgconn.exec_(b"BEGIN")
        fresh = look(direct)
    with every_server(stack, user) as connections:
        return [changed(look(connection), fresh) for connection in connections]


def wait_until_left(stack: Stack) -> None:
    """Returns when the pooler has no client left but the one that asks."""
    deadline = time.monotonic() + 10
    with psycopg.connect(
        stack.pgbouncer.endpoint(SUPERUSER, "pgbouncer", **stack.parameters).url, autocommit=True
    ) as admin:
        while (left := admin.pgconn.exec_(b"SHOW CLIENTS").ntuples) > 1:
            assert time.monotonic() < deadline, f"{left - 1} clients are still there"
            time.sleep(0.005)


class ClientA:
    """A client whose socket is ours once a driver has logged it in."""

    def __init__(self, stack: Stack, user: str, options: str = "") -> None:
        self.login = psycopg.connect(stack.endpoint(user).url, autocommit=True, options=options)
        self.wire = socket.socket(fileno=os.dup(self.login.pgconn.socket))
        self.wire.setblocking(True)

    def send(self, bursts: list[str], *, is_patient: bool = True) -> bytes:
        """Writes burst after burst, each when the last one is answered, or at once; returns the last one's answer."""
        answer = b""
        for burst in bursts:
            self.wire.sendall(b"Q\0\0\1\0select" if burst == "unfinished" else encode_burst(burst))
            if is_patient and burst != "unfinished":
                answer = collect(self.wire, expected_readies(burst), 0.002, 0.1)
        return answer

    def leave(self, how: str) -> None:
        if how.startswith("Terminate"):
            self.wire.sendall(b"X\0\0\0\4")
        if how.startswith("abort"):
            self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The driver's descriptor becomes another socket's: what it would say at its close is said to nobody.
        ours, theirs = socket.socketpair()
        os.dup2(ours.fileno(), self.login.pgconn.socket)
        self.wire.close()
        self.login.close()
        ours.close()
        theirs.close()


ENDS = ["Terminate", "close", "abort", "Terminate at once", "close at once", "abort at once"]


def live(stack: Stack, user: str, way: str, end: str) -> None:
    """Client A's life."""
    setters = SETTERS if user == APP_USER else WITHOUT_ROLES + AS_SUPERUSER
    client = ClientA(stack, user)
    client.send(WAYS[way](setters), is_patient=not end.endswith("at once"))
    client.leave(end)


def prepare(stack: Stack) -> Stack:
    """Makes what the settings name; all of the pools' servers are open then."""
    with psycopg.connect(stack.direct(SUPERUSER).url, autocommit=True) as direct:
        direct.execute("DO $$ BEGIN CREATE ROLE leak_role; EXCEPTION WHEN duplicate_object THEN END $$")
        direct.execute(f"GRANT leak_role TO {APP_USER}; CREATE TABLE IF NOT EXISTS leak_copied (n int)")
        direct.execute("GRANT ALL ON leak_copied TO leak_role")
    for user in (APP_USER, SUPERUSER):
        with every_server(stack, user) as connections:
            # PgBouncer itself leaves the last name that a client gave at connect.
            for held in connections:
                for text in (b"ROLLBACK", b"RESET application_name", b"BEGIN"):
                    held.pgconn.exec_(text)
        assert leaks(stack, user) == [{}] * POOL_SIZE
    return stack


@pytest.fixture(params=["plain_stack", "stack_18"])
def prepared(request: pytest.FixtureRequest) -> Stack:
    return prepare(request.getfixturevalue(request.param))


@pytest.fixture
def prepared_plain(plain_stack: Stack) -> Stack:
    return prepare(plain_stack)


def test_a_leak_would_be_seen(prepared_plain: Stack) -> None:
    with PgBouncer(prepared_plain.postgres) as pooler:
        stack = replace(prepared_plain, pgbouncer=pooler)
        assert leaks(stack, APP_USER) == [{}] * POOL_SIZE
        with psycopg.connect(pooler.endpoint().url, autocommit=True) as connection:
            connection.execute("SET work_mem = '77MB'; SET ROLE leak_role; SET app.x = 'A'; SET enable_sort = off")
        found = [sorted(leak) for leak in leaks(stack, APP_USER) if leak]
    assert found == [[b"current_user", b"custom", b"enable_sort", b"work_mem"]]


def test_every_setter_sets(prepared: Stack) -> None:
    """On a server of one's own, all of them do something: the test means what it says."""
    for user, setters in ((APP_USER, SETTERS), (SUPERUSER, WITHOUT_ROLES + AS_SUPERUSER)):
        with psycopg.connect(prepared.direct(user).url, autocommit=True) as direct:
            for sql in setters:
                assert not direct.pgconn.exec_(sql.encode()).error_message, sql


@pytest.mark.parametrize("user", [APP_USER, SUPERUSER])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "then an unfinished message"])
def test_every_setter_is_in_force_or_undone_as_on_a_server(prepared_plain: Stack, user: str, way: str) -> None:
    """Client A itself is not spared: what it sees of its settings is what a server of its own would show."""

    def seen(url: str) -> Session:
        with psycopg.connect(url, autocommit=True) as connection:
            wire = socket.socket(fileno=os.dup(connection.pgconn.socket))
            wire.setblocking(True)
            answers: list[bytes] = []
            # The superuser's last settings would hide others, and a role may not read what a superuser may.
            setters = SETTERS if user == APP_USER else WITHOUT_ROLES + AS_SUPERUSER[:4]
            for burst in (*WAYS[way](setters), "S", "Q rollback", f"Q {LOOK}"):
                wire.sendall(encode_burst(burst))
                answers.append(collect(wire, expected_readies(burst), 0.004, 0.3))
            wire.close()
            rows = [body for type_code, body in frames(answers[-1]) if type_code == ord("D")]
        return {cells[0]: (cells[1], cells[2]) for cells in map(cells_of, rows)}

    expected, found = seen(prepared_plain.direct(user).url), seen(prepared_plain.endpoint(user).url)
    # pgshim brings the settings, and keeps the statements.
    assert values_of(found) == values_of(expected)


def values_of(session: Session) -> dict[bytes, bytes]:
    known = (item for item in session.items() if not item[0].startswith((b"statements", b"plpgsql.")))
    return {name: value for name, (value, _) in known}


def cells_of(body: bytes) -> list[bytes]:
    """The columns of a DataRow."""
    cells, pos = [], 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        (size,) = struct.unpack_from("!i", body, pos)
        cells.append(body[pos + 4 : pos + 4 + max(size, 0)])
        pos += 4 + max(size, 0)
    return cells


@pytest.mark.parametrize("user", [APP_USER, SUPERUSER])
@pytest.mark.parametrize("end", ENDS)
def test_no_setting_is_left_on_any_server(prepared: Stack, user: str, end: str) -> None:
    for way in WAYS:
        live(prepared, user, way, end)
        wait_until_left(prepared)
        assert leaks(prepared, user) == [{}] * POOL_SIZE, way


@pytest.mark.parametrize("user", [APP_USER, SUPERUSER])
def test_nothing_is_left_by_startup_settings_and_what_resets_go_back_to(prepared: Stack, user: str) -> None:
    options = "-c work_mem=66MB -c search_path=mine -c app.x=start -c timezone=UTC -c default_transaction_read_only=on"
    for end in ENDS:
        client = ClientA(prepared, user, options)
        for way in ("Queries in autocommit", "one batch that fails", "then statements and resets in turns"):
            client.send(WAYS[way](WITHOUT_ROLES))
        client.send(["Q begin", "Q reset all", "Q set local work_mem to default"])
        client.leave(end)
        wait_until_left(prepared)
        assert leaks(prepared, user) == [{}] * POOL_SIZE, end


FAILURES = [
    ("one Query that fails", "abort"),
    ("a block that fails and stays", "close"),
    ("one batch that fails without its Sync", "abort at once"),
    ("a block that is left open", "Terminate at once"),
]


@pytest.mark.parametrize("user", [APP_USER, SUPERUSER])
def test_nothing_is_left_by_failures_and_disconnects_in_any_order(prepared_plain: Stack, user: str) -> None:
    for order in permutations(FAILURES):
        for way, end in order:
            live(prepared_plain, user, way, end)
        wait_until_left(prepared_plain)
        assert leaks(prepared_plain, user) == [{}] * POOL_SIZE, order


@pytest.mark.parametrize("user", [APP_USER, SUPERUSER])
def test_a_client_that_comes_while_another_leaves_sees_nothing(prepared_plain: Stack, user: str) -> None:
    """Nothing is waited for: the next client may get the server the moment the pooler has it back."""
    for way in WAYS:
        for end in ("close", "abort at once"):
            live(prepared_plain, user, way, end)
            assert leaks(prepared_plain, user) == [{}] * POOL_SIZE, (way, end)


def test_clients_at_the_same_time_see_their_own_settings_only(prepared: Stack) -> None:
    shown = ["work_mem", "timezone", "datestyle", "search_path", "app.x", "role"]
    query = "SELECT current_user::text, " + ", ".join(
        f"coalesce(current_setting('{name}', true), '')" for name in shown
    )
    with psycopg.connect(prepared.endpoint().url, autocommit=True) as other:
        fresh = other.execute(query).fetchone()
        client = ClientA(prepared, APP_USER)
        for burst in WAYS["batches in autocommit"](SETTERS) + WAYS["Queries in autocommit"](SETTERS):
            client.send([burst])
            assert other.execute(query).fetchone() == fresh
        client.leave("Terminate")


def test_a_name_given_at_connect_is_not_the_next_clients(prepared: Stack) -> None:
    url = prepared.endpoint().url
    with psycopg.connect(url, autocommit=True, application_name="A") as client:
        for _ in range(POOL_SIZE):
            assert client.execute("SHOW application_name").fetchone() == ("A",)
    with psycopg.connect(url, autocommit=True) as other:
        for _ in range(POOL_SIZE):
            assert other.execute("SELECT trim(current_setting('application_name'))").fetchone() == ("",)
            assert (other.info.parameter_status("application_name") or "").strip() == ""
