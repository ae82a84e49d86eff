"""Copies rows of docs/figures.md into the README: `python -m tests.docs.figures`, or `make docs`.

A row of a table in the README whose header is that of a table in docs/figures.md is the row of that table with the same
first cell. So a new figure is written in one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from tests.docs.markdown import ROOT

README = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures.md"


def readme() -> str:
    """The README with the rows of docs/figures.md. Raises KeyError for a row that is not there."""
    known = {(header, label(row)): row for header, row in rows(FIGURES)}
    headers = {header for header, _ in known}
    lines = README.read_text()
    for header, row in rows(README):
        if header in headers:
            lines = lines.replace(f"\n{row}\n", f"\n{known[header, label(row)]}\n")
    return lines


def rows(path: Path) -> Iterator[tuple[str, str]]:
    """(header, row) of all tables whose columns have names."""
    header = ""
    for line in path.read_text().splitlines():
        if not line.startswith("|"):
            header = ""
        elif not header:
            header = line
        elif not line.startswith("|---") and header.strip("| "):
            yield header, line


def label(row: str) -> str:
    return row.split(" | ")[0]


if __name__ == "__main__":
    README.write_text(readme())
    click.echo(f"{README.name} written")
