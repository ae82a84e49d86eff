"""--workers in front of a real PgBouncer: several processes on one port that act as one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from pgshim.demo.processes import clean_environment
from tests.integration.conftest import Stack
from tests.integration.workers import Workers, is_running, key_of, until, workers

Story = Callable[[Workers], Awaitable[None]]


def run(stack: Stack, story: Story, *options: str, count: int = 2) -> None:
    async def told() -> None:
        async with workers(stack, *options, count=count) as pgshim:
            await story(pgshim)

    asyncio.run(told())


async def busy(connection: asyncpg.Connection, seconds: int = 30) -> asyncio.Task[str]:
    """A query that takes its time, and is under way."""
    task = asyncio.ensure_future(connection.execute(f"SELECT pg_sleep({seconds})"))
    await asyncio.sleep(0.2)
    return task


def test_every_worker_serves_and_the_start_is_told_once(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        assert len(pgshim.pids) == 3
        clients = [await pgshim.client_of(pid) for pid in pgshim.pids]
        for number in range(20):
            found = await asyncio.gather(*(client.fetchval("SELECT $1::int", number) for client in clients))
            assert found == [number] * 3
        log = pgshim.log()
        assert (log.count("listening on"), log.count("upstream 127.0.0.1")) == (1, 1)
        assert f"3 workers: processes {', '.join(map(str, pgshim.pids))}\n" in log

    run(plain_stack, story, count=3)


def test_a_cancel_reaches_its_target_whichever_worker_gets_it(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        for target in pgshim.pids:
            client = await pgshim.client_of(target)
            for at in pgshim.pids:
                query = await busy(client)
                await pgshim.cancel_at(at, key_of(client))
                with pytest.raises(asyncpg.QueryCanceledError):
                    await query
                assert await client.fetchval("SELECT 1") == 1

    run(plain_stack, story)


def test_a_drivers_own_cancels_reach_their_targets(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        client = await pgshim.connect()
        for _ in range(12):
            with pytest.raises(TimeoutError):
                await client.fetch("SELECT pg_sleep(30)", timeout=0.1)
            assert await client.fetchval("SELECT 1") == 1

    run(plain_stack, story)


@pytest.mark.parametrize("key", [b"unknown!", b"k" * 256, b"k" * 257, b""])
def test_a_cancel_that_nobody_knows_is_ignored_and_hits_nobody(plain_stack: Stack, key: bytes) -> None:
    async def story(pgshim: Workers) -> None:
        client = await pgshim.connect()
        query = await busy(client, 1)
        for worker in pgshim.pids:
            async with asyncio.timeout(2):
                await pgshim.cancel_at(worker, key)
        assert await query == "SELECT 1"

    run(plain_stack, story)


def test_a_worker_that_is_killed_takes_its_clients_alone_and_is_replaced(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        first, second = pgshim.pids
        kept, lost = await pgshim.client_of(first), await pgshim.client_of(second)
        async with kept.transaction():
            before = await kept.fetchval("SELECT txid_current()")
            os.kill(second, signal.SIGKILL)
            with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
                await lost.fetchval("SELECT 1")
            assert await kept.fetchval("SELECT txid_current()") == before
        await until(lambda: len(pgshim.pids) == 2 and second not in pgshim.pids)
        third = next(pid for pid in pgshim.pids if pid != first)
        assert f"worker 2 (process {second}) has ended: SIGKILL; another starts now\n" in pgshim.log()
        await until(lambda: f"worker 2 is process {third}\n" in pgshim.log())
        await cancelled_crosswise(pgshim, kept, await pgshim.client_of(third))

    run(plain_stack, story)


async def cancelled_crosswise(pgshim: Workers, *clients: asyncpg.Connection) -> None:
    """Each client is cancelled through the worker of the other."""
    places = [await pgshim.worker_of(client._transport) for client in clients]
    for client, at in zip(clients, reversed(places), strict=True):
        query = await busy(client)
        await pgshim.cancel_at(at, key_of(client))
        with pytest.raises(asyncpg.QueryCanceledError):
            await query


def test_a_worker_that_is_told_to_end_drains_and_is_replaced(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        first, second = pgshim.pids
        client = await pgshim.client_of(second)
        async with client.transaction():
            os.kill(second, signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert is_running(second)
            # It listens no more, so whoever comes now comes to the other.
            others = [await pgshim.connect() for _ in range(8)]
            assert {await pgshim.worker_of(other._transport) for other in others} == {first}
            assert await client.fetchval("SELECT 1") == 1
        await until(lambda: not is_running(second))
        await until(lambda: f"worker 2 (process {second}) has ended: exit code 0; another" in pgshim.log())

    run(plain_stack, story)


def test_a_worker_that_dies_again_and_again_is_started_after_a_growing_pause(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        first = pgshim.pids[0]
        for then in ("now", "in 0.5 s", "in 1 s"):
            await until(lambda: len(pgshim.pids) == 2)
            victim = next(pid for pid in pgshim.pids if pid != first)
            os.kill(victim, signal.SIGKILL)
            words = f"(process {victim}) has ended: SIGKILL; another starts {then}\n"
            await until(lambda words=words: words in pgshim.log())  # type: ignore[misc]
        await until(lambda: len(pgshim.pids) == 2)
        assert await (await pgshim.connect()).fetchval("SELECT 1") == 1

    run(plain_stack, story)


def test_all_workers_drain_together(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        clients = [await pgshim.client_of(pid) for pid in pgshim.pids]
        idle = [await pgshim.client_of(pid) for pid in pgshim.pids]
        transactions = [client.transaction() for client in clients]
        for transaction in transactions:
            await transaction.start()
        os.kill(pgshim.supervisor, signal.SIGTERM)
        for client in idle:
            await until(client.is_closed)
        with pytest.raises(OSError):  # noqa: PT011
            await pgshim.connect()
        for client, transaction in zip(clients, transactions, strict=True):
            assert await client.fetchval("SELECT 1") == 1
            await transaction.commit()
        assert await pgshim.ended() == 0
        assert pgshim.log().count("stopping: transactions have 30 s to end") == 1
        assert "ended" not in pgshim.log()

    run(plain_stack, story)


def test_the_drain_ends_after_its_timeout(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        for pid in pgshim.pids:
            await (await pgshim.client_of(pid)).execute("BEGIN")
        os.kill(pgshim.supervisor, signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert is_running(pgshim.supervisor)
        assert await pgshim.ended() == 0

    run(plain_stack, story, "--drain-timeout", "1s")


def test_interrupts_from_a_terminal_reach_all_processes_and_count_once(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        clients = [await pgshim.client_of(pid) for pid in pgshim.pids]
        for client in clients:
            await client.execute("BEGIN")
        os.killpg(pgshim.supervisor, signal.SIGINT)
        await asyncio.sleep(0.5)
        for client in clients:
            assert await client.fetchval("SELECT 1") == 1
        os.killpg(pgshim.supervisor, signal.SIGINT)
        assert await pgshim.ended() == 0
        assert "stopping at once" in pgshim.log()

    run(plain_stack, story)


def test_a_worker_that_does_not_end_is_killed_and_the_exit_code_says_so(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        stuck = pgshim.pids[1]
        os.kill(stuck, signal.SIGSTOP)
        os.kill(pgshim.supervisor, signal.SIGTERM)
        assert await pgshim.ended() == 1
        assert f"(process {stuck}) has ended: SIGKILL" in pgshim.log()

    run(plain_stack, story, "--drain-timeout", "100ms")


def test_workers_end_when_their_supervisor_is_killed_and_leave_the_port(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        pids = pgshim.pids
        client, idle = await pgshim.client_of(pids[0]), await pgshim.client_of(pids[1])
        await client.execute("BEGIN")
        os.kill(pgshim.supervisor, signal.SIGKILL)
        assert await pgshim.ended() == -signal.SIGKILL
        await until(idle.is_closed)
        await until(lambda: not is_running(pids[1]))
        # The next one can start while the transaction is still under way.
        pgshim.process.start()
        assert await client.fetchval("SELECT 1") == 1
        await client.execute("COMMIT")
        await until(lambda: not is_running(pids[0]))
        assert await (await pgshim.connect()).fetchval("SELECT 1") == 1

    run(plain_stack, story)


def test_the_limit_of_connections_counts_over_all_workers(plain_stack: Stack) -> None:
    async def story(pgshim: Workers) -> None:
        first, second = pgshim.pids
        kept = await pgshim.client_of(first)
        lost = [await pgshim.client_of(second), await pgshim.client_of(second)]
        for _ in range(8):
            with pytest.raises(asyncpg.TooManyConnectionsError) as refused:
                await pgshim.connect()
            assert refused.value.hint == "The limit is pgshim's --max-connections."
        await lost[0].close()
        await pgshim.client_of(first)
        # What a worker had is free when it is gone.
        os.kill(second, signal.SIGKILL)
        await until(lambda: "worker 2 is process" in pgshim.log())
        await pgshim.client_of(first)
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await pgshim.connect()
        assert await kept.fetchval("SELECT 1") == 1

    run(plain_stack, story, "--max-connections", "3")


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_port_in_use_is_found_though_those_who_use_it_would_share(plain_stack: Stack, count: str) -> None:
    async def story(pgshim: Workers) -> None:
        address = f"127.0.0.1:{pgshim.process.port}"
        command = [sys.executable, "-m", "pgshim", "--upstream", "127.0.0.1:1", "--listen", address, "--workers", count]

        def is_refused() -> None:
            found = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=20)
            assert found.returncode == 1
            sentence = f"pgshim: cannot listen on {address}: address already in use; .*\n"
            assert re.fullmatch(sentence, found.stderr), found.stderr

        is_refused()
        # Nor can it be had while no worker listens there.
        os.kill(pgshim.supervisor, signal.SIGSTOP)
        victims = pgshim.pids
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(is_running(pid) for pid in victims))
        is_refused()
        os.kill(pgshim.supervisor, signal.SIGCONT)
        await until(lambda: pgshim.log().count("is process") == 2)
        assert await (await pgshim.connect()).fetchval("SELECT 1") == 1

    run(plain_stack, story)


def test_a_unix_socket_is_one_for_all_and_outlives_a_worker(plain_stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / ".s.PGSQL.6432"

    async def story(pgshim: Workers) -> None:
        endpoint = pgshim.process.endpoint()

        async def asks() -> None:
            client = await asyncpg.connect(
                host=str(tmp_path), port=6432, user=endpoint.user, password=endpoint.password,
                database=endpoint.database, timeout=10,
            )  # fmt: skip
            assert await client.fetchval("SELECT 1") == 1
            await client.close()

        await asyncio.gather(*(asks() for _ in range(10)))
        victim = pgshim.pids[0]
        os.kill(victim, signal.SIGTERM)
        await until(lambda: not is_running(victim))
        assert path.exists()
        await asyncio.gather(*(asks() for _ in range(10)))
        os.kill(pgshim.supervisor, signal.SIGTERM)
        assert await pgshim.ended() == 0
        assert not path.exists()

    run(plain_stack, story, "--listen", f"unix:{path}")
