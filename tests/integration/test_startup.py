"""Startup parameters and `options` through a pooler that rejects them: taken, and refused as a server refuses them.

What they do in later transactions is tested elsewhere.
"""

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import ExitStack

import asyncpg
import psycopg
import pytest

from pgshim.demo.processes import Endpoint, clean_environment
from pgshim.demo.relay import Relay
from pgshim.demo.servers import SUPERUSER, PgshimProcess
from tests.integration.conftest import Stack

SETTINGS = {"jit": "off", "search_path": "app", "statement_timeout": "5s"}
REPORTED = (
    *("TimeZone", "DateStyle", "IntervalStyle", "application_name", "client_encoding", "standard_conforming_strings"),
    *("is_superuser", "session_authorization", "server_version", "integer_datetimes"),
)


@pytest.fixture(params=["pgshim", "direct"])
def place(request: pytest.FixtureRequest, stack: Stack) -> Callable[..., Endpoint]:
    """pgshim, and the server that it is compared with."""
    return stack.endpoint if request.param == "pgshim" else stack.direct


@pytest.fixture(params=["plain_stack", "stack_18"])
def clear_stack(request: pytest.FixtureRequest) -> Stack:
    """Without TLS, over which asyncpg leaves its socket open when a login fails."""
    found: Stack = request.getfixturevalue(request.param)
    return found


def failure(endpoint: Endpoint, **parameters: str) -> tuple[str, str, str | None]:
    """(SQLSTATE, message, detail) with which a login fails."""

    async def connect() -> None:
        connection = await asyncpg.connect(endpoint.url, server_settings=parameters, timeout=10)
        await connection.close()

    with pytest.raises(asyncpg.PostgresError) as caught:
        asyncio.run(connect())
    return caught.value.sqlstate, caught.value.args[0], caught.value.detail


# Taken.


def test_asyncpgs_server_settings_are_taken(place: Callable[..., Endpoint]) -> None:
    async def story() -> None:
        async with asyncpg.create_pool(place().url, server_settings=SETTINGS, min_size=2, max_size=4) as pool:
            calls = (pool.fetchval("SELECT $1::int", number) for number in range(8))
            assert await asyncio.gather(*calls) == [*range(8)]

    asyncio.run(story())


@pytest.mark.parametrize("options", ["-c jit=off", "--jit=off --work-mem=8MB", "-S 8000 -e", r"-c search_path=a,\ b"])
def test_psycopgs_options_are_taken(place: Callable[..., Endpoint], options: str) -> None:
    with psycopg.connect(place().url, options=options) as connection:
        assert connection.execute("SELECT 42").fetchone() == (42,)


def test_options_in_a_url_are_taken(stack: Stack) -> None:
    url = stack.endpoint().url
    url += ("&" if "?" in url else "?") + "options=-c%20jit%3Doff%20-c%20statement_timeout%3D5s"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 42").fetchone() == (42,)


def test_pgoptions_are_taken(stack: Stack) -> None:
    environment = clean_environment(PGOPTIONS="-c jit=off -c datestyle=german")
    command = [str(stack.postgres.binaries.bindir / "psql"), "-XAtc", "SELECT 42", stack.endpoint().url]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stdout, result.stderr) == (0, "42\n", "")


def test_five_kilobytes_of_options_are_taken(place: Callable[..., Endpoint]) -> None:
    path = ",".join(f"schema_{number}" for number in range(100))
    # PgBouncer 1.18 hangs when a server reports a value of 4 KB, as PostgreSQL 18 would a search_path.
    options = f"-c search_path={path}" + "".join(f" -c app.setting_{number}={'x' * 400}" for number in range(10))
    with psycopg.connect(place().url, options=options) as connection:
        assert connection.execute("SELECT 42").fetchone() == (42,)


# What the client is told.


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"options": "-c timezone=europe/berlin -c DateStyle=german"},
        {"options": "-c IntervalStyle=ISO_8601 -c standard_conforming_strings=0", "application_name": "an app"},
        {"options": "-c application_name=other", "client_encoding": "LATIN1"},
        {"options": "-e -c role=none"},
    ],
)
def test_the_client_is_told_the_values_that_a_server_would_tell(stack: Stack, parameters: dict[str, str]) -> None:
    def told(endpoint: Endpoint) -> dict[str, str | None]:
        with psycopg.connect(endpoint.url, **parameters) as connection:
            return {name: connection.info.parameter_status(name) for name in REPORTED}

    # PgBouncer 1.18 knows no others.
    expected, found = told(stack.direct()), told(stack.endpoint())
    assert found == {name: value for name, value in expected.items() if found[name] is not None} | {
        name: None for name in found if found[name] is None
    }
    assert {name for name in REPORTED if found[name] is None} <= {"session_authorization", "is_superuser"}


def test_asyncpg_is_told_them_too(stack: Stack) -> None:
    async def told(url: str) -> tuple[str, str]:
        settings = {"timezone": "asia/tokyo", "application_name": "app"}
        connection = await asyncpg.connect(url, server_settings=settings)
        try:
            found = connection.get_settings()
            return found.TimeZone, found.application_name
        finally:
            await connection.close()

    assert asyncio.run(told(stack.endpoint().url)) == asyncio.run(told(stack.direct().url)) == ("Asia/Tokyo", "app")


# Refused.


@pytest.mark.parametrize(
    "parameters",
    [
        {"nosuch": "1"},
        {"No-Such.x-y": "1"},
        {"work_mem": "a lot"},
        {"work_mem": "1kB"},
        {"jit": ""},
        {"timezone": "Nowhere"},
        {"default_tablespace": "nosuch"},
        {"role": "nosuch"},
        {"session_authorization": "nosuch"},
        {"role": "postgres"},
        {"log_statement": "all"},
        {"shared_buffers": "1MB"},
        {"fsync": "off"},
        {"is_superuser": "on"},
        {"idle_session_timeout": "soon"},
        {"work_mem": "8MB", "jit": "maybe", "nosuch": "1"},
        {"options": "-c nosuch=1"},
        {"options": "-c work_mem=1 -c jit=x"},
        {"options": "-c jit"},
        {"options": "--jit"},
        {"options": "-z"},
        {"options": "-ez"},
        {"options": "-c"},
        {"options": "-fx"},
        {"options": "-tx"},
        {"options": "foo -c jit=off"},
        {"options": "-- -c jit=off"},
        {"options": "-d 2"},
        {"options": "-i"},
        {"options": "-N 5"},
        {"options": "-c app.=x"},
        {"options": "-c =x"},
    ],
    ids=str,
)
def test_what_a_server_refuses_is_refused_in_its_own_words(clear_stack: Stack, parameters: dict[str, str]) -> None:
    assert failure(clear_stack.endpoint(), **parameters) == failure(clear_stack.direct(), **parameters)


@pytest.mark.parametrize("options", ["-c log_connections=on", "-P", "-W 0"])
def test_what_acts_when_a_server_starts_is_refused_with_a_hint(stack: Stack, options: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"(?s)cannot be set after connection start.*ALTER ROLE"):
        psycopg.connect(stack.endpoint(SUPERUSER).url, options=options)


def test_what_cannot_work_for_a_transaction_at_a_time_is_refused_with_a_hint(stack: Stack) -> None:
    with pytest.raises(psycopg.OperationalError, match=r'(?s)"idle_session_timeout".*--idle-timeout'):
        psycopg.connect(stack.endpoint().url, options="-c idle_session_timeout=5s")


def test_a_refused_login_costs_the_pooler_no_server(stack: Stack) -> None:
    def servers() -> set[int]:
        with psycopg.connect(stack.direct(SUPERUSER).url) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            return {pid for (pid,) in connection.execute(query)}

    with psycopg.connect(stack.endpoint().url) as connection:
        connection.execute("SELECT 1")
    before = servers()
    for _ in range(5):
        with pytest.raises(psycopg.OperationalError, match="nosuch"):
            psycopg.connect(stack.endpoint().url, options="-c nosuch=1")
    assert before <= servers()


# What it costs.


def test_the_second_login_of_a_process_costs_no_extra_trip(plain_stack: Stack) -> None:
    pooler = plain_stack.pgbouncer
    with (
        ExitStack() as connections,
        Relay(pooler.host, pooler.port) as relay,
        PgshimProcess(pooler, upstream_address=f"{relay.host}:{relay.port}") as shim,
    ):
        connections.enter_context(psycopg.connect(shim.endpoint().url))
        relay.take()
        counts = []
        for options in ("-c jit=off", "-c jit=off", "-c jit=on", ""):
            connections.enter_context(psycopg.connect(shim.endpoint().url, options=options))
            counts.append(relay.take())
        assert [count.queries for count in counts] == [1, 0, 1, 0]
        assert len({count.startup for count in counts}) == 1
