"""One child process that serves a port: started, awaited, stopped by its pid. Every server's base."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote, urlencode

from pgshim.demo.binaries import service_account

LOOPBACK = "127.0.0.1"
START_SECONDS = 30.0


class ServerFailed(Exception):
    """A server that ended or did not answer in time; the message carries the end of its log."""


@dataclass(frozen=True)
class Endpoint:
    """What a driver needs to connect: an address, a login, a database, and parameters of the URL."""

    host: str
    port: int
    user: str
    password: str
    database: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        parameters = dict(self.parameters)
        authority = f"{self.host}:{self.port}"
        if self.host.startswith("/"):
            authority = ""
            parameters |= {"host": self.host, "port": str(self.port)}
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"postgresql://{login}@{authority}/{quote(self.database, safe='')}{query}"


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A child process in a throw-away directory of its own, for a `with` statement.

    Subclasses give `name`, the command in `_prepare`, and how readiness shows in `_is_ready`.
    """

    name = "server"
    # Sent in this order, with a wait after each, until the process has ended.
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self) -> None:
        self.host = LOOPBACK
        self.port = free_port()
        self.directory = Path()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="pgshim-"))
        try:
            self._hand_over(self.directory)
            self._prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log_path(self) -> Path:
        return self.directory / f"{self.name}.log"

    def log(self) -> str:
        """All that the server wrote to its standard output and error."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self) -> None:
        """Starts the process and waits until it answers. Raises ServerFailed."""
        with self.log_path.open("ab") as log:
            self.process = self._spawn(log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise self._failure(f"ended with exit code {self.process.returncode}")
            if self._is_ready():
                return
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {START_SECONDS:.0f} s")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the process, politely first; returns when it is gone."""
        process = self.process
        if process is None:
            return
        for number in self.stop_signals:
            if process.poll() is not None:
                break
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
        process.wait()
        self.process = None

    def restart(self) -> None:
        """Stops the process and starts it anew on the same port; every connection to it is lost."""
        self.stop()
        self.start()

    def _prepare(self) -> None:
        """Writes configuration; the directory exists."""

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        return accepts_connections(self.host, self.port)

    def _failure(self, what: str) -> ServerFailed:
        tail = "\n".join(self.log().splitlines()[-20:]) or "(it logged nothing)"
        return ServerFailed(f"{self.name} {what}; the end of its log:\n{tail}")

    def _write(self, name: str, content: str | bytes) -> Path:
        """Writes a file that only the server's account can read."""
        path = self.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)
        self._hand_over(path)
        return path

    def _hand_over(self, path: Path) -> None:
        account = service_account()
        if account is not None:
            shutil.chown(path, account, account if account == "postgres" else None)


def accepts_connections(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def asks_for_authentication(path: Path, user: str) -> bool:
    """Whether the server at a Unix socket is up; a PostgreSQL that still starts answers FATAL 57P03."""
    parameters = b"user\0" + user.encode() + b"\0\0"
    packet = struct.pack("!II", 8 + len(parameters), 196608) + parameters
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
            connection.sendall(packet)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def clean_environment(**changes: str) -> dict[str, str]:
    """Our environment without libpq's and the server's variables, which would change what a child does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "LANG": "C"} | changes
