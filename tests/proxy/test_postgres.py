"""A real server behind pgshim in session mode: authentication end to end, TLS both ways, LISTEN, COPY, cancel."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import psycopg
import pytest

from pgshim.demo.servers import PgshimProcess, PostgresServer, TlsFiles
from tests.proxy.conftest import Certificates

SESSION = ["--upstream-mode", "session", "--log-level", "debug"]


@pytest.fixture(scope="module")
def files(certificates: Certificates) -> TlsFiles:
    cert, key = certificates.issue("both")
    return TlsFiles(Path(cert), Path(key), Path(certificates.ca))


@pytest.fixture(scope="module")
def pgshim(files: TlsFiles) -> Iterator[PgshimProcess]:
    with ExitStack() as servers:
        postgres = servers.enter_context(PostgresServer(tls=files))
        options = [*SESSION, "--upstream-tls", "verify-full", "--upstream-ca", str(files.ca)]
        address = f"localhost:{postgres.port}"
        process = PgshimProcess(postgres, upstream_address=address, options=options, tls=files)
        yield servers.enter_context(process)
        log = process.log()
        assert "Traceback" not in log
        assert process.endpoint().password not in log


async def connect(pgshim: PgshimProcess) -> asyncpg.Connection:
    return await asyncpg.connect(pgshim.endpoint().url, timeout=10)


def test_asyncpg_over_scram_and_tls(pgshim: PgshimProcess) -> None:
    async def story() -> None:
        connection = await connect(pgshim)
        heard: asyncio.Queue[str] = asyncio.Queue()
        await connection.add_listener("news", lambda *event: heard.put_nowait(event[3]))
        await connection.execute("notify news, 'hello'")
        assert await asyncio.wait_for(heard.get(), 5) == "hello"
        await connection.execute("create temp table t (a int, b text)")
        rows = [(number, "x" * 1000) for number in range(20_000)]
        await connection.copy_records_to_table("t", records=rows)
        assert await connection.fetch("select * from t order by a") == rows
        with pytest.raises(TimeoutError):
            await connection.fetch("select pg_sleep(30)", timeout=0.3)
        assert await connection.fetchval("select 1") == 1
        await connection.close()

    asyncio.run(story())


@pytest.mark.parametrize("options", ["sslmode=disable", "sslmode=require", "sslmode=require sslnegotiation=direct"])
def test_libpq_in_each_way_to_begin(pgshim: PgshimProcess, options: str) -> None:
    endpoint = pgshim.endpoint()
    # TLS ends at pgshim: a login bound to its channel cannot be passed on.
    login = f"user={endpoint.user} password={endpoint.password} dbname={endpoint.database} channel_binding=disable"
    with psycopg.connect(f"host={endpoint.host} port={endpoint.port} {login} {options}") as connection:
        assert connection.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone() == (True,)
        assert connection.pgconn.ssl_in_use == ("require" in options)


def test_a_wrong_password_is_the_servers_own_error_with_a_hint(pgshim: PgshimProcess) -> None:
    async def story() -> None:
        with pytest.raises(asyncpg.InvalidPasswordError) as caught:
            await asyncpg.connect(pgshim.endpoint().url, password="wrong", timeout=10)
        assert caught.value.hint

    asyncio.run(story())


def test_a_client_that_leaves_leaves_no_server_behind(pgshim: PgshimProcess) -> None:
    async def story() -> None:
        watcher = await connect(pgshim)
        leaver = await connect(pgshim)
        pid = await leaver.fetchval("select pg_backend_pid()")
        await leaver.execute("begin")
        leaver.terminate()
        async with asyncio.timeout(5):
            while await watcher.fetchval("select count(*) from pg_stat_activity where pid = $1", pid):
                await asyncio.sleep(0.02)
        await watcher.close()

    asyncio.run(story())
