"""CPU time for each query of the process in the middle: pgshim beside a PgBouncer and a bare relay in the same place.

    client -> X -> PgBouncer -> PostgreSQL        X: pgshim, a second PgBouncer, `bench.bare_relay --scan`

All run in one go on the same servers, in short rounds that take turns, so that what else the machine does hits all;
what counts is the median of the rounds. The last PgBouncer has a server for each client.

Named statements cannot pass a PgBouncer in transaction mode before 1.21. So a second PgBouncer in the middle is given
what its users have to resort to, and the case says so; the relay is given what pgshim is given, in front of a pooler
in session mode, for that is the work with which pgshim is compared.
"""

import asyncio
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import uvloop

from bench.chain import BareRelay, Middle, pooler_of, postgres_server, shim_of, throwaway_tls
from bench.machine import cpu_seconds
from pgshim.demo.binaries import find_postgres
from pgshim.demo.processes import Endpoint

#: Whole seconds, for pgbench takes no others.
SECONDS = 1
ROUNDS = 5

#: The columns: names of what is measured, in the order of a round.
COLUMNS = POOLER, RELAY, SHIM = "PgBouncer", "relay", "pgshim"

#: (queries, CPU seconds of the process in the middle).
Sample = tuple[int, float]
Work = Callable[["Way", str, int], Sample]

FETCH = "SELECT abalance FROM pgbench_accounts WHERE aid = $1"


@dataclass(frozen=True)
class Way:
    """Something in the middle: its process, where to connect, and whether named statements pass."""

    pid: int
    endpoint: Endpoint
    takes_names: bool = True


def pgbench(endpoint: Endpoint, *options: str, environment: dict[str, str] | None = None) -> str:
    """Run pgbench against an endpoint; what it printed. Raises CalledProcessError."""
    variables = {**os.environ, "PGPASSWORD": endpoint.password, "PGSSLMODE": "disable", **(environment or {})}
    where = ["-h", endpoint.host, "-p", str(endpoint.port), "-U", endpoint.user, endpoint.database]
    command = [str(find_postgres().bindir / "pgbench"), *options, *where]
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout


def transactions(printed: str) -> int:
    """How many pgbench says it has done."""
    found = re.search(r"actually processed: (\d+)", printed)
    assert found is not None, printed
    return int(found[1])


def select_only(way: Way, mode: str, clients: int) -> Sample:
    """`pgbench -S`, less a run of one query for each client, so that logins do not count."""
    if mode == "prepared" and not way.takes_names:
        mode = "extended"
    counts, used = [], []
    for length in (["-t", "1"], ["-T", str(SECONDS)]):
        before = cpu_seconds(way.pid)
        counts.append(transactions(pgbench(way.endpoint, "-n", "-S", "-M", mode, "-c", str(clients), *length)))
        used.append(cpu_seconds(way.pid) - before)
    return counts[1] - counts[0], used[1] - used[0]


def fetch(way: Way, method: str, clients: int) -> Sample:
    """asyncpg's `fetch` or `fetchval` of one row by its key, query after query on each connection."""
    options = {} if way.takes_names else {"statement_cache_size": 0}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_fetch(way, method, clients, options))


async def _fetch(way: Way, method: str, clients: int, options: dict[str, Any]) -> Sample:
    connections = [await asyncpg.connect(way.endpoint.url, ssl=False, **options) for _ in range(clients)]
    for connection in connections:
        await getattr(connection, method)(FETCH, 1)
    before, end = cpu_seconds(way.pid), time.perf_counter() + SECONDS
    count = 0

    async def ask(connection: Any) -> None:
        nonlocal count
        ask_for = getattr(connection, method)
        while time.perf_counter() < end:
            await ask_for(FETCH, count % 100_000 + 1)
            count += 1

    await asyncio.gather(*(ask(connection) for connection in connections))
    used = cpu_seconds(way.pid) - before
    await asyncio.gather(*(connection.close() for connection in connections))
    return count, used


@dataclass(frozen=True)
class Case:
    """A line of the table."""

    label: str
    work: Work
    mode: str
    clients: int
    has_tls: bool = False


def cases() -> list[Case]:
    """All of them."""
    found = []
    for mode in ("simple", "extended", "prepared"):
        note = " (PgBouncer: extended)" if mode == "prepared" else ""
        found += [Case(f"pgbench {mode}{note}", select_only, mode, clients) for clients in (1, 8, 64)]
    # An Execute of fetch asks for all rows, that of fetchval and fetchrow for one.
    for method, counts in (("fetch", (1, 16)), ("fetchval", (16,))):
        label = f"asyncpg {method} (PgBouncer: statement_cache_size=0)"
        found += [Case(label, fetch, method, clients) for clients in counts]
    found += [Case(f"pgbench {mode}, TLS to the pooler", select_only, mode, 8, True) for mode in ("simple", "extended")]
    return found


def quick_cases() -> list[Case]:
    """A few that tell something in a minute."""
    return [case for case in cases() if case.clients in (8, 16) and case.label.startswith(("pgbench ext", "asyncpg"))
            and not case.has_tls]


def measure(*, quick: bool = False) -> Iterator[tuple[Case, dict[str, float]]]:
    """Each case with the microseconds of CPU for a query, by name of what is in the middle."""
    with ExitStack() as stack:
        run = stack.enter_context
        tls = run(throwaway_tls())
        postgres = run(postgres_server())
        session = run(pooler_of(postgres, mode="session"))
        ways: dict[bool, dict[str, Way]] = {}
        for has_tls in (False, True):
            pooler = run(pooler_of(postgres, tls=tls if has_tls else None))
            middle, shim = run(Middle(pooler)), run(shim_of(pooler))
            relay = run(BareRelay(pooler if has_tls else session, scans=True))
            ways[has_tls] = {
                POOLER: Way(middle.pid, middle.endpoint(), takes_names=False),
                RELAY: Way(relay.pid, relay.endpoint(), takes_names=not has_tls),
                SHIM: Way(shim.pid, shim.endpoint()),
            }
        pgbench(postgres.endpoint(), "-i", "-q", "-s", "1")
        for case in quick_cases() if quick else cases():
            samples: dict[str, list[float]] = {name: [] for name in ways[case.has_tls]}
            for _ in range(ROUNDS):
                for name, way in ways[case.has_tls].items():
                    count, used = case.work(way, case.mode, case.clients)
                    samples[name].append(used / count * 1e6)
            yield case, {name: statistics.median(found) for name, found in samples.items()}


def rows(*, quick: bool = False) -> Iterator[tuple[str, ...]]:
    """(case, clients, us of PgBouncer, of the bare relay, of pgshim, pgshim's to each)."""
    for case, found in measure(quick=quick):
        ours = found[SHIM]
        ratios = (f"{ours / found[name]:.2f}" for name in (POOLER, RELAY))
        yield case.label, str(case.clients), *(f"{found[name]:.1f}" for name in COLUMNS), *ratios
