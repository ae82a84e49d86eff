"""The day in tables, and in one sentence."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.chaos.bank import Day
from tests.chaos.book import Outcome
from tests.chaos.verdict import Check

SHOWN_FAULTS = 12
console = Console(highlight=False, width=110)


def show(day: Day, seed: int) -> bool:
    """Prints it; returns whether all checks passed."""
    _show_transfers(day)
    _show_counts("Acts of sabotage", day.saboteur.acts)
    _show_errors(day)
    passed = _show_checks(day.checks)
    if day.recovery is not None:
        console.print(f"\nAll clients were at work again {day.recovery:.1f} s after the last act of sabotage.")
    if passed:
        console.print(f"[green]The bank's books balance: all {len(day.checks)} checks passed[/] (seed {seed}).")
        return True
    failed = sum(bool(check.wrong) for check in day.checks)
    console.print(f"[bold red]{failed} of {len(day.checks)} checks failed[/] (seed {seed}).")
    return False


def _show_transfers(day: Day) -> None:
    table = Table(title="Transactions that move money", title_justify="left")
    table.add_column("client")
    for heading in ("clients", "committed", "failed", "unknown", "of these there"):
        table.add_column(heading, justify="right")
    for kind in dict.fromkeys(teller.kind for teller in day.tellers):
        names = [teller.name for teller in day.tellers if teller.kind == kind]
        _add_transfers(table, day, kind, names)
    table.add_section()
    _add_transfers(table, day, "all", [teller.name for teller in day.tellers])
    console.print(table)
    cancels = sum(teller.cancels for teller in day.tellers)
    missed = sum(teller.cancels_without_effect for teller in day.tellers)
    console.print(
        f"{day.book.replies} replies had the token they should have had. {cancels} statements were cancelled"
        f" ({missed} of them ran to their end: the cancel was lost on its way)."
        f" The longest drain of pgshim took {day.book.longest_drain:.1f} s.\n"
    )


def _add_transfers(table: Table, day: Day, title: str, names: list[str]) -> None:
    counts: Counter[Outcome] = sum((day.book.count(name) for name in names), Counter())
    unknown = [
        deal.transfers[0].id
        for name in names
        for _, deal in day.book.deals.get(name, [])
        if deal.outcome in (Outcome.UNKNOWN, Outcome.OPEN)
    ]
    done = sum(each in day.book.found for each in unknown)
    figures = (len(names), counts[Outcome.COMMITTED], counts[Outcome.FAILED], len(unknown), done)
    table.add_row(title, *map(str, figures))


def _show_counts(title: str, counts: Counter[str]) -> None:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in sorted(counts.items()):
        table.add_row(escape(name), str(count))
    console.print(table)


def _show_errors(day: Day) -> None:
    table = Table(title="Errors that clients got", title_justify="left")
    table.add_column("SQLSTATE or class")
    table.add_column("what it tells a client")
    table.add_column("count", justify="right")
    for (label, meaning), count in sorted(day.book.errors.items()):
        table.add_row(label, meaning, str(count), style="bold red" if meaning.isupper() else "")
    console.print(table)
    for complaint, count in day.book.complaints.most_common():
        console.print(f"[dim]Left to the event loop by a driver, {count} times: {escape(complaint)}[/]")


def _show_checks(checks: list[Check]) -> bool:
    console.print("\nChecks")
    for check in checks:
        console.print(f"  {'[bold red]FAILED[/]' if check.wrong else '[green]passed[/]'}  {check.what}")
        lines = check.wrong.splitlines()
        for line in lines[:SHOWN_FAULTS]:
            console.print(f"            {escape(line)}", soft_wrap=True)
        if len(lines) > SHOWN_FAULTS:
            console.print(f"            and {len(lines) - SHOWN_FAULTS} more")
    return not any(check.wrong for check in checks)
