"""What the stories run on, and how they start programs."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO

from pgshim.demo.postgres import NOTHING
from pgshim.demo.processes import Endpoint, ServerProcess, clean_environment
from tests.integration.conftest import Stack
from tests.integration.support import ROOT

COMMAND_SECONDS = 45.0


@dataclass(frozen=True)
class Servers(Stack):
    """A Stack whose pgshim has a session endpoint with a listener of its own at `session_port`."""

    session_port: int = 0

    def session(self) -> Endpoint:
        """Where a connection is a session of PostgreSQL's own."""
        return replace(self.endpoint(), port=self.session_port)


class Uvicorn(ServerProcess):
    """`uvicorn APP --workers WORKERS`, each worker a process."""

    name = "uvicorn"

    def __init__(self, app: str, workers: int, environment: Mapping[str, str]) -> None:
        super().__init__()
        self.command = [sys.executable, "-m", "uvicorn", app, "--workers", str(workers), "--port", str(self.port)]
        self.environment = environment

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.command, "--no-access-log"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=program_environment(self.environment),
            process_group=0,
        )

    def _is_ready(self) -> bool:
        # The port is open before the first worker has the app.
        return self.log().count("Application startup complete") > 0 and super()._is_ready()


def program_environment(changes: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """An ordinary process's: asyncio's debug mode would make it several times slower."""
    return clean_environment(PYTHONASYNCIODEBUG="", PYTHONPATH=str(ROOT), **changes)


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """`python -m ARGUMENTS`, with what it printed."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        cwd=ROOT,
        env=program_environment(environment),
    )
