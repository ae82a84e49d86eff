"""The demo's table, and what it says in words."""

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pgshim.demo.run import Leg

console = Console(highlight=False)
LABEL_WIDTH = 46


def show(straight: Leg, through: Leg) -> None:
    """Prints both legs side by side."""
    table = Table(title="The same program, the same pooler", title_justify="left")
    table.add_column("", width=LABEL_WIDTH)
    table.add_column(straight.title, justify="right", width=12)
    table.add_column(through.title, justify="right", width=12)
    legs = (straight, through)
    table.add_row("right answers", *(Text(str(leg.right), "green") for leg in legs))
    table.add_row("WRONG answers, no error", *(_bad(leg.wrong) for leg in legs))
    by_class = [_by_class(leg) for leg in legs]
    for name, _ in (by_class[0] + by_class[1]).most_common():
        table.add_row(_error_label(name, legs), *(_bad(counts[name]) for counts in by_class))
    table.add_section()
    table.add_row("round trips to the pooler", *(str(leg.count.queries) for leg in legs))
    table.add_row("round trips per right answer", *(f"{leg.round_trips_per_answer:.2f}" for leg in legs))
    console.print(table)
    console.print(_in_words(straight, through))


def show_urls(pooler: str, pgshim: str) -> None:
    """Prints where to connect while everything stays up."""
    console.print("\nStill up, until Ctrl-C:")
    console.print(f"  the pooler  {pooler}", soft_wrap=True)
    console.print(f"  pgshim      {pgshim}", soft_wrap=True)


def _in_words(straight: Leg, through: Leg) -> str:
    first = (
        f"Straight at the pooler {straight.failed} steps of the program failed, and {straight.wrong} gave it "
        "what another process had asked for, without any error."
    )
    if not through.is_all_right:
        return (
            f"{first} Through pgshim {through.failed} failed and {through.wrong} were wrong: that is a bug."
        )
    return (
        f"{first} Through pgshim all {through.right} were right, in {through.round_trips_per_answer:.2f} "
        "round trips each. Program and settings were the same: only the port in the URL differed."
    )


def _class_name(error: str) -> str:
    return error.partition(":")[0]


def _by_class(leg: Leg) -> Counter[str]:
    counts: Counter[str] = Counter()
    for error, number in leg.errors.items():
        counts[_class_name(error)] += number
    return counts


def _error_label(name: str, legs: tuple[Leg, Leg]) -> Text:
    """The class, and below it the first message of that class."""
    example = next(error for leg in legs for error in leg.errors if _class_name(error) == name)
    message = Text(example.removeprefix(f"{name}: "), "dim")
    message.truncate(LABEL_WIDTH, overflow="ellipsis")
    return Text.assemble(name, "\n", message)


def _bad(number: int) -> Text:
    return Text(str(number), "bold red" if number else "")
