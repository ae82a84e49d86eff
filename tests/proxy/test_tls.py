"""TLS both ways, and what an attacker on the wire could put in front of it."""

import asyncio
import logging
import ssl
import struct
from pathlib import Path

import pytest

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError
from pgshim.proxy import negotiate
from pgshim.proxy.tls import Contexts
from pgshim.settings import Settings
from tests.proxy.conftest import Certificates, Run
from tests.proxy.world import (
    GSSENC_REQUEST,
    SSL_REQUEST,
    Client,
    ScriptedUpstream,
    cancel_request,
    listening,
    pgshim,
    port_of,
    startup,
    until,
)


async def start_tls(client: Client, context: ssl.SSLContext, host: str = "localhost") -> None:
    """What libpq does: SSLRequest, S, handshake."""
    client.send(SSL_REQUEST)
    assert await client.reader.readexactly(1) == b"S"
    await client.writer.start_tls(context, server_hostname=host)


def server_files(certificates: Certificates) -> dict[str, str]:
    cert, key = certificates.issue("down")
    return {"tls_cert": cert, "tls_key": key}


# Down.


def test_without_tls_both_requests_are_answered_n_and_the_client_goes_on_in_clear(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            client = await Client.connect(server)
            for request in (GSSENC_REQUEST, SSL_REQUEST):
                client.send(request)
                assert await client.reader.readexactly(1) == b"N"
            await client.log_in()

    run(story())


@pytest.mark.parametrize("is_cut", [False, True])
def test_tls_after_an_ssl_request(run: Run, certificates: Certificates, is_cut: bool) -> None:
    async def story() -> None:
        options = server_files(certificates)
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **options) as server:
            client = await Client.connect(server)
            client.send(GSSENC_REQUEST)
            assert await client.reader.readexactly(1) == b"N"
            if is_cut:
                client.send(SSL_REQUEST[:3])
                await asyncio.sleep(0.02)
                client.send(SSL_REQUEST[3:])
                assert await client.reader.readexactly(1) == b"S"
                await client.writer.start_tls(certificates.client_context(), server_hostname="localhost")
            else:
                await start_tls(client, certificates.client_context())
            await client.log_in()
            assert await client.query(b"select 1") == "CZ"
            client.writer.close()
            await until(lambda: upstream.received[-1:] == [("X", b"")])

    run(story())


def test_plaintext_is_still_taken_where_tls_is_offered(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        options = server_files(certificates)
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **options) as server:
            await Client.logged_in(server)

    run(story())


def test_direct_tls_on_the_same_port_needs_alpn(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        options = server_files(certificates)
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **options) as server:
            context = certificates.client_context(alpn=True)
            client = await Client.connect(server, ssl=context, server_hostname="localhost")
            await client.log_in()
            assert await client.query(b"select 1") == "CZ"
            without = await Client.connect(server, ssl=certificates.client_context(), server_hostname="localhost")
            without.send(startup())
            assert await without.is_closed()
            assert len(upstream.startups) == 1

    run(story())


def test_a_second_ssl_request_is_refused_in_tls_and_in_clear(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        async with (
            listening(ScriptedUpstream()) as upstream,
            pgshim(upstream, **server_files(certificates)) as server,
        ):
            client = await Client.connect(server)
            await start_tls(client, certificates.client_context())
            client.send(SSL_REQUEST)
            assert "unsupported frontend protocol 1234.5679" in (await client.error())["M"]
            assert await client.is_closed()
            async with pgshim(upstream) as server:
                client = await Client.connect(server)
                client.send(SSL_REQUEST)
                assert await client.reader.readexactly(1) == b"N"
                client.send(SSL_REQUEST)
                assert (await client.error())["C"] == "0A000"
                assert await client.is_closed()

    run(story())


@pytest.mark.parametrize("request_", [SSL_REQUEST, GSSENC_REQUEST])
@pytest.mark.parametrize("has_tls", [True, False])
def test_bytes_behind_a_request_for_encryption_are_fatal(
    run: Run, certificates: Certificates, request_: bytes, has_tls: bool
) -> None:
    async def story() -> None:
        options = server_files(certificates) if has_tls else {}
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **options) as server:
            client = await Client.connect(server)
            client.send(request_ + startup(user="mallory"))
            error = await client.error()
            assert (error["S"], error["C"]) == ("FATAL", "08P01")
            assert error["M"].startswith("received unencrypted data after ")
            assert await client.is_closed()
            assert not upstream.writers

    run(story())


def test_a_client_that_leaves_after_our_n_is_warned_about_once_with_two_ways_out(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    negotiate._warnings.add("no TLS")

    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream) as server:
            for _ in range(2):
                client = await Client.connect(server)
                client.send(SSL_REQUEST)
                assert await client.reader.readexactly(1) == b"N"
                client.writer.close()
                await asyncio.sleep(0.05)

    run(story())
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "--tls-self-signed" in record.message
    assert "sslmode=disable" in record.message


def test_sighup_reads_certificates_again_and_keeps_the_old_ones_if_the_new_are_no_good(
    run: Run, certificates: Certificates
) -> None:
    async def served_to(port: int) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["postgresql"])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        assert isinstance(certificate, bytes)
        return certificate

    async def story() -> None:
        options = server_files(certificates)
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **options) as server:
            first = await served_to(port_of(server))
            certificates.issue("down")
            server.contexts.reload()
            second = await served_to(port_of(server))
            assert first != second
            Path(options["tls_cert"]).write_text("no certificate")
            with pytest.raises(ConfigurationError, match="--tls-cert"):
                server.contexts.reload()
            assert await served_to(port_of(server)) == second

    run(story())


def test_a_self_signed_certificate_serves_sslmode_require(run: Run) -> None:
    async def story() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, tls_self_signed=True) as server:
            client = await Client.connect(server)
            await start_tls(client, context)
            await client.log_in()

    run(story())


def test_a_handshake_that_does_not_come_ends_with_the_login_timeout(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        options = server_files(certificates) | {"login_timeout": 0.2}
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **options) as server:
            for first in (b"", SSL_REQUEST, SSL_REQUEST[:4]):
                client = await Client.connect(server)
                client.send(first)
                assert await client.reader.read() in (b"", b"S")

    run(story())


def test_a_cancel_request_comes_in_tls_as_well(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, **server_files(certificates)) as server:
            client = await Client.connect(server)
            await start_tls(client, certificates.client_context())
            client.send(cancel_request(struct.pack("!II", 1, 2)))
            assert await client.is_closed()
            assert not upstream.writers

    run(story())


# Up.


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_tls_upstream_in_every_mode(run: Run, certificates: Certificates, mode: str) -> None:
    async def story() -> None:
        options = {"upstream_tls": mode, "upstream_ca": certificates.ca if mode.startswith("verify") else ""}
        async with listening(ScriptedUpstream(tls=certificates.server_context())) as upstream:
            address = Address("localhost", upstream.port)
            async with pgshim(address, **options) as server:
                client = await Client.logged_in(server)
                assert await client.query(b"select 1") == "CZ"
                assert upstream.ssl_requests == 1

    run(story())


def test_disable_asks_for_nothing(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, upstream_tls="disable") as server:
            await Client.logged_in(server)
            assert upstream.ssl_requests == 0

    run(story())


def test_sni_names_the_upstreams_host(run: Run, certificates: Certificates) -> None:
    names: list[str | None] = []

    async def story() -> None:
        context = certificates.server_context()
        context.sni_callback = lambda _, name, __: names.append(name)
        async with (
            listening(ScriptedUpstream(tls=context)) as upstream,
            pgshim(Address("localhost", upstream.port), upstream_tls="require") as server,
        ):
            await Client.logged_in(server)

    run(story())
    assert names == ["localhost"]


@pytest.mark.parametrize(
    ("mode", "host", "words"),
    [
        ("verify-full", "elsewhere.example", "certificate is not accepted"),
        ("verify-ca", "elsewhere.example", None),
    ],
)
def test_only_verify_full_looks_at_the_host_name(
    run: Run, certificates: Certificates, mode: str, host: str, words: str | None
) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream(tls=certificates.server_context(host))) as upstream:
            address = Address("localhost", upstream.port)
            async with pgshim(address, upstream_tls=mode, upstream_ca=certificates.ca) as server:
                client = await Client.connect(server)
                client.send(startup())
                type_code, body = await client.read()
                assert (type_code == "E") == (words is not None)
                if words:
                    assert words.encode() in body
                    assert b"C08001" in body

    run(story())


def test_an_unknown_authority_is_not_accepted(run: Run, certificates: Certificates, tmp_path: Path) -> None:
    import trustme

    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)

    async def story() -> None:
        async with listening(ScriptedUpstream(tls=certificates.server_context())) as upstream:
            address = Address("localhost", upstream.port)
            async with pgshim(address, upstream_tls="verify-full", upstream_ca=str(other)) as server:
                client = await Client.connect(server)
                client.send(startup())
                assert "certificate is not accepted" in (await client.error())["M"]
                assert not upstream.startups

    run(story())


def test_a_client_certificate_is_shown_to_the_upstream(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        context = certificates.server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca)
        cert, key = certificates.issue("client", "client.example")
        async with listening(ScriptedUpstream(tls=context)) as upstream:
            address = Address("localhost", upstream.port)
            async with pgshim(address, upstream_tls="require", upstream_cert=cert, upstream_key=key) as server:
                await Client.logged_in(server)

    run(story())


def test_require_does_not_go_on_in_clear(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, upstream_tls="require") as server:
            client = await Client.connect(server)
            client.send(startup())
            assert "does not offer TLS" in (await client.error())["M"]
            assert upstream.startups == []

    run(story())


def test_a_host_that_spoke_tls_once_is_never_spoken_to_in_clear(run: Run, certificates: Certificates) -> None:
    async def story() -> None:
        async with (
            listening(ScriptedUpstream(tls=certificates.server_context())) as upstream,
            pgshim(Address("localhost", upstream.port)) as server,
        ):
            await Client.logged_in(server)
            upstream.tls, upstream.ssl_answer = None, b"N"
            client = await Client.connect(server)
            client.send(startup())
            assert "offered TLS before" in (await client.error())["M"]
            assert len(upstream.startups) == 1

    run(story())


@pytest.mark.parametrize(
    "answer", [b"S" + b"R\0\0\0\x08\0\0\0\0", b"N" + b"R\0\0\0\x08\0\0\0\0", b"G", b"HTTP/1.1 400"]
)
def test_bytes_behind_the_upstreams_answer_are_fatal(run: Run, answer: bytes) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream(ssl_answer=answer)) as upstream, pgshim(upstream) as server:
            client = await Client.connect(server)
            client.send(startup())
            error = await client.error()
            assert (error["S"], error["C"]) == ("FATAL", "08001")
            assert await client.is_closed()
            assert not [packet for packet in upstream.startups if packet]

    run(story())


@pytest.mark.parametrize(("mode", "is_told"), [("prefer", True), ("require", False)])
def test_an_error_in_answer_to_the_ssl_request_is_told_unless_tls_is_due(run: Run, mode: str, is_told: bool) -> None:
    from pgshim.protocol import hot

    answer = hot.error_response("FATAL", b"53300", "out of sockets")

    async def story() -> None:
        async with (
            listening(ScriptedUpstream(ssl_answer=answer)) as upstream,
            pgshim(upstream, upstream_tls=mode) as server,
        ):
            client = await Client.connect(server)
            client.send(startup())
            error = await client.error()
            assert error["C"] == "08001"
            assert ("out of sockets" in error["M"]) == is_told

    run(story())


def test_one_warning_says_what_anybody_on_the_way_can_do(
    run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgshim.proxy.upstream import Endpoint

    async def story() -> None:
        for tls in (None, certificates.server_context()):
            async with (
                listening(ScriptedUpstream(tls=tls)) as upstream,
                pgshim(Address("localhost", upstream.port)) as server,
            ):
                await Client.logged_in(server)
                await Client.logged_in(server)

    run(story())
    assert not [record for record in caplog.records if record.name == "pgshim.upstream"]
    # The loopback, taken for a network: a second address of this machine cannot be counted on.
    monkeypatch.setattr(Endpoint, "is_loopback", False)
    run(story())
    warnings = [record.message for record in caplog.records if record.name == "pgshim.upstream"]
    assert ["unencrypted" in warnings[0], "certificate not verified" in warnings[1]] == [True, True]
    assert len(warnings) == 2


@pytest.mark.parametrize("option", ["tls_cert", "upstream_ca", "upstream_cert"])
def test_files_that_are_no_good_are_named(certificates: Certificates, tmp_path: Path, option: str) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("not PEM")
    options = {option: str(bad), "upstream_tls": "verify-full" if option == "upstream_ca" else "require"}
    if option != "upstream_ca":
        options[option.replace("cert", "key")] = str(bad)
    settings = Settings(Address("localhost", 1), (Address("127.0.0.1", 0),), **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as caught:
        Contexts(settings)
    assert "--" + option.replace("_", "-") in caught.value.message
    assert str(bad) in caught.value.message
