"""The pooler behind what is deployed, and clients in front of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgshim.demo.processes import Endpoint
from pgshim.demo.servers import PgBouncer, PostgresServer
from tests.deploy import machine

CLIENT = Path(__file__).parent / "client.py"


@dataclass(frozen=True)
class Pool:
    """A PgBouncer with a Unix socket in a folder, which can be bound into a container."""

    folder: Path
    pooler: PgBouncer

    @property
    def port(self) -> int:
        return self.pooler.port

    @property
    def login(self) -> Endpoint:
        return self.pooler.endpoint()


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder = Path("/tmp") / f"pgshim-pool-{os.getpid()}"
    folder.mkdir()
    # PgBouncer has another account, and so have those who connect.
    folder.chmod(0o777)
    try:
        settings = {"unix_socket_dir": str(folder)}
        with PostgresServer() as postgres, PgBouncer(postgres, settings=settings) as pooler:
            yield Pool(folder, pooler)
    finally:
        folder.rmdir()


@pytest.fixture(scope="session")
def image() -> str:
    return machine.build()


@pytest.fixture(scope="session")
def image_root(image: str) -> Iterator[Path]:
    """What is in the image; nobody writes there."""
    with machine.mounted(image) as root:
        (root / "pool").mkdir()
        yield root


@pytest.fixture
def client(pool: Pool) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a client in the network of a process."""
    started: list[subprocess.Popen[str]] = []

    def start(pid: int, story: str = "queries", host: str = "127.0.0.1", port: int = 6432) -> subprocess.Popen[str]:
        login = pool.login
        command = ["nsenter", "--target", str(pid), "--net", sys.executable, CLIENT, host, str(port)]
        process = subprocess.Popen(
            [*command, login.user, login.database, story],
            env=os.environ | {"PGPASSWORD": login.password},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
