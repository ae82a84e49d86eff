"""Warm connections: how many, who gets one, and what becomes of those that nobody took."""

import asyncio
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pgshim.addresses import Address
from pgshim.protocol import hot
from pgshim.proxy.age_limit import AgeLimit
from pgshim.proxy.prewarm import Prewarm
from pgshim.proxy.server import Server
from pgshim.proxy.tls import Contexts
from pgshim.proxy.upstream import Upstream
from pgshim.settings import Settings
from tests.proxy.conftest import Certificates, Run
from tests.proxy.world import (
    SSL_REQUEST,
    Client,
    ScriptedUpstream,
    cancel_request,
    listening,
    pgshim,
    startup,
    until,
)

TIMED_OUT = hot.error_response("FATAL", b"08P01", "client_login_timeout")


class Pooler(ScriptedUpstream):
    """A scripted upstream that knows how many sockets are open, and can be told to stop dealing with new ones."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.open = 0
        self.accepted = 0
        self.is_stuck = False
        #: Logins that are cut off with nothing said.
        self.silent_deaths = 0
        #: Seconds until a client that has said nothing is closed, and told so or not; 0: never.
        self.login_timeout = 0.0
        self.says_why = True
        self.timeouts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.accepted += 1
        try:
            if self.is_stuck:
                self.writers.append(writer)
                await reader.read(-1)
                writer.close()
            elif self.login_timeout:
                await self._serve_in_time(reader, writer)
            else:
                await super().serve(reader, writer)
        finally:
            self.open -= 1

    async def _serve_in_time(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.create_task(super().serve(reader, writer))
        await asyncio.wait([serving], timeout=self.login_timeout)
        if not serving.done():
            self.timeouts += 1
            writer.write(TIMED_OUT if self.says_why else b"")
            serving.cancel()
            await asyncio.wait([serving])
        writer.close()

    async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent_deaths:
            self.silent_deaths -= 1
            raise ConnectionResetError
        await super().log_in(reader, writer)


async def warmed(server: Server, count: int) -> None:
    await until(lambda: server.prewarm.idle == count)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Those that are about warm connections."""
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.message for record in loud if "--prewarm" in record.message]


# Taking one.


@pytest.mark.parametrize("has_tls", [False, True])
def test_a_client_takes_one_that_has_done_with_tcp_and_tls(run: Run, certificates: Certificates, has_tls: bool) -> None:
    async def story() -> None:
        upstream = Pooler(tls=certificates.server_context() if has_tls else None)
        async with listening(upstream), pgshim(Address("localhost", upstream.port), prewarm=2) as server:
            await warmed(server, 2)
            # From now on nobody gets an answer to an SSLRequest: only those who have theirs can log in.
            upstream.is_stuck = True
            for number in (1, 2):
                client = await Client.logged_in(server)
                assert client.key == upstream.key(number)
                assert await client.query(b"select 1") == "CZ"
            assert upstream.ssl_requests == 2
            assert len(upstream.startups) == 2

    run(story())


def test_another_takes_the_place_of_one_that_is_taken(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream, pgshim(upstream, prewarm=3) as server:
            await warmed(server, 3)
            assert upstream.open == 3
            clients = [await Client.logged_in(server) for _ in range(2)]
            await warmed(server, 3)
            assert upstream.open == 5
            for client in clients:
                await client.close()
            await until(lambda: upstream.open == 3)
            assert server.prewarm.idle == 3

    run(story())


def test_none_is_made_ahead_by_default(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream, pgshim(upstream) as server:
            await asyncio.sleep(0.05)
            assert upstream.accepted == 0
            await Client.logged_in(server)
            await asyncio.sleep(0.05)
            assert upstream.accepted == 1

    run(story())


def test_there_are_never_more_than_asked_for(run: Run) -> None:
    size = 5
    most = 0

    async def story() -> None:
        class Watching(Pooler):
            async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal most
                most = max(most, server.prewarm.sockets)
                await super().serve(reader, writer)

        async with listening(Watching()) as upstream, pgshim(upstream, prewarm=size) as server:
            await warmed(server, size)
            clients = await asyncio.gather(*[Client.logged_in(server) for _ in range(50)])
            await warmed(server, size)
            assert upstream.open == 50 + size
            assert await asyncio.gather(*[client.query(b"select 1") for client in clients]) == ["CZ"] * 50

    run(story())
    assert most == size


def test_what_the_client_sends_early_follows_the_startup_message(run: Run) -> None:
    password = hot.message(ord("p"), b"secret\0")

    class Asking(Pooler):
        async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not self.silent_deaths:
                writer.write(hot.message(ord("R"), struct.pack("!I", 3)))
                assert await reader.readexactly(len(password)) == password
            await super().log_in(reader, writer)

    async def story() -> None:
        async with listening(Asking()) as upstream, pgshim(upstream, prewarm=1) as server:
            for deaths in (0, 1):
                await warmed(server, 1)
                client = await Client.connect(server)
                upstream.silent_deaths = deaths
                client.send(startup() + password)
                assert await client.types(5) == "RRSKZ"

    run(story())


def test_a_unix_socket_is_warmed_as_well(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        upstream = Pooler()
        path = str(tmp_path / "pooler")
        listener = await asyncio.start_unix_server(upstream.serve, path)
        async with listener, pgshim(Address(path=path), upstream_tls="disable", prewarm=1) as server:
            await warmed(server, 1)
            # A connection to a Unix socket is there before the pooler's own task for it has begun.
            await until(lambda: upstream.accepted == 1)
            upstream.is_stuck = True
            client = await Client.logged_in(server)
            assert await client.query(b"select 1") == "CZ"

    run(story())


def test_the_session_endpoint_and_cancel_requests_take_none(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as pooler, listening(Pooler()) as endpoint:
            options = {"session_upstream": Address("127.0.0.1", endpoint.port), "prewarm": 1}
            async with pgshim(pooler, **options) as server:
                await warmed(server, 1)
                client = await Client.connect(server)
                client.send(startup(**{"pgshim.session": "on"}))
                assert await client.types(4) == "RSKZ"
                assert (endpoint.accepted, pooler.accepted) == (1, 1)
                sleeping = await Client.logged_in(server)
                await warmed(server, 1)
                pooler.answers[b"sleep"] = b""
                sleeping.send(hot.query(b"sleep"))
                await until(pooler.queries)
                canceller = await Client.connect(server)
                canceller.send(cancel_request(sleeping.key))
                assert await canceller.is_closed()
                assert pooler.cancels == [sleeping.key]
                assert (server.prewarm.idle, pooler.accepted) == (1, 3)

    run(story())


# Those that have died.


def test_one_that_the_pooler_closes_is_replaced_before_anybody_takes_it(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream, pgshim(upstream, prewarm=2) as server:
            for _ in range(2):
                await warmed(server, 2)
                await asyncio.sleep(1.05)
                for writer in upstream.writers:
                    writer.close()
                await until(lambda: upstream.open == 0 or upstream.accepted > 2)
                await warmed(server, 2)
            assert len(upstream.startups) == 0
            await Client.logged_in(server)
            assert len(upstream.startups) == 1

    run(story())


def test_one_whose_end_the_loop_has_not_seen_yet_is_not_taken(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream, pgshim(upstream, prewarm=1) as server:
            await warmed(server, 1)
            with socket.socket(fileno=os.dup(upstream.writers[0].get_extra_info("socket").fileno())) as sock:
                sock.shutdown(socket.SHUT_WR)
            assert server.prewarm.idle == 1
            assert server.prewarm.take() is None

    run(story())


def test_a_login_that_dies_with_no_answer_on_a_warm_connection_is_made_anew(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream, pgshim(upstream, prewarm=1) as server:
            await warmed(server, 1)
            upstream.silent_deaths = 1
            client = await Client.logged_in(server)
            assert len(upstream.startups) == 2
            assert len(set(upstream.startups)) == 1
            assert await client.query(b"select 1") == "CZ"

    run(story())


def test_it_is_made_anew_once_and_never_if_it_was_not_warm(run: Run) -> None:
    async def story(prewarm: int, attempts: int) -> None:
        async with listening(Pooler()) as upstream, pgshim(upstream, prewarm=prewarm) as server:
            await warmed(server, prewarm)
            upstream.silent_deaths = 3
            client = await Client.connect(server)
            client.send(startup())
            assert "closed the connection during the login" in (await client.error())["M"]
            assert await client.is_closed()
            assert len(upstream.startups) == attempts

    run(story(1, 2))
    run(story(0, 1))


def test_a_login_that_was_answered_is_not_made_anew(run: Run) -> None:
    class Fickle(Pooler):
        async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(hot.message(ord("R"), struct.pack("!I", 3))[:1])
            await writer.drain()
            raise ConnectionResetError

    async def story() -> None:
        async with listening(Fickle()) as upstream, pgshim(upstream, prewarm=1) as server:
            await warmed(server, 1)
            client = await Client.connect(server)
            client.send(startup())
            assert "closed the connection during the login" in (await client.error())["M"]
            assert len(upstream.startups) == 1

    run(story())


def test_a_pooler_that_is_gone_by_then_is_told_as_ever(run: Run) -> None:
    async def story() -> None:
        upstream = Pooler()
        async with listening(upstream):
            server_of = pgshim(upstream, prewarm=1)
            server = await server_of.__aenter__()
            await warmed(server, 1)
        client = await Client.connect(server)
        client.send(startup())
        assert (await client.error())["C"] == "08001"
        await server_of.__aexit__(None, None, None)

    run(story())


@pytest.mark.parametrize("how", ["login timeout", "drain", "client leaves"])
def test_a_warm_connection_that_does_not_answer_ends_with_its_client(run: Run, how: str) -> None:
    class Silent(Pooler):
        async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if how == "client leaves":
                await asyncio.sleep(0.1)
                await super().log_in(reader, writer)
            await reader.read(-1)

    async def story() -> None:
        timeout = 0.2 if how == "login timeout" else 60
        async with listening(Silent()) as upstream, pgshim(upstream, prewarm=1, login_timeout=timeout) as server:
            await warmed(server, 1)
            client = await Client.connect(server)
            client.send(startup())
            await until(lambda: upstream.startups)
            if how == "client leaves":
                client.reset()
            else:
                if how == "drain":
                    await server.drain()
                assert await client.error()
            await until(lambda: upstream.open == server.prewarm.idle and not server.connections)
            assert len(upstream.startups) == 1

    run(story())


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel has no such limit")
def test_a_host_that_is_gone_is_given_up_in_time_and_only_until_it_answers(run: Run) -> None:
    class Slow(Pooler):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = asyncio.Event()

        async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.go_on.wait()
            await super().log_in(reader, writer)

    async def story() -> None:
        async with listening(Slow()) as upstream, pgshim(upstream, prewarm=1, connect_timeout=3.0) as server:
            await warmed(server, 1)
            client = await Client.connect(server)
            client.send(startup())
            await until(lambda: upstream.startups)
            (connection,) = server.connections
            assert connection.flow.upstream is not None
            sock = connection.flow.upstream.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
            upstream.go_on.set()
            assert await client.types(4) == "RSKZ"
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0

    run(story())


# Their age.


def spawner(tasks: set[asyncio.Task[None]]) -> Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]:
    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        return task

    return spawn


async def warming(upstream: Pooler, size: int, oldest: float) -> Prewarm:
    """Warm connections with an age limit of their own."""
    address = Address("127.0.0.1", upstream.port)
    settings = Settings(address, ())
    tasks: set[asyncio.Task[None]] = set()

    prewarm = Prewarm(Upstream(settings, address, Contexts(settings)), size, spawner(tasks), oldest)
    prewarm.start()
    await until(lambda: prewarm.idle == size)
    return prewarm


def test_those_that_nobody_takes_are_replaced_at_different_times(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream:
            prewarm = await warming(upstream, 4, oldest=0.4)
            await asyncio.sleep(0.25)
            assert upstream.accepted == 4, "none is younger than three quarters"
            seen = set()
            while upstream.accepted < 8:
                assert prewarm.sockets <= 4
                seen.add(upstream.accepted)
                await asyncio.sleep(0.001)
            assert len(seen) > 1, "not all at once"
            assert upstream.open <= 4
            prewarm.close()
            await until(lambda: prewarm.sockets == upstream.open == 0)

    run(story())


@pytest.mark.parametrize("says_why", [True, False])
def test_the_poolers_login_timeout_is_learnt_from_the_first_that_it_closes(run: Run, says_why: bool) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream:
            upstream.login_timeout, upstream.says_why = 2.2, says_why
            prewarm = await warming(upstream, 3, oldest=40)
            await until(lambda: upstream.timeouts == 3)
            # From now on none gets older than half of that.
            for _ in range(25):
                await asyncio.sleep(0.1)
                assert upstream.timeouts == 3
                assert prewarm.sockets <= 3
            assert upstream.accepted >= 9
            prewarm.close()

    run(story())


def test_an_age_limit_is_half_of_what_the_pooler_allows() -> None:
    limit = AgeLimit(40)
    assert limit.at(0) == 40
    limit.learn(39, 0, is_certain=True)
    assert limit.at(1e9) == 19.5
    limit.learn(40, 1e9, is_certain=False)
    assert limit.at(1e9) == 19.5
    limit.learn(0.2, 1e9, is_certain=True)
    assert limit.at(1e9) == 1


def test_an_age_limit_for_which_there_was_no_reason_given_is_forgotten_unless_it_shows_again() -> None:
    limit = AgeLimit(40)
    limit.learn(5, 0, is_certain=False)
    assert limit.at(599) == 2.5
    assert limit.at(600) == 40
    limit.learn(20, 700, is_certain=False)
    assert limit.at(701) == 10
    assert limit.at(1300) == 40
    limit.learn(20.5, 1340, is_certain=False)
    assert limit.at(1e9) == 10.25


def test_an_age_limit_is_not_learnt_from_a_pooler_that_is_stopped() -> None:
    limit = AgeLimit(40)
    limit.learn(5, 0, is_certain=False)
    limit.doubt(0.1)
    assert limit.at(0.2) == 40
    limit.learn(5, 100, is_certain=False)
    limit.doubt(110)
    assert limit.at(110) == 2.5
    limit.learn(4, 200, is_certain=True)
    limit.doubt(200.1)
    assert limit.at(200.2) == 2


# What pgshim closes.


def test_a_drain_closes_them_at_once(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream, pgshim(upstream, prewarm=3) as server:
            await warmed(server, 3)
            client = await Client.logged_in(server)
            assert await client.query(b"begin") == "CZ"
            draining = asyncio.create_task(server.drain())
            await until(lambda: upstream.open == 1)
            assert server.prewarm.sockets == 0
            upstream.answers[b"commit"] = hot.command_complete(b"COMMIT") + hot.READY[hot.IDLE]
            assert await client.query(b"commit") == "CZ"
            await draining
            await until(lambda: upstream.open == 0)

    run(story())


def test_a_drain_gives_up_those_that_are_being_connected(run: Run) -> None:
    async def story() -> None:
        async with listening(Pooler()) as upstream:
            upstream.is_stuck = True
            async with pgshim(upstream, prewarm=3) as server:
                await until(lambda: upstream.open == 3)
                await server.drain()
                await until(lambda: upstream.open == server.prewarm.sockets == 0)

    run(story())


def test_new_certificates_replace_all_of_them(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        context = certificates.server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca)
        cert, key = certificates.issue("warm", "first.example")
        options = {"upstream_tls": "require", "upstream_cert": cert, "upstream_key": key, "prewarm": 2}
        async with (
            listening(Pooler(tls=context)) as upstream,
            pgshim(Address("localhost", upstream.port), **options) as server,
        ):
            await warmed(server, 2)
            certificates.issue("warm", "second.example")
            server.reload()
            assert server.prewarm.idle == 0
            await warmed(server, 2)
            await until(lambda: upstream.open == 2)
            await Client.logged_in(server)
            shown = upstream.writers[2].get_extra_info("peercert") or {}
            assert upstream.accepted >= 4
            assert "second.example" in str(shown)

    run(story())


def test_those_that_are_being_connected_with_old_certificates_are_not_used(run: Run) -> None:
    class Held(Pooler):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = asyncio.Event()

        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.go_on.wait()
            await super().serve(reader, writer)

    async def story() -> None:
        async with listening(Held()) as upstream, pgshim(upstream, prewarm=1) as server:
            await asyncio.sleep(0.05)
            server.reload()
            upstream.go_on.set()
            await until(lambda: upstream.accepted == 2)
            await warmed(server, 1)
            await until(lambda: upstream.open == 1)

    run(story())


def test_those_in_clear_are_not_used_once_the_host_has_spoken_tls(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        async with (
            listening(Pooler()) as upstream,
            pgshim(Address("localhost", upstream.port), prewarm=2) as server,
        ):
            await warmed(server, 2)
            upstream.tls, upstream.ssl_answer = certificates.server_context(), b"S"
            await Client.logged_in(server)
            await until(lambda: server.upstream.has_spoken_tls)
            await warmed(server, 2)
            client = await Client.logged_in(server)
            assert server.upstream.has_spoken_tls
            (connection,) = [one for one in server.connections if one.key == client.key]
            assert connection.flow.upstream is not None
            assert connection.flow.upstream.get_extra_info("ssl_object") is not None

    run(story())


# Upstreams that cannot be had.


def test_an_upstream_that_is_not_there_is_one_warning_and_is_found_when_it_comes(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgshim.upstream")

    async def story() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        async with pgshim(Address("127.0.0.1", port), prewarm=8) as server:
            await until(lambda: warnings(caplog))
            await asyncio.sleep(1)
            upstream = Pooler()
            async with await asyncio.start_server(upstream.serve, "127.0.0.1", port):
                await warmed(server, 8)
                await Client.logged_in(server)
                for writer in upstream.writers:
                    writer.transport.abort()

    caplog.clear()
    run(story())
    (warning,) = warnings(caplog)
    assert "connection refused" in warning
    assert [record for record in caplog.records if "connected to the upstream" in record.message]


@pytest.mark.parametrize("says", [b"", hot.error_response("FATAL", b"53300", "no more connections allowed")])
def test_an_upstream_that_closes_them_at_once_is_not_flooded(
    run: Run, caplog: pytest.LogCaptureFixture, says: bytes
) -> None:
    class Unwilling(Pooler):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted += 1
            assert await self._packet(reader) == SSL_REQUEST
            writer.write(b"N")
            await asyncio.sleep(0.01)
            writer.write(says)
            writer.close()

    async def story() -> None:
        async with listening(Unwilling()) as upstream, pgshim(upstream, prewarm=4) as server:
            await asyncio.sleep(1.5)
            assert upstream.accepted <= 4 + 3
            assert server.prewarm.idle <= 1

    caplog.clear()
    run(story())
    (warning,) = warnings(caplog)
    assert "on which nothing was said yet" in warning
    assert ("no more connections allowed" in warning) == bool(says)


def test_an_exception_that_nobody_expects_is_not_run_into_in_a_loop(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Upstream, "connect", fail)

    async def story() -> None:
        address = Address("127.0.0.1", 5432)
        settings = Settings(address, ())
        tasks: set[asyncio.Task[None]] = set()
        prewarm = Prewarm(Upstream(settings, address, Contexts(settings)), 1, spawner(tasks))
        prewarm.start()
        await asyncio.sleep(1)
        prewarm.close()
        assert 1 <= len(tasks) <= 3
        assert {type(task.exception()) for task in tasks} == {ZeroDivisionError}

    run(story())
    assert len(warnings(caplog)) == 1
