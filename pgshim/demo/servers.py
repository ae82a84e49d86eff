"""Throw-away servers for the demo, the tests and the benchmark: PostgreSQL, PgBouncer, pgshim.

    with PostgresServer() as postgres, PgBouncer(postgres) as pooler, PgshimProcess(pooler) as shim:
        asyncpg.connect(shim.endpoint().url)

Loopback only, free ports, data in a temporary directory; nothing outlives the `with`. They need the system's
`postgresql` and `pgbouncer` packages, and say so when those are missing.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pgshim.demo.binaries import account_options, find_pgbouncer, pgbouncer_version
from pgshim.demo.postgres import APP_DATABASE, APP_USER, NOTHING, SUPERUSER, PostgresServer, TlsFiles
from pgshim.demo.processes import Endpoint, ServerFailed, ServerProcess, clean_environment

__all__ = [
    "APP_DATABASE",
    "APP_USER",
    "SUPERUSER",
    "Endpoint",
    "PgBouncer",
    "PgshimProcess",
    "PostgresServer",
    "ServerFailed",
    "TlsFiles",
]


class PgBouncer(ServerProcess):
    """A PgBouncer in front of a PostgresServer: transaction mode, SCRAM on both legs.

    `round_robin` makes consecutive transactions land on different servers, which shows faults that the
    default (last in, first out) hides. `client_tls` makes clients use TLS; `server_tls_mode` is PgBouncer's
    `server_tls_sslmode`: by default verify-full when the PostgresServer has TLS. With 0 as
    `max_prepared_statements` the pooler knows nothing of statements, whatever its version; None leaves it at its
    default. `program` is another than the system's. Raises MissingBinary, ServerFailed.
    """

    name = "pgbouncer"
    # Up to 1.22 the first SIGTERM ends it at once; from 1.23 on it waits for clients until the second.
    stop_signals = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)

    def __init__(
        self,
        postgres: PostgresServer,
        *,
        pool_mode: str = "transaction",
        pool_size: int = 3,
        round_robin: bool = True,
        max_client_conn: int = 500,
        ignore_startup_parameters: str = "",
        max_prepared_statements: int | None = 0,
        client_tls: TlsFiles | None = None,
        server_tls_mode: str | None = None,
        settings: Mapping[str, str] = NOTHING,
        program: Path | None = None,
    ) -> None:
        super().__init__()
        self.postgres = postgres
        self.program = program or find_pgbouncer()
        self.client_tls = client_tls
        self.settings = {
            "listen_addr": self.host,
            "listen_port": str(self.port),
            "pool_mode": pool_mode,
            "default_pool_size": str(pool_size),
            "server_round_robin": str(int(round_robin)),
            "max_client_conn": str(max_client_conn),
            "auth_type": "scram-sha-256",
            "admin_users": SUPERUSER,
            # A server that just restarted must not be refused for 15 seconds more.
            "server_login_retry": "1",
        }
        if ignore_startup_parameters:
            self.settings["ignore_startup_parameters"] = ignore_startup_parameters
        if max_prepared_statements is not None and pgbouncer_version(self.program) >= (1, 21):
            self.settings["max_prepared_statements"] = str(max_prepared_statements)
        if server_tls_mode is None:
            server_tls_mode = "disable" if postgres.tls is None else "verify-full"
        self.settings["server_tls_sslmode"] = server_tls_mode
        self.settings.update(settings)

    def endpoint(self, user: str = APP_USER, database: str = APP_DATABASE, **parameters: str) -> Endpoint:
        return Endpoint(self.host, self.port, user, self.postgres.users[user], database, parameters)

    def _prepare(self) -> None:
        # Plain passwords, not SCRAM verifiers: with a verifier PgBouncer could not log in to the server.
        passwords = "".join(f'"{user}" "{password}"\n' for user, password in self.postgres.users.items())
        settings = {
            "auth_file": str(self._write("userlist.txt", passwords)),
            "unix_socket_dir": str(self.directory),
        }
        if self.client_tls is not None:
            settings |= {
                "client_tls_sslmode": "require",
                "client_tls_cert_file": str(
                    self._write("client.crt", self.client_tls.certificate.read_bytes())
                ),
                "client_tls_key_file": str(self._write("client.key", self.client_tls.key.read_bytes())),
            }
        if self.postgres.tls is not None:
            settings["server_tls_ca_file"] = str(
                self._write("server-ca.crt", self.postgres.tls.ca.read_bytes())
            )
        lines = "".join(f"{name} = {value}\n" for name, value in {**settings, **self.settings}.items())
        databases = f"* = host={self.postgres.host} port={self.postgres.port}\n"
        self._write("pgbouncer.ini", f"[databases]\n{databases}\n[pgbouncer]\n{lines}")

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [self.program, self.directory / "pgbouncer.ini"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=clean_environment(),
            process_group=0,
            **account_options(),
        )


class PgshimProcess(ServerProcess):
    """`python -m pgshim` in front of a pooler (or a PostgresServer, or a relay before one).

    `options` are further command-line options, `environment` variables changed for it. With `tls` it speaks
    TLS to clients; its upstream's CA goes into `options`. Raises ServerFailed.
    """

    name = "pgshim"
    # The second SIGINT ends it at once.
    stop_signals = (signal.SIGINT, signal.SIGINT, signal.SIGKILL)

    def __init__(
        self,
        upstream: PgBouncer | PostgresServer,
        *,
        options: Sequence[str] = (),
        upstream_address: str = "",
        tls: TlsFiles | None = None,
        environment: Mapping[str, str] = NOTHING,
    ) -> None:
        super().__init__()
        self.upstream = upstream
        self.upstream_address = upstream_address or f"{upstream.host}:{upstream.port}"
        self.options = list(options)
        if tls is not None:
            self.options += ["--tls-cert", str(tls.certificate), "--tls-key", str(tls.key)]
        self.environment = environment

    def endpoint(self, user: str = APP_USER, database: str = APP_DATABASE, **parameters: str) -> Endpoint:
        login = self.upstream.endpoint(user, database)
        return Endpoint(self.host, self.port, user, login.password, database, parameters)

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "pgshim",
            "--listen",
            f"{self.host}:{self.port}",
            "--upstream",
            self.upstream_address,
            *self.options,
        ]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            process_group=0,
        )
