"""What it costs PostgreSQL that statements are planned anew: its CPU for each query, over all its processes.

Prepared statements that stay on one server are planned at most five times with their parameters, and then, if it
promises to be no worse, once for all ("generic plan"). Behind a transaction pooler they do not stay on one server:
pgshim has the server parse, describe and plan a statement each time, as the drivers' own workaround does.

    named               the client's own server; generic plan from the sixth execution on
    named, custom       the same with plan_cache_mode = force_custom_plan: parsed once, planned each time
    unnamed             the workaround, through PgBouncer: pgbench -M extended, asyncpg with statement_cache_size=0
    pgshim              prepared statements of the client, through pgshim and PgBouncer

Rounds take turns; what counts is the median.
"""

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.chain import pooler_of, postgres_server, shim_of
from bench.cpu import pgbench, transactions
from bench.machine import family_cpu_seconds
from pgshim.demo.processes import Endpoint
from pgshim.demo.servers import PostgresServer

#: Whole seconds, for pgbench takes no others.
SECONDS = 1
ROUNDS = 5
#: Executions that come first and do not count: more than the five before a generic plan.
WARM = 20

COLUMNS = NAMED, CUSTOM, UNNAMED, SHIM = "named", "named, custom", "unnamed", "pgshim"

#: Rows in each table of the join.
ROWS = 5_000
TABLES = ("customer", "address", "orders", "line", "product", "supplier")
KEYS = {"address": ("customer",), "orders": ("customer",), "line": ("orders", "product"), "product": ("supplier",)}

JOIN = """
SELECT line.note, orders.note, customer.note, address.note, product.note, supplier.note
  FROM bench_line line
  JOIN bench_orders orders ON orders.id = line.orders
  JOIN bench_customer customer ON customer.id = orders.customer
  JOIN bench_address address ON address.id = customer.id
  JOIN bench_product product ON product.id = line.product
  JOIN bench_supplier supplier ON supplier.id = product.supplier
 WHERE line.id = {key}
"""
LOOKUP = "SELECT abalance FROM pgbench_accounts WHERE aid = {key}"


@dataclass(frozen=True)
class Query:
    """A text with one parameter, a key from 1 to `most`; it brings one row."""

    label: str
    text: str
    most: int


QUERIES = (Query("pgbench -S", LOOKUP, 100_000), Query("join of six tables", JOIN, ROWS))


def tables() -> str:
    """The tables of the join, with primary keys, indexes on the references, and statistics."""
    parts = []
    for table in TABLES:
        keys = KEYS.get(table, ())
        columns = "".join(f", {key} int NOT NULL" for key in keys)
        values = "".join(f", (n * {7 + index}) % {ROWS} + 1" for index, _ in enumerate(keys))
        parts.append(f"CREATE TABLE bench_{table} (id int PRIMARY KEY, note text{columns})")
        parts.append(f"INSERT INTO bench_{table} SELECT n, 'note ' || n{values} FROM generate_series(1, {ROWS}) n")
        parts += [f"CREATE INDEX ON bench_{table} ({key})" for key in keys]
        parts.append(f"ANALYZE bench_{table}")
    return ";".join(parts)


class Server:
    """PostgreSQL, and what it uses."""

    def __init__(self, postgres: PostgresServer) -> None:
        self.pid = postgres.pid

    def used(self) -> float:
        """CPU seconds of all its processes so far; those that are about to end are waited for."""
        time.sleep(0.2)
        return family_cpu_seconds(self.pid)


def by_pgbench(server: Server, query: Query, endpoint: Endpoint, mode: str, options: str, folder: Path) -> float:
    """CPU seconds of the server for each query, less a run of WARM, so that logins do not count."""
    script = folder / "query.sql"
    script.write_text(f"\\set key random(1, {query.most})\n{query.text.format(key=':key').strip()};\n")
    counts, used = [], []
    for length in (["-t", str(WARM)], ["-T", str(SECONDS)]):
        before = server.used()
        printed = pgbench(
            endpoint, "-n", "-M", mode, "-f", str(script), "-c", "1", *length, environment={"PGOPTIONS": options}
        )
        counts.append(transactions(printed))
        used.append(server.used() - before)
    return (used[1] - used[0]) / (counts[1] - counts[0])


async def by_asyncpg(server: Server, query: Query, endpoint: Endpoint, *, cache: int, custom: bool) -> float:
    """The same with one connection of asyncpg."""
    settings = {"plan_cache_mode": "force_custom_plan"} if custom else {}
    connection = await asyncpg.connect(
        endpoint.url, ssl=False, statement_cache_size=cache, server_settings=settings
    )
    text = query.text.format(key="$1")
    for key in range(1, WARM + 1):
        await connection.fetchrow(text, key)
    before, end, count = server.used(), time.perf_counter() + SECONDS, 0
    while time.perf_counter() < end:
        assert await connection.fetchrow(text, count % query.most + 1) is not None
        count += 1
    used = server.used() - before
    await connection.close()
    return used / count


def ways(
    server: Server, direct: Endpoint, pooler: Endpoint, shim: Endpoint, folder: Path
) -> dict[str, dict[str, Callable[[Query], float]]]:
    """client -> column -> what measures it."""

    def bench(endpoint: Endpoint, mode: str, options: str = "") -> Callable[[Query], float]:
        return lambda query: by_pgbench(server, query, endpoint, mode, options, folder)

    def driver(endpoint: Endpoint, *, cache: int = 100, custom: bool = False) -> Callable[[Query], float]:
        return lambda query: asyncio.run(by_asyncpg(server, query, endpoint, cache=cache, custom=custom))

    return {
        "pgbench": {
            NAMED: bench(direct, "prepared"),
            CUSTOM: bench(direct, "prepared", "-c plan_cache_mode=force_custom_plan"),
            UNNAMED: bench(pooler, "extended"),
            SHIM: bench(shim, "prepared"),
        },
        "asyncpg": {
            NAMED: driver(direct),
            CUSTOM: driver(direct, custom=True),
            UNNAMED: driver(pooler, cache=0),
            SHIM: driver(shim),
        },
    }


def rows(*, quick: bool = False) -> Iterator[tuple[str, ...]]:
    """(client, query, us of PostgreSQL named, custom, unnamed, through pgshim, pgshim's beyond named)."""
    with ExitStack() as stack:
        run = stack.enter_context
        folder = Path(run(tempfile.TemporaryDirectory(prefix="pgshim-")))
        postgres = run(postgres_server())
        pooler = run(pooler_of(postgres))
        shim = run(shim_of(pooler))
        direct = postgres.endpoint()
        pgbench(direct, "-i", "-q", "-s", "1")
        subprocess.run(
            [str(postgres.binaries.bindir / "psql"), "-q", direct.url, "-v", "ON_ERROR_STOP=1", "-c", tables()],
            check=True, capture_output=True,
        )  # fmt: skip
        for client, columns in ways(Server(postgres), direct, pooler.endpoint(), shim.endpoint(), folder).items():
            for query in QUERIES:
                found: dict[str, list[float]] = {name: [] for name in COLUMNS}
                for _ in range(1 if quick else ROUNDS):
                    for name, measure in columns.items():
                        found[name].append(measure(query) * 1e6)
                medians = [statistics.median(found[name]) for name in COLUMNS]
                more = medians[-1] - medians[0]
                yield client, query.label, *(f"{median:.0f}" for median in medians), f"+{more:.0f}"
            if quick:
                return
