"""What --workers is worth: queries per second of `pgbench -S` through one process and through two.

pgbench, pgshim, PgBouncer and PostgreSQL share this machine's cores: on a small one the others are what limits.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from bench.cpu import pgbench
from bench.machine import cpu_seconds
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer

SECONDS = 3
CLIENTS = 16
WORKERS = (1, 2)


def rows() -> Iterator[tuple[str, ...]]:
    """(workers, queries/s, us of CPU for each query, CPU of each process of pgshim in % of a core)."""
    with PostgresServer() as postgres, PgBouncer(postgres, pool_size=8) as pooler:
        pgbench(postgres.endpoint(), "-i", "-q", "-s", "1")
        for workers in WORKERS:
            with PgshimProcess(pooler, options=["--workers", str(workers)]) as shim:
                pids = processes(shim.pid, workers)
                options = ("-n", "-S", "-M", "simple", "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS))
                before = [cpu_seconds(pid) for pid in pids]
                printed = pgbench(shim.endpoint(), *options)
                used = [cpu_seconds(pid) - start for pid, start in zip(pids, before, strict=True)]
            found = re.search(r"actually processed: (\d+)", printed)
            assert found is not None, printed
            queries = int(found[1])
            each = ", ".join(f"{seconds / SECONDS:.0%}" for seconds in used)
            yield str(workers), f"{queries / SECONDS:,.0f}", f"{sum(used) / queries * 1e6:.1f}", each


def processes(pid: int, workers: int) -> list[int]:
    """Those that have the clients: its workers, as soon as all are there, or pgshim itself."""
    if workers == 1:
        return [pid]
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) == workers:
            return [int(child) for child in children]
        time.sleep(0.01)
