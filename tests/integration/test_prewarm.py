"""Warm connections to a real PgBouncer, which says itself how many clients have yet to log in."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import asyncpg
import psycopg
import pytest

from pgshim.demo.processes import free_port
from pgshim.demo.relay import Relay
from pgshim.demo.servers import SUPERUSER, PgBouncer, PgshimProcess, TlsFiles
from tests.integration.conftest import Stack

SIZE = 4


@contextmanager
def prewarming(
    stack: Stack, *options: str, tls: TlsFiles | None = None, settings: dict[str, str] | None = None
) -> Iterator[tuple[PgBouncer, PgshimProcess]]:
    """A PgBouncer of the test's own, and pgshim with --prewarm in front of it."""
    with ExitStack() as servers:
        pooler = servers.enter_context(
            PgBouncer(stack.postgres, client_tls=tls, settings=settings or {})
        )
        upstream_tls = ["--upstream-tls", "verify-full", "--upstream-ca", str(tls.ca)] if tls else []
        shim = servers.enter_context(
            PgshimProcess(
                pooler,
                upstream_address=f"localhost:{pooler.port}",
                options=["--prewarm", str(SIZE), *upstream_tls, *options],
            )
        )
        until(lambda: waiting(pooler) == SIZE)
        yield pooler, shim
        assert "Traceback (most recent call last)" not in shim.log()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def sockets(pid: int) -> set[str]:
    """Those of a process, by their inodes."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(descriptor))
    return {target for target in found if target.startswith("socket:")}


def waiting(pooler: PgBouncer) -> int:
    """Clients that are connected to PgBouncer and have yet to log in."""
    url = pooler.endpoint(SUPERUSER, "pgbouncer").url + ("?sslmode=require" if pooler.client_tls else "")
    with psycopg.connect(url, autocommit=True) as connection:
        return dict(row[:2] for row in connection.execute("SHOW LISTS"))["login_clients"]  # type: ignore[no-any-return]


async def fetch(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        found: int = await connection.fetchval("SELECT $1::int + 1", 41)
        return found
    finally:
        await connection.close()


async def burst(url: str, count: int) -> list[int]:
    return await asyncio.gather(*[fetch(url) for _ in range(count)])


@pytest.mark.parametrize("has_tls", [False, True])
def test_a_burst_of_clients_leaves_as_many_as_there_were(
    plain_stack: Stack, tls_files: TlsFiles, has_tls: bool
) -> None:
    with prewarming(plain_stack, tls=tls_files if has_tls else None) as (pooler, shim):
        for count in (1, 50):
            assert asyncio.run(burst(shim.endpoint().url, count)) == [42] * count
            until(lambda: waiting(pooler) == SIZE)
        with psycopg.connect(shim.endpoint().url) as connection:
            assert connection.execute("SELECT 42").fetchone() == (42,)


def test_a_login_takes_the_round_trips_of_authentication_alone(plain_stack: Stack) -> None:
    with PgBouncer(plain_stack.postgres) as pooler, Relay(pooler.host, pooler.port) as relay:
        address = f"{relay.host}:{relay.port}"
        with PgshimProcess(pooler, upstream_address=address) as shim:
            # The probe at the start.
            time.sleep(0.3)
            relay.take()
            with psycopg.connect(shim.endpoint().url):
                # SSLRequest, StartupMessage, two of SCRAM.
                assert relay.take().startup == 4
        with PgshimProcess(pooler, upstream_address=address, options=["--prewarm", "1"]) as shim:
            until(lambda: waiting(pooler) == 1)
            time.sleep(0.3)
            relay.take()
            # From here on a new connection leads nowhere, so nothing of a successor's is counted.
            relay.target = (relay.host, free_port())
            with psycopg.connect(shim.endpoint().url) as connection:
                assert relay.take().startup == 3
                assert connection.execute("SELECT 42").fetchone() == (42,)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_pooler_that_is_restarted_is_not_noticed_by_those_who_come_later(
    plain_stack: Stack, number: signal.Signals
) -> None:
    with prewarming(plain_stack) as (pooler, shim):
        url = shim.endpoint().url
        assert asyncio.run(fetch(url)) == 42
        time.sleep(1.1)
        assert pooler.process is not None
        pooler.process.send_signal(number)
        pooler.process.wait()
        with pytest.raises((OSError, asyncpg.PostgresError)):
            asyncio.run(fetch(url))
        pooler.start()
        assert asyncio.run(burst(url, 8)) == [42] * 8
        until(lambda: waiting(pooler) == SIZE, 25)
        assert asyncio.run(burst(url, 8)) == [42] * 8


def test_a_pooler_that_is_restarted_in_an_instant_is_not_noticed_at_all(plain_stack: Stack) -> None:
    with prewarming(plain_stack) as (pooler, shim):
        url = shim.endpoint().url
        for _ in range(3):
            pooler.restart()
            assert asyncio.run(burst(url, 4)) == [42] * 4


def test_a_login_timeout_that_is_shorter_than_the_age_limit_is_kept(plain_stack: Stack) -> None:
    with prewarming(plain_stack, settings={"client_login_timeout": "4"}) as (pooler, shim):
        # The first ones are closed by PgBouncer; those that follow are replaced before.
        until(lambda: pooler.log().count("client_login_timeout") >= SIZE, 12)
        before = pooler.log().count("client_login_timeout")
        for _ in range(20):
            assert asyncio.run(fetch(shim.endpoint().url)) == 42
            time.sleep(0.4)
        assert pooler.log().count("client_login_timeout") == before
        until(lambda: waiting(pooler) == SIZE)


def test_they_count_as_clients_of_the_poolers(plain_stack: Stack) -> None:
    # As the docs say: the limit is to have room for them.
    with prewarming(plain_stack, settings={"max_client_conn": str(SIZE + 4)}) as (_, shim):
        url = shim.endpoint().url
        with psycopg.connect(url), psycopg.connect(url), psycopg.connect(url):
            time.sleep(0.5)
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT 42").fetchone() == (42,)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_sighup_replaces_and_sigterm_closes_them(plain_stack: Stack, loop: str) -> None:
    with prewarming(plain_stack, "--loop", loop) as (pooler, shim):
        assert shim.process is not None
        pid, before = shim.pid, sockets(shim.pid)
        shim.process.send_signal(signal.SIGHUP)
        until(lambda: len(before - sockets(pid)) == SIZE == len(sockets(pid) - before))
        until(lambda: waiting(pooler) == SIZE)
        shim.process.send_signal(signal.SIGTERM)
        assert shim.process.wait(5) == 0
        assert waiting(pooler) == 0


def test_require_upstream_goes_first(plain_stack: Stack) -> None:
    with prewarming(plain_stack, "--require-upstream") as (_, shim):
        assert asyncio.run(fetch(shim.endpoint().url)) == 42
        assert f"{SIZE} prewarmed" in shim.log()
        assert "WARNING" not in shim.log()


def test_workers_share_what_is_kept_warm(plain_stack: Stack) -> None:
    with prewarming(plain_stack, "--workers", "3") as (pooler, shim):
        until(lambda: "3 workers: processes" in shim.log())
        pids = Path(f"/proc/{shim.pid}/task/{shim.pid}/children").read_text().split()
        os.kill(int(pids[0]), signal.SIGKILL)
        until(lambda: "worker 1 is process" in shim.log())
        until(lambda: waiting(pooler) == SIZE)
        time.sleep(1)
        assert waiting(pooler) == SIZE
        assert [asyncio.run(fetch(shim.endpoint().url)) for _ in range(6)] == [42] * 6
