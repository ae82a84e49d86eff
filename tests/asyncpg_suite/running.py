"""Has the suite run in a child process, and sees to it that it ends."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pgshim.demo.processes import Endpoint, clean_environment

#: Without news for so long, a test hangs in a way that its own limit does not end.
SILENCE_SECONDS = 75
EXIT_SECONDS = 5
#: The name of what happens when a class has been run: `tearDownClass (test_pool.TestPool)`.
CLASS = re.compile(r"tearDownClass \((.+)\)")
ROOT = Path(__file__).parent.parent.parent


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Ending:
    """How a test ended: `detail` is a traceback, or why it did not run."""

    outcome: Outcome
    detail: str = ""


@dataclass
class Run:
    """What became of each test; test -> Ending, in the order in which they ran."""

    folder: Path
    server: Endpoint
    log: Path
    #: When there is no time left, as `time.monotonic` says it.
    deadline: float
    silence: float = SILENCE_SECONDS
    endings: dict[str, Ending] = field(default_factory=dict)

    def all(self, only: Collection[str] = ()) -> dict[str, Ending]:
        """Runs all tests, or those that match one of the patterns.

        A child that a test has brought down is followed by another, for the rest.
        """
        known: set[str] = set()
        while (lost := self._child(only, known)) is not None:
            if lost in self.endings or time.monotonic() > self.deadline:
                break
            self.endings[lost] = Ending(Outcome.FAILED, f"It hung, or brought its process down; see {self.log}.")
        for test in sorted(known - self.endings.keys()):
            self.endings[test] = self._of_its_class(test)
        return {test: ending for test, ending in self.endings.items() if not test.startswith("setUp")}

    def _child(self, only: Collection[str], known: set[str]) -> str | None:
        """Runs what has not ended yet; returns the test in which the child was lost, if it was."""
        plan = {
            "folder": str(self.folder),
            "server": {"host": self.server.host, "port": self.server.port, "password": self.server.password},
            "only": list(only),
            "done": list(self.endings),
        }
        reading, writing = os.pipe()
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file, self.log.open("a") as log, open(reading) as news:
            json.dump(plan, file)
            file.flush()
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.asyncpg_suite.child", file.name, str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=clean_environment(),
                pass_fds=[writing],
            )
            os.close(writing)
            try:
                current = self._listen(news.fileno(), known)
                if current is None:
                    with suppress(subprocess.TimeoutExpired):
                        child.wait(EXIT_SECONDS)
            finally:
                child.kill()
                child.wait()
        return current

    def _listen(self, events: int, known: set[str]) -> str | None:
        current: str | None = None
        rest = b""
        while select.select([events], [], [], max(0, min(self.silence, self.deadline - time.monotonic())))[0]:
            data = os.read(events, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                kind, test, *ending = json.loads(line)
                if kind == "known":
                    known.add(test)
                elif kind == "start":
                    current = test
                else:
                    self.endings[test] = Ending(Outcome(ending[0]), ending[1])
                    current = None
        return current

    def _of_its_class(self, test: str) -> Ending:
        """Of a test of which nothing was heard: its class was skipped, or could not be set up, or no time was left."""
        module, name, _ = test.split(".", 2)
        for setup in (f"setUpClass ({module}.{name})", f"setUpModule ({module})"):
            if setup in self.endings:
                return self.endings[setup]
        return Ending(Outcome.FAILED, f"It did not run; see {self.log}.")
