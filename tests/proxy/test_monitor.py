"""The HTTP server of --metrics answers whatever it is asked, and says each fault of its own once."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pgshim.addresses import Address
from pgshim.proxy.listen import open_listeners
from pgshim.proxy.monitor import Monitor
from pgshim.proxy.server import Server
from pgshim.proxy.upstream import Upstream
from pgshim.settings import Settings
from tests.proxy.conftest import Run

_PLAIN = b"text/plain; version=0.0.4; charset=utf-8"


class Monitored:
    """What --metrics of a server of its own answers."""

    def __init__(self, server: Server, monitor: Monitor, port: int) -> None:
        self.server = server
        self.monitor = monitor
        self._port = port

    async def exchange(self, request: bytes) -> bytes:
        """All that comes back for these bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    async def get(self, path: str, accept: bytes = b"") -> bytes:
        """The whole answer."""
        return await self.exchange(b"GET %s HTTP/1.1\r\nHost: a\r\nAccept: %s\r\n\r\n" % (path.encode(), accept))


@asynccontextmanager
async def monitored(host: str = "127.0.0.1") -> AsyncIterator[Monitored]:
    server = Server(Settings(upstream=Address(host, 1), listen=(Address("127.0.0.1", 0),)))
    server.start()
    listeners = open_listeners((Address("127.0.0.1", 0),), option="--metrics")
    monitor = Monitor(server, listeners)
    monitor.start()
    try:
        yield Monitored(server, monitor, listeners[0].address.port)
    finally:
        await server.stop()
        await monitor.close()


def test_what_a_client_accepts_may_be_anything(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with monitored() as pgshim:
            for accept in (
                b"text/plain;version=abc",
                b"text/plain;version=1.0.0\xe9",
                b"application/openmetrics-text;version=2.\xe9",
                b"application/openmetrics-text;version=1.0.x",
                b"application/openmetrics-text;version=\xb2",
                b"text/plain;version=" + b"9" * 5000,
                b";;=,,=;version",
                b"\xff" * 100,
            ):
                answer = await pgshim.get("/metrics", accept)
                assert answer.startswith(b"HTTP/1.1 200 "), accept
                assert b"\npgshim_connections " in answer or b"\npgshim_client" in answer, answer
            assert b"\r\nContent-Type: " + _PLAIN in await pgshim.get("/metrics", b"text/plain;version=abc")

    run(story())
    assert not caplog.records


def test_requests_that_are_odd_are_answered_all_the_same(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    async def story() -> None:
        async with monitored() as pgshim:
            for request, status in (
                (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
                (b"HEAD /metrics HTTP/1.0\r\n\r\n", 200),
                (get * 3, 200),
                (get + b"\xff\xff no HTTP\r\n", 200),
                (b"GET /healthz?%ff%00 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
                (b"GET /readyz?a HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 503),
                (b"GET /healthz HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 200),
                (b"GET http://a:9/metrics?b HTTP/1.1\r\nHost: a\r\n\r\n", 200),
                (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 404),
                (b"GET //a/metrics HTTP/1.1\r\nHost: a\r\n\r\n", 404),
                (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
                (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400),
                (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
                (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405),
                (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
                (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405),
                (b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
                (b"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
            ):
                answer = await pgshim.exchange(request)
                assert answer.startswith(b"HTTP/1.1 %d " % status), (request, answer)
                assert answer.count(b"HTTP/1.1 ") == 1

    run(story())
    assert not caplog.records


def test_a_fault_of_its_own_is_an_answer_and_one_line(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with monitored() as pgshim:
            monkeypatch.setattr(pgshim.monitor, "_metrics", lambda _: 1 / 0)
            assert (await pgshim.get("/metrics")).startswith(b"HTTP/1.1 500 ")

    run(story())
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "internal error: ZeroDivisionError('division by zero')")
    ]


def test_not_ready_whatever_a_probe_runs_into(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Upstream) -> None:
        raise ZeroDivisionError

    async def story() -> None:
        async with monitored("pooler..example") as pgshim:
            answer = await pgshim.get("/readyz")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'could not resolve the upstream\'s name "pooler..example": not a host name' in answer
        assert not caplog.records
        monkeypatch.setattr(Upstream, "probe", fail)
        async with monitored() as pgshim:
            answer = await pgshim.get("/readyz")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert answer.endswith(b"could not connect to the upstream 127.0.0.1:1: internal error\n")

    run(story())
    assert len(caplog.records) == 1


def test_who_waits_for_a_probe_is_answered_when_pgshim_is_stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()

    async def hang(_: Upstream) -> None:
        begun.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(Upstream, "probe", hang)

    async def story() -> None:
        async with monitored() as pgshim:
            asking = asyncio.ensure_future(pgshim.get("/readyz"))
            await begun.wait()
            await pgshim.server.stop()
            answer = await asking
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert answer.endswith(b"pgshim is being stopped\n")

    run(story())
