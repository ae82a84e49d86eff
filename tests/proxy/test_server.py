"""Who may come in, who is cancelled, how it all ends."""

import asyncio
import errno
import logging
import os
import socket
import struct
from pathlib import Path

import pytest

from pgshim.addresses import Address, parse_listen
from pgshim.protocol import hot
from pgshim.proxy.listen import ListenError, accept, open_listeners
from pgshim.proxy.upstream import Endpoint, Upstream
from tests.proxy.conftest import Certificates, Run
from tests.proxy.world import (
    READY,
    SSL_REQUEST,
    Client,
    ScriptedUpstream,
    cancel_request,
    command_complete,
    listening,
    pgshim,
    startup,
    until,
)


class Sleeper:
    """An answer that comes when the test says so."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        await self.wake.wait()
        writer.write(command_complete() + READY)


# CancelRequest.


def test_a_cancel_request_is_forwarded_while_its_client_waits(run: Run, certificates: Certificates) -> None:
    async def story(tls: bool) -> None:
        context = certificates.server_context() if tls else None
        async with listening(ScriptedUpstream(tls=context)) as upstream, pgshim(upstream) as server:
            sleeper = upstream.answers[b"sleep"] = Sleeper()
            client = await Client.logged_in(server)
            client.send(hot.query(b"sleep"))
            await until(upstream.queries)
            canceller = await Client.connect(server)
            canceller.send(cancel_request(client.key))
            # Its end says that the upstream has dealt with it; until then its own connection is held open.
            assert await canceller.is_closed()
            assert upstream.cancels == [client.key]
            assert upstream.cancel_eofs == ["held open"]
            assert upstream.ssl_requests == 2
            sleeper.wake.set()
            assert await client.types(2) == "CZ"

    run(story(tls=False))
    run(story(tls=True))


def test_a_cancel_request_whose_client_leaves_at_once_is_still_held_open_upstream(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            upstream.answers[b"sleep"] = Sleeper()
            client = await Client.logged_in(server)
            client.send(hot.query(b"sleep"))
            await until(upstream.queries)
            canceller = await Client.connect(server)
            canceller.send(cancel_request(client.key))
            await canceller.writer.drain()
            canceller.reset()
            await until(lambda: upstream.cancel_eofs)
            assert upstream.cancel_eofs == ["held open"]

    run(story())


def test_a_cancel_request_for_nobody_or_an_idle_client_goes_nowhere(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.logged_in(server)
            for key in (client.key, b"nobody's", b"", b"k" * 256):
                canceller = await Client.connect(server)
                canceller.send(cancel_request(key))
                assert await canceller.is_closed()
            assert upstream.cancels == []
            assert server.tally.cancels == {"forwarded": 0, "idle": 1, "unknown_key": 3, "failed": 0}
            assert len(upstream.writers) == 1

    run(story())


# Limits.


def test_a_login_that_takes_too_long_is_a_fatal_error(run: Run) -> None:
    class Slow(ScriptedUpstream):
        async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(hot.message(ord("R"), struct.pack("!I", 3)))
            await reader.read()

    async def story() -> None:
        async with listening(Slow()) as upstream, pgshim(upstream, login_timeout=0.2) as server:
            client = await Client.connect(server)
            client.send(startup())
            assert await client.read() == ("R", struct.pack("!I", 3))
            error = await client.error()
            assert (error["S"], error["C"]) == ("FATAL", "08006")
            assert "--login-timeout" in error["H"]
            assert await client.is_closed()
            await until(lambda: not server.connections)

    run(story())


@pytest.mark.parametrize("first", [b"", b"\0", startup()[:20], SSL_REQUEST + b""])
def test_a_client_that_does_not_say_who_it_is_is_disconnected(run: Run, first: bytes) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, login_timeout=0.1) as server:
            client = await Client.connect(server)
            client.send(first)
            assert await client.reader.read() in (b"", b"N")
            await until(lambda: not server.greetings)

    run(story())


def test_a_login_in_time_is_not_ended_later(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, login_timeout=0.2) as server:
            client = await Client.logged_in(server)
            await asyncio.sleep(0.3)
            assert await client.query(b"select 1") == "CZ"

    run(story())


@pytest.mark.parametrize(
    ("options", "words"), [({"max_connections": 2}, "--max-connections"), ({"descriptors": 70}, "open files")]
)
def test_one_client_too_many_is_told_so_and_a_cancel_request_still_passes(
    run: Run, options: dict[str, int], words: str
) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **options) as server:
            upstream.answers[b"sleep"] = Sleeper()
            clients = [await Client.logged_in(server) for _ in range(2)]
            third = await Client.connect(server)
            third.send(startup())
            error = await third.error()
            assert (error["S"], error["C"]) == ("FATAL", "53300")
            assert words in error["H"]
            assert await third.is_closed()
            clients[0].send(hot.query(b"sleep"))
            await until(upstream.queries)
            canceller = await Client.connect(server)
            canceller.send(cancel_request(clients[0].key))
            assert await canceller.is_closed()
            assert upstream.cancels == [clients[0].key]
            await clients[1].close()
            await until(lambda: len(server.connections) == 1)
            await Client.logged_in(server)

    run(story())


def test_silent_clients_cannot_use_up_the_descriptors(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, descriptors=68) as server:
            silent = [await Client.connect(server) for _ in range(4)]
            await asyncio.sleep(0.05)
            fifth = await Client.connect(server)
            assert (await fifth.error())["C"] == "53300"
            for client in silent:
                await client.close()
            await asyncio.sleep(0.05)
            await Client.logged_in(server)

    run(story())


def test_the_accept_loop_pauses_without_descriptors_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        (listener,) = open_listeners((Address("127.0.0.1", 0),))
        loop = asyncio.get_running_loop()
        calls = 0

        async def no_descriptors(sock: socket.socket) -> None:
            nonlocal calls
            calls += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        loop.sock_accept = no_descriptors  # type: ignore[method-assign, assignment]
        task = asyncio.ensure_future(accept(listener, lambda sock: None))
        await asyncio.sleep(0.6)
        task.cancel()
        listener.close()
        assert 2 <= calls <= 4

    asyncio.run(story())
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "too many open files" in record.message


def test_a_socket_that_somebody_else_shuts_down_is_given_up(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        (listener,) = open_listeners((Address("127.0.0.1", 0),))
        task = asyncio.ensure_future(accept(listener, lambda sock: None))
        await asyncio.sleep(0.05)
        with listener.sock.dup() as another:
            another.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(2):
            await task
        assert caplog.messages == [f"no longer listening on {listener.address}: invalid argument"]
        listener.close()

    run(story())


def test_an_accept_that_fails_again_and_again_leaves_room_for_others() -> None:
    async def story() -> None:
        (listener,) = open_listeners((Address("127.0.0.1", 0),))
        calls = 0

        async def refused(sock: socket.socket) -> None:
            nonlocal calls
            calls += 1
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        asyncio.get_running_loop().sock_accept = refused  # type: ignore[method-assign, assignment]
        task = asyncio.ensure_future(accept(listener, lambda sock: None))
        await asyncio.sleep(0.6)
        task.cancel()
        listener.close()
        assert 2 <= calls <= 5

    asyncio.run(story())


# Listening.


def test_a_directory_means_the_socket_that_libpq_looks_for_and_a_stale_file_is_no_obstacle(
    run: Run, tmp_path: Path
) -> None:
    async def story() -> None:
        (address,) = parse_listen(f"unix:{tmp_path}:6500")
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(address.path)
        stale.close()
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, listen=(address,)) as server:
            assert os.listdir(tmp_path) == [".s.PGSQL.6500"]
            client = await Client.logged_in(server)
            assert await client.query(b"select 1") == "CZ"
            with pytest.raises(ListenError, match="in use"):
                open_listeners((address,))
        assert os.listdir(tmp_path) == []

    run(story())


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError):
        open_listeners((Address(path=str(path)),))
    assert path.read_text() == "data"


def test_an_upstream_behind_a_unix_socket(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        upstream = ScriptedUpstream()
        path = str(tmp_path / ".s.PGSQL.5432")
        unix = await asyncio.start_unix_server(upstream.serve, path)
        async with listening(upstream), pgshim(Address(path=path)) as server:
            client = await Client.logged_in(server)
            assert await client.query(b"select 1") == "CZ"
            assert upstream.ssl_requests == 0
        unix.close()

    run(story())


def test_all_addresses_or_none_are_listened_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: address already in use; "):
            open_listeners((Address("127.0.0.1", 0), Address("127.0.0.1", port)))


def test_a_machine_without_ipv6_serves_a_bare_port_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def without_ipv6(host: str, *args: object, **options: object) -> object:
        if ":" in host:
            raise OSError(errno.EAFNOSUPPORT, "no")
        return real(host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", without_ipv6)
    listeners = open_listeners((Address("127.0.0.1", 0), Address("::1", 0, is_optional=True)))
    assert [listener.address.host for listener in listeners] == ["127.0.0.1"]
    listeners[0].close()


def test_every_address_of_a_name_is_tried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream:

            async def two(_: Upstream) -> list[Endpoint]:
                return [Endpoint(socket.AF_INET, (host, upstream.port)) for host in ("127.0.0.2", "127.0.0.1")]

            monkeypatch.setattr(Upstream, "_resolve", two)
            async with pgshim(Address("localhost", upstream.port)) as server:
                await Client.logged_in(server)

    run(story())


def test_a_name_that_does_not_resolve_is_a_fatal_error_with_a_hint(run: Run) -> None:
    async def story() -> None:
        async with pgshim(Address("nowhere.invalid", 5432)) as server:
            client = await Client.connect(server)
            client.send(startup())
            error = await client.error()
            assert error["C"] == "08001"
            assert "nowhere.invalid" in error["M"]
            assert error["H"]

    run(story())


def test_an_upstream_that_does_not_answer_is_given_up_after_the_connect_timeout(run: Run) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            async with pgshim(Address("127.0.0.1", mute.getsockname()[1]), connect_timeout=0.2) as server:
                client = await Client.connect(server)
                client.send(startup())
                error = await client.error()
                assert error["C"] == "08001"
                assert "--connect-timeout" in error["H"]

    run(story())


# The end.


def test_a_drain_ends_idle_clients_at_once_and_others_with_their_transaction(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            address = server.listeners[0].address
            idle, busy = await Client.logged_in(server), await Client.logged_in(server)
            half = await Client.connect(server)
            await busy.query(b"begin")
            draining = asyncio.ensure_future(server.drain())
            error = await idle.error()
            assert (error["S"], error["C"]) == ("FATAL", "57P01")
            assert await idle.is_closed()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(address.host, address.port)
            assert await half.is_closed()
            assert await busy.query(b"select 1") == "CZ"
            assert (await busy.error())["C"] == "57P01"
            assert await busy.is_closed()
            await draining
            assert upstream.received.count(("X", b"")) == 2

    run(story())


def test_a_drain_ends_after_its_timeout(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, drain_timeout=0.2) as server:
            busy = await Client.logged_in(server)
            await busy.query(b"begin")
            await server.drain()
            assert (await busy.error())["C"] == "57P01"
            assert await busy.is_closed()
            assert [type_code for type_code, _ in upstream.received] == ["Q", "Q", "X"]

    run(story())


def test_a_stop_waits_for_nobody(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            upstream.answers[b"sleep"] = Sleeper()
            client = await Client.logged_in(server)
            client.send(hot.query(b"sleep"))
            await until(upstream.queries)
            async with asyncio.timeout(4):
                await server.stop()
            assert (await client.error())["C"] == "57P01"
            assert await client.is_closed()

    run(story())


def test_nothing_is_left_behind(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            for _ in range(20):
                client = await Client.logged_in(server)
                await client.query(b"select 1")
                await client.close()
            await until(lambda: not server.connections and not server.departures and not server.greetings)
            # The accept loop alone.
            assert len(server._tasks) == 1
            assert not server.canceller._connections

    run(story())


def test_a_logged_in_client_has_no_task(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            await Client.logged_in(server)
            await until(lambda: len(server._tasks) == 1)

    run(story())
