"""PostgreSQL and PgBouncer, once for all tests of the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pgshim.demo.servers import PgBouncer
from tests.integration.conftest import start
from tests.programs import need_prometheus


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    need_prometheus()


@pytest.fixture(scope="session")
def pooler() -> Iterator[PgBouncer]:
    with ExitStack() as servers:
        yield start(servers).pgbouncer
