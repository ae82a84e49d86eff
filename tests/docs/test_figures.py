"""The README's figures are those of docs/figures.md, and so are those of the other pages."""

import re

from tests.docs import figures
from tests.docs.markdown import ROOT


def test_the_readme_has_the_rows_of_the_figures() -> None:
    assert figures.README.read_text() == figures.readme(), "run `make docs`"


def test_the_readme_has_some_of_each() -> None:
    known = set(figures.rows(figures.FIGURES))
    headers = {header for header, row in figures.rows(figures.README) if (header, row) in known}
    assert {header.split(" | ")[0] for header in headers} == {"| operation (workaround)", "| mode, clients"}


def test_figures_of_other_pages_are_those_of_the_figures() -> None:
    """Where a page links to the figures, the numbers with a unit in that line are there as well."""
    plain = " ".join(figures.FIGURES.read_text().split())
    for name in ("operations", "comparison"):
        page = (ROOT / "docs" / f"{name}.md").read_text()
        cited = [line for line in page.splitlines() if "](figures.md#" in line]
        numbers = [found for line in cited for found in re.findall(r"\d[\d.,]* (?:us|ms|GiB|KiB)\b", line)]
        assert numbers, name
        missing = [number for number in numbers if number not in plain]
        assert not missing, f"{name}.md: {missing}"
