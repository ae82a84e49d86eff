"""The servers in the places that the quick start names: PgBouncer in transaction mode, with and without TLS."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from pgshim.demo.processes import free_port
from pgshim.demo.servers import APP_USER, PgBouncer, PostgresServer, TlsFiles
from tests.certificates import issued
from tests.docs.pages import Page

SUPABASE_USER = "postgres.abcdefgh"
#: Pages of places that speak TLS. What they name there is one of these.
HOSTED = {
    "supabase": ("aws-0-eu-central-1.pooler.supabase.com:6543", "aws-0-eu-central-1.pooler.supabase.com:5432"),
    "neon": (
        "ep-cool-name-123456-pooler.us-east-2.aws.neon.tech:5432",
        "ep-cool-name-123456.us-east-2.aws.neon.tech:5432",
    ),
    "rds-proxy": (
        "app.proxy-abcdefgh.us-east-1.rds.amazonaws.com:5432",
        "app.abcdefgh.us-east-1.rds.amazonaws.com:5432",
    ),
}
OWN = ("pgbouncer.example:6432", "postgres.example:5432")


@dataclass(frozen=True)
class Place:
    """A pooler in transaction mode, and one in session mode, of the same server."""

    pooler: PgBouncer
    session: PgBouncer
    host: str
    ca: Path | None = None

    def stand_ins(self) -> dict[str, str]:
        """What stands in truth for the addresses that pages name."""
        places = {}
        for pooler, session in (*HOSTED.values(), OWN):
            places |= {pooler: f"{self.host}:{self.pooler.port}", session: f"{self.host}:{self.session.port}"}
        return places


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return issued(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(users={SUPABASE_USER: "the password of a project"}) as server:
        yield server


def _place(servers: ExitStack, postgres: PostgresServer, tls: TlsFiles | None) -> Place:
    pooler, session = (
        servers.enter_context(PgBouncer(postgres, pool_mode=mode, client_tls=tls, server_tls_mode="disable"))
        for mode in ("transaction", "session")
    )
    _fill(pooler, tls)
    return Place(pooler, session, "localhost" if tls else pooler.host, tls and tls.ca)


def _fill(pooler: PgBouncer, tls: TlsFiles | None) -> None:
    """Makes PgBouncer open all three servers, so that consecutive transactions go to different ones."""
    parameters = {"sslmode": "require"} if tls else {}
    url = pooler.endpoint(APP_USER, **parameters).url
    with ExitStack() as held:
        for _ in range(3):
            connection = held.enter_context(psycopg.connect(url, prepare_threshold=None))
            connection.execute("SELECT 1")


@pytest.fixture(scope="session")
def plain_place(postgres: PostgresServer) -> Iterator[Place]:
    with ExitStack() as servers:
        yield _place(servers, postgres, None)


@pytest.fixture(scope="session")
def tls_place(postgres: PostgresServer, tls_files: TlsFiles) -> Iterator[Place]:
    with ExitStack() as servers:
        yield _place(servers, postgres, tls_files)


@pytest.fixture
def run_page(request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path) -> Callable[..., int]:
    """Runs a page in a folder of its own; `modules` is the node_modules that it finds there."""

    def run(path: Path, modules: Path | None = None, **environment: str) -> int:
        is_hosted = path.stem in HOSTED
        place: Place = request.getfixturevalue("tls_place" if is_hosted else "plain_place")
        user = SUPABASE_USER if path.stem == "supabase" else APP_USER
        ports = {name: str(free_port()) for name in ("6432", "6433", "8000")}
        places = place.stand_ins() | ports | {"PASSWORD": postgres.users[user].replace(" ", "%20")}
        if modules is not None:
            (tmp_path / "node_modules").symlink_to(modules)
        if place.ca is not None:
            (tmp_path / "prod-ca-2021.crt").write_bytes(place.ca.read_bytes())
            # What OpenSSL takes for this machine's roots.
            environment["SSL_CERT_FILE"] = str(place.ca)
        with Page.opened(tmp_path, places, environment) as page:
            return page.run(path)

    return run
