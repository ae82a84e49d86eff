"""Real servers to be checked, and a check as the tests run it: in this process, its lines kept."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pgshim.check.course import Course
from pgshim.check.passwords import with_password
from pgshim.check.report import Level, Remark, Report
from pgshim.check.run import check
from pgshim.check.target import Target
from pgshim.check.url import read_url
from pgshim.demo.servers import PgBouncer, PostgresServer, TlsFiles
from tests.certificates import issued

TEST_SECONDS = 60.0


@dataclass
class Checked:
    """A check that is over."""

    course: Course
    lines: list[tuple[str, Remark]] = field(default_factory=list)

    @property
    def data(self) -> dict[str, Any]:
        return self.course.report.data

    @property
    def exit_code(self) -> int:
        return self.course.report.exit_code

    @property
    def problems(self) -> list[Remark]:
        return [remark for _, remark in self.lines if remark.level is Level.PROBLEM]

    @property
    def text(self) -> str:
        """All that is printed, in one line."""
        return " ".join(f"{section} {one.label} {one.text} {one.fix}" for section, one in self.lines)

    def fate_of(self, parameter: str) -> str:
        found: str = next(one["fate"] for one in self.data["startup_parameters"] if one["name"] == parameter)
        return found


def checked(url: str, *, ask: Callable[[Target], Target] | None = None, **environment: str) -> Checked:
    """Checks a URL; `environment` stands for the whole environment."""
    environment.setdefault("HOME", "/nonexistent")
    return checked_target(with_password(read_url(url, environment), environment), ask=ask)


def checked_target(target: Target, *, ask: Callable[[Target], Target] | None = None) -> Checked:
    lines: list[tuple[str, Remark]] = []
    course = Course(target, Report(show=lambda section, remark: lines.append((section, remark))), ask)

    async def limited() -> None:
        async with asyncio.timeout(TEST_SECONDS):
            await check(course)

    asyncio.run(limited())
    # A check has a line for its own faults; they are faults all the same.
    for error in course.unforeseen:
        raise error
    return Checked(course, lines)


@contextmanager
def answering(*replies: bytes) -> Iterator[int]:
    """A port where each read is answered with the next of `replies`; behind the last, the connection is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                for reply in replies:
                    if not connection.recv(4096):
                        break
                    connection.sendall(reply)
                # To close with something unread would be a reset.
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    Thread(target=answer, args=(connection,), daemon=True).start()

        thread = Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@pytest.fixture(autouse=True)
def _no_files_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a ~/.postgresql."""
    monkeypatch.setattr("pgshim.check.contexts._FOLDER", Path("/nonexistent"))


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate for localhost only, from a throw-away authority."""
    return issued(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def pooler(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """PgBouncer 1.18 (or what the machine has) in transaction mode, without statements; a pool of 3, in turn."""
    with PgBouncer(postgres) as server:
        yield server
