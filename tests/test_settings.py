"""How addresses, sizes and times are written, and which options go together."""

from dataclasses import replace
from pathlib import Path

import pytest

from pgshim.addresses import Address, is_loopback_host, parse_listen, parse_upstream
from pgshim.errors import ConfigurationError
from pgshim.settings import Settings, check, default_upstream_tls, parse_duration, parse_size

LOOPBACK = (Address("127.0.0.1", 6432), Address("::1", 6432, is_optional=True))
ENDPOINT = Address("pooler.example", 5432)
ANOTHER = Address("127.0.0.1", 7000)
ANY_PORT = (Address("127.0.0.1", 0),)
PLAIN = Settings(Address("pooler.example", 6543), LOOPBACK)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("6432", LOOPBACK),
        ("0.0.0.0:5432", (Address("0.0.0.0", 5432),)),
        ("localhost:1", (Address("localhost", 1),)),
        ("[::]:5432", (Address("::", 5432),)),
        ("[fe80::1%eth0]:5432", (Address("fe80::1%eth0", 5432),)),
        ("unix:/no/such/file", (Address(path="/no/such/file"),)),
        ("/no/such/dir/", (Address(path="/no/such/dir/.s.PGSQL.6432"),)),
        ("unix:/tmp", (Address(path="/tmp/.s.PGSQL.6432"),)),
        ("/tmp:5432", (Address(path="/tmp/.s.PGSQL.5432"),)),
    ],
)
def test_a_listen_address(text: str, addresses: tuple[Address, ...]) -> None:
    assert parse_listen(text) == addresses


@pytest.mark.parametrize("text", ["", "host", "host:", ":6432", "::1:6432", "host:x", "host:65536", "70000", "a b:1"])
def test_a_listen_address_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_listen(text)
    assert f"'{text}'" in caught.value.message
    assert "write " in caught.value.message


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("pooler:6543", Address("pooler", 6543)),
        ("[::1]:6543", Address("::1", 6543)),
        ("/var/run/postgresql:6432", Address(path="/var/run/postgresql/.s.PGSQL.6432")),
        ("/x/.s.PGSQL.5432", Address(path="/x/.s.PGSQL.5432")),
        ("unix:/x/.s.PGSQL.5432", Address(path="/x/.s.PGSQL.5432")),
    ],
)
def test_an_upstream_address(text: str, address: Address) -> None:
    assert parse_upstream(text) == address


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("pooler", "write pooler:6432"),
        ("pooler:", "write pooler:6432"),
        ("::1", "as in [::1]:6432"),
        ("[::1]", "write [::1]:6432"),
        ("/tmp", "write /tmp:6432"),
        ("postgresql://u:secret@h/db", "write HOST:PORT"),
        ("a b:1", "write HOST:PORT"),
        ("h:99999", "write HOST:PORT"),
        ("foo:bar", "the port 'bar' of 'foo:bar' is not a number; write a number, as in foo:6432"),
        ("[::1]:bar", "as in [::1]:6432"),
        ("u:secret@h:6432", "write HOST:PORT"),
    ],
)
def test_an_upstream_address_that_is_none_says_how_to_write_it(text: str, fix: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_upstream(text)
    assert fix in caught.value.message
    assert "secret" not in caught.value.message


def test_addresses_read_as_they_are_written() -> None:
    assert str(Address("pooler", 6543)) == "pooler:6543"
    assert str(Address("::1", 6543)) == "[::1]:6543"
    assert str(Address(path="/x")) == "unix:/x"


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("16MiB", 16 << 20), ("16 mb", 16 << 20), ("64KiB", 65536), ("1GiB", 1 << 30), ("1k", 1024)],
)
def test_a_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("500ms", 0.5), ("5min", 300), ("1.5 h", 5400), ("0", 0)]
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1x", "x", "1e3", "1 2"])
def test_what_is_neither_size_nor_duration(text: str) -> None:
    for parse in (parse_size, parse_duration):
        with pytest.raises(ConfigurationError, match="is not a"):
            parse(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("127.example.com", False),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_loopback(host: str, is_loopback: bool) -> None:
    assert is_loopback_host(host) == is_loopback


@pytest.mark.parametrize(
    ("upstream", "has_ca", "mode"),
    [
        (Address("pooler.example", 1), False, "prefer"),
        (Address("pooler.example", 1), True, "verify-full"),
        (Address("aws-0-eu-central-1.pooler.supabase.com", 6543), False, "require"),
        (Address("DB.abc.Supabase.co.", 5432), False, "require"),
        (Address("ep-x.eu.aws.neon.tech", 5432), False, "require"),
        (Address("supabase.com.evil.example", 1), False, "prefer"),
        (Address("notsupabase.com", 1), False, "prefer"),
        (Address(path="/x"), False, "disable"),
    ],
)
def test_the_default_of_upstream_tls(upstream: Address, has_ca: bool, mode: str) -> None:
    assert default_upstream_tls(upstream, has_ca) == mode


@pytest.mark.parametrize(
    ("pipeline", "reported", "is_serial"),
    [
        ("auto", {b"server_version": b"15.0", b"application_name": b"app"}, True),
        ("auto", {b"application_name": b"Supavisor"}, True),
        ("auto", {b"pgbouncer_pool_mode": b"transaction"}, False),
        ("through", {b"application_name": b"Supavisor"}, False),
        ("serial", {b"pgbouncer_pool_mode": b"transaction"}, True),
    ],
)
def test_what_pipeline_auto_goes_by(pipeline: str, reported: dict[bytes, bytes], is_serial: bool) -> None:
    assert replace(PLAIN, pipeline=pipeline).is_serial(reported) == is_serial


@pytest.mark.parametrize(
    "options",
    [
        {"tls_cert": "c"},
        {"tls_key": "k"},
        {"tls_cert": "c", "tls_key": "k", "tls_self_signed": True},
        {"upstream_cert": "c"},
        {"upstream_key": "k"},
        {"upstream_tls": "verify-full"},
        {"upstream_tls": "verify-ca"},
        {"upstream_tls": "disable", "upstream_ca": "ca"},
        {"upstream_tls": "disable", "upstream_cert": "c", "upstream_key": "k"},
        {"upstream_tls": "require", "upstream_ca": "ca"},
        {"upstream_tls": "require", "upstream": Address(path="/x")},
        {"listen": (Address("0.0.0.0", 1),)},
        {"listen": (*LOOPBACK, Address("::", 1))},
        {"session_listen": (Address("127.0.0.1", 7000),)},
        {"session_upstream": ENDPOINT, "session_listen": (Address("0.0.0.0", 7000),)},
        {"session_upstream": ENDPOINT, "session_listen": LOOPBACK[:1]},
        {"session_upstream": Address(path="/y"), "upstream": Address(path="/x"), "upstream_tls": "require"},
        {"session_upstream": ENDPOINT, "upstream_ca": "ca"},
        {"prewarm": 11, "max_connections": 10},
        {"trace_values": True},
        {"upstream": LOOPBACK[0]},
        {"upstream": Address("::1", 6432)},
        {"upstream": Address("localhost", 6432)},
        {"upstream": Address("0.0.0.0", 6432)},
        {"upstream": Address("::", 6432)},
        {"upstream": Address("127.0.0.2", 1), "listen": (Address("0.0.0.0", 1),), "allow_plaintext": True},
        {"upstream": Address("Pooler", 1), "listen": (Address("pooler", 1),), "allow_plaintext": True},
        {"upstream": Address(path="/x"), "upstream_tls": "disable", "listen": (Address(path="/x"),)},
        {"session_upstream": LOOPBACK[0]},
        {"session_upstream": Address("127.0.0.1", 7), "session_listen": (Address("127.0.0.1", 7),)},
        {"session_upstream": ENDPOINT, "upstream": ANOTHER, "session_listen": (ANOTHER,)},
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"--.*(give|leave)"):
        check(replace(PLAIN, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tls_cert": "c", "tls_key": "k", "listen": (Address("0.0.0.0", 1),)},
        {"tls_self_signed": True, "listen": (Address("::", 1),)},
        {"allow_plaintext": True, "listen": (Address("0.0.0.0", 1),)},
        {"prewarm": 10, "max_connections": 10},
        {"listen": (Address(path="/x"),)},
        {"session_upstream": ENDPOINT, "session_listen": (Address("127.0.0.1", 7000),)},
        {"session_upstream": ENDPOINT, "listen": ANY_PORT, "session_listen": ANY_PORT},
        {"session_upstream": ENDPOINT, "upstream": Address(path="/x"), "upstream_tls": "require"},
        {
            "upstream": Address(path="/x"),
            "upstream_tls": "disable",
            "session_upstream": ENDPOINT,
            "session_upstream_tls": "verify-full",
            "upstream_ca": "ca",
        },
        {"upstream_tls": "verify-full", "upstream_ca": "ca", "upstream_cert": "c", "upstream_key": "k"},
        {"upstream": ANOTHER},
        {"upstream": Address("127.0.0.2", 6432)},
        {"upstream": ANY_PORT[0], "listen": ANY_PORT},
        {"upstream": Address("::1", 1), "listen": (Address("0.0.0.0", 1),), "allow_plaintext": True},
        {"upstream": Address(path="/x"), "upstream_tls": "disable", "listen": (Address(path="/y"),)},
    ],
)
def test_options_that_go_together(options: dict[str, object]) -> None:
    check(replace(PLAIN, **options))  # type: ignore[arg-type]


def test_a_path_is_a_directory_if_it_is_one(tmp_path: Path) -> None:
    assert parse_listen(str(tmp_path)) == (Address(path=f"{tmp_path}/.s.PGSQL.6432"),)
    assert parse_listen(str(tmp_path / "socket")) == (Address(path=f"{tmp_path}/socket"),)


def test_each_upstream_has_a_tls_mode_and_a_unix_socket_none() -> None:
    both = replace(PLAIN, session_upstream=ENDPOINT, session_upstream_tls="require")
    assert both.upstreams == (PLAIN.upstream, ENDPOINT)
    assert [both.tls_of(upstream) for upstream in both.upstreams] == ["prefer", "require"]
    assert both.tls_of(Address(path="/x")) == "disable"
    assert PLAIN.upstreams == (PLAIN.upstream,)
