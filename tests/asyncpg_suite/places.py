"""The servers on which the suite is run: PostgreSQL, and pgshim in front of PgBouncer."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pgshim.demo.processes import Endpoint, free_port
from pgshim.demo.servers import SUPERUSER, PgBouncer, PgshimProcess, PostgresServer
from tests.asyncpg_suite.expected import Expected, Kind
from tests.asyncpg_suite.report import console
from tests.asyncpg_suite.running import CLASS, Ending, Outcome, Run
from tests.asyncpg_suite.sdist import FOLDER, SuiteMissing

#: What one run of the suite may take.
RUN_SECONDS = 150
ATTEMPTS = 3
#: When more than so many have failed, it is not for their sense of time.
MOST_AGAIN = 20
#: Not the 3 of other tests: some of asyncpg's leave a dozen connections amid pg_sleep(10), and the next measures time.
#: pgshim gives what such a client has left five seconds to end, and so long it holds a server.
POOL_SIZE = 40


@dataclass(frozen=True)
class Findings:
    """How each test ended: directly, through pgshim and PgBouncer, and, of those that did not pass there, on the
    session endpoint. `log` is pgshim's.
    """

    pooler_version: str
    direct: Mapping[str, Ending]
    through: Mapping[str, Ending]
    session: Mapping[str, Ending]
    log: str


def run_all(folder: Path, expected: Expected, only: Collection[str]) -> Findings:
    """Runs the suite, or some of it. Raises MissingBinary, ServerFailed, SuiteMissing."""
    unsteady = expected.tests(Kind.UNSTEADY)
    with PostgresServer() as postgres:
        direct = _run("direct", folder, postgres.endpoint(SUPERUSER, SUPERUSER), only, unsteady)
    # A server of its own for the session endpoint: a test that has failed may have left its database behind.
    with PostgresServer() as postgres, PostgresServer() as other, PgBouncer(postgres, pool_size=POOL_SIZE) as pooler:
        port = free_port()
        options = ["--session-upstream", f"{other.host}:{other.port}", "--session-listen", f"{other.host}:{port}"]
        with PgshimProcess(pooler, options=options) as shim:
            through = _run("through", folder, shim.endpoint(SUPERUSER, SUPERUSER), only, expected.tests(*Kind))
            failed = [test for test, ending in through.items() if ending.outcome is Outcome.FAILED]
            failed = [test for test in failed if test not in unsteady]
            server = Endpoint(shim.host, port, SUPERUSER, other.users[SUPERUSER], SUPERUSER)
            patterns = [CLASS.sub(r"\1.*", test) for test in failed]
            session = _run("session endpoint", folder, server, patterns, set()) if failed else {}
            return Findings(_version(pooler.program), direct, through, session, shim.log())


def _run(name: str, folder: Path, server: Endpoint, only: Collection[str], known: Collection[str]) -> dict[str, Ending]:
    """Runs the tests, and again those that failed and are not known to: some measure time."""
    log = FOLDER / f"{name.replace(' ', '-')}.log"
    log.unlink(missing_ok=True)
    started = time.monotonic()
    endings = Run(folder, server, log, started + RUN_SECONDS).all(only)
    if not endings:
        raise SuiteMissing(f"not one of them was found; see {log}.")
    console.print(f"{name}: {time.monotonic() - started:.0f} s", markup=False)
    for attempt in range(2, ATTEMPTS + 1):
        failed = [test for test, ending in endings.items() if ending.outcome is Outcome.FAILED]
        again = [test for test in failed if test not in known and not CLASS.match(test)]
        if 0 < len(again) <= MOST_AGAIN:
            _try_again(attempt, again, endings, Run(folder, server, log, time.monotonic() + RUN_SECONDS / 5))
    return endings


def _try_again(attempt: int, again: Collection[str], endings: dict[str, Ending], run: Run) -> None:
    """Runs some tests once more, and notes of those that pass now how they failed before."""
    for test, ending in run.all(again).items():
        if test in again and ending.outcome is not Outcome.FAILED:
            console.print(f"{test} passed at attempt {attempt} only; see {run.log}.", markup=False, soft_wrap=True)
            with run.log.open("a") as file:
                file.write(f"{test} passed at attempt {attempt} only; before it had failed:\n{endings[test].detail}\n")
            endings[test] = ending


def _version(pgbouncer: Path) -> str:
    """As it says it: "PgBouncer 1.18.0", and then what it is linked with."""
    said = subprocess.run([pgbouncer, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    return said.stdout.split()[1]
