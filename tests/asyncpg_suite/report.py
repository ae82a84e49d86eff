"""The run in tables, and in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from tests.asyncpg_suite.expected import Reason
from tests.asyncpg_suite.running import CLASS, Ending, Outcome

SHOWN_FAULTS = 12
console = Console(highlight=False, width=120)


def show(direct: Mapping[str, Ending], through: Mapping[str, Ending], reasons: Sequence[tuple[Reason, int]]) -> None:
    """Prints what passed, file by file; how many did not pass for which reason; and what was not run."""
    _show_counts(direct, through)
    if reasons:
        _show_reasons(reasons)
    _show_not_run(direct)


def show_faults(faults: Sequence[tuple[str, str]]) -> None:
    """Prints what should not be: the first of it in full, the rest by name."""
    for number, (test, wrong) in enumerate(faults):
        console.print(f"\n[bold red]{test}[/]")
        console.print(wrong if number < SHOWN_FAULTS else wrong.partition("\n")[0], markup=False, soft_wrap=True)


def _show_counts(direct: Mapping[str, Ending], through: Mapping[str, Ending]) -> None:
    table = Table(title="asyncpg's own tests", title_justify="left")
    table.add_column("file")
    for place in ("direct", "through"):
        for outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED):
            table.add_column(f"{place}\n{outcome}", justify="right")
    files = sorted({test.split(".")[0] for test in direct if _is_test(test)})
    for file in files:
        _add(table, file, direct, through, file + ".")
    table.add_section()
    _add(table, "all", direct, through, "")
    console.print(table)


def _add(table: Table, title: str, direct: Mapping[str, Ending], through: Mapping[str, Ending], prefix: str) -> None:
    cells = []
    for endings in (direct, through):
        chosen = (ending for test, ending in endings.items() if test.startswith(prefix) and _is_test(test))
        counts = Counter(ending.outcome for ending in chosen)
        cells += [str(counts[outcome] or "") for outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED)]
    if any(cells):
        table.add_row(title, *cells)


def _show_reasons(reasons: Sequence[tuple[Reason, int]]) -> None:
    table = Table(title="\nWhat passes directly and did not through pgshim and PgBouncer", title_justify="left")
    table.add_column("reason", min_width=24)
    table.add_column("tests", justify="right")
    table.add_column("why", min_width=70)
    for reason, count in reasons:
        table.add_row(f"{reason.kind}: {reason.name}", str(count), reason.why)
    console.print(table)


def _show_not_run(direct: Mapping[str, Ending]) -> None:
    table = Table(title="\nWhat is not run, and what asyncpg itself skips", title_justify="left")
    table.add_column("class")
    table.add_column("tests", justify="right")
    table.add_column("why")
    counts = Counter(
        (test.rpartition(".")[0], ending.detail)
        for test, ending in direct.items()
        if ending.outcome in (Outcome.LEFT_OUT, Outcome.SKIPPED) and _is_test(test)
    )
    for (name, why), count in sorted(counts.items()):
        table.add_row(name, str(count), why)
    console.print(table)


def _is_test(name: str) -> bool:
    """Not a class that could not be torn down."""
    return not CLASS.match(name)
