"""/healthz and /readyz, and an HTTP server that cannot be made to hold anything."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import asyncpg
import pytest

from pgshim.demo.servers import PgBouncer
from tests.metrics.support import SECONDS, Monitored, monitored, until


def exchange(pgshim: Monitored, request: bytes) -> bytes:
    """All that comes back for these bytes."""
    host, port = pgshim.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_pooler_that_goes_and_comes_back(pooler: PgBouncer) -> None:
    with PgBouncer(pooler.postgres) as mortal, monitored(mortal) as pgshim:
        assert pgshim.get("/healthz")[::2] == (200, "ok\n")
        assert pgshim.get("/readyz")[::2] == (200, "ok\n")
        mortal.stop()
        until(lambda: pgshim.get("/readyz")[0] == 503)
        assert "could not connect to the upstream" in pgshim.get("/readyz")[2]
        assert pgshim.get("/healthz")[0] == 200
        mortal.start()
        until(lambda: pgshim.get("/readyz")[0] == 200)


def test_many_probes_make_one_connection(pooler: PgBouncer) -> None:
    with monitored(pooler) as pgshim:
        begin = time.monotonic()
        before = pgshim.figures()["pgshim_upstream_connect_seconds_count"]
        for _ in range(20):
            assert pgshim.get("/readyz")[0] == 200
        made = pgshim.figures()["pgshim_upstream_connect_seconds_count"] - before
        assert made <= 2 + (time.monotonic() - begin) // 3


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_not_ready_while_transactions_end(pooler: PgBouncer, options: tuple[str, ...]) -> None:
    async def drain(pgshim: Monitored) -> None:
        client = await asyncpg.connect(pgshim.url, timeout=SECONDS)
        await client.execute("BEGIN")
        await client.execute("SELECT 1")
        assert pgshim.process.pid
        os.kill(pgshim.process.pid, signal.SIGTERM)
        await asyncio.to_thread(until, lambda: pgshim.get("/readyz")[0] == 503)
        assert pgshim.get("/readyz")[2] == "pgshim is being stopped\n"
        assert pgshim.get("/healthz")[0] == 200
        assert await client.fetchval("SELECT 2") == 2
        await client.execute("COMMIT")
        process = pgshim.process.process
        assert process is not None
        assert await asyncio.to_thread(process.wait, SECONDS) == 0

    with monitored(pooler, *options) as pgshim:
        asyncio.run(drain(pgshim))


def test_other_paths_and_methods(pooler: PgBouncer) -> None:
    with monitored(pooler) as pgshim:
        assert pgshim.get("/")[0] == 404
        assert pgshim.get("/metrics", method="POST")[0] == 405
        assert b"\r\nAllow: GET, HEAD\r\n" in exchange(pgshim, b"PUT /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        head = exchange(pgshim, b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert head.endswith(b"\r\n\r\n")
        assert exchange(pgshim, b"no HTTP at all\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert exchange(pgshim, b"GET /" + b"a" * 20_000).startswith(b"HTTP/1.1 431 ")


def test_the_format_that_a_scraper_asks_for(pooler: PgBouncer) -> None:
    with monitored(pooler) as pgshim:
        assert pgshim.get("/metrics")[1].startswith("text/plain; version=")
        _, kind, body = pgshim.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert body.endswith("# EOF\n")


def test_many_that_say_nothing_keep_nobody_out(pooler: PgBouncer) -> None:
    with monitored(pooler) as pgshim:
        host, port = pgshim.address.rsplit(":", 1)
        silent = [socket.create_connection((host, int(port)), timeout=SECONDS) for _ in range(60)]
        try:
            for each in silent:
                each.sendall(b"GET /metrics HTTP/1.1\r\n")
            assert pgshim.get("/healthz")[0] == 200
            # The oldest had to make room.
            assert silent[0].recv(1) == b""
        finally:
            for each in silent:
                each.close()


def test_an_address_in_use_is_said_in_one_sentence(pooler: PgBouncer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for more in ((), ("--workers", "2")):
            arguments = ["--upstream", f"127.0.0.1:{pooler.port}", "--listen", "127.0.0.1:0", "--metrics", address]
            ended = subprocess.run(
                [sys.executable, "-m", "pgshim", *arguments, *more], capture_output=True, text=True, timeout=SECONDS
            )
            assert ended.returncode != 0
            assert "--metrics" in ended.stderr
            assert address in ended.stderr
            assert "Traceback" not in ended.stderr


def test_a_missing_extra_is_said_in_one_sentence() -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None; sys.argv[0] = 'pgshim';"
        "from pgshim.cli import main; main()"
    )
    arguments = ["--upstream", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 2
    assert "pip install 'pgshim[metrics]'" in ended.stderr
    assert "Traceback" not in ended.stderr
