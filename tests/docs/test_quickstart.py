"""Every page of the quick start does what it says, with a real PgBouncer whose servers take turns.

`prisma_page.py` has the one that takes hundreds of megabytes: `make test-docs`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.programs import HERE as CLIENTS
from tests.docs.markdown import ROOT
from tests.docs.pages import node_modules

FOLDER = ROOT / "docs" / "quickstart"
NODE = {"postgres-js", "node-postgres"}
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.stem not in {"README", "prisma"})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_does_what_it_says(path: Path, run_page: Callable[..., int]) -> None:
    modules = node_modules(CLIENTS / "node") if path.stem in NODE else None
    assert run_page(path, modules) >= 2
