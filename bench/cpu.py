"""CPU time for each query of the process in the middle: pgshim beside a PgBouncer in the same place of the chain.

    pgbench -> X -> PgBouncer -> PostgreSQL        X: pgshim, or a second PgBouncer

Both run in one go on the same servers, turn by turn, so that what else the machine does hits both.
"""

import os
import re
import subprocess
from collections.abc import Iterator

from bench.machine import cpu_seconds
from pgshim.demo.binaries import find_postgres
from pgshim.demo.processes import Endpoint, ServerProcess
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer

SECONDS = 4
ROUNDS = 2
CASES = [(mode, clients) for mode in ("simple", "extended", "prepared") for clients in (1, 8)]


def pgbench(endpoint: Endpoint, *options: str) -> str:
    """Run pgbench against an endpoint; what it printed. Raises CalledProcessError."""
    environment = {**os.environ, "PGPASSWORD": endpoint.password}
    where = ["-h", endpoint.host, "-p", str(endpoint.port), "-U", endpoint.user, endpoint.database]
    command = [str(find_postgres().bindir / "pgbench"), *options, *where]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def microseconds_per_query(server: ServerProcess, endpoint: Endpoint, mode: str, clients: int) -> float:
    """CPU time that `server` uses for each transaction of `pgbench -S`."""
    before = cpu_seconds(server.pid)
    printed = pgbench(endpoint, "-n", "-S", "-M", mode, "-c", str(clients), "-T", str(SECONDS))
    used = cpu_seconds(server.pid) - before
    found = re.search(r"actually processed: (\d+)", printed)
    assert found is not None, printed
    return used / int(found[1]) * 1e6


def rows() -> Iterator[tuple[str, ...]]:
    """(mode, clients, us of PgBouncer, us of pgshim, ratio)."""
    with (
        PostgresServer() as postgres,
        PgBouncer(postgres, pool_size=8) as pooler,
        Middle(postgres, pooler) as middle,
        PgshimProcess(pooler) as shim,
    ):
        pgbench(postgres.endpoint(), "-i", "-q", "-s", "1")
        for mode, clients in CASES:
            # A PgBouncer of this age passes names on, so prepared statements fail through it.
            bouncer_mode = "extended" if mode == "prepared" else mode
            ours = theirs = float("inf")
            for _ in range(ROUNDS):
                theirs = min(theirs, microseconds_per_query(middle, middle.endpoint(), bouncer_mode, clients))
                ours = min(ours, microseconds_per_query(shim, shim.endpoint(), mode, clients))
            note = " (extended)" if mode == "prepared" else ""
            yield mode, str(clients), f"{theirs:.1f}{note}", f"{ours:.1f}", f"{ours / theirs:.2f}"


class Middle(PgBouncer):
    """A PgBouncer whose servers are connections to another PgBouncer."""

    def __init__(self, postgres: PostgresServer, pooler: PgBouncer) -> None:
        super().__init__(postgres, pool_size=64)
        self._pooler = pooler

    def _prepare(self) -> None:
        super()._prepare()
        configuration = (self.directory / "pgbouncer.ini").read_text()
        direct = f"* = host={self.postgres.host} port={self.postgres.port}"
        pooled = f"* = host={self._pooler.host} port={self._pooler.port}"
        self._write("pgbouncer.ini", configuration.replace(direct, pooled))
