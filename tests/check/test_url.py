"""URLs as people have them: what they say, and one sentence for those that are wrong."""

import getpass

import pytest

from pgshim.addresses import Address
from pgshim.check.report import Level
from pgshim.check.target import Target
from pgshim.check.url import read_url, with_tls
from pgshim.errors import ConfigurationError


def read(url: str, **environment: str) -> Target:
    return read_url(url, environment)


def test_a_plain_url() -> None:
    target = read("postgresql://app:secret@db.example:6543/shop?sslmode=require&application_name=web&connect_timeout=3")
    assert target.addresses == (Address("db.example", 6543),)
    assert (target.user, target.password, target.database) == ("app", "secret", "shop")
    assert (target.tls.mode, target.connect_timeout) == ("require", 3.0)
    assert target.startup == (("application_name", "web"),)
    assert target.remarks == ()


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("postgresql://h", [("h", 5432)]),
        ("postgresql://h:1/d", [("h", 1)]),
        ("postgresql://[::1]:6432/d", [("::1", 6432)]),
        ("postgresql://[fe80::1%25eth0]/d", [("fe80::1%eth0", 5432)]),
        ("postgresql://u@a:1,b:2,c/d", [("a", 1), ("b", 2), ("c", 5432)]),
        ("postgresql://u@/d?host=a,b&port=6432", [("a", 6432), ("b", 6432)]),
        ("postgresql://u@/d?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://u@ignored:9/d?host=a&port=7", [("a", 7)]),
        ("postgresql:///d", [("localhost", 5432)]),
        ("postgresql://", [("localhost", 5432)]),
        ("postgresql://h:/d", [("h", 5432)]),
    ],
)
def test_hosts_and_ports(url: str, addresses: list[tuple[str, int]]) -> None:
    assert [(address.host, address.port) for address in read(url).addresses] == addresses


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@%2Frun%2Fpg:6432/d",
        "postgresql:///d?host=/run/pg&port=6432",
        "postgresql://u@/d?host=%2Frun%2Fpg%2F&port=6432",
    ],
)
def test_the_directory_of_a_unix_socket(url: str) -> None:
    assert read(url).addresses == (Address(path="/run/pg/.s.PGSQL.6432"),)


def test_percent_encoding_in_every_part() -> None:
    target = read("postgresql://us%40er:p%2F%3A%3F%25%23@h/d%2Fb?options=-c%20jit%3Doff+-c+a%3Db")
    assert (target.user, target.password, target.database) == ("us@er", "p/:?%#", "d/b")
    assert target.startup == (("options", "-c jit=off -c a=b"),)


def test_what_the_url_leaves_open_comes_from_the_environment() -> None:
    target = read("postgresql://", PGHOST="h", PGPORT="7", PGUSER="u", PGDATABASE="d", PGSSLMODE="disable")
    assert (target.addresses, target.user, target.database) == ((Address("h", 7),), "u", "d")
    assert target.tls.mode == "disable"
    assert read("postgresql://x@y:8/z", PGHOST="h", PGPORT="7", PGUSER="u").addresses == (Address("y", 8),)
    assert read("postgresql://h").user == getpass.getuser()
    assert read("postgresql://me@h").database == "me"


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("", "prefer"),
        ("?sslmode=verify-full&sslrootcert=/ca.crt", "verify-full"),
        ("?sslmode=require&sslrootcert=/ca.crt", "verify-ca"),
        ("?sslrootcert=system", "verify-full"),
        ("?ssl=require", "require"),
        ("?ssl=true", "require"),
        ("?ssl=false", "disable"),
    ],
)
def test_sslmode_as_libpq_and_sqlalchemy_write_it(query: str, mode: str) -> None:
    assert read(f"postgresql://h/d{query}").tls.mode == mode


def test_tls_is_insisted_on_at_hosts_that_are_known_to_have_it() -> None:
    assert read("postgresql://u@aws-0-eu-central-1.pooler.supabase.com:6543/d").tls.mode == "require"


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "psycopg2"])
def test_a_url_of_sqlalchemys_is_taken_and_the_plain_one_is_told(driver: str) -> None:
    target = read(f"postgresql+{driver}://u:p@h:1/d")
    assert target.addresses == (Address("h", 1),)
    (remark,) = target.remarks
    assert remark.level is Level.NOTE
    assert "postgresql:// without" in remark.fix


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres://h/d", "postgresql://"),
        ("postgresql+asyncpg://h/d?sslmode=require", "ssl=require"),
        ("postgresql://h/d?pgbouncer=true&statement_cache_size=0", "pgbouncer, statement_cache_size"),
        ("postgresql://h/d?channel_binding=require", "channel_binding"),
        ("postgresql://u:a#b@h/d", "%23"),
    ],
)
def test_what_an_app_could_stumble_over_in_the_url_itself(url: str, words: str) -> None:
    assert any(words in f"{remark.text} {remark.fix}" for remark in read(url).remarks)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("host=db dbname=x", "postgresql://USER"),
        ("jdbc:postgresql://h/d", "JDBC"),
        ("mysql://h/d", "'mysql://'"),
        ("postgresql://u:hunter2@x@h/d", "%40"),
        ("postgresql://u:hunter2/x@h/d", "%2F"),
        ("postgresql://u:hunter2?x@h/d", "%3F"),
        ("postgresql://u:hunter2%x@h/d", "%25"),
        ("postgresql://u:hunter2:x@h/d:", ""),
        ("postgresql://u:[YOUR-PASSWORD]@h/d", "placeholder"),
        ("postgresql://u@h:99999/d", "65535"),
        ("postgresql://u@h:hunter2/d", "HOST:PORT"),
        ("postgresql://u@h/d?sslmode=maybe", "'maybe'"),
        ("postgresql://u@h/d?word", "NAME=VALUE"),
        ("postgresql://u:hunter2%00@h/d", "%00"),
        ("postgresql://u@/d?host=a,b,c&port=1,2", "3 hosts and 2 ports"),
        ("postgresql://u@h/d?connect_timeout=soon", "'soon'"),
    ],
)
def test_a_bad_url_gets_one_sentence_that_does_not_repeat_the_password(url: str, words: str) -> None:
    if not words:
        # libpq takes a second colon for a part of the password.
        assert read(url).password == "hunter2:x"
        return
    with pytest.raises(ConfigurationError) as raised:
        read(url)
    assert words in raised.value.message
    assert "hunter2" not in raised.value.message
    assert "\n" not in raised.value.message


def test_the_password_is_nowhere_to_be_seen() -> None:
    target = read("postgresql://app:hunter2@h:1/d?sslpassword=hunter2&sslmode=require")
    assert target.url == "postgresql://app:***@h:1/d"
    assert "hunter2" not in repr(target)


def test_options_take_the_urls_place() -> None:
    target = with_tls(read("postgresql://h/d?sslmode=require"), mode="", ca="/ca.crt", certificate="c", key="k")
    assert (target.tls.mode, target.tls.ca, target.tls.certificate, target.tls.key) == (
        "verify-full",
        "/ca.crt",
        "c",
        "k",
    )
    assert with_tls(target, mode="verify-ca", ca="", certificate="", key="").tls.mode == "verify-ca"
