"""`python -m bench [framing] [memory] [cpu]`: prints a table for each measurement (default: all)."""

import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from bench import cpu, framing, machine, memory

Rows = Callable[[], Iterator[tuple[str, ...]]]

TABLES: dict[str, tuple[str, tuple[str, ...], Rows]] = {
    "framing": ("CPU time for each DataRow forwarded (budget 0.2 us)", ("bytes", "us"), framing.rows),
    "memory": (
        "Resident memory for each idle connection with ten statements (budget 10 KiB with uvloop)",
        ("event loop", "connections", "KiB each"),
        memory.rows,
    ),
    "cpu": (
        "CPU time for each query of `pgbench -S` in the middle of the chain (us, user and system)",
        ("mode", "clients", "PgBouncer", "pgshim", "ratio"),
        cpu.rows,
    ),
}


def main() -> int:
    """Print the tables that are named on the command line."""
    wanted = sys.argv[1:] or list(TABLES)
    unknown = [name for name in wanted if name not in TABLES]
    if unknown:
        print(f"no measurement is called {unknown[0]!r}; there are {', '.join(TABLES)}", file=sys.stderr)
        return 2
    console = Console()
    console.print(machine.describe())
    for name in wanted:
        title, columns, rows = TABLES[name]
        console.print(f"\n{title}")
        table = Table()
        for column in columns:
            table.add_column(column, justify="right")
        for row in rows():
            table.add_row(*row)
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
