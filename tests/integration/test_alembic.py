"""Alembic's migrations, with asyncpg and with psycopg: transactions, and what runs outside of them."""

import subprocess
import sys
from typing import Any

import psycopg
import pytest

from pgshim.demo.processes import clean_environment
from tests.integration.conftest import Stack
from tests.integration.support import ROOT, certificate_environment, sqlalchemy_url
from tests.integration.test_psycopg import clients

INI = ROOT / "tests" / "apps" / "alembic_app" / "alembic.ini"
each_driver = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


def alembic(stack: Stack, driver: str, *command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs one command, with settings given at connect."""
    arguments = [f"url={sqlalchemy_url(stack, driver)}", *(f"{name}={value}" for name, value in settings.items())]
    options = [part for argument in arguments for part in ("-x", argument)]
    return subprocess.run(
        [sys.executable, "-m", "alembic", "-c", INI, *options, *command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=clean_environment(**certificate_environment(stack)),
    )


def migrate(stack: Stack, driver: str, *command: str, **settings: str) -> None:
    done = alembic(stack, driver, *command, **settings)
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    stack: Stack = request.getfixturevalue("stack" if "stack" in request.fixturenames else "plain_stack")
    with psycopg.connect(stack.direct().url, autocommit=True) as direct:
        direct.execute("DROP TABLE IF EXISTS alembic_notes, alembic_version; DROP TYPE IF EXISTS alembic_mood")
    with clients(stack, 3):
        pass


def found(stack: Stack, sql: str) -> list[Any]:
    with psycopg.connect(stack.direct().url, autocommit=True) as direct:
        return [row[0] for row in direct.execute(sql.encode()).fetchall()]


INDEXES = "SELECT indexname::text FROM pg_indexes WHERE tablename = 'alembic_notes' ORDER BY 1"
BOTH = ["alembic_notes_day", "alembic_notes_mood", "alembic_notes_pkey"]


@each_driver
def test_migrations_go_up_and_down(stack: Stack, driver: str) -> None:
    migrate(stack, driver, "upgrade", "head")
    assert found(stack, INDEXES) == BOTH
    assert found(stack, "SELECT text FROM alembic_notes ORDER BY id") == ["sad!", "ok!", "ok!", "new"]
    assert found(stack, "SELECT version_num FROM alembic_version") == ["003"]
    assert "003 (head)" in alembic(stack, driver, "current").stdout
    migrate(stack, driver, "downgrade", "001")
    assert found(stack, INDEXES) == ["alembic_notes_pkey"]
    migrate(stack, driver, "downgrade", "base")
    assert found(stack, "SELECT to_regclass('alembic_notes')") == [None]
    migrate(stack, driver, "upgrade", "+1")
    migrate(stack, driver, "upgrade", "head")
    assert found(stack, INDEXES) == BOTH


@each_driver
def test_settings_that_make_no_difference_stand_in_no_index_s_way(plain_stack: Stack, driver: str) -> None:
    migrate(plain_stack, driver, "upgrade", "head", jit="off", application_name="migrations")
    assert found(plain_stack, INDEXES) == BOTH


@each_driver
@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
def test_an_index_made_concurrently_with_other_settings_is_refused_by_name(
    plain_stack: Stack, driver: str, setting: str
) -> None:
    settings = {setting: "29s"}
    migrate(plain_stack, driver, "upgrade", "001", **settings)
    refused = alembic(plain_stack, driver, "upgrade", "head", **settings)
    assert refused.returncode == 1
    assert f"CREATE INDEX CONCURRENTLY with {setting} SET in this session" in refused.stderr
    assert "RESET" in refused.stderr
    # What came before the refusal is committed, as it is where a server refuses there.
    assert found(plain_stack, INDEXES) == ["alembic_notes_pkey"]
    assert found(plain_stack, "SELECT version_num FROM alembic_version") == ["001"]
    with psycopg.connect(plain_stack.direct().url, autocommit=True) as direct:
        direct.execute("ALTER TABLE alembic_notes DROP COLUMN text")
    migrate(plain_stack, driver, "upgrade", "head")
    assert found(plain_stack, INDEXES) == BOTH
