"""Where a password comes from, in libpq's order."""

from pathlib import Path

import pytest

from pgshim.check.passwords import with_password
from pgshim.check.target import Target
from pgshim.check.url import read_url

FILE = """\
# host:port:database:user:password
other:*:*:*:no
h:6543:d:u:se\\:cr\\\\et
h:*:*:admin:*
localhost:5432:*:u:socket
*:*:*:u:any
"""


def found(url: str, home: Path, **environment: str) -> Target:
    return with_password(read_url(url, {}), {"HOME": str(home), **environment})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / ".pgpass"
    path.write_text(FILE)
    path.chmod(0o600)
    return tmp_path


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://u@h:6543/d", "se:cr\\et"),
        ("postgresql://u@h:6543/e", "any"),
        ("postgresql://admin@h:1/e", "*"),
        ("postgresql://nobody@h:1/e", None),
        ("postgresql:///d?host=/var/run/postgresql&user=u", "socket"),
        ("postgresql:///d?host=/elsewhere&user=u", "any"),
        ("postgresql://u@first:1,h:6543/d", "any"),
    ],
)
def test_the_password_file(home: Path, url: str, password: str | None) -> None:
    target = found(url, home)
    assert target.password == password
    assert target.password_source == (str(home / ".pgpass") if password else "")


def test_the_url_comes_first_then_the_variable_then_the_files(home: Path) -> None:
    assert found("postgresql://u:mine@h:6543/d", home, PGPASSWORD="x").password == "mine"
    assert found("postgresql://u@h:6543/d", home, PGPASSWORD="x").password_source == "PGPASSWORD"
    named = home / "named"
    named.write_text("*:*:*:*:of-the-file\n")
    named.chmod(0o600)
    assert found("postgresql://u@h:6543/d", home, PGPASSFILE=str(named)).password == "of-the-file"
    assert found(f"postgresql://u@h:6543/d?passfile={named}", home).password == "of-the-file"


def test_a_file_that_others_may_read_is_not_used_and_that_is_said(home: Path) -> None:
    (home / ".pgpass").chmod(0o644)
    target = found("postgresql://u@h:6543/d", home)
    assert target.password is None
    (remark,) = target.remarks
    assert remark.fix == f"chmod 600 {home / '.pgpass'}"


def test_no_file_no_password(tmp_path: Path) -> None:
    assert found("postgresql://u@h/d", tmp_path).password is None
    (tmp_path / ".pgpass").mkdir()
    assert found("postgresql://u@h/d", tmp_path).password is None
