"""TLS: what is spoken, whose certificate it is, and whether verify-full would pass."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from pgshim.check import contexts
from pgshim.check.certificates import Certificate, where_to_get
from pgshim.check.url import read_url
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer, TlsFiles
from pgshim.errors import ConfigurationError
from tests.check.conftest import answering, checked


@pytest.fixture(scope="module")
def pooler_with_tls(postgres: PostgresServer, tls_files: TlsFiles) -> Iterator[PgBouncer]:
    """Its certificate is for localhost, not for 127.0.0.1."""
    with PgBouncer(postgres, client_tls=tls_files) as server:
        yield server


def url_of(server: PgBouncer, query: str, host: str = "localhost") -> str:
    return server.endpoint().url.replace("127.0.0.1", host) + f"?{query}"


def test_a_private_ca_that_is_given(pooler_with_tls: PgBouncer, tls_files: TlsFiles) -> None:
    found = checked(url_of(pooler_with_tls, f"sslmode=verify-full&sslrootcert={tls_files.ca}"))
    assert found.exit_code == 0
    tls = found.data["tls"]
    assert tls["version"] == "TLSv1.3"
    assert tls["cipher"].startswith("TLS_")
    assert tls["certificate"]["names"] == ["localhost"]
    assert "Testing CA" in tls["certificate"]["issuer"]
    assert tls["verify_full"][0] == {
        "ca": str(tls_files.ca),
        "is_accepted": True,
        "message": "",
        "is_of_the_name": False,
    }
    assert found.data["recommendation"]["arguments"][-2:] == ["--upstream-ca", str(tls_files.ca)]


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_a_private_ca_that_is_missing_is_named(pooler_with_tls: PgBouncer, mode: str) -> None:
    found = checked(url_of(pooler_with_tls, f"sslmode={mode}"))
    assert found.exit_code == 0
    assert "Missing is the CA certificate 'OU=Testing CA" in found.text
    assert found.data["recommendation"]["arguments"][-2:] == ["--upstream-tls", "require"]


@pytest.mark.parametrize("query", ["sslmode=verify-full", "sslmode=verify-ca", "sslrootcert=system"])
def test_verification_that_fails_is_where_it_ends(pooler_with_tls: PgBouncer, query: str) -> None:
    found = checked(url_of(pooler_with_tls, query))
    assert found.exit_code == 1
    (problem,) = found.problems
    assert problem.label in ("verify-full", "verify-ca")
    assert "does not pass" in problem.text
    assert "Missing is the CA certificate" in problem.fix
    assert "login" not in found.data


def test_a_certificate_for_another_name(pooler_with_tls: PgBouncer, tls_files: TlsFiles) -> None:
    found = checked(url_of(pooler_with_tls, f"sslmode=verify-ca&sslrootcert={tls_files.ca}", "127.0.0.1"))
    assert found.exit_code == 0
    assert "IP address mismatch" in found.text
    assert "one of the names in the certificate" in found.text
    recommended = found.data["recommendation"]["arguments"]
    assert recommended[-4:] == ["--upstream-tls", "verify-ca", "--upstream-ca", str(tls_files.ca)]
    refused = checked(url_of(pooler_with_tls, f"sslmode=verify-full&sslrootcert={tls_files.ca}", "127.0.0.1"))
    assert refused.exit_code == 1


def test_a_ca_that_has_not_signed_it(pooler_with_tls: PgBouncer, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.crt")
    found = checked(url_of(pooler_with_tls, f"sslmode=verify-full&sslrootcert={tmp_path / 'other.crt'}"))
    assert found.exit_code == 1
    assert "unable to get local issuer certificate" in found.text


def test_a_certificate_that_has_signed_itself(pooler: PgBouncer) -> None:
    with PgshimProcess(pooler, options=["--tls-self-signed"]) as shim:
        found = checked(shim.endpoint().url + "?sslmode=require&sslnegotiation=direct")
    assert found.exit_code == 0
    assert found.data["tls"]["certificate"]["is_self_signed"] is True
    assert "signed by itself" in found.text


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_where_it_is_insisted_on(mode: str, pooler: PgBouncer) -> None:
    """Whether there is a CA or not: there is no certificate."""
    found = checked(pooler.endpoint().url + f"?sslmode={mode}")
    assert found.exit_code == 1
    (problem,) = found.problems
    assert (problem.label, problem.text) == ("connection", "the server does not offer TLS, and it is insisted on")
    assert "sslmode=prefer" in problem.fix


def test_no_ca_and_nobody_who_speaks_tls() -> None:
    with answering() as port:
        found = checked(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=verify-full&connect_timeout=2")
    assert [problem.label for problem in found.problems] == ["verify-full", "connection"]
    assert "there is no ~/.postgresql/root.crt" in found.problems[0].text
    assert "closed when TLS was asked for" in found.problems[1].text


def test_a_pooler_that_insists_on_tls(pooler_with_tls: PgBouncer) -> None:
    found = checked(url_of(pooler_with_tls, "sslmode=disable"))
    assert found.exit_code == 1
    assert "sslmode=require" in found.problems[0].fix


def test_a_connection_in_clear_beyond_the_machine_is_warned_of(
    pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgshim.proxy.upstream.Endpoint.is_loopback", False)
    found = checked(pooler.endpoint().url)
    assert "data can be read on the way" in found.text
    assert found.exit_code == 0


def test_a_certificate_that_is_about_to_expire_or_has(postgres: PostgresServer, tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for days, words in ((3, "days are left"), (-3, "it has expired")):
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", not_after=now + datetime.timedelta(days=days, hours=1))
        files = TlsFiles(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt")
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(files.key)
        authority.cert_pem.write_to_path(files.ca)
        with PgBouncer(postgres, client_tls=files) as server:
            found = checked(
                url_of(server, f"sslmode=require&sslrootcert={files.ca}" if days > 0 else "sslmode=require")
            )
        assert found.exit_code == 0
        assert words in found.text


def test_a_server_that_wants_a_client_certificate(postgres: PostgresServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    own, client = authority.issue_cert("localhost"), authority.issue_cert("app@example")
    files = TlsFiles(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt")
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
    own.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.ca)
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    (tmp_path / "client.crt").write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))

    class Strict(PgBouncer):
        def _prepare(self) -> None:
            self.settings["client_tls_ca_file"] = str(self._write("client-ca.crt", files.ca.read_bytes()))
            super()._prepare()
            path = self.directory / "pgbouncer.ini"
            text = path.read_text().replace("client_tls_sslmode = require", "client_tls_sslmode = verify-ca")
            self._write("pgbouncer.ini", text)

    with Strict(postgres, client_tls=files) as server:
        without = checked(url_of(server, f"sslmode=verify-full&sslrootcert={files.ca}"))
        query = f"sslcert={tmp_path / 'client.crt'}&sslkey={tmp_path / 'client.key'}"
        with_one = checked(url_of(server, f"sslmode=verify-full&sslrootcert={files.ca}&{query}"))
    assert without.exit_code == 1
    assert "client certificate" in without.text
    assert with_one.exit_code == 0
    assert "--upstream-cert" in with_one.data["recommendation"]["arguments"]


@pytest.mark.parametrize("query", ["sslrootcert=/nonexistent", "sslcert=/nonexistent&sslkey=/nonexistent"])
def test_files_that_are_no_good_are_a_bad_url(query: str) -> None:
    with pytest.raises(ConfigurationError, match="/nonexistent"):
        contexts.check_files(read_url(f"postgresql://h/d?{query}", {}).tls)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("aws-0-eu-central-1.pooler.supabase.com", "prod-ca-2021.crt"),
        ("db.abc.supabase.co", "prod-ca-2021.crt"),
        ("x.eu-west-1.rds.amazonaws.com", "global-bundle.pem"),
        ("db.example", "ask whoever runs the server"),
    ],
)
def test_where_to_get_the_ca(host: str, words: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    certificate = Certificate("db", "A private CA", (), now, now, is_self_signed=False)
    assert words in where_to_get(host, certificate)
    assert "'A private CA'" in where_to_get(host, certificate)
