"""A BEGIN that is answered at once, where it meets a server late or never; its conversations are the oracle's.

Each story is had with and without `--lazy-begin` where both should end alike.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import asyncpg
import psycopg
import pytest

from pgshim.demo.servers import SUPERUSER, PgBouncer, PgshimProcess, PostgresServer
from tests.integration.conftest import Stack

STATUS = psycopg.pq.TransactionStatus


@dataclass(frozen=True)
class Line:
    """pgshim in front of a PgBouncer of its own."""

    postgres: PostgresServer
    pgbouncer: PgBouncer
    pgshim: PgshimProcess

    @property
    def url(self) -> str:
        return self.pgshim.endpoint().url

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A client that says BEGIN itself."""
        return psycopg.connect(self.url, autocommit=True)

    def servers(self) -> int:
        """How many servers of the pool are with a client."""
        with psycopg.connect(self.pgbouncer.endpoint(SUPERUSER, "pgbouncer").url, autocommit=True) as console:
            pools = console.execute("SHOW POOLS")
            names = [column.name for column in pools.description or ()]
            found = (dict(zip(names, row, strict=True)) for row in pools)
            return sum(int(str(pool["sv_active"])) for pool in found if pool["database"] == "app")


@contextmanager
def line(postgres: PostgresServer, *options: str, pool_size: int = 1) -> Iterator[Line]:
    with ExitStack() as servers:
        pgbouncer = servers.enter_context(PgBouncer(postgres, pool_size=pool_size))
        pgshim = servers.enter_context(PgshimProcess(pgbouncer, options=options))
        yield Line(postgres, pgbouncer, pgshim)
        assert "Traceback" not in pgshim.log()


@pytest.fixture(scope="module")
def alone(plain_stack: Stack) -> Iterator[Line]:
    """A pool of one server: who holds it keeps all others waiting."""
    with line(plain_stack.postgres) as found:
        yield found


@pytest.fixture(scope="module")
def standby() -> Iterator[Line]:
    """A hot standby, which has nobody to follow."""
    with PostgresServer() as postgres:
        postgres.stop()
        postgres._write("data/standby.signal", "")
        postgres.start()
        with line(postgres) as found:
            yield found


# A BEGIN that fails.

REFUSED = {
    "BEGIN READ WRITE": "cannot set transaction read-write mode during recovery",
    "BEGIN ISOLATION LEVEL SERIALIZABLE": "cannot use serializable mode in a hot standby",
    "START TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE": "cannot use serializable mode in a hot standby",
}


@pytest.mark.parametrize("begin", REFUSED)
@pytest.mark.parametrize("is_binary", [False, True], ids=["Query", "Parse"])
def test_a_mode_that_a_standby_refuses_is_refused_at_the_first_statement(
    standby: Line, begin: str, is_binary: bool
) -> None:
    with psycopg.connect(standby.postgres.endpoint().url, autocommit=True) as own:
        assert own.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=REFUSED[begin]):
            own.execute(begin)
        assert own.info.transaction_status == STATUS.IDLE
    with standby.connect() as client, standby.connect() as other:
        client.execute(begin)
        assert client.info.transaction_status == STATUS.INTRANS
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=REFUSED[begin]):
            client.execute("SELECT 1", binary=is_binary)
        assert client.info.transaction_status == STATUS.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            client.execute("SELECT 1", binary=is_binary)
        assert client.execute("COMMIT").statusmessage == "ROLLBACK"
        assert client.info.transaction_status == STATUS.IDLE
        # It has let go of the only server.
        assert other.execute("SELECT 1").fetchone() == (1,)
        assert client.execute("SELECT 2").fetchone() == (2,)
        assert standby.servers() == 0


def test_drivers_leave_a_block_that_could_not_begin(standby: Line) -> None:
    async def story() -> None:
        connection = await asyncpg.connect(standby.url, timeout=10)
        for _ in range(2):
            with pytest.raises(asyncpg.FeatureNotSupportedError):
                async with connection.transaction(isolation="serializable"):
                    await connection.fetchval("SELECT $1::int", 1)
            async with connection.transaction(isolation="serializable"):
                pass
            async with connection.transaction(readonly=True):
                assert await connection.fetchval("SELECT $1::int", 2) == 2
        await connection.close()

    asyncio.run(story())


def test_what_was_pipelined_behind_it_fails_as_in_a_failed_block(standby: Line) -> None:
    with standby.connect() as client:
        client.execute("BEGIN READ WRITE")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            _pipelined(client)
        assert client.info.transaction_status == STATUS.INERROR
        client.execute("ROLLBACK")
        assert client.execute("SELECT 3").fetchone() == (3,)


def _pipelined(client: psycopg.Connection[tuple[object, ...]]) -> None:
    with client.pipeline() as pipeline:
        first = client.execute("SELECT 1")
        pipeline.sync()
        client.execute("SELECT 2")
        pipeline.sync()
        first.fetchone()


# Nothing is upstream before the first statement.


def test_a_block_without_a_statement_holds_no_server(alone: Line) -> None:
    with ExitStack() as clients:
        waiting = [clients.enter_context(alone.connect()) for _ in range(5)]
        for client in waiting:
            client.execute("BEGIN")
        assert alone.servers() == 0
        with psycopg.connect(alone.postgres.endpoint().url, autocommit=True) as own:
            idle = own.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
            assert idle.fetchone() == (0,)
        for client in waiting:
            assert client.execute("SELECT 1").fetchone() == (1,)
            client.execute("COMMIT")


def test_a_client_that_leaves_such_a_block_leaves_the_server(alone: Line) -> None:
    with alone.connect() as watcher:
        pid = watcher.execute("SELECT pg_backend_pid()").fetchone()
        with alone.connect() as client:
            client.execute("BEGIN")
        assert watcher.execute("SELECT pg_backend_pid()").fetchone() == pid


def test_its_time_is_the_first_statements(alone: Line) -> None:
    with alone.connect() as client:
        client.execute("SET idle_in_transaction_session_timeout = '500ms'")
        client.execute("BEGIN")
        now = client.execute("SELECT now()").fetchone()
        assert client.execute("SELECT transaction_timestamp()").fetchone() == now
        client.execute("COMMIT")
        client.execute("BEGIN")
        asyncio.run(asyncio.sleep(0.8))
        # It was not idle in a transaction, and has begun only now.
        late = client.execute("SELECT now() - %s > interval '700ms', clock_timestamp() - now() < interval '400ms'", now)
        assert late.fetchone() == (True, True)
        client.execute("ROLLBACK")


def test_a_snapshot_is_the_first_querys_as_ever(alone: Line) -> None:
    with psycopg.connect(alone.postgres.endpoint().url, autocommit=True) as own, alone.connect() as client:
        own.execute("DROP TABLE IF EXISTS lazily_seen; CREATE TABLE lazily_seen (a int)")
        seen = []
        for connect in (own, client):
            with psycopg.connect(alone.postgres.endpoint().url, autocommit=True) as writer:
                writer.execute("TRUNCATE lazily_seen")
                connect.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                for number in range(3):
                    writer.execute("INSERT INTO lazily_seen VALUES (%s)", [number])
                    seen.append(connect.execute("SELECT count(*) FROM lazily_seen").fetchone())
                connect.execute("COMMIT")
        assert seen == [(1,)] * 6


def test_a_cancel_of_nothing_cancels_nothing(alone: Line) -> None:
    with alone.connect() as client, alone.connect() as other:
        client.execute("BEGIN")
        client.cancel()
        assert client.info.transaction_status == STATUS.INTRANS
        assert other.execute("SELECT pg_sleep(0.05)::text").fetchone() == ("",)
        assert client.execute("SELECT 1").fetchone() == (1,)
        client.execute("COMMIT")


def test_the_statement_that_takes_it_along_can_be_cancelled(alone: Line) -> None:
    async def story() -> None:
        connection = await asyncpg.connect(alone.url, timeout=10)
        async with connection.transaction():
            with pytest.raises(TimeoutError):
                await connection.execute("SELECT pg_sleep(30)", timeout=0.2)
            with pytest.raises(asyncpg.InFailedSQLTransactionError):
                await connection.fetchval("SELECT 1")
            # asyncpg would COMMIT; a server says ROLLBACK to that.
        assert await connection.fetchval("SELECT 2") == 2
        await connection.close()

    asyncio.run(story())


# What is upstream is lost.


def lost(url: str, driver: str, lose: object) -> tuple[str, str]:
    """What a driver says of the first statement when something is lost behind BEGIN."""
    assert callable(lose)
    if driver == "psycopg":
        with psycopg.connect(url, autocommit=True) as client:
            client.execute("BEGIN")
            lose()
            with pytest.raises(psycopg.Error) as caught:
                client.execute("INSERT INTO nosuch VALUES (1)")
            return type(caught.value).__name__, f"{caught.value.sqlstate} {client.closed}"

    async def story() -> tuple[str, str]:
        connection = await asyncpg.connect(url, timeout=10)
        transaction = connection.transaction()
        await transaction.start()
        lose()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)) as failed:
            await connection.execute("INSERT INTO nosuch VALUES (1)")
        return type(failed.value).__name__, f"{getattr(failed.value, 'sqlstate', None)} {connection.is_closed()}"

    return asyncio.run(story())


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_pooler_that_is_gone_is_a_lost_connection_as_without_it(plain_stack: Stack, driver: str) -> None:
    told = []
    for option in ("--lazy-begin", "--no-lazy-begin"):
        with line(plain_stack.postgres, option) as found:
            process = found.pgbouncer.process
            assert process is not None
            lose = lambda process=process: (process.send_signal(signal.SIGKILL), process.wait())  # noqa: E731
            told.append(lost(found.url, driver, lose))
    assert told[0] == told[1]
    assert told[0][1].endswith("True")


@pytest.mark.parametrize("option", ["--lazy-begin", "--no-lazy-begin"])
def test_a_server_that_ends_is_lost_only_by_who_holds_it(plain_stack: Stack, option: str) -> None:
    with line(plain_stack.postgres, option) as found, found.connect() as client:
        pid = client.execute("SELECT pg_backend_pid()").fetchone()
        client.execute("BEGIN")
        with psycopg.connect(plain_stack.direct(SUPERUSER).url, autocommit=True) as root:
            root.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
        if option == "--lazy-begin":
            assert client.execute("SELECT 1").fetchone() == (1,)
            client.execute("COMMIT")
        else:
            with pytest.raises(psycopg.OperationalError):
                client.execute("SELECT 1")


# Where there are no pooled transactions.


def test_in_session_mode_a_begin_goes_up(plain_stack: Stack) -> None:
    with PgshimProcess(plain_stack.postgres, options=["--upstream-mode", "session"]) as shim:
        _begins_upstream(plain_stack, shim.endpoint().url, "")


def test_at_the_session_endpoint_a_begin_goes_up(plain_stack: Stack) -> None:
    options = ["--session-upstream", f"{plain_stack.postgres.host}:{plain_stack.postgres.port}"]
    with PgshimProcess(plain_stack.pgbouncer, options=options) as shim:
        _begins_upstream(plain_stack, shim.endpoint().url, "-c pgshim.session=on")


def _begins_upstream(stack: Stack, url: str, options: str) -> None:
    with psycopg.connect(url, autocommit=True, options=options) as client:
        pid = client.execute("SELECT pg_backend_pid()").fetchone()
        client.execute("BEGIN")
        with psycopg.connect(stack.direct(SUPERUSER).url, autocommit=True) as root:
            state = root.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", pid)
            assert state.fetchone() == ("idle in transaction",)
