"""The servers of the bank: PostgreSQL, PgBouncer with a small pool, and two pgshims in front of it."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import Self

import psycopg

from pgshim.demo.processes import Endpoint, ServerProcess
from pgshim.demo.servers import SUPERUSER, PgBouncer, PgshimProcess, PostgresServer

POOL_SIZE = 6
#: Each pgshim's options, and the URL parameters that its clients need.
DOORS: list[tuple[list[str], dict[str, str]]] = [
    (["--loop", "auto"], {}),
    (["--loop", "asyncio", "--tls-self-signed", "--no-lazy-begin"], {"sslmode": "require"}),
]
#: What pgshim may take to exit after SIGTERM: its own limit for transactions to end, and the farewell.
DRAIN_SECONDS = 5
EXIT_SECONDS = DRAIN_SECONDS + 10
#: PgBouncer refuses startup parameters that it does not know; without pgshim it is told to drop them.
IGNORED = "extra_float_digits,options,search_path,statement_timeout,role"


class Town:
    """All servers, for a `with` statement. Clients use `endpoint(number)`. Raises ServerFailed, MissingBinary."""

    def __init__(self, *, has_pgshim: bool) -> None:
        # An immediate shutdown loses what was committed asynchronously, and the bank would miss it.
        self.postgres = PostgresServer(settings={"synchronous_commit": "on"})
        self.pgbouncer = PgBouncer(
            self.postgres, pool_size=POOL_SIZE, ignore_startup_parameters="" if has_pgshim else IGNORED
        )
        limits = ["--drain-timeout", f"{DRAIN_SECONDS}s"]
        self.shims = [
            PgshimProcess(self.pgbouncer, options=[*limits, *options]) for options, _ in (DOORS if has_pgshim else [])
        ]
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for server in (self.postgres, self.pgbouncer, *self.shims):
                starting.enter_context(server)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def endpoint(self, number: int) -> Endpoint:
        """Where client `number` connects: one of the pgshims, or PgBouncer when there is none."""
        if not self.shims:
            return self.pgbouncer.endpoint()
        place = number % len(self.shims)
        return self.shims[place].endpoint(**DOORS[place][1])

    @property
    def ports(self) -> set[int]:
        """The ports that clients are connected to."""
        return {server.port for server in self.shims or [self.pgbouncer]}

    def auditor(self) -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection straight to PostgreSQL."""
        return psycopg.connect(self.postgres.endpoint(SUPERUSER).url, autocommit=True, connect_timeout=10)

    def console(self) -> psycopg.Connection[tuple[object, ...]]:
        """PgBouncer's admin console."""
        endpoint = self.pgbouncer.endpoint(SUPERUSER, "pgbouncer")
        return psycopg.connect(endpoint.url, autocommit=True, connect_timeout=10)


def end(server: ServerProcess, number: signal.Signals, seconds: float = 20) -> int:
    """Send a signal that ends the process, and wait until it is gone; returns its exit code.

    Raises subprocess.TimeoutExpired.
    """
    process = server.process
    assert process is not None
    process.send_signal(number)
    code = process.wait(seconds)
    server.process = None
    return code
