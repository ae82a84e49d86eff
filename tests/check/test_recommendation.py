"""The command line and the app's URL, for each thing that can be at the other end."""

import pytest

from pgshim.check.certificates import Verdict
from pgshim.check.experiments import Mode, Pipelining
from pgshim.check.identity import NONE, PGBOUNCER, PGSHIM, SUPAVISOR, UNKNOWN, Identity
from pgshim.check.recommendation import Found, Recommendation, recommend
from pgshim.check.report import Level
from pgshim.check.url import read_url
from pgshim.cli import command, settings_from

SUPABASE = "postgresql://postgres.abcdefgh:secret@aws-0-eu-central-1.pooler.supabase.com"


def made(
    url: str, kind: str = PGBOUNCER, mode: Mode = Mode.TRANSACTION, version: str = "", **more: object
) -> Recommendation:
    target = read_url(url, {})
    found = Found(target.addresses[0], Identity(kind, version, ""), mode, **{"has_tls": False, **more})  # type: ignore[arg-type]
    return recommend(target, found)


def test_supabases_transaction_pooler_with_its_ca() -> None:
    verdicts = [Verdict("prod ca.crt"), Verdict("system", "self-signed certificate in certificate chain")]
    found = made(f"{SUPABASE}:6543/postgres?sslmode=require&pgbouncer=true", SUPAVISOR, has_tls=True, verdicts=verdicts)
    assert found.command == (
        "pgshim --listen 6432 --upstream aws-0-eu-central-1.pooler.supabase.com:6543 --upstream-ca 'prod ca.crt'"
    )
    assert found.url == "postgresql://postgres.abcdefgh:***@127.0.0.1:6432/postgres"


def test_supabases_session_pooler_is_pointed_to_the_other_port() -> None:
    found = made(f"{SUPABASE}:5432/postgres", SUPAVISOR, Mode.SESSION, has_tls=True, verdicts=[Verdict("system", "no")])
    assert (found.is_needed, found.level) == (False, Level.NOTE)
    assert "6543" in found.fix
    host = "aws-0-eu-central-1.pooler.supabase.com"
    assert found.command == (
        f"pgshim --listen 6432 --upstream {host}:6543 --upstream-tls require"
        f" --session-upstream {host}:5432 --session-listen 6433"
    )


def test_pipelines_go_through_where_they_are_known_to_be_counted() -> None:
    fine = Pipelining(True, True)
    url = "postgresql+asyncpg://u:p@h:6432/d"
    assert made(url, version="1.21 or later", pipelining=fine).command.endswith("--pipeline through")
    assert made(url, version="1.24.1", pipelining=fine).command.endswith("--pipeline through")
    for version in ("", "before 1.20", "1.20 or later", "1.18.0"):
        assert "--pipeline" not in made(url, version=version, pipelining=fine).command
    assert "--pipeline" not in made(url, version="1.24.1", pipelining=Pipelining(True, None)).command


def test_the_apps_url_keeps_what_is_the_apps() -> None:
    found = made(
        "postgres+asyncpg://u%40x:p%2F@h:6543/d%2Fb?ssl=require&prepared_statement_cache_size=0&command_timeout=5"
    )
    assert found.url == "postgresql+asyncpg://u%40x:***@127.0.0.1:6432/d%2Fb?command_timeout=5"


def test_pgshim_does_not_listen_where_the_pooler_does() -> None:
    found = made("postgresql://u:p@127.0.0.1:6432/d")
    assert found.command == "pgshim --listen 6433 --upstream 127.0.0.1:6432"
    assert "127.0.0.1:6433" in found.url


@pytest.mark.parametrize(
    ("kind", "mode", "is_needed", "level"),
    [
        (NONE, Mode.SESSION, False, Level.OK),
        (PGBOUNCER, Mode.SESSION, False, Level.OK),
        (UNKNOWN, Mode.TRANSACTION, True, Level.OK),
        (PGBOUNCER, Mode.STATEMENT, None, Level.PROBLEM),
        (PGBOUNCER, Mode.UNKNOWN, None, Level.WARNING),
        (PGSHIM, Mode.TRANSACTION, False, Level.OK),
    ],
)
def test_whether_it_is_of_use(kind: str, mode: Mode, is_needed: bool | None, level: Level) -> None:
    found = made("postgresql://u:p@h:6543/d", kind, mode)
    assert (found.is_needed, found.level) == (is_needed, level)
    assert bool(found.command) == bool(found.is_needed)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h:6543/d",
        "postgresql://u@h:6543/d?sslmode=disable",
        "postgresql://u@[::1]:6543/d",
        "postgresql://u@/d?host=/run/pg&port=6543",
    ],
)
def test_pgshim_takes_the_command_line(url: str) -> None:
    words = made(url, has_tls="sslmode" not in url and "host" not in url, verdicts=[Verdict("ca.crt", "name", True)])
    context = command.make_context("pgshim", list(words.arguments[1:]))
    assert settings_from(context.params).upstream == read_url(url, {}).addresses[0]
