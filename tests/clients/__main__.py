"""Clients of other languages, unmodified and with their defaults, through pgshim: `python -m tests.clients [NAME ...]`.

Each program runs as several processes at once, whose statement names collide: on PostgreSQL itself, where all must
pass; through pgshim and PgBouncer, where each feature must pass or be refused by name; and straight at PgBouncer, for
comparison.
Exit code 1 if a client could not be built, or if anything surprised it.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from contextlib import ExitStack

from pgshim.demo.binaries import find_pgbouncer
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer
from tests.clients.programs import PROGRAMS, CannotRun, Program
from tests.clients.runs import Report, run
from tests.matrix.results import Outcome, Result, write

PROCESSES = 3
FEATURE_SECONDS = 60
# Straight at PgBouncer many features end in silence.
COMPARISON_SECONDS = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    names = ", ".join(program.name for program in PROGRAMS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {names}; else all")
    parser.add_argument("--without-comparison", action="store_true", help="not straight at PgBouncer")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {program.name for program in PROGRAMS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    # So that the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    programs = [program for program in PROGRAMS if not arguments.names or program.name in arguments.names]
    with Matrix(not arguments.without_comparison) as matrix:
        for program in programs:
            matrix.play(program)
        matrix.look_at_log()
    write("clients", matrix.results)
    passed = sum(result.outcome in (Outcome.PASSED, Outcome.REFUSED) for result in matrix.results)
    failed = len(matrix.results) - passed + matrix.faults
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


class Matrix:
    """The servers, and what has been found with them."""

    def __init__(self, is_comparing: bool) -> None:
        self.is_comparing = is_comparing
        self.results: list[Result] = []
        #: What went wrong on PostgreSQL itself, or with pgshim as a process.
        self.faults = 0
        self.version = _pgbouncer_says()

    def __enter__(self) -> Matrix:
        with ExitStack() as servers:
            self.postgres = servers.enter_context(PostgresServer())
            pooler = servers.enter_context(PgBouncer(self.postgres))
            self.shim = servers.enter_context(PgshimProcess(pooler))
            self.servers = servers.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.servers.close()

    def play(self, program: Program) -> None:
        """Builds it, and runs it everywhere."""
        try:
            command = program.build()
        except CannotRun as error:
            print(f"{program.name} could not be built: {error}", flush=True)
            self._keep(program, "", "build", Outcome.FAILED, str(error))
            return
        direct = run(
            command, self.postgres.endpoint(), processes=PROCESSES, is_refusing=False, feature_seconds=FEATURE_SECONDS
        )
        _print(program, "PostgreSQL itself", direct, only=Outcome.FAILED)
        self.faults += direct.count(Outcome.FAILED, Outcome.REFUSED)
        shimmed = run(
            command, self.shim.endpoint(), processes=PROCESSES, is_refusing=True, feature_seconds=FEATURE_SECONDS
        )
        _print(program, f"pgshim and PgBouncer {self.version}", shimmed)
        for feature, (outcome, detail) in shimmed.features.items():
            self._keep(program, shimmed.version, feature, outcome, detail)
        if self.is_comparing:
            self._compare(program, command)

    def _compare(self, program: Program, command: list[str]) -> None:
        """Straight at a PgBouncer of its own, with the one setting that PgJDBC cannot connect without."""
        with PgBouncer(self.postgres, ignore_startup_parameters="extra_float_digits") as pooler:
            straight = run(
                command, pooler.endpoint(), processes=PROCESSES, is_refusing=False, feature_seconds=COMPARISON_SECONDS
            )
        _print(program, f"PgBouncer {self.version} without pgshim, for comparison", straight, only=Outcome.FAILED)

    def look_at_log(self) -> None:
        if "Traceback (most recent call last)" in self.shim.log():
            self.faults += 1
            print(f"pgshim logged a traceback:\n{self.shim.log()[-4000:]}")

    def _keep(self, program: Program, version: str, feature: str, outcome: Outcome, reason: str) -> None:
        self.results.append(Result(program.name, version, "PgBouncer", self.version, feature, outcome, reason))


def _print(program: Program, where: str, report: Report, only: Outcome | None = None) -> None:
    passed, refused = report.count(Outcome.PASSED), report.count(Outcome.REFUSED)
    total = len(report.features)
    counts = f"{passed} of {total} passed, {refused} refused by name"
    print(f"{program.name} {report.version} on {where}: {counts}", flush=True)
    for feature, (outcome, detail) in report.features.items():
        if only in (None, outcome):
            print(f"  {outcome:8} {feature:20} {detail[:300]}", flush=True)


def _pgbouncer_says() -> str:
    output = subprocess.run([find_pgbouncer(), "--version"], capture_output=True, text=True, check=True).stdout
    return output.split()[1]


if __name__ == "__main__":
    sys.exit(main())
