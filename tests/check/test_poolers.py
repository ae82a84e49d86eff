"""Checks of real poolers and servers, in every mode; and that nothing of a check is left on their servers."""

import asyncio
from contextlib import ExitStack
from socket import AF_INET

import pytest

from pgshim.check.course import Course
from pgshim.check.experiments import Mode, PoolMode, find_mode, process_id
from pgshim.check.network import attempt
from pgshim.check.report import Report
from pgshim.check.url import read_url
from pgshim.check.wire import Wire
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer
from pgshim.proxy.upstream import Endpoint as Resolved
from tests.check.conftest import Checked, checked
from tests.check.traces import assert_nothing_is_left, one_connection_each
from tests.poolers.setups import Supavisor

REFUSED_BY_1_18 = ("extra_float_digits", "search_path", "statement_timeout", "jit", "options")


def command(found: Checked) -> str:
    assert found.course.recommendation is not None
    return found.course.recommendation.command


def test_a_transaction_pool(pooler: PgBouncer, postgres: PostgresServer) -> None:
    found = checked(pooler.endpoint().url + "?prepare_threshold=0&keepalives=1")
    assert found.exit_code == 0
    assert found.data["pooler"]["kind"] == "PgBouncer"
    assert found.data["pooler"]["version"] == "before 1.20"
    assert found.data["pooler"]["mode"] == "transaction"
    assert found.data["prepared_statements"]["kept"] == "none"
    assert found.data["pipelining"] == {"in_one_write": True, "in_several_writes": True}
    assert {found.fate_of(name) for name in REFUSED_BY_1_18} == {"refused"}
    assert {found.fate_of(name) for name in ("application_name", "client_encoding", "TimeZone")} == {"taken"}
    assert found.data["recommendation"] == {
        "is_needed": True,
        "text": "start pgshim beside the app, and give the app this URL",
        "arguments": ["pgshim", "--listen", "6432", "--upstream", f"127.0.0.1:{pooler.port}"],
        "command": f"pgshim --listen 6432 --upstream 127.0.0.1:{pooler.port}",
        "database_url": "postgresql://app:***@127.0.0.1:6432/app?keepalives=1",
    }
    assert_nothing_is_left(pooler.endpoint(), postgres)


def test_a_transaction_pool_of_one_server(postgres: PostgresServer) -> None:
    with PgBouncer(postgres, pool_size=1) as pooler:
        found = checked(pooler.endpoint().url)
        assert found.data["pooler"]["mode"] == "transaction"
        assert found.data["prepared_statements"]["kept"] == "none"
        assert_nothing_is_left(pooler.endpoint(), postgres, servers=1)


def test_a_transaction_pool_that_others_use(postgres: PostgresServer) -> None:
    """Two of three servers are held: what is left looks like a pool of one."""
    with PgBouncer(postgres) as pooler:
        with one_connection_each(pooler.endpoint(), 2):
            found = checked(pooler.endpoint().url)
        assert found.data["pooler"]["mode"] == "transaction"
        assert_nothing_is_left(pooler.endpoint(), postgres)


@pytest.mark.parametrize("size", [3, 20])
def test_a_session_pool(postgres: PostgresServer, size: int) -> None:
    with PgBouncer(postgres, pool_mode="session", pool_size=size) as pooler:
        found = checked(pooler.endpoint().url)
        assert found.data["pooler"]["mode"] == "session"
        assert found.data["recommendation"]["is_needed"] is False
        assert found.data["prepared_statements"]["kept"] == "session"
        assert_nothing_is_left(pooler.endpoint(), postgres, servers=min(size, 3))


def test_a_session_pool_without_a_free_server(postgres: PostgresServer) -> None:
    with PgBouncer(postgres, pool_mode="session", pool_size=1) as pooler:
        found = checked(pooler.endpoint().url)
        assert found.exit_code == 0
        assert found.data["pipelining"]["in_one_write"] is None
        assert found.fate_of("statement_timeout") == "refused"
        assert found.fate_of("application_name") == "not tried"
        assert "no server was free" in found.text


def test_a_pool_that_is_busy_is_not_taken_for_another_mode(postgres: PostgresServer) -> None:
    """The first client's own server is taken from it while it is idle."""
    with PgBouncer(postgres, pool_size=2) as pooler, ExitStack() as stack:

        async def meanwhile() -> PoolMode:
            course = Course(read_url(pooler.endpoint().url, {}), Report())
            course.attempt = await attempt(course.target.addresses[0], Resolved(AF_INET, ("127.0.0.1", pooler.port)), 5)
            wire = await course.again()
            await process_id(wire)

            async def connect() -> Wire:
                second = await course.connect()
                await asyncio.to_thread(stack.enter_context, one_connection_each(pooler.endpoint(), 2))
                return second

            try:
                return await find_mode(wire, connect)
            finally:
                await wire.close()

        assert asyncio.run(meanwhile()).mode is Mode.UNKNOWN


def test_a_statement_pool_is_a_problem(postgres: PostgresServer) -> None:
    with PgBouncer(postgres, pool_mode="statement") as pooler:
        found = checked(pooler.endpoint().url)
    assert found.exit_code == 1
    assert found.data["pooler"]["mode"] == "statement"
    (problem,) = found.problems
    assert "pool_mode = transaction" in problem.fix


def test_an_administrator_is_told_version_and_configuration(pooler: PgBouncer) -> None:
    found = checked(pooler.endpoint("postgres").url)
    assert found.data["pooler"]["evidence"] == "its console says so (SHOW VERSION)"
    assert found.data["pooler"]["version"][0].isdigit()
    assert found.data["pooler_configuration"]["pool_mode"] == "transaction"


def test_the_stand_in_for_supavisor(postgres: PostgresServer) -> None:
    with Supavisor(postgres) as pooler:
        found = checked(pooler.endpoint().url)
        assert found.data["pooler"]["kind"] == "Supavisor"
        assert found.data["pooler"]["mode"] == "transaction"
        assert found.data["pipelining"] == {"in_one_write": None, "in_several_writes": None}
        assert found.fate_of("statement_timeout") == "ignored"
        assert found.fate_of("search_path") == "not tried"
        assert found.exit_code == 0
        assert_nothing_is_left(pooler.endpoint(), postgres)


def test_a_server_without_a_pooler(postgres: PostgresServer) -> None:
    found = checked(postgres.endpoint().url)
    assert found.data["pooler"]["kind"] == "none"
    assert found.data["server"]["version"].startswith(str(postgres.binaries.major))
    assert {one["fate"] for one in found.data["startup_parameters"]} == {"taken"}
    assert found.data["recommendation"]["is_needed"] is False
    assert found.data["login"]["method"] == "SCRAM-SHA-256"
    assert 0 < found.data["round_trip"]["min_ms"] <= found.data["round_trip"]["median_ms"]
    assert found.exit_code == 0


def test_pgshim_itself(pooler: PgBouncer, postgres: PostgresServer) -> None:
    with PgshimProcess(pooler) as shim:
        found = checked(shim.endpoint().url)
        assert found.data["pooler"]["kind"] == "pgshim"
        assert found.data["prepared_statements"]["kept"] == "pooler"
        assert {one["fate"] for one in found.data["startup_parameters"]} == {"taken"}
        assert "already" in found.data["recommendation"]["text"]
        assert found.exit_code == 0
    assert_nothing_is_left(pooler.endpoint(), postgres)


def test_startup_parameters_that_the_pooler_is_told_to_ignore(postgres: PostgresServer) -> None:
    ignored = ",".join(REFUSED_BY_1_18)
    with PgBouncer(postgres, ignore_startup_parameters=ignored) as pooler:
        found = checked(pooler.endpoint().url)
    assert {found.fate_of(name) for name in REFUSED_BY_1_18} == {"ignored"}


def test_options_of_the_url_that_the_pooler_refuses(pooler: PgBouncer) -> None:
    found = checked(pooler.endpoint().url + "?options=-c%20jit%3Doff")
    assert 'with options of the URL it is refused: "unsupported startup parameter: options"' in found.text
    assert found.exit_code == 0
    assert found.data["recommendation"]["is_needed"] is True


def test_options_of_the_url_by_which_supavisor_finds_the_project(postgres: PostgresServer) -> None:
    """They go up with every connection, the one that tries `options` included."""
    found = checked(postgres.endpoint().url + "?options=-c%20jit%3Doff&application_name=mine")
    assert found.fate_of("options") == "taken"
    assert found.data["server"]["parameters"]["application_name"] == "mine"
    assert "jit" in [one["name"] for one in found.data["startup_parameters"] if one["fate"] == "taken"]


def test_several_hosts_the_first_that_answers_is_used(pooler: PgBouncer) -> None:
    url = pooler.endpoint().url.replace("@127.0.0.1", "@127.0.0.1:1,localhost")
    found = checked(url)
    assert found.exit_code == 0
    used = [one for one in found.data["addresses"] if one["is_used"]]
    assert [(one["host"], one["port"]) for one in used] == [("localhost", pooler.port)]
    assert found.data["addresses"][0]["error"] == "connection refused"


def test_a_unix_socket(pooler: PgBouncer) -> None:
    login = pooler.endpoint().url.partition("@")[0]
    found = checked(f"{login}@/app?host={pooler.directory}&port={pooler.port}")
    assert found.exit_code == 0
    assert command(found).endswith(f"--upstream {pooler.directory}/.s.PGSQL.{pooler.port}")
