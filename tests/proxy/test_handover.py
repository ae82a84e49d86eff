"""What happens in the very turn of the loop in which a transport is made: nobody is forgotten there.

uvloop closes a transport whose maker is cancelled at that moment, and never tells the protocol that it had.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest

from pgshim.proxy.connection import Connection
from pgshim.proxy.greeting import Greeting
from pgshim.proxy.manager import Manager
from pgshim.proxy.run import _Ending
from pgshim.proxy.server import Server
from tests.proxy.conftest import Certificates, Run
from tests.proxy.test_tls import server_files, start_tls
from tests.proxy.world import Client, ScriptedUpstream, listening, pgshim, startup, until


@pytest.mark.parametrize("has_tls", [False, True])
@pytest.mark.parametrize("moment", [(Greeting, "__init__"), (Greeting, "connection_made"), (Connection, "start")])
def test_a_drain_that_begins_as_a_client_comes_in_ends(
    run: Run, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, moment: tuple[type, str], has_tls: bool
) -> None:
    drains: list[asyncio.Task[None]] = []
    original = getattr(*moment)

    def drain_first(self: Any, *arguments: Any, **named: Any) -> None:
        if not drains:
            drains.append(asyncio.ensure_future(servers[0].drain()))
        original(self, *arguments, **named)

    servers: list[Server] = []
    monkeypatch.setattr(*moment, drain_first)

    async def story() -> None:
        options: dict[str, Any] = server_files(certificates) if has_tls else {}
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, drain_timeout=10, **options) as server:
            servers.append(server)
            client = await Client.connect(server)
            with suppress(ConnectionError):
                if has_tls:
                    await start_tls(client, certificates.client_context())
                client.send(startup())
                await until(lambda: drains)
                assert (await client.read())[0] in ("", "E")
                assert await client.is_closed()
            async with asyncio.timeout(5):
                await drains[0]
            assert not server.connections
            assert not server.greetings

    run(story())


@pytest.mark.parametrize("has_tls", [False, True])
def test_a_handshake_that_a_drain_finds_under_way_is_not_waited_for(
    run: Run, certificates: Certificates, has_tls: bool
) -> None:
    async def story() -> None:
        options: dict[str, Any] = server_files(certificates) if has_tls else {}
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, drain_timeout=10, **options) as server:
            client = await Client.connect(server)
            if has_tls:
                client.send(b"\x16\x03")
            await until(lambda: server._arrivals)
            await asyncio.sleep(0.05)
            async with asyncio.timeout(5):
                await server.drain()
            assert await client.is_closed()

    run(story())


@pytest.mark.parametrize("has_tls", [False, True])
def test_an_upstream_that_is_there_at_the_last_moment_is_there(
    run: Run, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, has_tls: bool
) -> None:
    def slowly(self: Connection, transport: asyncio.Transport) -> None:
        made(self, transport)
        # By the next turn, --connect-timeout is over.
        time.sleep(0.6)

    made = Connection.upstream_made
    monkeypatch.setattr(Connection, "upstream_made", slowly)

    async def story() -> None:
        tls = certificates.server_context() if has_tls else None
        async with (
            listening(ScriptedUpstream(tls=tls)) as upstream,
            pgshim(upstream, connect_timeout=0.5, upstream_tls="prefer") as server,
        ):
            client = await Client.logged_in(server)
            assert await client.query(b"select 1") == "CZ"
            assert server.tally.connect_failures == 0

    run(story())


def test_a_fault_in_the_drain_does_not_keep_the_process(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Connection) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Connection, "drain", fail)

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.logged_in(server)
            await ended(server)
            assert await client.is_closed()

    run(story())
    assert "internal error: RuntimeError('a bug')" in caplog.text


async def ended(server: Server) -> None:
    """pgshim as SIGTERM ends it."""
    ending = _Ending(server, Manager({}))
    ending._on_terminate()
    async with asyncio.timeout(5):
        await ending.wait()
