"""One set of servers for all stories: PostgreSQL, PgBouncer (transaction mode, round robin, pool of 3), pgshim.

pgshim has a session endpoint here, PostgreSQL itself, for those that LISTEN.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pgshim.demo.processes import free_port
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer
from tests.frameworks.servers import Servers
from tests.integration.support import fill_pool


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with ExitStack() as running:
        postgres = running.enter_context(PostgresServer())
        pgbouncer = running.enter_context(PgBouncer(postgres))
        port = free_port()
        options = ["--session-upstream", f"{postgres.host}:{postgres.port}", "--session-listen", f"127.0.0.1:{port}"]
        pgshim = running.enter_context(PgshimProcess(pgbouncer, options=options))
        found = Servers(postgres, pgbouncer, pgshim, session_port=port)
        asyncio.run(fill_pool(found))
        yield found
        log = pgshim.log()
        assert "Traceback (most recent call last)" not in log, log
