"""`python -m bench [NAME ...]`: prints a table for each measurement. Exit code 1: one did not come out as it has to.

What was printed is kept in build/bench; `pictures` draws docs/pictures from that, without measuring anything.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench import (
    bulk,
    connect,
    connections,
    cpu,
    framing,
    load,
    machine,
    memory,
    pictures,
    plans,
    roundtrips,
    soak,
    streams,
    workers,
)
from bench.outcome import NotMet
from bench.saved import NotSaved, Saved, save
from tests.clients.programs import CannotRun

Rows = Callable[[], Iterator[tuple[str, ...]]]

#: Columns of text where there is no terminal that says how many it has.
WIDTH = 120

#: What runs when no name is given.
USUAL = ("framing", "memory", "roundtrips", "cpu", "pictures")

PICTURES = "pictures"


def tables(seconds: float, *, quick: bool = False) -> dict[str, tuple[str, tuple[str, ...], Rows]]:
    """name -> (title, columns, rows); `seconds` is how long the soak takes, `quick` spares most cases."""
    return {
        "framing": ("CPU time for each DataRow forwarded (budget 0.2 us)", ("bytes", "us"), framing.rows),
        "memory": (
            "Resident memory for each idle connection with ten statements (budget 10 KiB with uvloop)",
            ("event loop", "connections", "KiB each"),
            memory.rows,
        ),
        "roundtrips": (
            "Round trips, counted in front of the pooler",
            ("driver", "operation", "direct", "workaround", "pgshim", "at most"),
            roundtrips.rows,
        ),
        "connect": (
            f"Connect and one fetch, the pooler {connect.DELAY * 1000:.0f} ms away in each direction (ms, median)",
            ("pooler", "without --prewarm", f"--prewarm {connect.WARM}", "round trips saved"),
            connect.rows,
        ),
        "cpu": (
            f"CPU for each query of the process in the middle (us, user and system), median of {cpu.ROUNDS} rounds",
            ("case", "clients", *cpu.COLUMNS, "ratio", "ratio relay"),
            partial(cpu.rows, quick=quick),
        ),
        "workers": (
            f"`pgbench -S` with {workers.CLIENTS} clients through --workers",
            ("workers", "queries/s", "CPU for each (us)", "CPU of each process"),
            workers.rows,
        ),
        "bulk": (
            "MiB for each CPU second in the middle, best of 3 rounds (9 from 8 KiB on); us: a frame, beyond relay's",
            ("what", "frame", *bulk.COLUMNS, "pgshim/relay", "scan us", "pgshim us", "more MiB"),
            partial(bulk.rows, quick=quick),
        ),
        "plans": (
            f"CPU of PostgreSQL for each query (us, user and system), median of {plans.ROUNDS} rounds",
            ("client", "query", *plans.COLUMNS, "pgshim beyond named"),
            partial(plans.rows, quick=quick),
        ),
        "connections": (
            f"{connections.ACTIVE} busy connections, alone and beside {connections.IDLE:,} idle ones",
            ("what", "rate", "CPU us", "p50 (ms)", "p99 (ms)", "KiB each"),
            connections.rows,
        ),
        "load": (
            f"{load.ACTIVE} busy clients, alone and beside idle ones with {len(load.STATEMENTS)} statements each",
            ("idle", "RSS (MiB)", "KiB each", "descriptors", "queries/s", "p50 (ms)", "p99 (ms)", "errors"),
            load.rows,
        ),
        "streams": (
            f"One client that moves much, beside {streams.NEIGHBOURS} with short queries; "
            f"pgshim may grow by {streams.GROWTH // 1024} MiB",
            ("client", "moved (MiB)", "s", "RSS, peak (MiB)", "more (MiB)", "p50 (ms)", "p99 (ms)"),
            streams.rows,
        ),
        "soak": (
            f"{seconds:.0f} s at full load",
            ("s", "RSS (MiB)", "CPU (%)", "operations", "clients", "descriptors", "tasks", "objects", "blocks"),
            partial(soak.rows, seconds),
        ),
    }


def show(console: Console, columns: tuple[str, ...], rows: Rows) -> list[tuple[str, ...]]:
    """Print a table, on a terminal line by line, and return its rows. Raises NotMet, with what there is printed."""
    table = Table()
    shown = []
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    with Live(table, console=console, auto_refresh=False, vertical_overflow="visible") as live:
        for row in rows():
            table.add_row(*row)
            shown.append(row)
            live.refresh()
    if not console.is_terminal:
        console.print()
    return shown


def about(name: str) -> list[str]:
    """What a measurement was made with: a line for the machine, one for the versions."""
    if name == "roundtrips":  # They do not hang on how busy it is.
        return [machine.describe(), ", ".join(machine.versions() + roundtrips.versions())]
    return [f"{machine.describe()}, {machine.busy()}", ", ".join(machine.versions())]


def run(console: Console, name: str, seconds: float, *, quick: bool) -> None:
    """Measure, print and save; or draw. Raises NotMet, NotSaved, CannotRun."""
    if name == PICTURES:
        for path in pictures.draw():
            console.print(f"drawn: {path}")
        return
    title, columns, rows = tables(seconds, quick=quick)[name]
    console.print(f"\n{title}")
    shown = show(console, columns, rows)
    if not quick:
        save(name, Saved(title, about(name), columns, shown))


def main() -> int:
    """Print the tables that are named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    known = [*tables(0), PICTURES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: {', '.join(USUAL)}")
    parser.add_argument("--seconds", type=float, default=600, help="how long the soak takes (default 600)")
    parser.add_argument("--quick", action="store_true", help="cpu, bulk, plans: one or two cases, to see that it runs")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in known:
            parser.error(f"no measurement is called {name!r}; there are {', '.join(known)}")
    # Told to end, it ends the servers that it has started first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(f"{machine.describe()}, {machine.busy()}")
    for name in arguments.names or USUAL:
        try:
            run(console, name, arguments.seconds, quick=arguments.quick)
        except (NotMet, NotSaved, CannotRun) as error:
            console.print(f"\n{name}: {error}", markup=False, style="red")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
