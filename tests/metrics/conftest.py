"""PostgreSQL and PgBouncer, once for all tests of the metrics."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pgshim.demo.servers import PgBouncer
from tests.integration.conftest import start


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    for name in ("prometheus", "promtool"):
        if shutil.which(name) is None:
            pytest.exit(f"the tests of the metrics need {name}: on Debian, apt-get install prometheus", returncode=1)


@pytest.fixture(scope="session")
def pooler() -> Iterator[PgBouncer]:
    with ExitStack() as servers:
        yield start(servers).pgbouncer
