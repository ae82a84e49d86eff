"""The core set of clients on other poolers, through pgshim: `python -m tests.poolers [SETUP ...]`.

Runs tests of tests/integration (unmodified clients, several at once, with statement names that collide, results
asserted), the oracle's scripts and random conversations on each pooler of `setups`, and the core programs straight on
the stand-in for Supavisor, where they have to fail. Prints a table, keeps the results for the table of compatibility.
Exit code 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version

from pgshim.demo.servers import PostgresServer
from tests.matrix.results import Outcome, Result, write
from tests.poolers.build_pgbouncer import ROOT as BUILD
from tests.poolers.build_pgbouncer import CannotBuild, current_pgbouncer
from tests.poolers.setups import ROOT, SETUPS, VARIABLE, Setup, Supavisor, names

#: (module of tests/integration, client, what it is called on PyPI); {} stands for the driver in the test's name.
MODULES = [
    ("test_asyncpg", "asyncpg", "asyncpg"),
    ("test_asyncpg_errors", "asyncpg", "asyncpg"),
    ("test_asyncpg_rows", "asyncpg", "asyncpg"),
    ("test_asyncpg_values", "asyncpg", "asyncpg"),
    ("test_settings_asyncpg", "asyncpg", "asyncpg"),
    ("test_psycopg", "psycopg", "psycopg"),
    ("test_psycopg_pipeline", "psycopg", "psycopg"),
    ("test_psycopg_values", "psycopg", "psycopg"),
    ("test_settings_psycopg", "psycopg", "psycopg"),
    ("test_sqlalchemy", "SQLAlchemy on {}", "sqlalchemy"),
    ("test_settings_sqlalchemy", "SQLAlchemy on {}", "sqlalchemy"),
    ("test_psycopg2", "psycopg2", "psycopg2-binary"),
    ("test_pg8000", "pg8000", "pg8000"),
    ("test_oracle", "messages on the wire", ""),
]
#: Tests that look at PgBouncer itself, or need another server.
DESELECTED = ["newest_server"]
CONVERSATIONS = 100
#: The last line of a traceback.
_ERROR = re.compile(r"[\w.]+Error\b")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.poolers", description=__doc__)
    parser.add_argument("setups", nargs="*", metavar="SETUP", help=f"of {', '.join(SETUPS)}; all, if none is given")
    parser.add_argument("-k", dest="expression", default="", help="only tests whose names match, as pytest's -k")
    arguments = parser.parse_args()
    if unknown := set(arguments.setups) - set(SETUPS):
        parser.error(f"no such setup: {', '.join(sorted(unknown))}")
    try:
        current_pgbouncer()
    except CannotBuild as error:
        print(error, file=sys.stderr)
        return 1
    # Most of it is waiting: two at a time take little longer than one.
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: on_one(name, arguments.expression), arguments.setups or names())
        results = [result for group in found for result in group]
    straight = [] if arguments.setups else [*straight_at_the_stand_in()]
    if not arguments.setups and not arguments.expression:
        write("poolers", results)
    print_table(results)
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    for result in failed:
        print(f"FAILED {result.client}, {result.pooler} {result.pooler_version}: {result.feature}: {result.reason}")
    for program, words, has_failed in straight:
        print(f"Without pgshim, straight at the stand-in: {program}: {words}")
        if not has_failed:
            print("It has to fail there: the stand-in does not do as Supavisor does.")
    return 1 if failed or not results or not all(has_failed for *_, has_failed in straight) else 0


def on_one(name: str, expression: str) -> list[Result]:
    """Everything, on one pooler."""
    begun = time.monotonic()
    found = [*core(name, expression), *conversations(name)]
    print(f"{name}: {summary(found)}, in {time.monotonic() - begun:.0f} s", flush=True)
    return found


def core(name: str, expression: str) -> Iterator[Result]:
    """The tests of tests/integration on one pooler."""
    setup = SETUPS[name]
    report = BUILD / "poolers" / f"{name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    wanted = " and ".join([*(f"not {words}" for words in DESELECTED), *([f"({expression})"] if expression else [])])
    modules = [f"tests/integration/{module}.py" for module, _, _ in MODULES]
    options = ["-q", "--no-cov", "--tb=short", "--no-header", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command = [sys.executable, "-m", "pytest", *options, "-k", wanted, *modules]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {VARIABLE: name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout, flush=True)
    if not report.exists():
        yield result(setup, "pytest", "pytest", "the tests", Outcome.FAILED, f"exit code {done.returncode}, no report")
        return
    of_module = {module: (client, package) for module, client, package in MODULES}
    for case in ET.parse(report).iter("testcase"):
        client, package = of_module.get(case.get("classname", "").rpartition(".")[2], ("pytest", "pytest"))
        test = case.get("name", "")
        client = client.format("psycopg" if "psycopg" in test else "asyncpg")
        trouble = [found for kind in ("failure", "error", "skipped") for found in case.findall(kind)]
        words = (trouble[0].get("message") or "").partition("\n")[0][:200] if trouble else ""
        outcome = Outcome.FAILED if trouble else Outcome.PASSED
        yield result(setup, client, package, test.removeprefix("test_").replace("_", " "), outcome, words)


def result(setup: Setup, client: str, package: str, feature: str, outcome: Outcome, reason: str) -> Result:
    own = version(package) if package else ""
    return Result(client, own, setup.pooler, setup.version(), feature, outcome, reason)


def conversations(name: str) -> Iterator[Result]:
    """Random conversations, each held against PostgreSQL."""
    command = [sys.executable, "-m", "tests.differential", str(CONVERSATIONS), "--pooler", name]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr, flush=True)
    said = [line for line in done.stdout.splitlines() if " conversations (" in line]
    words = said[-1] if said else f"exit code {done.returncode}"
    outcome = Outcome.FAILED if done.returncode else Outcome.PASSED
    yield result(SETUPS[name], "messages on the wire", "", f"{CONVERSATIONS} random conversations", outcome, words)


def straight_at_the_stand_in() -> Iterator[tuple[str, str, bool]]:
    """(program, how it ended, whether it failed) of core programs without pgshim; all of them have to fail."""
    with ExitStack() as servers:
        pooler = servers.enter_context(Supavisor(servers.enter_context(PostgresServer())))
        url = pooler.endpoint().url
        for arguments in (["asyncpg_client", url, "1", "100"], ["pipeline_client", url, "1"]):
            program = ["-m", f"tests.apps.{arguments[0]}", *arguments[1:]]
            try:
                done = subprocess.run(
                    [sys.executable, *program], cwd=ROOT, input="go\n", capture_output=True, text=True, timeout=30
                )
            except subprocess.TimeoutExpired:
                yield arguments[0], "waits for replies that do not come", True
                continue
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            errors = [line for line in lines if _ERROR.match(line)]
            yield arguments[0], (errors or lines)[-1], done.returncode != 0


def summary(results: list[Result]) -> str:
    counts = Counter(result.outcome for result in results)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def print_table(results: list[Result]) -> None:
    """Clients down, poolers across: how many of the tests passed."""
    passed: Counter[tuple[str, str]] = Counter()
    tried: Counter[tuple[str, str]] = Counter()
    for each in results:
        cell = f"{each.client} {each.version}".strip(), f"{each.pooler} {each.pooler_version}".strip()
        tried[cell] += 1
        passed[cell] += each.outcome is Outcome.PASSED
    poolers = list(dict.fromkeys(pooler for _, pooler in tried))
    clients = list(dict.fromkeys(client for client, _ in tried))
    width = max(map(len, clients), default=0)
    for number, pooler in enumerate(poolers, 1):
        print(f"({number}) {pooler}")
    print(" " * width, *(f"{f'({number})':>12}" for number, _ in enumerate(poolers, 1)))
    for client in clients:
        cells = [f"{passed[client, pooler]} of {tried[client, pooler]}" for pooler in poolers]
        print(f"{client:{width}}", *(f"{cell:>12}" for cell in cells))


if __name__ == "__main__":
    raise SystemExit(main())
