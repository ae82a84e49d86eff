"""--session-upstream: who gets there, by which listener or startup parameter, and what is asked of it."""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pgshim.addresses import Address
from pgshim.protocol import hot
from pgshim.proxy import departure
from pgshim.proxy.listen import ListenError, open_listeners
from pgshim.proxy.run import _log_start, _probe
from pgshim.proxy.server import Server
from tests.proxy.conftest import Certificates, Run
from tests.proxy.world import READY, Client, ScriptedUpstream, cancel_request, listening, startup, until
from tests.proxy.world import pgshim as started

ANY_PORT = (Address("127.0.0.1", 0),)


def set_config_answer(*values: bytes) -> bytes:
    row = struct.pack("!h", len(values)) + b"".join(struct.pack("!i", len(value)) + value for value in values)
    return b"T\0\0\0\6\0\0" + hot.message(ord("D"), row) + hot.command_complete(b"SELECT 1") + READY


class Judging(ScriptedUpstream):
    """Answers each check of settings with these values."""

    def __init__(self, *values: bytes) -> None:
        super().__init__()
        self.values = values

    async def _answer(self, text: bytes, writer: asyncio.StreamWriter) -> None:
        if text.startswith(b"SELECT pg_catalog.set_config("):
            writer.write(set_config_answer(*self.values))
        else:
            await super()._answer(text, writer)

    @staticmethod
    def key(number: int) -> bytes:
        """Not the other upstream's."""
        return struct.pack("!II", number, 0x5E55)


@asynccontextmanager
async def both(**options: object) -> AsyncIterator[tuple[ScriptedUpstream, Judging, Server]]:
    """A pooler, a session endpoint, and pgshim in front of both."""
    async with listening(ScriptedUpstream()) as pooler, listening(Judging(b"off")) as endpoint:
        assert isinstance(endpoint, Judging)
        addresses = {"session_upstream": Address("127.0.0.1", endpoint.port), "session_listen": ANY_PORT}
        async with started(pooler, **addresses | options) as server:
            yield pooler, endpoint, server


async def connect(server: Server, *, listener: int = 0, **parameters: str) -> Client:
    address = server.listeners[listener].address
    client = Client(*await asyncio.open_connection(address.host, address.port))
    client.send(startup(**parameters))
    return client


async def log_in(client: Client) -> str:
    types = ""
    while not types.endswith("Z"):
        type_code, body = await client.read()
        assert type_code not in ("", "E"), (type_code, body)
        if type_code == "K":
            client.key = body
        types += type_code
    return types


@pytest.mark.parametrize(
    ("listener", "parameters"),
    [(1, {}), (1, {"pgshim.session": "off"}), (0, {"pgshim.session": "on"}), (0, {"options": "-c pgshim.session=on"})],
)
def test_a_client_gets_there_by_its_listener_or_its_startup_parameter(
    run: Run, listener: int, parameters: dict[str, str]
) -> None:
    async def story() -> None:
        async with both() as (pooler, endpoint, server):
            client = await connect(server, listener=listener, **parameters)
            assert await log_in(client) == "RSKZ"
            assert await client.query(b"LISTEN news") == "CZ"
            assert endpoint.queries() == [b"LISTEN news"]
            assert endpoint.startups == [startup()]
            assert pooler.writers == []
            client.reset()
            await until(lambda: endpoint.received[-1] == ("X", b""))

    run(story())


def test_others_go_to_the_pooler(run: Run) -> None:
    async def story() -> None:
        async with both() as (pooler, endpoint, server):
            client = await connect(server, **{"pgshim.session": "off"})
            await log_in(client)
            await client.query(b"select 1")
            assert pooler.queries() == [b"select 1"]
            assert pooler.startups == [startup(application_name=" ")]
            assert endpoint.writers == []

    run(story())


def test_settings_are_put_in_force_there_before_the_client_goes_on(run: Run) -> None:
    async def story() -> None:
        async with both() as (_, endpoint, server):
            for count in (1, 2):
                client = await connect(server, listener=1, jit="off")
                client.send(hot.query(b"select 1"))
                assert await log_in(client) == "RSKZ"
                assert await client.types(2) == "CZ"
                assert endpoint.queries()[-2:] == [b"SELECT pg_catalog.set_config(E'jit',E'off',false)", b"select 1"]
                assert len(endpoint.queries()) == 2 * count

    run(story())


def test_a_setting_that_is_refused_closes_both_sides(run: Run) -> None:
    async def story() -> None:
        async with both() as (_, endpoint, server):
            query = b"SELECT pg_catalog.set_config(E'jit',E'x',false)"
            endpoint._answer = ScriptedUpstream._answer.__get__(endpoint)  # type: ignore[method-assign]
            endpoint.answers[query] = hot.error_response("ERROR", b"22023", "a Boolean") + READY
            client = await connect(server, listener=1, jit="x")
            assert (await client.read())[0] == "R"
            error = await client.error()
            assert (error["S"], error["C"], error["M"]) == ("FATAL", "22023", "a Boolean")
            assert await client.is_closed()
            await until(lambda: endpoint.received[-1][0] == "X")
            await until(lambda: not server.connections)

    run(story())


@pytest.mark.parametrize(
    ("parameters", "sqlstate"),
    [
        ({"pgshim.session": "on"}, "0A000"),
        ({"pgshim.session": "x"}, "22023"),
        ({"options": "-z"}, "42601"),
        ({"options": "-c app.token=half another-half"}, "42601"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anybody_is_asked(
    run: Run, caplog: pytest.LogCaptureFixture, parameters: dict[str, str], sqlstate: str
) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as pooler, started(pooler) as server:
            client = await connect(server, **parameters)
            error = await client.error()
            assert (error["S"], error["C"]) == ("FATAL", sqlstate)
            assert await client.is_closed()
            assert pooler.writers == []

    with caplog.at_level(logging.INFO, "pgshim"):
        run(story())
    assert [record.levelname for record in caplog.records if "refused: " in record.message] == ["INFO"]
    assert "another-half" not in caplog.text


def test_a_cancel_request_goes_where_its_client_is(run: Run) -> None:
    async def story() -> None:
        async with both() as (pooler, endpoint, server):
            for upstream, listener in ((pooler, 0), (endpoint, 1)):
                wake = asyncio.Event()

                async def sleep(writer: asyncio.StreamWriter, wake: asyncio.Event = wake) -> None:
                    await wake.wait()
                    writer.write(hot.command_complete(b"SELECT 1") + READY)

                upstream.answers[b"sleep"] = sleep
                client = await connect(server, listener=listener)
                await log_in(client)
                client.send(hot.query(b"sleep"))
                await until(upstream.queries)
                canceller = await Client.connect(server)
                canceller.send(cancel_request(client.key))
                assert await canceller.is_closed()
                assert upstream.cancels == [client.key]
                wake.set()
                assert await client.types(2) == "CZ"
            assert (len(pooler.cancels), len(endpoint.cancels)) == (1, 1)

    run(story())


def test_an_upstream_that_takes_long_with_what_a_client_left_is_cancelled_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departure, "PATIENCE", 0.1)

    async def story() -> None:
        async with both() as (pooler, _, server):

            async def sleep(writer: asyncio.StreamWriter) -> None:
                await until(lambda: pooler.cancels)
                writer.write(hot.error_response("ERROR", b"57014", "cancelled") + READY)

            pooler.answers[b"sleep"] = sleep
            client = await connect(server)
            await log_in(client)
            client.send(hot.query(b"sleep"))
            await until(pooler.queries)
            client.reset()
            await until(lambda: pooler.received[-1] == ("X", b""))
            assert pooler.cancels == [client.key]

    run(story())


def test_an_endpoint_that_is_lost_is_the_one_that_is_named(run: Run) -> None:
    async def story() -> None:
        async with both() as (_, endpoint, server):
            client = await connect(server, listener=1)
            await log_in(client)
            endpoint.writers[0].transport.abort()
            assert f"127.0.0.1:{endpoint.port}" in (await client.error())["M"]

    run(story())


def test_an_endpoint_that_is_not_there_is_named_with_its_option(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with both(session_upstream=Address("127.0.0.1", 1)) as (pooler, _, server):
            client = await connect(server, listener=1)
            error = await client.error()
            assert "127.0.0.1:1" in error["M"]
            assert "--session-upstream" in error["H"]
            await log_in(await connect(server))
            assert not await _probe(server)
            await until(lambda: len(pooler.writers) == 2)

    run(story())
    assert [record.levelname for record in caplog.records if "127.0.0.1:1:" in record.message][-1] == "WARNING"


def test_a_drain_waits_for_its_transactions_too(run: Run) -> None:
    async def story() -> None:
        async with both() as (_, _, server):
            client = await connect(server, listener=1)
            await log_in(client)
            await client.query(b"begin")
            drain = server.spawn(server.drain())
            await asyncio.sleep(0.1)
            assert await client.query(b"commit") == "CZ"
            assert (await client.error())["C"] == "57P01"
            await drain

    run(story())


def test_tls_is_spoken_to_both_as_each_of_them_is_to_be_spoken_to(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        context = certificates.server_context()
        async with (
            listening(ScriptedUpstream()) as pooler,
            listening(ScriptedUpstream(tls=context)) as endpoint,
            started(
                Address("localhost", pooler.port),
                upstream_tls="disable",
                upstream_ca=certificates.ca,
                session_upstream=Address("localhost", endpoint.port),
                session_upstream_tls="verify-full",
                session_listen=ANY_PORT,
            ) as server,
        ):
            for listener in (0, 1):
                await log_in(await connect(server, listener=listener))
            assert (pooler.ssl_requests, endpoint.ssl_requests) == (0, 1)
            server.contexts.reload()
            await log_in(await connect(server, listener=1))

    run(story())


def test_the_start_names_both(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with both(upstream_tls="disable") as (pooler, endpoint, server):
            _log_start(server.settings, server.listeners)
            first, second, last = (record.getMessage() for record in caplog.records if record.levelname == "INFO")
            assert first.endswith("(plaintext)")
            assert second.endswith("(plaintext) for the session endpoint")
            assert f"upstream 127.0.0.1:{pooler.port} (unencrypted), transaction mode" in last
            assert f"; session endpoint 127.0.0.1:{endpoint.port} (TLS prefer: certificate not verified" in last

    with caplog.at_level(logging.INFO, "pgshim.server"):
        run(story())


def test_an_address_that_is_taken_is_named_with_its_option() -> None:
    (taken,) = open_listeners(ANY_PORT)
    try:
        with pytest.raises(ListenError, match="--session-listen"):
            open_listeners(ANY_PORT, (taken.address,))
    finally:
        taken.close()
