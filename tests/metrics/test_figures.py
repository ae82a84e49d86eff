"""What --metrics counts, against conversations of which every figure is known."""

from __future__ import annotations

import asyncio
import socket

import asyncpg
import pytest

from pgshim.demo.servers import PgBouncer
from tests.metrics.support import SECONDS, Monitored, monitored, until
from tests.proxy.world import cancel_request


def increase(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What of pgshim's own has changed, but for times and bytes."""
    return {
        name: number - before.get(name, 0)
        for name, number in after.items()
        if name.startswith("pgshim_") and "_seconds" not in name and "_bytes_" not in name
        if number != before.get(name, 0)
    }


async def converse(url: str) -> None:
    """Prepared statements, a block begun lazily, a reset, a refusal, an error, a second client with the same text."""
    first = await asyncpg.connect(url, timeout=SECONDS)
    for number in range(3):
        assert await first.fetchval("SELECT $1::int + 1", number) == number + 1
    await first.execute("BEGIN")
    await first.execute("COMMIT")
    await first.execute("DISCARD ALL")
    with pytest.raises(asyncpg.FeatureNotSupportedError):
        await first.execute("SELECT pg_advisory_lock(1)")
    with pytest.raises(asyncpg.UndefinedTableError):
        await first.execute("SELECT * FROM nowhere")
    second = await asyncpg.connect(url, timeout=SECONDS)
    assert await second.fetchval("SELECT $1::int + 1", 1) == 2
    await first.close()
    await second.close()


def test_each_figure_of_a_conversation(pooler: PgBouncer) -> None:
    with monitored(pooler) as pgshim:
        before = pgshim.figures()
        asyncio.run(converse(pgshim.url))
        until(lambda: pgshim.figures()["pgshim_client_connections"] == 0)
        assert increase(before, pgshim.figures()) == {
            "pgshim_client_connections_started_total": 2,
            "pgshim_client_logins_total": 2,
            # Four SELECTs, the block, DISCARD ALL, two that failed; the BEGIN is a query, but ends no transaction.
            "pgshim_transactions_total": 8,
            "pgshim_queries_total": 9,
            "pgshim_prepared_messages_rewritten_total{parse}": 1,
            "pgshim_prepared_messages_rewritten_total{describe}": 1,
            "pgshim_prepared_messages_rewritten_total{bind}": 4,
            # Two for the first client, which had prepared it in the batch before; the second one was told what the
            # first had been, so its own Parse goes up to be compared, and then the one with the types it was told.
            "pgshim_parses_replayed_total": 4,
            "pgshim_prepared_reuses_total": 2,
            "pgshim_trips_saved_total{begin}": 1,
            "pgshim_trips_saved_total{end}": 1,
            "pgshim_trips_saved_total{reset}": 1,
            "pgshim_trips_saved_total{description}": 1,
            "pgshim_features_refused_total{advisory-locks}": 1,
            "pgshim_errors_total{0A000}": 1,
            "pgshim_errors_total{42P01}": 1,
        }


def test_times_and_bytes_are_measured(pooler: PgBouncer) -> None:
    with monitored(pooler) as pgshim:
        before = pgshim.figures()
        asyncio.run(converse(pgshim.url))
        after = pgshim.figures()
    for name in ("pgshim_upstream_connect_seconds", "pgshim_upstream_first_byte_seconds"):
        assert after[f"{name}_count"] - before[f"{name}_count"] == after[f"{name}_bucket{{10.0}}"] - before[
            f"{name}_bucket{{10.0}}"
        ]
        assert after[f"{name}_count"] - before[f"{name}_count"] >= 2
        assert after[f"{name}_sum"] > before[f"{name}_sum"]
    assert after["pgshim_client_bytes_total{from_clients}"] > 300
    assert after["pgshim_client_bytes_total{to_clients}"] > 600
    assert after["process_resident_memory_bytes"] > 1e6


def test_any_worker_shows_the_sum_over_all(pooler: PgBouncer) -> None:
    async def clients(pgshim: Monitored) -> None:
        made = [await asyncpg.connect(pgshim.url, timeout=SECONDS) for _ in range(12)]
        for client in made:
            assert await client.fetchval("SELECT 1") == 1
        # The connections of the test to /metrics come to one worker or the other.
        for _ in range(8):
            await asyncio.to_thread(until, lambda: pgshim.figures()["pgshim_client_logins_total"] == 12)
            assert pgshim.figures()["pgshim_client_connections"] == 12
        for client in made:
            await client.close()

    with monitored(pooler, "--workers", "2") as pgshim:
        asyncio.run(clients(pgshim))
        until(lambda: pgshim.figures()["pgshim_transactions_total"] == 12)
        figures = pgshim.figures()
        assert figures["pgshim_workers"] == 2
        assert {"process_cpu_seconds_total{1}", "process_cpu_seconds_total{2}"} <= figures.keys()


def test_what_a_pooler_refuses_and_what_has_no_room(pooler: PgBouncer) -> None:
    async def knock(url: str) -> None:
        with pytest.raises(asyncpg.PostgresError):
            await asyncpg.connect(url.replace("/app", "/nowhere"), timeout=SECONDS)
        client = await asyncpg.connect(url, timeout=SECONDS)
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(url, timeout=SECONDS)
        await client.close()

    with monitored(pooler, "--max-connections", "1") as pgshim:
        asyncio.run(knock(pgshim.url))
        figures = pgshim.figures()
        assert figures["pgshim_client_connections_refused_total{login}"] == 1
        assert figures["pgshim_client_connections_refused_total{too_many_clients}"] == 1
        assert figures["pgshim_client_connections_limit"] == 1
        assert figures["pgshim_errors_total{53300}"] == 1


def test_cancels_by_what_became_of_them(pooler: PgBouncer) -> None:
    async def cancel(url: str) -> None:
        client = await asyncpg.connect(url, timeout=SECONDS)
        with pytest.raises(TimeoutError):
            await client.execute("SELECT pg_sleep(20)", timeout=0.3)
        await client.close()

    with monitored(pooler) as pgshim:
        asyncio.run(cancel(pgshim.url))
        until(lambda: pgshim.figures()["pgshim_cancel_requests_total{forwarded}"] == 1)
        assert pgshim.figures()["pgshim_errors_total{57014}"] == 1


def test_cancels_that_no_worker_has_a_client_for(pooler: PgBouncer) -> None:
    with monitored(pooler, "--workers", "2") as pgshim:
        for count in range(1, 4):
            with socket.create_connection(("127.0.0.1", pgshim.process.port), timeout=SECONDS) as canceller:
                canceller.sendall(cancel_request(b"nobody's"))
                assert canceller.recv(1) == b""
            until(lambda: pgshim.figures()["pgshim_cancel_requests_total{unknown_key}"] == count)  # noqa: B023
