"""One client, one upstream: relaying, leaving, losing, holding back."""

import asyncio
import resource
import socket

import pytest

from pgshim.protocol import hot
from pgshim.proxy import departure
from tests.proxy.conftest import Run
from tests.proxy.world import (
    READY,
    Client,
    ScriptedUpstream,
    cancel_request,
    command_complete,
    data_row,
    listening,
    pgshim,
    startup,
    until,
)

both_modes = pytest.mark.parametrize("mode", ["transaction", "session"])


@both_modes
def test_a_query_goes_up_and_its_answer_comes_down(run: Run, mode: str) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, upstream_mode=mode) as server:
            client = await Client.logged_in(server)
            assert await client.query(b"select 1") == "CZ"
            assert upstream.queries() == [b"select 1"]
            await client.close()

    run(story())


def test_what_a_client_sends_behind_its_startup_packet_is_kept_until_the_upstream_is_there(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.connect(server)
            password = hot.message(ord("p"), b"secret\0")
            client.send(startup() + password)
            assert await client.types(4) == "RSKZ"
            await until(lambda: upstream.received == [("p", b"secret\0")])

    run(story())


def test_a_startup_packet_in_single_bytes(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.connect(server)
            for byte in startup():
                client.send(bytes((byte,)))
                await asyncio.sleep(0)
            assert await client.types(4) == "RSKZ"
            assert len(upstream.startups) == 1

    run(story())


@pytest.mark.parametrize(
    "head", [b"\0\0\x27\x11\0\3\0\0", b"\0\0\0\4\0\3\0\0", b"GET / HTTP/1.1\r\n", b"\x16\3\1\2\0\1\0\1"]
)
def test_a_startup_packet_of_no_possible_length_closes_the_connection(run: Run, head: bytes) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.connect(server)
            client.send(head)
            assert await client.is_closed()
            assert not upstream.writers

    run(story())


def test_an_unknown_protocol_version_is_refused_in_postgresqls_words(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.connect(server)
            client.send(b"\0\0\0\x09\0\2\0\0\0")
            error = await client.error()
            assert (error["S"], error["C"]) == ("FATAL", "0A000")
            assert "unsupported frontend protocol 2.0" in error["M"]
            assert await client.is_closed()

    run(story())


@both_modes
def test_terminate_goes_up_alone_and_the_connection_closes(run: Run, mode: str) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, upstream_mode=mode) as server:
            client = await Client.logged_in(server)
            client.send(hot.TERMINATE)
            assert await client.is_closed()
            await until(lambda: upstream.received)
            assert upstream.received == [("X", b"")]
            await until(lambda: not server.connections and not server.departures)

    run(story())


def test_a_client_that_vanishes_in_a_transaction_is_rolled_back_before_terminate(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.logged_in(server)
            await client.query(b"begin")
            client.writer.transport.abort()
            await until(lambda: ("X", b"") in upstream.received)
            assert [type_code for type_code, _ in upstream.received] == ["Q", "Q", "X"]
            assert upstream.queries()[1].upper().startswith(b"ROLLBACK")
            await until(lambda: not server.connections and not server.departures)

    run(story())


def test_a_client_that_has_cancelled_and_closes_is_not_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "PATIENCE", 0.2)

    async def never(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            upstream.answers[b"sleep"] = never
            client = await Client.logged_in(server)
            client.send(hot.query(b"sleep"))
            await until(lambda: upstream.queries())
            # A pooler drops it where the query still waits for a server.
            canceller = await Client.connect(server)
            canceller.send(cancel_request(client.key))
            assert await canceller.is_closed()
            client.send(hot.TERMINATE)
            client.writer.write_eof()
            await until(lambda: not server.departures and not server.connections)
            assert upstream.cancels == [client.key, client.key]

    run(story())


def test_a_query_that_its_client_left_is_cancelled_and_then_cut_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "PATIENCE", 0.2)

    async def never(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            upstream.answers[b"sleep"] = never
            client = await Client.logged_in(server)
            client.send(hot.query(b"sleep"))
            await until(lambda: upstream.queries())
            client.reset()
            await until(lambda: not server.departures and not server.connections)
            assert upstream.cancels == [client.key]

    run(story())


def test_an_eof_behind_a_query_leaves_the_answer_its_way(run: Run) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(data_row(10) + command_complete() + READY)

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            upstream.answers[b"slow"] = slowly
            client = await Client.logged_in(server)
            client.send(hot.query(b"slow"))
            client.writer.write_eof()
            assert await client.types(3) == "DCZ"
            assert await client.is_closed()
            await until(lambda: upstream.received[-1] == ("X", b""))

    run(story())


def test_an_upstream_that_is_lost_is_a_fatal_error_for_the_client(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.logged_in(server)
            upstream.writers[0].close()
            error = await client.error()
            assert (error["S"], error["C"]) == ("FATAL", "08006")
            assert error["H"]
            assert await client.is_closed()

    run(story())


@both_modes
def test_a_fatal_error_of_the_upstreams_is_the_last_word(run: Run, mode: str) -> None:
    async def dies(writer: asyncio.StreamWriter) -> None:
        writer.write(hot.error_response("FATAL", b"57P01", "terminating connection due to administrator command"))
        writer.close()

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, upstream_mode=mode) as server:
            upstream.answers[b"die"] = dies
            client = await Client.logged_in(server)
            client.send(hot.query(b"die"))
            assert (await client.error())["C"] == "57P01"
            assert await client.is_closed()

    run(story())


def test_an_upstream_that_dies_within_a_row_cannot_have_an_error_taken_for_the_rest_of_it(run: Run) -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(data_row(1000)[:900])
        await writer.drain()
        writer.close()

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            upstream.answers[b"cut"] = cut
            client = await Client.logged_in(server)
            client.send(hot.query(b"cut"))
            assert len(await client.reader.read()) <= 900

    run(story())


def test_an_upstream_that_closes_during_the_login_has_its_words_relayed_first(run: Run) -> None:
    class Full(ScriptedUpstream):
        async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(hot.error_response("FATAL", b"08P01", "no more connections allowed (max_client_conn)"))
            await writer.drain()
            raise ConnectionResetError

    class Mute(ScriptedUpstream):
        async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raise ConnectionResetError

    async def story() -> None:
        for kind, sqlstate in ((Full, "08P01"), (Mute, "08006")):
            async with listening(kind()) as upstream, pgshim(upstream) as server:
                client = await Client.connect(server)
                client.send(startup())
                assert (await client.error())["C"] == sqlstate
                assert await client.is_closed()

    run(story())


def test_an_unreachable_upstream_is_a_fatal_error_with_a_hint(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream:
            pass
        async with pgshim(upstream) as server:
            client = await Client.connect(server)
            client.send(startup())
            error = await client.error()
            assert (error["S"], error["C"]) == ("FATAL", "08001")
            assert "connection refused" in error["M"]
            assert error["H"]
            assert await client.is_closed()

    run(story())


def test_bytes_that_are_no_protocol_are_a_fatal_error_and_the_upstream_is_brought_to_rest(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.logged_in(server)
            client.send(b"\0\0\0\0\0\0")
            assert (await client.error())["C"] == "08P01"
            assert await client.is_closed()
            await until(lambda: upstream.received == [("X", b"")])

    run(story())


def test_an_upstream_that_replies_out_of_order_is_cut_off(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.logged_in(server)
            upstream.writers[0].write(READY)
            assert (await client.error())["C"] == "08P01"
            assert await client.is_closed()
            await until(lambda: upstream.received == [("", b"")])

    run(story())


@both_modes
def test_a_client_that_does_not_read_stalls_the_upstream_and_nothing_piles_up(run: Run, mode: str) -> None:
    total = 64 * 1024 * 1024

    async def story() -> None:
        row = data_row(65_530)
        written = 0

        async def flood(writer: asyncio.StreamWriter) -> None:
            nonlocal written
            while written < total:
                writer.write(row)
                written += len(row)
                await writer.drain()
            writer.write(command_complete() + READY)

        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, upstream_mode=mode) as server:
            upstream.answers[b"flood"] = flood
            client = await Client.logged_in(server)
            # A reader that takes nothing: what waits is in the kernel, in pgshim, or not sent.
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(hot.query(b"flood"))
            last = -1
            while written != last:
                last = written
                await asyncio.sleep(0.3)
            assert written < total
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            types = ""
            while not types.endswith("Z"):
                types += (await client.read())[0]
            assert types == "D" * (total // len(row) + 1) + "CZ"

    run(story())


def test_an_upstream_that_does_not_read_stalls_the_client(run: Run) -> None:
    async def story() -> None:
        release = asyncio.Event()

        async def wait(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.write(command_complete() + READY)

        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, upstream_mode="session") as server:
            upstream.answers[b"wait"] = wait
            client = await Client.logged_in(server)
            client.writer.transport.set_write_buffer_limits(high=1 << 16)
            client.send(hot.query(b"wait"))
            sent, total = 0, 64 * 1024 * 1024
            copy_data = hot.message(ord("d"), bytes(1 << 18))
            try:
                async with asyncio.timeout(1):
                    while sent < total:
                        client.send(copy_data)
                        sent += len(copy_data)
                        await client.writer.drain()
            except TimeoutError:
                pass
            assert sent < total
            release.set()
            client.send(hot.query(b"after"))
            assert await client.types(4) == "CZCZ"

    run(story())


def test_local_answers_that_are_not_read_stall_the_client_that_asks_for_them(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.logged_in(server)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            burst = b"C\0\0\0\x06S\0" * 10_000
            sent, total = 0, 1000
            try:
                async with asyncio.timeout(1):
                    while sent < total:
                        client.send(burst)
                        await client.writer.drain()
                        sent += 1
            except TimeoutError:
                pass
            assert sent < total
            assert upstream.received == []
            client.writer.transport.abort()

    run(story())


def test_sockets_send_at_once_and_are_kept_alive(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            await Client.logged_in(server)
            (connection,) = server.connections
            for transport in (connection.flow.client, connection.flow.upstream):
                assert transport is not None
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    run(story())


def test_a_prepare_that_ends_with_flush_holds_no_server_while_its_client_is_silent(run: Run) -> None:
    async def story() -> None:
        class Preparing(ScriptedUpstream):
            async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await super().log_in(reader, writer)
                while True:
                    head = await reader.readexactly(5)
                    self.received.append((chr(head[0]), await reader.readexactly(head[4] - 4)))
                    if head[:1] == b"H" and self.received[-2][0] == "D":
                        writer.write(hot.PARSE_COMPLETE + b"t\0\0\0\x06\0\0" + hot.NO_DATA)
                    if head[:1] == b"S":
                        writer.write(READY)

        async with listening(Preparing()) as upstream, pgshim(upstream) as server:
            client = await Client.logged_in(server)
            client.send(hot.message(ord("P"), b"a\0select 1\0\0\0") + hot.message(ord("D"), b"Sa\0") + hot.FLUSH)
            assert await client.types(3) == "1tn"
            assert "S" not in [type_code for type_code, _ in upstream.received]
            await until(lambda: "S" in [type_code for type_code, _ in upstream.received], 2)
            client.send(hot.SYNC)
            assert await client.read() == ("Z", b"I")

    run(story())


@pytest.mark.parametrize("reported", [b"application_name", b"pgbouncer_pool_mode"])
def test_auto_is_serial_unless_upstream_says_that_it_keeps_count(run: Run, reported: bytes) -> None:
    async def story() -> None:
        release = asyncio.Event()

        async def wait(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.write(command_complete() + READY)

        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            upstream.answers[b"first"] = wait
            upstream.parameters[reported] = b"transaction"
            arrived = 0
            client = await Client.logged_in(server)
            reading = upstream.writers[0].transport
            client.send(hot.query(b"first") + hot.query(b"second"))
            await until(lambda: upstream.queries())
            await asyncio.sleep(0.05)
            # The second waits in the upstream's stream, or in pgshim.
            protocol = reading.get_protocol()  # type: ignore[attr-defined]
            arrived = len(protocol._stream_reader._buffer)
            assert arrived == (0 if reported == b"application_name" else len(hot.query(b"second")))
            release.set()
            assert await client.types(4) == "CZCZ"

    run(story())


def test_idle_clients_are_disconnected_but_not_in_a_transaction(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, idle_timeout=0.2) as server:
            busy = await Client.logged_in(server)
            await busy.query(b"begin")
            idle = await Client.logged_in(server)
            assert (await idle.error())["C"] == "57P05"
            assert await idle.is_closed()
            assert await busy.query(b"select 1") == "CZ"

    run(story())
