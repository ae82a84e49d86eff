"""Runs the demo: throw-away servers, the program straight at the pooler, then through pgshim, one table."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from types import FrameType
from typing import NoReturn

from pgshim.demo.binaries import MissingBinary, pgbouncer_version
from pgshim.demo.processes import Endpoint, ServerFailed, clean_environment
from pgshim.demo.relay import Count, Relay
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer

SERVICES = ("orders", "customers", "stock", "mail")
LEG_SECONDS = 20.0


@dataclass
class Leg:
    """What the program's processes told of one run, and what the relay in front of the pooler counted."""

    title: str
    count: Count = field(default_factory=Count)
    right: int = 0
    wrong: int = 0
    # "Class: message" -> how often.
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return self.errors.total()

    @property
    def is_all_right(self) -> bool:
        return self.right > 0 and not self.wrong and not self.failed

    @property
    def round_trips_per_answer(self) -> float:
        """What a right answer cost, the round trips of those that were wrong or failed included."""
        return self.count.queries / max(self.right, 1)


def run_demo(keep: bool = False) -> int:
    """Shows the table, and with `keep` stays up until Ctrl-C. Returns an exit code: 0 if pgshim was right."""
    if find_spec("rich") is None or find_spec("asyncpg") is None:
        print(
            "pgshim: the demo needs asyncpg and rich, which are not installed; pip install 'pgshim[demo]'",
            file=sys.stderr,
        )
        return 2
    try:
        with _termination_unwinds():
            return _run(keep)
    except (MissingBinary, ServerFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(keep: bool) -> int:
    from pgshim.demo import report  # Here, because rich is not one of pgshim's own requirements.

    with ExitStack() as servers:
        postgres = servers.enter_context(PostgresServer())
        pooler = servers.enter_context(PgBouncer(postgres))
        relay = servers.enter_context(Relay(pooler.host, pooler.port))
        shim = servers.enter_context(PgshimProcess(pooler, upstream_address=f"{relay.host}:{relay.port}"))
        version = ".".join(map(str, pgbouncer_version(pooler.program)))
        print(
            f"PostgreSQL {postgres.binaries.major}, PgBouncer {version} in transaction mode with 3 servers; "
            f"{len(SERVICES)} processes of an asyncpg program with default settings."
        )
        at_relay = replace(pooler.endpoint(), host=relay.host, port=relay.port)
        straight = run_program("straight at the pooler", at_relay, relay)
        # New servers, on which no statement is left from the run before.
        pooler.restart()
        relay.take()
        through = run_program("through pgshim", shim.endpoint(), relay)
        report.show(straight, through)
        if keep:
            report.show_urls(pooler.endpoint().url, shim.endpoint().url)
            with suppress(KeyboardInterrupt):
                signal.pause()
    return 0 if through.is_all_right else 1


def run_program(title: str, endpoint: Endpoint, relay: Relay) -> Leg:
    """Runs the program as one process a service, all at once, and adds up what they tell."""
    command = [sys.executable, "-m", "pgshim.demo.program", endpoint.url]
    leg = Leg(title)
    deadline = time.monotonic() + LEG_SECONDS
    processes = [
        subprocess.Popen(
            [*command, service],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )
        for service in SERVICES
    ]
    try:
        for process in processes:
            _add_tally(leg, process, max(deadline - time.monotonic(), 0.1))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    leg.count = relay.take()
    return leg


def _add_tally(leg: Leg, process: subprocess.Popen[str], seconds: float) -> None:
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        leg.errors["Hang: a process of the program did not end"] += 1
        return
    if process.returncode != 0:
        leg.errors[f"Crash: {(errors.splitlines() or ['without a word'])[-1]}"] += 1
        return
    tally = json.loads(output)
    leg.right += tally["right"]
    leg.wrong += tally["wrong"]
    leg.errors.update(tally["errors"])


@contextmanager
def _termination_unwinds() -> Iterator[None]:
    """SIGTERM raises SystemExit within, so that every server is stopped on the way out."""

    def exit_on(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, exit_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
