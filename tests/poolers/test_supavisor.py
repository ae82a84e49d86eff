"""The stand-in for Supavisor does what its source says, and breaks what it breaks; pgshim gets along with it."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from struct import pack

import psycopg
import pytest

from pgshim.demo.processes import Endpoint
from pgshim.demo.servers import PgshimProcess, PostgresServer
from pgshim.protocol.startup import StartupMessage
from tests.oracle.wire import collect, encode_burst, show
from tests.poolers.setups import ROOT, Supavisor
from tests.poolers.supavisor_login import MAX_FAILURES, READY, SSL_REQUEST
from tests.poolers.supavisor_pool import TENANT

QUIET = 0.05
LONG = 20.0
IDLE = show(READY)[0]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def supavisor(postgres: PostgresServer) -> Iterator[Supavisor]:
    with Supavisor(postgres) as pooler:
        yield pooler
        assert "Traceback" not in pooler.log(), pooler.log()


@contextmanager
def wire(endpoint: Endpoint) -> Iterator[socket.socket]:
    """A socket that libpq has logged in, and nobody else reads; nothing is said at its end."""
    with closing(psycopg.connect(endpoint.url, autocommit=True)) as login:
        connection = socket.socket(fileno=login.pgconn.socket)
        connection.setblocking(True)
        try:
            yield connection
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            connection.detach()


def answer(connection: socket.socket, data: bytes, readies: int = 1) -> list[str]:
    """What comes, but for the heartbeat."""
    connection.sendall(data)
    return [line for line in show(collect(connection, readies, QUIET)) if "application_name" not in line]


def greeting(supavisor: Supavisor, *reads: bytes) -> bytes:
    """What a new connection is answered to packets that each arrive in a read of their own, until it is closed."""
    with socket.create_connection((supavisor.host, supavisor.port), timeout=LONG) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in reads:
            connection.sendall(data)
            time.sleep(0.1)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def startup(*parameters: tuple[bytes, bytes]) -> bytes:
    return StartupMessage(0, ((b"user", b"app." + TENANT.encode()), (b"database", b"app"), *parameters)).encode()


# Its way in.


def test_the_first_packets_come_alone_and_in_one_read(supavisor: Supavisor) -> None:
    whole = startup()
    assert b"(ESTARTUPMESSAGE)" in greeting(supavisor, whole[:20], whole[20:])
    assert b"(ESTARTUPMESSAGE)" in greeting(supavisor, SSL_REQUEST + whole)
    assert b"(ESTARTUPMESSAGE)" in greeting(supavisor, SSL_REQUEST[:4], SSL_REQUEST[4:])
    too_large = greeting(supavisor, startup((b"options", b"x" * 1000)))
    assert too_large.startswith(b"E")
    assert b"(ESTARTUPPACKETTOOLARGE)" in too_large
    assert b"(ESTARTUPMESSAGE)" in greeting(supavisor, startup((b"options", b"")))
    assert b"(EAUTHPROTOCOL)" in greeting(supavisor, whole, b"p" + pack("!I", 40), b"SCRAM-SHA-256\0")
    assert greeting(supavisor, SSL_REQUEST, whole + b"\0").startswith(b"N")


@pytest.mark.parametrize(
    ("user", "words"), [("app", "(ENOIDENTIFIER)"), ("app.other", "(ENOTFOUND)"), ("nobody.tenant", "(ENOTFOUND)")]
)
def test_a_user_is_found_by_its_tenant(supavisor: Supavisor, user: str, words: str) -> None:
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect(supavisor.endpoint().url, user=user)
    assert words in str(raised.value)


def test_after_some_wrong_passwords_nobody_is_let_in(postgres: PostgresServer) -> None:
    with Supavisor(postgres) as supavisor:
        for _ in range(MAX_FAILURES):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(supavisor.endpoint().url, password="wrong")
        with pytest.raises(psycopg.OperationalError, match="ECIRCUITBREAKER"):
            psycopg.connect(supavisor.endpoint().url)


def test_clients_beyond_its_limit_are_refused(postgres: PostgresServer) -> None:
    with (
        Supavisor(postgres, max_clients=1) as supavisor,
        psycopg.connect(supavisor.endpoint().url),
        pytest.raises(psycopg.OperationalError, match="EMAXCONN"),
    ):
        psycopg.connect(supavisor.endpoint().url)


def test_what_a_client_asks_for_at_startup_is_dropped(supavisor: Supavisor) -> None:
    url = supavisor.endpoint(application_name="mine", options="-c work_mem=77MB -c timezone=Asia/Tokyo").url
    with psycopg.connect(url) as connection:
        assert connection.info.parameter_status("application_name") == "Supavisor"
        assert connection.info.parameter_status("TimeZone") != "Asia/Tokyo"
        ask = "SELECT current_setting('work_mem'), current_setting('application_name')"
        assert connection.execute(ask).fetchone() == ("4MB", "Supavisor")


# A session of its.


def test_an_idle_client_hears_its_heartbeat(supavisor: Supavisor) -> None:
    with wire(supavisor.endpoint()) as connection:
        assert select.select([connection], [], [], LONG)[0]
        assert show(connection.recv(1 << 16)) == ["ParameterStatus(name=b'application_name', value=b'Supavisor')"]


def test_transactions_go_to_one_server_after_the_other(supavisor: Supavisor) -> None:
    with psycopg.connect(supavisor.endpoint().url, autocommit=True, prepare_threshold=None) as connection:
        pids = [connection.execute("SELECT pg_backend_pid()").fetchone() for _ in range(6)]
        assert len(set(pids)) == 3
        assert pids[:3] == pids[3:]
        with connection.transaction():
            assert len({connection.execute("SELECT pg_backend_pid()").fetchone() for _ in range(4)}) == 1


def test_a_read_that_begins_with_sync_is_answered_and_its_rest_thrown_away(supavisor: Supavisor) -> None:
    with wire(supavisor.endpoint()) as connection:
        assert answer(connection, encode_burst("S  Q select 1")) == [IDLE]
        assert len(answer(connection, encode_burst("Q select 1"))) == 4


def test_the_replies_to_a_batch_in_a_read_of_its_own_are_lost_while_another_is_under_way(
    postgres: PostgresServer,
) -> None:
    with Supavisor(postgres, release_delay=0.5, heartbeat=60.0) as supavisor, wire(supavisor.endpoint()) as connection:
        # One read: both are counted.
        assert len(answer(connection, encode_burst("Q select 1  Q select 2"), readies=2)) == 8
        connection.sendall(encode_burst("Q select 1"))
        time.sleep(0.2)
        assert len(answer(connection, encode_burst("Q select 2"), readies=2)) == 4


def test_a_flush_keeps_the_server_until_a_sync(postgres: PostgresServer) -> None:
    with (
        Supavisor(postgres, pool_size=1, checkout_timeout=0.3) as supavisor,
        wire(supavisor.endpoint()) as first,
        wire(supavisor.endpoint()) as second,
    ):
        assert len(answer(first, encode_burst("P |select 1  D S|  H"), readies=0)) == 3
        second.sendall(encode_burst("Q select 2"))
        assert any("(ECHECKOUTTIMEOUT)" in line for line in show(collect(second, 9, QUIET)))
        assert answer(first, encode_burst("S")) == [IDLE]


def test_terminate_behind_something_else_ends_the_server(supavisor: Supavisor) -> None:
    with wire(supavisor.endpoint()) as connection:
        answer(connection, encode_burst("Q begin"))
        assert any("(EDBHANDLEREXITED)" in line for line in answer(connection, encode_burst("S  X"), readies=9))
    with psycopg.connect(supavisor.endpoint().url) as again:
        assert again.execute("SELECT 1").fetchone() == (1,)


# pgshim and it.


def run_program(name: str, url: str, seconds: float = LONG) -> subprocess.CompletedProcess[str]:
    # The last is asyncpg's statement_cache_size: its default.
    command = [sys.executable, "-m", f"tests.apps.{name}", url, "1", "100"]
    return subprocess.run(command, cwd=ROOT, input="go\n", capture_output=True, text=True, timeout=seconds)


@pytest.mark.parametrize("program", ["asyncpg_client", "pipeline_client"])
def test_programs_get_their_own_answers_through_pgshim_only(supavisor: Supavisor, program: str) -> None:
    with PgshimProcess(supavisor, options=["--tenant", TENANT]) as shim:
        through = run_program(program, shim.endpoint().url)
        assert through.stdout == "ready\n1: every answer right\n", through.stderr
    assert is_broken(program, supavisor.endpoint().url)


def test_pgshim_finds_out_that_pipelines_are_lost_there(supavisor: Supavisor) -> None:
    """With the order to pass them on, they are."""
    with PgshimProcess(supavisor, options=["--tenant", TENANT, "--pipeline", "through"]) as shim:
        assert is_broken("pipeline_client", shim.endpoint().url)


def is_broken(program: str, url: str) -> bool:
    try:
        return run_program(program, url, seconds=4.0).returncode != 0
    except subprocess.TimeoutExpired:
        # It waits for replies that have gone elsewhere.
        return True


def test_its_refusals_reach_the_client_with_a_hint(postgres: PostgresServer) -> None:
    with (
        Supavisor(postgres, pool_size=1, checkout_timeout=0.5) as supavisor,
        PgshimProcess(supavisor, options=["--tenant", TENANT]) as shim,
        psycopg.connect(shim.endpoint().url, prepare_threshold=None) as holder,
        psycopg.connect(shim.endpoint().url, prepare_threshold=None) as other,
    ):
        assert holder.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.InternalError, match="ECHECKOUTTIMEOUT") as raised:
            other.execute("SELECT 2")
        assert raised.value.diag.message_hint
