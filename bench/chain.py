"""What stands in the middle of the chain when it is measured: pgshim, a PgBouncer, a bare relay, socat.

    client -> X -> PgBouncer -> PostgreSQL

Poolers trust here, because a login by SCRAM is mostly arithmetic, which has nothing to do with what is measured.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import trustme

from bench.outcome import NotMet
from pgshim.demo.processes import Endpoint, ServerProcess, accepts_connections
from pgshim.demo.servers import APP_DATABASE, APP_USER, PgBouncer, PgshimProcess, PostgresServer, TlsFiles

#: As many servers as there are clients at most: nobody queues for one.
POOL = 64
TRUST = {"auth_type": "trust"}


def postgres_server() -> PostgresServer:
    """A PostgreSQL with room for several poolers, and nothing that works in the background."""
    return PostgresServer(settings={"max_connections": "250", "shared_buffers": "128MB", "autovacuum": "off"})


def pooler_of(postgres: PostgresServer, *, mode: str = "transaction", tls: TlsFiles | None = None) -> PgBouncer:
    """The last but one of the chain."""
    return PgBouncer(postgres, pool_mode=mode, pool_size=POOL, round_robin=False, client_tls=tls, settings=TRUST)


def shim_of(pooler: PgBouncer, *options: str) -> PgshimProcess:
    """pgshim on uvloop, else as it comes; it insists on TLS where the pooler does."""
    tls = [] if pooler.client_tls is None else ["--upstream-tls", "require"]
    return PgshimProcess(pooler, options=["--loop", "uvloop", *tls, *options])


class Middle(PgBouncer):
    """A PgBouncer whose servers are connections to another PgBouncer."""

    name = "middle"

    def __init__(self, pooler: PgBouncer) -> None:
        tls = "disable" if pooler.client_tls is None else "require"
        super().__init__(
            pooler.postgres,
            pool_size=POOL,
            round_robin=False,
            server_tls_mode=tls,
            settings=TRUST,
        )
        self._pooler = pooler

    def _prepare(self) -> None:
        super()._prepare()
        configuration = (self.directory / "pgbouncer.ini").read_text()
        direct = f"* = host={self.postgres.host} port={self.postgres.port}"
        pooled = f"* = host={self._pooler.host} port={self._pooler.port}"
        self._write("pgbouncer.ini", configuration.replace(direct, pooled))


class Relay(ServerProcess):
    """A program that passes everything on to an upstream."""

    def __init__(self, upstream: PgBouncer | PostgresServer) -> None:
        super().__init__()
        self.upstream = upstream

    def endpoint(self) -> Endpoint:
        """Where to connect, with the upstream's login."""
        login = self.upstream.endpoint()
        return Endpoint(self.host, self.port, APP_USER, login.password, APP_DATABASE)

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0
        )


class BareRelay(Relay):
    """`bench.bare_relay`; `scans`: it walks over the headers of all frames."""

    name = "bare relay"

    def __init__(self, upstream: PgBouncer, *, scans: bool) -> None:
        super().__init__(upstream)
        self._scans = scans

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "bench.bare_relay", "--listen", f"{self.host}:{self.port}"]
        command += ["--upstream", f"{self.upstream.host}:{self.upstream.port}"]
        command += ["--scan"] * self._scans
        return command + ["--tls"] * (isinstance(self.upstream, PgBouncer) and self.upstream.client_tls is not None)


class Socat(Relay):
    """socat with a buffer of 256 KiB, as large as uvloop's; a process for each connection. Raises NotMet."""

    name = "socat"

    def _command(self) -> list[str]:
        program = shutil.which("socat")
        if program is None:
            raise NotMet("socat is not installed; install it with `apt-get install socat`")
        listen = f"TCP-LISTEN:{self.port},bind={self.host},fork,reuseaddr,nodelay"
        return [program, "-b262144", listen, f"TCP:{self.upstream.host}:{self.upstream.port},nodelay"]

    def _is_ready(self) -> bool:
        return accepts_connections(self.host, self.port)


@contextmanager
def throwaway_tls() -> Iterator[TlsFiles]:
    """A certificate for localhost and 127.0.0.1, from an authority that nobody keeps."""
    with tempfile.TemporaryDirectory(prefix="pgshim-") as name:
        folder = Path(name)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        files = TlsFiles(folder / "server.crt", folder / "server.key", folder / "ca.crt")
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files.key)
        authority.cert_pem.write_to_path(files.ca)
        yield files
