"""Database URLs: what they say of the server, and the same with pgshim in its place."""

import os
from pathlib import Path

import pytest

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError
from pgshim.url import DatabaseUrl
from pgshim.url_tls import UpstreamTls

H, P = "127.0.0.1", 7000


def tls(text: str, **environment: str) -> UpstreamTls:
    return DatabaseUrl.read(text).tls(environment)


@pytest.fixture(autouse=True)
def _has_no_root_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("postgresql://u:p@pooler:6543/db", "postgresql://u:p@127.0.0.1:7000/db"),
        ("postgres://u@pooler/db", "postgres://u@127.0.0.1:7000/db"),
        ("postgresql+asyncpg://u:p@pooler:6543/db", "postgresql+asyncpg://u:p@127.0.0.1:7000/db"),
        ("postgresql+psycopg://pooler", "postgresql+psycopg://127.0.0.1:7000"),
        ("jdbc:postgresql://pooler:6543/db?user=u&ssl=true", "jdbc:postgresql://127.0.0.1:7000/db?user=u&sslmode=disable"),
        ("postgis://u:p@pooler/db", "postgis://u:p@127.0.0.1:7000/db"),
        # Login and database stay as they were written.
        ("postgresql://a%40b:p%2Fq%3F@[::1]:6543/d%20b", "postgresql://a%40b:p%2Fq%3F@127.0.0.1:7000/d%20b"),
        ("postgresql://u:p@ss@pooler:6543/db", "postgresql://u:p@ss@127.0.0.1:7000/db"),
        ("postgresql:///db?host=/run/postgresql&port=6543", "postgresql://127.0.0.1:7000/db"),
        ("postgresql://u@%2Frun%2Fpostgresql:6543/db", "postgresql://u@127.0.0.1:7000/db"),
        ("postgresql://u@a:1,b:2/db?target_session_attrs=any", "postgresql://u@127.0.0.1:7000/db?target_session_attrs=any"),
        ("postgresql+asyncpg://u@/db?host=a:1&host=b:2", "postgresql+asyncpg://u@127.0.0.1:7000/db"),
        ("postgresql://pooler/db?options=-c%20jit%3Doff&x=a+b", "postgresql://127.0.0.1:7000/db?options=-c%20jit%3Doff&x=a+b"),
        # TLS is the pooler's affair.
        (
            "postgresql://pooler/db?sslmode=verify-full&sslrootcert=ca.pem&sslcert=c&sslkey=k&application_name=a",
            "postgresql://127.0.0.1:7000/db?application_name=a&sslmode=disable",
        ),
        ("postgresql://pooler/db?sslmode=require&sslnegotiation=direct", "postgresql://127.0.0.1:7000/db?sslmode=disable"),
        ("postgresql://p/d?sslmode=require&channel_binding=require", "postgresql://127.0.0.1:7000/d?sslmode=disable"),
        ("postgresql+asyncpg://pooler/db?ssl=require", "postgresql+asyncpg://127.0.0.1:7000/db?ssl=disable"),
        ("postgresql+asyncpg://pooler/db?sslmode=require", "postgresql+asyncpg://127.0.0.1:7000/db?sslmode=disable"),
        ("postgresql+pg8000://pooler/db?sslmode=require", "postgresql+pg8000://127.0.0.1:7000/db"),
        ("postgres://pooler/db?ssl=true&max=3", "postgres://127.0.0.1:7000/db?max=3&sslmode=disable"),
        (
            "postgresql://pooler/db?schema=app&sslmode=require&sslaccept=strict&sslcert=ca.pem&pgbouncer=true",
            "postgresql://127.0.0.1:7000/db?schema=app&pgbouncer=true&sslmode=disable",
        ),
    ],
)
def test_a_url_is_pointed_elsewhere_and_nothing_else_of_it_changes(before: str, after: str) -> None:
    assert DatabaseUrl.read(before).pointed_at(H, P) == after


def test_a_url_is_pointed_at_a_unix_socket_and_at_ipv6() -> None:
    url = DatabaseUrl.read("postgresql://u:p@pooler:6543/db?sslmode=require")
    assert url.pointed_at("/tmp/x y", 5) == "postgresql://u:p@/db?sslmode=disable&host=/tmp/x%20y&port=5"
    assert url.pointed_at("::1", 5) == "postgresql://u:p@[::1]:5/db?sslmode=disable"


def test_a_url_that_says_nothing_of_tls_does_so_only_when_asked() -> None:
    url = DatabaseUrl.read("postgresql://pooler/db")
    assert url.pointed_at(H, P) == "postgresql://127.0.0.1:7000/db"
    assert url.pointed_at(H, P, says_no_tls=True) == "postgresql://127.0.0.1:7000/db?sslmode=disable"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("postgresql://pooler:6543/db", Address("pooler", 6543)),
        ("postgresql://pooler/db", Address("pooler", 5432)),
        ("postgresql://u:p@[2001:db8::1]:6543/db", Address("2001:db8::1", 6543)),
        ("postgresql://a:1,b:2/db", Address("a", 1)),
        ("postgresql+asyncpg://u@/db?host=a:1&host=b:2", Address("a", 1)),
        ("postgresql://x:1/db?host=pooler&port=6543", Address("pooler", 6543)),
        ("postgresql:///db?host=/run/pg/&port=6543", Address(path="/run/pg/.s.PGSQL.6543")),
        ("postgresql://%2Frun%2Fpg/db", Address(path="/run/pg/.s.PGSQL.5432")),
        ("postgresql://pooler:6543/db?hostaddr=10.0.0.1", Address("10.0.0.1", 6543)),
        # The name is what the certificate is held against.
        ("postgresql://p:1/db?hostaddr=10.0.0.1&sslmode=verify-full&sslrootcert=ca", Address("p", 1)),
    ],
)
def test_the_address_of_the_server(text: str, address: Address) -> None:
    assert DatabaseUrl.read(text).address({}) == address


def test_what_a_url_leaves_open_libpqs_variables_say() -> None:
    url = DatabaseUrl.read("postgresql:///db")
    assert url.address({"PGHOST": "pooler", "PGPORT": "6543"}) == Address("pooler", 6543)
    assert url.address({"PGHOST": "/run/pg"}) == Address(path="/run/pg/.s.PGSQL.5432")
    assert url.address({"PGPORT": "1"}) == Address("localhost", 1)


VERIFIED = UpstreamTls("verify-full", "ca.pem")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", UpstreamTls()),
        ("sslmode=disable&sslrootcert=ca.pem", UpstreamTls("disable")),
        # The proxy's own default is at least that.
        ("sslmode=prefer", UpstreamTls()),
        ("sslmode=allow", UpstreamTls()),
        ("sslmode=require", UpstreamTls("require")),
        ("sslmode=no-verify", UpstreamTls("require")),
        ("sslmode=require&sslrootcert=ca.pem", UpstreamTls("verify-ca", "ca.pem")),
        ("sslmode=verify-full&sslrootcert=ca.pem", VERIFIED),
        ("sslrootcert=system", UpstreamTls("verify-full", "system")),
        ("sslmode=require&sslcert=c&sslkey=k", UpstreamTls("require", "", "c", "k")),
        ("ssl=require", UpstreamTls("require")),
        ("ssl=false", UpstreamTls("disable")),
        ("ssl=0", UpstreamTls("disable")),
        ("ssl=%7B%22rejectUnauthorized%22%3Afalse%7D", UpstreamTls("require")),
        ("sslmode=require&sslaccept=strict&sslcert=ca.pem", VERIFIED),
        ("sslaccept=accept_invalid_certs&sslcert=ca.pem", UpstreamTls("require")),
        ("sslmode=require&channel_binding=require", UpstreamTls("require", lost=("channel_binding=require",))),
        ("requiressl=1", UpstreamTls("require")),
        ("requiressl=1&sslmode=disable", UpstreamTls("disable")),
        ("requiressl=0", UpstreamTls()),
        ("ssl_min_protocol_version=TLSv1.3", UpstreamTls(lost=("ssl_min_protocol_version=TLSv1.3",))),
        ("ssl_min_protocol_version=TLSv1.2", UpstreamTls()),
        ("sslmode=require&sslcrl=x", UpstreamTls("require", lost=("sslcrl",))),
    ],
)
def test_what_a_url_says_of_tls_is_for_the_upstream(query: str, expected: UpstreamTls) -> None:
    assert tls(f"postgresql://pooler/db?{query}") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sslmode=disable&sslmode=verify-full&sslrootcert=ca.pem", VERIFIED),
        ("sslmode=verify-full&sslrootcert=other&sslmode=disable", UpstreamTls("disable")),
        ("sslmode=&sslmode=verify-full&sslrootcert=ca.pem", VERIFIED),
        # What says nothing takes nothing away: libpq does not connect with it.
        ("sslmode=verify-full&sslmode=&sslrootcert=other&sslrootcert=ca.pem", VERIFIED),
    ],
)
def test_of_a_repeated_parameter_the_last_counts_as_for_libpq(query: str, expected: UpstreamTls) -> None:
    assert tls(f"postgresql://pooler/db?{query}") == expected


@pytest.mark.parametrize(
    ("query", "address"),
    [
        ("port=1&port=2", Address("pooler", 2)),
        ("host=a&port=1&port=2", Address("a", 2)),
        # SQLAlchemy's lists.
        ("host=a&host=b", Address("a", 5432)),
        ("host=a&host=b&port=1&port=2", Address("a", 1)),
    ],
)
def test_several_hosts_are_a_list_of_which_the_first_counts(query: str, address: Address) -> None:
    assert DatabaseUrl.read(f"postgresql://pooler/db?{query}").address({}) == address


def test_a_login_is_in_front_of_the_host_and_for_jdbc_in_the_query() -> None:
    def with_login(text: str) -> str:
        return DatabaseUrl.read(text).with_login("b:b", "p@&+ w").pointed_at(H, P)

    assert with_login("postgresql://b%3Ab@pooler/db?a=b") == "postgresql://b%3Ab:p%40%26%2B%20w@127.0.0.1:7000/db?a=b"
    login = "user=b%3Ab&password=p%40%26%2B%20w"
    for query in ("?a=b&user=b%3Ab", "?user=b%3Ab&password=&a=b", "?a=b"):
        assert with_login(f"jdbc:postgresql://pooler/db{query}") == f"jdbc:postgresql://127.0.0.1:7000/db?a=b&{login}"


def test_require_verifies_where_libpq_does(tmp_path: Path) -> None:
    root = tmp_path / ".postgresql" / "root.crt"
    root.parent.mkdir()
    root.touch()
    verified = UpstreamTls("verify-ca", str(root))
    for query in ("sslmode=require", "ssl=require", "requiressl=1"):
        assert tls(f"postgresql://pooler/db?{query}") == verified
    assert tls("postgresql://pooler/db", PGSSLMODE="require") == verified
    assert tls("postgresql://pooler/db?sslmode=require&sslrootcert=ca.pem") == UpstreamTls("verify-ca", "ca.pem")
    # Words of others, who do not look there.
    for query in ("sslmode=no-verify", "ssl=%7B%7D", "sslmode=require&sslaccept=accept_invalid_certs"):
        assert tls(f"postgresql://pooler/db?{query}") == UpstreamTls("require")


def test_verification_without_a_ca_is_by_libpqs_file_or_else_by_what_the_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for query in ("sslmode=verify-full", "ssl=true", "sslmode=require&sslaccept=strict"):
        assert tls(f"postgresql://pooler/db?{query}") == UpstreamTls("verify-full", "system")
    (tmp_path / ".postgresql").mkdir()
    root = tmp_path / ".postgresql" / "root.crt"
    root.touch()
    assert tls("postgresql://pooler/db?sslmode=verify-ca") == UpstreamTls("verify-ca", str(root))


def test_prismas_ca_is_looked_for_beside_its_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prisma").mkdir()
    (tmp_path / "prisma" / "ca.pem").touch()
    url = "postgresql://pooler/db?sslmode=require&sslaccept=strict&sslcert=ca.pem"
    assert tls(url).ca == os.path.join("prisma", "ca.pem")


def test_libpqs_variables_say_what_the_url_does_not() -> None:
    environment = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "ca.pem"}
    assert tls("postgresql://pooler/db", **environment) == VERIFIED
    assert tls("postgresql://pooler/db?sslmode=disable", **environment) == UpstreamTls("disable")


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {"upstream_tls": "verify-full", "upstream_ca": "ca.pem"}),
        ({"upstream_tls": "require"}, {"upstream_tls": "require", "upstream_ca": ""}),
        ({"upstream_tls": "disable"}, {"upstream_tls": "disable", "upstream_ca": ""}),
        ({"upstream_ca": "other"}, {"upstream_tls": "verify-full", "upstream_ca": "other"}),
    ],
)
def test_options_say_more_than_the_url(given: dict[str, str], options: dict[str, str]) -> None:
    found = VERIFIED.options(Address("pooler", 1), given)
    assert {name: value for name, value in found.items() if name in options} == options
    assert VERIFIED.options(Address(path="/x"), given) == {}


def test_a_ca_by_option_verifies_though_the_url_only_requires() -> None:
    found = UpstreamTls("require").options(Address("pooler", 1), {"upstream_ca": "ca.pem"})
    assert (found["upstream_tls"], found["upstream_ca"]) == (None, "ca.pem")


@pytest.mark.parametrize(
    "query",
    ["pgbouncer=true", "statement_cache_size=0", "prepared_statement_cache_size=0", "prepare_threshold=None"]
    + ["prepareThreshold=0", "preferQueryMode=simple", "default_query_exec_mode=simple_protocol"],
)
def test_workarounds_are_known_and_stay(query: str) -> None:
    url = DatabaseUrl.read(f"postgresql://pooler/db?{query}&a=b")
    assert url.workarounds == [query]
    assert url.pointed_at(H, P).endswith(f"?{query}&a=b")


@pytest.mark.parametrize("query", ["statement_cache_size=100", "prepare_threshold=5", "pgbouncer=false"])
def test_ordinary_values_are_no_workarounds(query: str) -> None:
    assert DatabaseUrl.read(f"postgresql://pooler/db?{query}").workarounds == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mysql://u:hunter2@h/d", ["'mysql://'", "postgresql://"]),
        ("u:hunter2@h/d", ["no URL", "postgresql://"]),
        ("host=h password=hunter2", ["no URL"]),
        ("postgresql://u:hunter2/x@h/d", ["%2F"]),
        ("postgresql://u:hunter2?x@h/d", ["%3F"]),
        ("postgresql://u:p%zz@h:x:y/d", ["host and port"]),
        ("postgresql://u@h%zz/d", ["%25"]),
        ("postgresql://h:99999/d", ["65535"]),
        ("postgresql://h/d?port=x", ["65535"]),
        ("postgresql:///d?service=x", ["service="]),
        ("postgresql://h/d?sslmode=maybe", ["'maybe'", "verify-full"]),
        ("postgresql://h/d?sslidentity=x.p12", ["PKCS 12", "--upstream-cert"]),
        ("postgresql://h/d?sslmode=require&sslcert=c&sslkey=k&sslpassword=hunter2", ["sslpassword", "--upstream-key"]),
    ],
)
def test_what_cannot_be_read_is_one_sentence_without_the_password(text: str, words: list[str]) -> None:
    def read() -> None:
        DatabaseUrl.read(text).address({})
        tls(text)

    with pytest.raises(ConfigurationError) as caught:
        read()
    sentence = caught.value.message
    assert all(word in sentence for word in words)
    assert "hunter2" not in sentence
    assert "\n" not in sentence
