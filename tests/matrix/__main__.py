"""Writes docs/compatibility.md: `python -m tests.matrix`. Fails if there are no results."""

from __future__ import annotations

from pathlib import Path

from tests.matrix.results import read
from tests.matrix.table import page

PAGE = Path(__file__).parent.parent.parent / "docs" / "compatibility.md"


def main() -> None:
    results = read()
    if not results:
        raise SystemExit("No results: run make test-asyncpg test-clients test-poolers test-frameworks first.")
    PAGE.write_text(page(results))
    print(f"{PAGE.name}: {len(results)} results of {len({result.client for result in results})} clients")


if __name__ == "__main__":
    main()
