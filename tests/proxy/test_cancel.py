"""A CancelRequest that may have overtaken its query is sent again, for that query and no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pgshim.protocol import hot
from pgshim.proxy import cancel
from pgshim.proxy.server import Server
from tests.proxy.conftest import Run
from tests.proxy.test_server import Sleeper
from tests.proxy.world import (
    Client,
    ScriptedUpstream,
    cancel_request,
    command_complete,
    data_row,
    listening,
    pgshim,
    until,
)

PAUSES = (0.05, 0.05, 0.05)
#: Seconds in which all of it has been done.
ENOUGH = 0.5


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "_PAUSES", PAUSES)


async def cancelled(server: Server, client: Client) -> None:
    """The client has sent a CancelRequest, and it was dealt with."""
    canceller = await Client.connect(server)
    canceller.send(cancel_request(client.key))
    assert await canceller.is_closed()


@asynccontextmanager
async def sleeping(**options: Any) -> AsyncIterator[tuple[ScriptedUpstream, Server, Client, Sleeper]]:
    """A client whose query is under way, until the test wakes it."""
    async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **options) as server:
        sleeper = upstream.answers[b"sleep"] = Sleeper()
        client = await Client.logged_in(server)
        client.send(hot.query(b"sleep"))
        await until(upstream.queries)
        yield upstream, server, client, sleeper


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_it_is_sent_again_until_the_reply_comes(run: Run, mode: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with sleeping(upstream_mode=mode) as (upstream, server, client, sleeper):
            await cancelled(server, client)
            await until(lambda: len(upstream.cancels) >= 2)
            sleeper.wake.set()
            assert await client.types(2) == "CZ"
            # One more may have been on its way.
            await asyncio.sleep(ENOUGH)
            sent = len(upstream.cancels)
            upstream.answers[b"next"] = next_sleeper = Sleeper()
            client.send(hot.query(b"next"))
            await asyncio.sleep(ENOUGH)
            assert upstream.cancels == [client.key] * sent
            assert not server.canceller._again
            # What is asked of clients is counted, not what pgshim makes of it.
            assert server.tally.cancels["forwarded"] == 1
            next_sleeper.wake.set()
            assert await client.types(2) == "CZ"

    run(story())
    assert "Traceback" not in caplog.text


def test_the_trace_tells_it(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    async def story() -> None:
        async with sleeping(trace=str(trace)) as (upstream, server, client, sleeper):
            await cancelled(server, client)
            await until(lambda: len(upstream.cancels) >= 2)
            sleeper.wake.set()
            assert await client.types(2) == "CZ"

    run(story())
    first, again, *_ = (line.split(maxsplit=1)[1] for line in trace.read_text().splitlines() if "CancelRequest" in line)
    assert first.endswith("CancelRequest 1 <secret>")
    assert first.split()[1] == "F----->B"
    assert again.split()[1:4] == ["|-->B", "injected", "16"]
    assert again.endswith("CancelRequest 1 <secret>")


def test_it_is_not_sent_for_ever(run: Run) -> None:
    async def story() -> None:
        async with sleeping() as (upstream, server, client, sleeper):
            await cancelled(server, client)
            await until(lambda: len(upstream.cancels) == 1 + len(PAUSES))
            await asyncio.sleep(ENOUGH)
            assert len(upstream.cancels) == 1 + len(PAUSES)
            assert not server.canceller._again
            # The client may ask for it as often as it likes.
            await cancelled(server, client)
            await until(lambda: len(upstream.cancels) > 2 + len(PAUSES))
            sleeper.wake.set()
            assert await client.types(2) == "CZ"

    run(story())


def test_one_that_comes_later_is_sent_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "_RIGHT_BEHIND", 0.1)

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            sleeper = upstream.answers[b"sleep"] = Sleeper()
            client = await Client.logged_in(server)
            client.send(hot.query(b"sleep"))
            await asyncio.sleep(0.2)
            await cancelled(server, client)
            await asyncio.sleep(ENOUGH)
            assert upstream.cancels == [client.key]
            sleeper.wake.set()
            assert await client.types(2) == "CZ"

    run(story())


def test_one_that_had_its_effect_is_not_for_what_comes_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "_PAUSES", (0.5, 0.1))

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, pipeline="through") as server:
            first, second = upstream.answers[b"first"], upstream.answers[b"second"] = Sleeper(), Sleeper()
            client = await Client.logged_in(server)
            client.send(hot.query(b"first") + hot.query(b"second"))
            await until(upstream.queries)
            await cancelled(server, client)
            first.wake.set()
            assert await client.types(2) == "CZ"
            await asyncio.sleep(1)
            assert upstream.cancels == [client.key]
            second.wake.set()
            assert await client.types(2) == "CZ"

    run(story())


def test_nobody_goes_on_cancelling_for_a_client_that_is_gone(run: Run) -> None:
    async def story() -> None:
        async with sleeping() as (upstream, server, client, sleeper):
            await cancelled(server, client)
            client.reset()
            await until(lambda: not server.connections)
            assert not server.canceller._again

    run(story())


def test_a_client_that_takes_nothing_may_have_its_answer_waiting(run: Run) -> None:
    async def rows(writer: asyncio.StreamWriter) -> None:
        writer.write(data_row(1 << 20) * 8 + command_complete() + hot.READY[hot.IDLE])

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            upstream.answers[b"rows"] = rows
            client = await Client.logged_in(server)
            client.writer.transport.pause_reading()
            client.send(hot.query(b"rows"))
            (connection,) = server.connections
            await until(lambda: connection.flow.is_client_full)
            await cancelled(server, client)
            await asyncio.sleep(ENOUGH)
            assert upstream.cancels == [client.key]
            client.writer.transport.resume_reading()
            assert await client.types(10) == "D" * 8 + "CZ"
            assert upstream.cancels == [client.key]

    run(story())


def test_an_upstream_that_takes_no_more_is_asked_again(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with sleeping(connect_timeout=0.2) as (upstream, server, client, sleeper):
            upstream.ssl_answer = b"x"
            await cancelled(server, client)
            assert server.tally.cancels["failed"] == 1
            upstream.ssl_answer = b"N"
            await until(lambda: upstream.cancels)
            sleeper.wake.set()
            assert await client.types(2) == "CZ"

    run(story())
    assert "CancelRequest not sent" in caplog.text
