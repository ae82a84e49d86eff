"""Django on psycopg: migrations, transactions, time zones, server-side cursors, roles."""

import json
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from pgshim.demo.processes import clean_environment
from pgshim.demo.servers import APP_USER, SUPERUSER
from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE, ROOT
from tests.integration.test_psycopg import clients

STORIES = ["transactions", "zones", "iterators", "session_settings"]


def server_zone(stack: Stack) -> str:
    with psycopg.connect(stack.direct().url) as direct:
        return direct.info.parameter_status("TimeZone") or ""


def run_python(
    stack: Stack, *arguments: str, options: dict[str, Any], **database: Any
) -> "subprocess.CompletedProcess[str]":
    """`python -m ARGUMENTS` of the Django project, with these OPTIONS and other keys of the database's settings."""
    endpoint = stack.endpoint()
    address = {"HOST": endpoint.host, "PORT": endpoint.port, "USER": endpoint.user, "PASSWORD": endpoint.password}
    settings = {"NAME": endpoint.database, **address, "OPTIONS": {**endpoint.parameters, **options}, **database}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=clean_environment(
            DJANGO_DATABASE=json.dumps(settings),
            DJANGO_SETTINGS_MODULE="tests.apps.django_app.settings",
            PYTHONPATH=".",
        ),
    )


def migrate(stack: Stack, *arguments: str, zone: str = "", **options: Any) -> "subprocess.CompletedProcess[str]":
    """`migrate`; in the server's own time zone Django sets none."""
    return run_python(stack, "django", "migrate", *arguments, options=options, TIME_ZONE=zone or server_zone(stack))


def tell(stack: Stack, *stories: str, options: dict[str, Any] | None = None, **database: Any) -> None:
    """Runs stories of `tests.apps.django_app.client`."""
    done = run_python(stack, "tests.apps.django_app.client", *stories, options=options or {}, **database)
    assert (done.returncode, done.stdout.split()) == (0, list(stories)), done.stderr


def ask(stack: Stack, sql: str, user: str = APP_USER) -> list[Any]:
    with psycopg.connect(stack.direct(user).url, autocommit=True) as direct:
        cursor = direct.execute(sql.encode())
        return [row[0] for row in cursor.fetchall()] if cursor.description else []


@pytest.fixture
def migrated(stack: Stack) -> Stack:
    """Each of the three sets, with the app's tables."""
    return with_tables(stack)


@pytest.fixture
def migrated_plain(plain_stack: Stack) -> Stack:
    return with_tables(plain_stack)


def with_tables(stack: Stack) -> Stack:
    if not ask(stack, "SELECT 1 WHERE to_regclass('django_app_book') IS NOT NULL"):
        done = migrate(stack)
        assert done.returncode == 0, done.stderr
    with clients(stack, POOL_SIZE):
        pass
    return stack


INDEX = "SELECT indexname::text FROM pg_indexes WHERE indexname = 'django_app_title'"


def test_migrate_goes_up_and_down(stack: Stack) -> None:
    with_tables(stack)
    assert ask(stack, INDEX) == ["django_app_title"]
    assert ask(stack, "SELECT title FROM django_app_book WHERE title LIKE 'book%' ORDER BY id") == [
        f"book {n}" for n in range(5)
    ]
    for target in ("0002", "zero"):
        done = migrate(stack, "django_app", target)
        assert done.returncode == 0, done.stderr
        assert ask(stack, INDEX) == []
    assert ask(stack, "SELECT to_regclass('django_app_author')") == [None]
    done = migrate(stack)
    assert done.returncode == 0, done.stderr
    assert ask(stack, INDEX) == ["django_app_title"]
    assert "No migrations to apply" in migrate(stack).stdout


def test_an_index_made_concurrently_in_a_time_zone_of_djangos_own_is_refused_by_name(migrated_plain: Stack) -> None:
    """Django sets the time zone whenever it is not the server's; a statement without a block cannot have it."""
    stack = migrated_plain
    assert migrate(stack, "django_app", "0002").returncode == 0
    refused = migrate(stack, "django_app", "0003", zone="Asia/Tokyo")
    assert refused.returncode == 1
    assert "CREATE INDEX CONCURRENTLY with timezone SET in this session" in refused.stderr
    assert ask(stack, INDEX) == []
    assert migrate(stack, "django_app", "0003", zone=server_zone(stack)).returncode == 0
    assert ask(stack, INDEX) == ["django_app_title"]


def test_stories_with_djangos_own_time_zone(migrated: Stack) -> None:
    tell(migrated, *STORIES)


@pytest.mark.parametrize(
    "database",
    [
        {"TIME_ZONE": "Asia/Tokyo"},
        {"options": {"server_side_binding": True}},
        {"options": {"options": "-c work_mem=77MB -c search_path=public,elsewhere"}},
        {"ATOMIC_REQUESTS": True, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True},
        {"options": {"prepare_threshold": 0}},
    ],
    ids=["a zone", "server-side binding", "options", "health checks", "prepared"],
)
def test_stories_with_other_options(migrated_plain: Stack, database: dict[str, Any]) -> None:
    tell(migrated_plain, *STORIES, **database)


@pytest.mark.parametrize(
    "database",
    [
        {},
        {"CONN_MAX_AGE": 0, "TIME_ZONE": "Asia/Tokyo"},
        {"CONN_MAX_AGE": 0, "options": {"pool": True}},
        {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, "options": {"pool": {"min_size": 1, "max_size": 8}}},
    ],
    ids=["kept connections", "new connections", "psycopg's pool", "a pool with health checks"],
)
def test_requests_in_threads(migrated_plain: Stack, database: dict[str, Any]) -> None:
    tell(migrated_plain, "requests", *STORIES, **database)


def test_an_iterator_outside_of_a_block_is_refused_by_name(migrated: Stack) -> None:
    tell(migrated, "held_iterators", "transactions")
    tell(migrated, "held_iterators", options={"server_side_binding": True})


def test_an_iterator_outside_of_a_block_works_without_server_side_cursors(migrated: Stack) -> None:
    tell(migrated, "iterators_outside", "iterators", DISABLE_SERVER_SIDE_CURSORS=True)


def test_a_role_that_django_assumes(migrated_plain: Stack) -> None:
    stack = migrated_plain
    if not ask(stack, "SELECT 1 FROM pg_roles WHERE rolname = 'django_role'"):
        ask(stack, f"CREATE ROLE django_role; GRANT django_role TO {APP_USER}", SUPERUSER)
    tell(stack, "roles", "roles", options={"assume_role": "django_role"})
    done = migrate(stack, "django_app", "0002", assume_role="django_role")
    # It owns nothing.
    assert "permission denied" in done.stderr


def test_an_isolation_level_of_djangos(migrated_plain: Stack) -> None:
    # psycopg.IsolationLevel.SERIALIZABLE
    tell(migrated_plain, "levels", "iterators", options={"isolation_level": 4})
