"""Real servers for the tests: PostgreSQL, PgBouncer with round robin and a pool of 3, pgshim as a process.

Three sets, each started once and only when a test asks for it; `stack` runs a test on all three. A missing
program ends the run with a sentence that says what to install: nothing is skipped.

`python -m tests.poolers` runs tests with another pooler in PgBouncer's place, which PGSHIM_TEST_POOLER names; then
`stack` is the first set only.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pgshim.demo.binaries import wheel_bindir
from pgshim.demo.processes import Endpoint
from pgshim.demo.servers import APP_DATABASE, APP_USER, PgBouncer, PgshimProcess, PostgresServer, TlsFiles
from tests.certificates import issued
from tests.poolers import setups
from tests.programs import need_servers


@dataclass(frozen=True)
class Stack:
    """pgshim -> PgBouncer -> PostgreSQL, and the URL parameters that a client of any of them needs."""

    postgres: PostgresServer
    pgbouncer: PgBouncer | setups.Supavisor
    pgshim: PgshimProcess
    parameters: dict[str, str] = field(default_factory=dict)
    # The certificate authority's file where TLS is spoken, else None.
    ca: Path | None = None

    def endpoint(self, user: str = APP_USER, database: str = APP_DATABASE) -> Endpoint:
        """pgshim's: what the app under test connects to."""
        return self.pgshim.endpoint(user, database, **self.parameters)

    def direct(self, user: str = APP_USER, database: str = APP_DATABASE) -> Endpoint:
        """PostgreSQL's own: what a test prepares and inspects through."""
        return self.postgres.endpoint(user, database, **self.parameters)


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    need_servers()


def start(servers: ExitStack, *, bindir: Path | None = None, tls: TlsFiles | None = None) -> Stack:
    """Starts one set, which ends with `servers`."""
    postgres = servers.enter_context(PostgresServer(bindir=bindir, tls=tls))
    other = setups.chosen()
    if other is not None:
        pooler = servers.enter_context(other.start(postgres))
        return Stack(postgres, pooler, servers.enter_context(PgshimProcess(pooler, options=other.options)))
    pgbouncer = servers.enter_context(PgBouncer(postgres, client_tls=tls))
    if tls is None:
        return Stack(postgres, pgbouncer, servers.enter_context(PgshimProcess(pgbouncer)))
    options = ["--upstream-tls", "verify-full", "--upstream-ca", str(tls.ca)]
    pgshim = servers.enter_context(
        PgshimProcess(pgbouncer, upstream_address=f"localhost:{pgbouncer.port}", options=options, tls=tls)
    )
    return Stack(postgres, pgbouncer, pgshim, {"sslmode": "verify-full", "sslrootcert": str(tls.ca)}, tls.ca)


def running(**options: object) -> Iterator[Stack]:
    """Yields one set, and in the end fails the run if its pgshim had logged a traceback."""
    with ExitStack() as servers:
        stack = start(servers, **options)  # type: ignore[arg-type]
        yield stack
        log = stack.pgshim.log()
        assert "Traceback (most recent call last)" not in log, log


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate for localhost and 127.0.0.1, from a throw-away authority."""
    return issued(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def plain_stack() -> Iterator[Stack]:
    """The system's PostgreSQL, without TLS."""
    yield from running()


@pytest.fixture(scope="session")
def tls_stack(tls_files: TlsFiles) -> Iterator[Stack]:
    """The system's PostgreSQL, with verified TLS on every leg."""
    yield from running(tls=tls_files)


@pytest.fixture(scope="session")
def stack_18() -> Iterator[Stack]:
    """PostgreSQL 18 from the wheel, which is built without TLS."""
    yield from running(bindir=wheel_bindir(18))


@pytest.fixture(scope="session", params=["plain_stack"] + ["tls_stack", "stack_18"] * (setups.chosen() is None))
def stack(request: pytest.FixtureRequest) -> Stack:
    """Each of the three sets in turn."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def postgres(plain_stack: Stack) -> PostgresServer:
    return plain_stack.postgres


@pytest.fixture(scope="session")
def pgbouncer(plain_stack: Stack) -> PgBouncer:
    return plain_stack.pgbouncer


@pytest.fixture(scope="session")
def pgshim(plain_stack: Stack) -> PgshimProcess:
    return plain_stack.pgshim


@pytest.fixture(scope="session")
def pgshim_dsn(plain_stack: Stack) -> str:
    """The URL of pgshim in front of PgBouncer, without TLS."""
    return plain_stack.endpoint().url
