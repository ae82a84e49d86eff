"""Prisma's page of the quick start, by `make test-docs`: its packages are some 300 MB."""

from collections.abc import Callable
from pathlib import Path

from tests.docs.markdown import ROOT
from tests.docs.pages import node_modules

HERE = Path(__file__).parent


def test_the_page_does_what_it_says(run_page: Callable[..., int]) -> None:
    # `prisma generate` looks for a program of `prisma migrate`'s, which it does not use, to download it.
    environment = {"PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true", "CHECKPOINT_DISABLE": "1"}
    assert run_page(ROOT / "docs/quickstart/prisma.md", node_modules(HERE / "prisma"), **environment) >= 2
