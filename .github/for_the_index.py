"""Before a release is built: `python .github/for_the_index.py https://github.com/OWNER/NAME v1.2.3`.

A package index has neither the files that the README's links lead to nor the repository's address. This makes the links
absolute, to the files of that tag, and writes the addresses into pyproject.toml. The repository itself has none of
that: it holds wherever it is cloned to.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"(!?\[[^\]]*\]\()(?!https?:|#)([^)\s]+\))")
_BEFORE = "[project.scripts]\n"


def absolute(text: str, repository: str, tag: str) -> str:
    """The Markdown with links and pictures of the repository's own at that tag of it."""

    def lead(link: re.Match[str]) -> str:
        view = "raw" if link[1].startswith("!") else "blob"
        return f"{link[1]}{repository}/{view}/{tag}/{link[2]}"

    return _LINK.sub(lead, text)


def with_addresses(toml: str, repository: str, tag: str) -> str:
    """pyproject.toml with [project.urls]. Raises ValueError if it has some, or no place for them."""
    if toml.count(_BEFORE) != 1 or "[project.urls]" in toml:
        raise ValueError(f"pyproject.toml has to have {_BEFORE.strip()} once, and no [project.urls]")
    urls = f"""\
[project.urls]
Repository = "{repository}"
Documentation = "{repository}/tree/{tag}/docs"
Changelog = "{repository}/blob/{tag}/CHANGELOG.md"
Issues = "{repository}/issues"

"""
    return toml.replace(_BEFORE, urls + _BEFORE)


def main(root: Path, repository: str, tag: str) -> None:
    for name, change in (("README.md", absolute), ("pyproject.toml", with_addresses)):
        path = root / name
        path.write_text(change(path.read_text(encoding="utf-8"), repository.rstrip("/"), tag), encoding="utf-8")


if __name__ == "__main__":
    main(ROOT, *sys.argv[1:])
