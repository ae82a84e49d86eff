"""A throw-away PostgreSQL server."""

import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

from pgshim.demo.binaries import account_options, find_postgres, reachable_bindir
from pgshim.demo.processes import (
    LOOPBACK,
    Endpoint,
    ServerFailed,
    ServerProcess,
    asks_for_authentication,
    clean_environment,
)

SUPERUSER = "postgres"
APP_USER = "app"
APP_DATABASE = "app"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: a server's certificate (for localhost and 127.0.0.1), its key, the CA that signed it."""

    certificate: Path
    key: Path
    ca: Path


class PostgresServer(ServerProcess):
    """A PostgreSQL with SCRAM passwords, a superuser `postgres`, and a user `app` who owns a database `app`.

    `users` (name -> password) adds others. With `tls`, connections over TCP must use TLS. `settings` go to
    postgresql.conf. Raises MissingBinary, ServerFailed.
    """

    name = "postgres"
    # Fast shutdown, then immediate shutdown: both remove the shared memory, which SIGKILL would leave behind.
    stop_signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)

    def __init__(
        self,
        *,
        major: int | None = None,
        bindir: Path | None = None,
        users: Mapping[str, str] = NOTHING,
        tls: TlsFiles | None = None,
        settings: Mapping[str, str] = NOTHING,
    ) -> None:
        super().__init__()
        self.binaries = find_postgres(major=major, bindir=bindir)
        self.users = {SUPERUSER: secrets.token_hex(8), APP_USER: secrets.token_hex(8), **users}
        self.tls = tls
        self.settings = settings

    def endpoint(self, user: str = APP_USER, database: str = APP_DATABASE, **parameters: str) -> Endpoint:
        return Endpoint(self.host, self.port, user, self.users[user], database, parameters)

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    def _prepare(self) -> None:
        self.bindir = reachable_bindir(self.binaries.bindir, self.directory)
        password_file = self._write("password", self.users[SUPERUSER])
        self._run(
            "initdb",
            "-D",
            self.data_directory,
            "--no-sync",
            "--username",
            SUPERUSER,
            "--pwfile",
            password_file,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        )
        self._write("data/postgresql.auto.conf", self._configuration())
        tcp = "host" if self.tls is None else "hostssl"
        self._write(
            "data/pg_hba.conf", f"local all all scram-sha-256\n{tcp} all all {LOOPBACK}/32 scram-sha-256\n"
        )
        # Single-user mode needs no driver and no running server: one command a line.
        roles = [
            f"CREATE ROLE {_identifier(user)} LOGIN PASSWORD {_literal(password)};"
            for user, password in self.users.items()
            if user != SUPERUSER
        ]
        database = f"CREATE DATABASE {APP_DATABASE} OWNER {APP_USER};"
        self._run("postgres", "--single", "-D", self.data_directory, "postgres", lines=[*roles, database])

    def _configuration(self) -> str:
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_wal_size": "256MB",
            "shared_buffers": "32MB",
            "max_connections": "60",
            "max_prepared_transactions": "10",
            "password_encryption": "scram-sha-256",
            "logging_collector": "off",
        }
        if self.tls is not None:
            # The server refuses a key that others may read, or that is not its own.
            certificate = self._write("server.crt", self.tls.certificate.read_bytes())
            key = self._write("server.key", self.tls.key.read_bytes())
            settings |= {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
        return "".join(f"{name} = '{value}'\n" for name, value in {**settings, **self.settings}.items())

    def _run(self, program: str, *arguments: str | Path, lines: Sequence[str] = ()) -> None:
        done = subprocess.run(
            [self.bindir / program, *arguments],
            input="\n".join(lines) + "\n",
            text=True,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
            timeout=60,
            **account_options(),
        )  # type: ignore[call-overload]
        # In single-user mode an SQL error leaves the exit code at 0.
        if done.returncode != 0 or "ERROR:" in done.stdout:
            raise ServerFailed(f"{program} failed: {done.stdout[-2000:]}")

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [self.bindir / "postgres", "-D", self.data_directory],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=clean_environment(),
            process_group=0,
            **account_options(),
        )

    def _is_ready(self) -> bool:
        # Its socket, because over TCP it may insist on TLS.
        return asks_for_authentication(self.directory / f".s.PGSQL.{self.port}", SUPERUSER)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
