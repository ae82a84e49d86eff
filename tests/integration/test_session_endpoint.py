"""The session endpoint by choice of the app: PostgreSQL itself, or a PgBouncer in session mode."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import asyncpg
import psycopg
import pytest

from pgshim.demo.processes import Endpoint, free_port
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer
from tests.integration.conftest import Stack


@dataclass(frozen=True)
class Ways:
    """pgshim's two listeners; behind the second one there is only the session endpoint."""

    pooled: Endpoint
    session: Endpoint


@pytest.fixture(scope="module", params=["postgres", "pgbouncer"])
def ways(request: pytest.FixtureRequest, plain_stack: Stack) -> Iterator[Ways]:
    with ExitStack() as servers:
        endpoint: PostgresServer | PgBouncer = plain_stack.postgres
        if request.param == "pgbouncer":
            endpoint = servers.enter_context(PgBouncer(plain_stack.postgres, pool_mode="session"))
        port = free_port()
        options = ["--session-upstream", f"{endpoint.host}:{endpoint.port}", "--session-listen", f"127.0.0.1:{port}"]
        shim = servers.enter_context(PgshimProcess(plain_stack.pgbouncer, options=options))
        yield Ways(shim.endpoint(), replace(shim.endpoint(), port=port))
        assert "Traceback" not in shim.log()


async def hears(url: str, channel: str, settings: dict[str, str], notify_url: str) -> str:
    """What a listener hears of a NOTIFY on another connection."""
    connection = await asyncpg.connect(url, server_settings=settings, timeout=10)
    other = await asyncpg.connect(notify_url, timeout=10)
    try:
        heard: asyncio.Queue[str] = asyncio.Queue()
        await connection.add_listener(channel, lambda *event: heard.put_nowait(event[3]))
        await other.execute(f"NOTIFY {channel}, 'hello'")
        return await asyncio.wait_for(heard.get(), 5)
    finally:
        await other.close()
        await connection.close()


def test_listen_works_by_the_listener(ways: Ways) -> None:
    assert asyncio.run(hears(ways.session.url, "by_listener", {}, ways.pooled.url)) == "hello"


def test_listen_works_by_the_startup_parameter(ways: Ways) -> None:
    assert asyncio.run(hears(ways.pooled.url, "by_setting", {"pgshim.session": "on"}, ways.pooled.url)) == "hello"


@pytest.mark.parametrize("is_listener", [True, False])
def test_settings_are_in_force_and_reported_there(ways: Ways, is_listener: bool) -> None:
    options = "-c search_path=app -c work_mem=9MB -c timezone=asia/tokyo"
    if not is_listener:
        options += " -c pgshim.session=on"
    with psycopg.connect((ways.session if is_listener else ways.pooled).url, options=options) as connection:
        for name, value in (("search_path", "app"), ("work_mem", "9MB"), ("timezone", "Asia/Tokyo")):
            assert connection.execute(f"SHOW {name}").fetchone() == (value,)
        connection.execute("CREATE TEMP TABLE t (a int)")
        connection.commit()
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert connection.info.parameter_status("TimeZone") == "Asia/Tokyo"


def test_a_bad_setting_is_the_servers_own_error(ways: Ways) -> None:
    with pytest.raises(psycopg.OperationalError, match='FATAL:  unrecognized configuration parameter "nosuch"'):
        psycopg.connect(ways.session.url, options="-c nosuch=1")


def test_a_query_there_is_cancelled_there(ways: Ways) -> None:
    async def story() -> None:
        connection = await asyncpg.connect(ways.session.url, timeout=10)
        with pytest.raises(TimeoutError):
            await connection.fetch("SELECT pg_sleep(30)", timeout=0.3)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    asyncio.run(story())


def test_without_an_endpoint_the_choice_is_refused_with_the_option_to_give(plain_stack: Stack) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"(?s)session endpoint.*--session-upstream"):
        psycopg.connect(plain_stack.endpoint().url, options="-c pgshim.session=on")


def test_in_session_mode_the_parameter_is_taken_out_and_all_else_is_the_servers(plain_stack: Stack) -> None:
    with PgshimProcess(plain_stack.postgres, options=["--upstream-mode", "session"]) as shim:
        options = "-c log_statement_stats=off -c pgshim.session=on -c work_mem=9MB"
        with psycopg.connect(shim.endpoint("postgres").url, options=options) as connection:
            assert connection.execute("SHOW work_mem").fetchone() == ("9MB",)
            assert connection.execute("SELECT current_setting('pgshim.session', true)").fetchone() == (None,)
