"""What keeps an app out: each failure says what is wrong and what to do."""

import errno
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pgshim.check import network
from pgshim.check.target import Target
from pgshim.demo.processes import Endpoint
from pgshim.demo.servers import PgBouncer, PostgresServer
from pgshim.protocol import backend
from tests.check.conftest import Checked, answering, checked
from tests.poolers.setups import Supavisor

NOBODY = {"clear": "p1", "trusted": "p2", "hashed": "p3", "barred": "p4", "unknown": "p5"}


class PickyServer(PostgresServer):
    """A server that has another way to let each user in."""

    def _prepare(self) -> None:
        super()._prepare()
        methods = {"clear": "password", "trusted": "trust", "hashed": "md5", "app": "md5", "barred": "reject"}
        lines = [f"host all {user} 127.0.0.1/32 {method}\n" for user, method in methods.items()]
        self._write("data/pg_hba.conf", f"local all all trust\n{''.join(lines)}")


@pytest.fixture(scope="module")
def picky() -> Iterator[PostgresServer]:
    with PickyServer(users=NOBODY, settings={"password_encryption": "md5"}) as server:
        yield server


def only_problem(found: Checked) -> str:
    """Text and fix of the one problem."""
    assert found.exit_code == 1
    (problem,) = found.problems
    assert problem.fix, problem.text
    return f"{problem.text} {problem.fix}"


def with_changes(endpoint: Endpoint, **changes: Any) -> str:
    return replace(endpoint, **changes).url


@pytest.mark.parametrize(("user", "method"), [("clear", "cleartext password"), ("hashed", "md5"), ("trusted", "trust")])
def test_each_way_to_log_in(picky: PostgresServer, user: str, method: str) -> None:
    found = checked(picky.endpoint(user).url)
    assert found.data["login"]["method"] == method
    assert found.exit_code == 0


def test_a_wrong_password_is_tried_once(pooler: PgBouncer) -> None:
    before = pooler.log().count("login attempt: ")
    found = checked(with_changes(pooler.endpoint(), password="wr0ng"))
    text = only_problem(found)
    assert "SASL authentication failed" in text
    assert "it came from the URL" in text
    assert "wr0ng" not in found.text
    assert pooler.log().count("login attempt: ") - before <= 1
    assert found.data["login"]["is_successful"] is False


@pytest.mark.parametrize("user", ["app", "clear", "hashed"])
def test_a_wrong_password_by_any_method(picky: PostgresServer, user: str) -> None:
    text = only_problem(checked(with_changes(picky.endpoint(user), password="", user=user), PGPASSWORD="wr0ng"))
    assert "28P01" in text
    assert "it came from PGPASSWORD" in text


def test_no_password_and_nobody_to_ask(pooler: PgBouncer) -> None:
    assert "PGPASSWORD" in only_problem(checked(with_changes(pooler.endpoint(), password="")))


def test_a_person_is_asked_for_the_password_when_the_server_wants_one(pooler: PgBouncer) -> None:
    endpoint = pooler.endpoint()

    def ask(target: Target) -> Target:
        return replace(target, password=endpoint.password, password_source="the prompt")

    found = checked(with_changes(endpoint, password=""), ask=ask)
    assert found.exit_code == 0
    assert found.data["login"]["password_source"] == "the prompt"
    assert found.data["recommendation"]["database_url"] == "postgresql://app@127.0.0.1:6432/app"


@pytest.mark.parametrize(
    ("user", "words"),
    [("barred", "pg_hba.conf rejects"), ("unknown", "no pg_hba.conf entry"), ("unknown", "sslmode=require")],
)
def test_no_line_in_pg_hba(picky: PostgresServer, user: str, words: str) -> None:
    assert words in only_problem(checked(picky.endpoint(user).url))


def test_a_database_that_is_not_there(pooler: PgBouncer, postgres: PostgresServer) -> None:
    for server in (pooler, postgres):
        text = only_problem(checked(server.endpoint(database="nope").url))
        assert '"nope" does not exist' in text
        assert "behind the last /" in text


def test_a_user_that_is_not_there(postgres: PostgresServer) -> None:
    assert "28P01" in only_problem(checked(with_changes(postgres.endpoint(), user="nobody")))


def test_no_room_at_the_server(picky: PostgresServer) -> None:
    with psycopg.connect(host=str(picky.directory), port=picky.port, user="postgres", autocommit=True) as admin:
        admin.execute("ALTER ROLE app CONNECTION LIMIT 0")
        try:
            text = only_problem(checked(picky.endpoint().url))
        finally:
            admin.execute("ALTER ROLE app CONNECTION LIMIT -1")
    assert "too many connections" in text
    assert "pool" in text


def test_no_room_for_more_than_the_first_connection(postgres: PostgresServer) -> None:
    with PgBouncer(postgres, max_client_conn=1) as pooler:
        found = checked(pooler.endpoint().url)
    assert "no more connections allowed (max_client_conn)" in found.text
    assert found.data["server"]["version"]
    assert "could not be found out" in found.text


@pytest.mark.parametrize(
    ("user", "words"),
    [("app", "write app.<project-ref>"), ("app.elsewhere", "No project 'elsewhere'")],
)
def test_a_tenant_that_is_not_known(postgres: PostgresServer, user: str, words: str) -> None:
    with Supavisor(postgres) as pooler:
        found = checked(with_changes(pooler.endpoint(), user=user))
    assert words in only_problem(found)
    assert found.data["pooler"]["kind"] == "Supavisor"


def test_nothing_listens_there() -> None:
    text = only_problem(checked("postgresql://u:p@127.0.0.1:1/d"))
    assert "connection refused" in text
    assert "Nothing listens on port 1" in text


def test_nothing_listens_at_the_socket() -> None:
    assert "unix_socket_directories" in only_problem(checked("postgresql://u:p@/d?host=/nonexistent&port=1"))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70 + ".example"])
def test_a_name_that_nobody_knows(host: str) -> None:
    assert "spelling" in only_problem(checked(f"postgresql://u:p@{host}/d"))


def resolved_to(patch: pytest.MonkeyPatch, *addresses: str, error: OSError) -> None:
    """Every name has these addresses, and a connection to any of them fails."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port, 0, 0))
            for one in addresses
        ]

    async def connect(*_: object) -> socket.socket:
        raise error

    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    patch.setattr(network, "connect", connect)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("db.abcdefgh.supabase.co", "has IPv6 addresses only, to which this machine has no way. Use the pooler"),
        ("db.abcdefgh.supabase.co", "aws-<index>-<region>.pooler.supabase.com:6543"),
        ("db.example", "has IPv6 addresses only, to which this machine has no way. Use a host with IPv4"),
        ("[2001:db8::1]", "2001:db8::1 is an IPv6 address, to which"),
    ],
)
def test_a_host_with_ipv6_alone_from_a_machine_without(host: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved_to(monkeypatch, "2001:db8::1", error=OSError(errno.ENETUNREACH, "Network is unreachable"))
    text = only_problem(checked(f"postgresql://postgres:p@{host}:5432/postgres"))
    assert words in text


def test_no_address_of_several_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved_to(monkeypatch, "2001:db8::1", "192.0.2.1", error=TimeoutError())
    found = checked("postgresql://u:p@aws-0-eu-central-1.pooler.supabase.com:6432/d")
    assert "6543 is the transaction pooler" in only_problem(found)
    assert [one["error"] for one in found.data["addresses"]] == ["no answer in time"] * 2


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("aws-9-nowhere.pooler.supabase.com", "copy the host from the project's connection string"),
        ("db.gone.supabase.co", "paused or deleted"),
    ],
)
def test_a_host_of_supabases_that_is_not_there(host: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert words in only_problem(checked(f"postgresql://u:p@{host}/d"))


def test_another_protocol_is_spoken_there() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "does not speak PostgreSQL's protocol" in only_problem(checked(f"postgresql://u:p@127.0.0.1:{port}/d"))


def test_who_only_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = only_problem(checked(f"postgresql://u:p@127.0.0.1:{port}/d?connect_timeout=1"))
    assert "no answer in time" in text
    assert "may hang or be overloaded, or speak another protocol" in text


def test_who_hangs_at_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgshim.check.wire.REPLY_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql://u:p@127.0.0.1:{listener.getsockname()[1]}/d?sslmode=disable&connect_timeout=1"
        text = only_problem(checked(url))
    assert text.startswith("no answer within 1 s It may hang or be overloaded")


@pytest.mark.parametrize("replies", [[], [b"N"], [b"N", b""]])
def test_who_hangs_up_without_a_word(replies: list[bytes]) -> None:
    with answering(*replies) as port:
        found = checked(f"postgresql://u:p@127.0.0.1:{port}/d?connect_timeout=2")
    assert found.exit_code == 1
    assert "closed" in found.problems[0].text


def test_a_password_in_clear_is_not_sent_on_a_connection_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond loopback: sslmode=prefer may have been talked out of TLS by somebody on the way."""
    monkeypatch.setattr("pgshim.proxy.upstream.Endpoint.is_loopback", False)
    request = backend.AuthenticationCleartextPassword().encode()
    with answering(b"N", request) as port:
        text = only_problem(checked(f"postgresql://u:p@127.0.0.1:{port}/d"))
    assert "it was not sent" in text
    assert "sslmode=require" in text


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (backend.AuthenticationGSS(), "GSSAPI"),
        (backend.AuthenticationSASL((b"SCRAM-SHA-256-PLUS",)), "cannot pass through a proxy"),
        (backend.AuthenticationSASL((b"OAUTHBEARER",)), "only OAUTHBEARER"),
        (backend.AuthenticationSASLContinue(b"r=x"), "had not begun"),
    ],
)
def test_a_way_to_log_in_that_is_not_to_be_had(request_: backend.Message, words: str) -> None:
    with answering(b"N", request_.encode()) as port:
        found = checked(f"postgresql://u:p@127.0.0.1:{port}/d")
    assert found.exit_code == 1
    assert words in f"{found.problems[0].text} {found.problems[0].fix}"
