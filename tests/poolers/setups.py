"""The poolers that the tests of tests/integration can be run on: PGSHIM_TEST_POOLER names one.

Each pools three servers of a PostgreSQL and gives them out in turn, in transaction mode.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pgshim.demo.binaries import find_pgbouncer, pgbouncer_version
from pgshim.demo.processes import Endpoint, ServerProcess, clean_environment
from pgshim.demo.servers import APP_DATABASE, APP_USER, PgBouncer, PostgresServer
from tests.poolers.build_pgbouncer import WANTED, current_pgbouncer
from tests.poolers.supavisor_pool import TENANT, Configuration

VARIABLE = "PGSHIM_TEST_POOLER"
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Setup:
    """A pooler, and what pgshim is told about it.

    pooler, version -- as in the results; start -- makes the pooler, to be entered; options -- of pgshim's
    is_pinned_by_copy -- it waits for ever for the ReadyForQuery of a Sync that a COPY has swallowed: as long as its
        client is there, the server is that client's
    """

    pooler: str
    version: Callable[[], str]
    start: Callable[[PostgresServer], ServerProcess]
    options: tuple[str, ...] = ()
    is_pinned_by_copy: bool = False


class Supavisor(ServerProcess):
    """The stand-in as a process. `changes` are fields of its Configuration. Raises ServerFailed."""

    name = "supavisor"

    def __init__(self, postgres: PostgresServer, **changes: object) -> None:
        super().__init__()
        self.postgres = postgres
        self._changes = changes

    def endpoint(self, user: str = APP_USER, database: str = APP_DATABASE, **parameters: str) -> Endpoint:
        password = self.postgres.users[user]
        return Endpoint(self.host, self.port, f"{user}.{TENANT}", password, database, parameters)

    def _prepare(self) -> None:
        users = dict(self.postgres.users)
        configuration = Configuration(self.port, self.postgres.port, users, **self._changes)  # type: ignore[arg-type]
        self._write("configuration.json", json.dumps(asdict(configuration)))

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.poolers.supavisor", str(self.directory / "configuration.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=clean_environment(PYTHONASYNCIODEBUG=""),
            process_group=0,
        )


def program_version(program: Path) -> str:
    """As it says itself: 1.24.1."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[1]


class CurrentPgBouncer(PgBouncer):
    """With None as `max_prepared_statements` it keeps so many as it does by default. Raises CannotBuild."""

    def __init__(self, postgres: PostgresServer, max_prepared_statements: int | None = None) -> None:
        program = current_pgbouncer()
        super().__init__(postgres, program=program, max_prepared_statements=max_prepared_statements)

    def _prepare(self) -> None:
        super()._prepare()
        # The account it runs as may not get at where it was built.
        copy = self.directory / "program"
        shutil.copyfile(self.program, copy)
        copy.chmod(0o755)
        self.program = copy


_STAND_IN = "Supavisor (stand-in)"
SETUPS = {
    "pgbouncer": Setup("PgBouncer", lambda: program_version(current_pgbouncer()), CurrentPgBouncer),
    "pgbouncer-without-statements": Setup(
        "PgBouncer",
        lambda: f"{program_version(current_pgbouncer())}, max_prepared_statements=0",
        lambda postgres: CurrentPgBouncer(postgres, 0),
    ),
    "pgbouncer-of-the-system": Setup("PgBouncer", lambda: program_version(find_pgbouncer()), PgBouncer),
    # `auto` is the default: pgshim has to find out by itself.
    "supavisor": Setup(_STAND_IN, str, Supavisor, ("--tenant", TENANT), is_pinned_by_copy=True),
    "supavisor-serial": Setup(
        _STAND_IN,
        lambda: "--pipeline=serial",
        Supavisor,
        ("--tenant", TENANT, "--pipeline", "serial"),
        is_pinned_by_copy=True,
    ),
}


def names() -> list[str]:
    """Those that there are here: the system's PgBouncer may be the current one."""
    is_old = pgbouncer_version(find_pgbouncer()) < WANTED
    return [name for name in SETUPS if is_old or name != "pgbouncer-of-the-system"]


def chosen() -> Setup | None:
    """The one that the environment asks for; None: the tests' usual PgBouncer."""
    name = os.environ.get(VARIABLE)
    return SETUPS[name] if name else None
