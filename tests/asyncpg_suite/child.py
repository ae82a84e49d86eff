"""Runs asyncpg's tests in a process of their own: `python -m tests.asyncpg_suite.child PLAN DESCRIPTOR`.

PLAN is a JSON file: the tests' folder, the server, which tests. What happens goes to the DESCRIPTOR, an event a line:
["known", test] for each that there is, then ["start", test], ["end", test, outcome, detail]. Nothing of asyncpg's tests
is changed: they are told of a server that runs already, as they are by PGHOST, but in a way that leaves those tests in
that need no more than one.
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO

from asyncpg import _testbase, cluster

#: What a test may take that has no limit of its own, in seconds.
TEST_SECONDS = 20


class Server(cluster.RunningCluster):
    """The server, or what stands in front of it, that all tests connect to."""


class Reporter(unittest.TestResult):
    """Tells the parent of each test. Of subtests and of clean-up the first failure is the test's."""

    def __init__(self, events: TextIO) -> None:
        super().__init__()
        self.events = events
        self.ended: dict[str, tuple[str, str]] = {}

    def tell(self, *event: str) -> None:
        self.events.write(json.dumps(event) + "\n")
        self.events.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.tell("start", test.id())

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.tell("end", test.id(), *self.ended.get(test.id(), ("passed", "")))

    def _end(self, test: Any, outcome: str, detail: str) -> None:
        if self.ended.get(test.id(), ("passed",))[0] != "failed":
            self.ended[test.id()] = (outcome, detail)
        if not isinstance(test, unittest.TestCase):
            # A class or a module could not be set up.
            self.tell("end", test.id(), outcome, detail)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._end(test, "failed", self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    addFailure = addError

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self._end(test, "failed", f"{subtest.id()}\n{self._exc_info_to_string(err, test)}")  # type: ignore[attr-defined]

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._end(test, "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        """As it should be."""

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._end(test, "failed", "It was expected to fail.")


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    with open(int(sys.argv[2]), "w") as events:
        os.set_inheritable(int(sys.argv[2]), False)
        sys.path.insert(0, plan["folder"])
        _testbase._default_cluster = Server(**plan["server"])
        _testbase.TestCaseMeta.TEST_TIMEOUT = TEST_SECONDS
        os.environ["PGPASSWORD"] = plan["server"]["password"]
        reporter = Reporter(events)
        found = list(_flat(unittest.TestLoader().discover(plan["folder"])))
        chosen = unittest.TestSuite()
        for test in found:
            if (reason := _left_out(test)) is not None:
                reporter.tell("end", test.id(), "left out", reason)
            elif not plan["only"] or any(fnmatchcase(test.id(), pattern) for pattern in plan["only"]):
                reporter.tell("known", test.id())
                if test.id() not in plan["done"]:
                    chosen.addTest(test)
        chosen.run(reporter)


def _flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


def _left_out(test: unittest.TestCase) -> str | None:
    """Why this test is not run here, or None."""
    if type(test).__module__ == "test__sourcecode":
        return "It checks the style and the types of asyncpg's source."
    setup = getattr(type(test), "setup_cluster", None)
    if setup is not None and setup.__func__ is not _testbase.ClusterTestCase.setup_cluster.__func__:
        return "It starts a server of its own, in front of which nothing can stand."
    return None


if __name__ == "__main__":
    main()
