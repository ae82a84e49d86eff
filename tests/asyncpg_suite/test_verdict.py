"""The run of asyncpg's tests is itself held to: nothing that fails is overlooked, and nothing hangs."""

from __future__ import annotations

import time
from pathlib import Path
from textwrap import dedent

import pytest

from pgshim.demo.processes import Endpoint
from tests.asyncpg_suite.expected import Expected, Kind, Reason, load
from tests.asyncpg_suite.places import Findings
from tests.asyncpg_suite.running import Ending, Outcome, Run
from tests.asyncpg_suite.verdict import faults

PASSED = Ending(Outcome.PASSED)
LISTEN = Reason("listen", "LISTEN needs a session.", "LISTEN needs", Kind.REFUSED, ("test_a.A.test_listen",))
RACE = Reason("race", "It is a race.", "too late", Kind.UNSTEADY, ("test_a.A.test_race",), may_pass=True)
EXPECTED = Expected("1.0", "", (LISTEN, RACE))
TESTS = """
    import os, unittest

    class Some(unittest.TestCase):
        def test_passes(self):
            pass

        def test_fails(self):
            self.fail("so it is")

        def test_in_parts_fails_when_one_does(self):
            for part in (1, 2):
                with self.subTest(part=part):
                    self.assertEqual(part, 2)

        @unittest.skip("not here")
        def test_skipped(self):
            pass

    class Fatal(unittest.TestCase):
        def test_1(self):
            pass

        def test_2(self):
            os._exit(3)

        def test_3(self):
            pass

    class Unset(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            raise ValueError("no server")

        def test_never(self):
            pass

    class Left(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            raise unittest.SkipTest("no realm")

        def test_never(self):
            pass
"""


def found(test: str, direct: Ending, through: Ending) -> list[str]:
    """What is wrong, in the words up to the first colon or comma."""
    wrong = faults(EXPECTED, Findings("1.0", {test: direct}, {test: through}, {}, ""), is_whole=False)
    return [why.split(":")[0].split(",")[0] for _, why in wrong]


@pytest.mark.parametrize(
    ("test", "direct", "through", "wrong"),
    [
        ("test_listen", PASSED, Ending(Outcome.FAILED, "0A000: LISTEN needs a session"), []),
        ("test_listen", PASSED, Ending(Outcome.FAILED, "timed out"), ["It fails"]),
        ("test_listen", PASSED, PASSED, ["It passes"]),
        ("test_listen", Ending(Outcome.SKIPPED, "old"), Ending(Outcome.SKIPPED, "old"), []),
        ("test_race", PASSED, PASSED, []),
        ("test_race", PASSED, Ending(Outcome.FAILED, "it was too late"), []),
        ("test_race", PASSED, Ending(Outcome.FAILED, "42P01"), ["It fails"]),
        ("test_race", Ending(Outcome.FAILED, "it was too late"), PASSED, []),
        ("test_other", PASSED, PASSED, []),
        ("test_other", PASSED, Ending(Outcome.FAILED, "timed out"), ["It passes directly"]),
        ("test_other", PASSED, Ending(Outcome.SKIPPED, "old"), ["It passes directly"]),
        ("test_other", Ending(Outcome.FAILED, "no"), PASSED, ["It fails with PostgreSQL directly"]),
    ],
)
def test_a_test_that_fails_needs_its_reason_and_one_that_passes_must_have_none(
    test: str, direct: Ending, through: Ending, wrong: list[str]
) -> None:
    assert found(f"test_a.A.{test}", direct, through) == wrong


def test_a_reason_whose_test_is_no_longer_there_is_a_fault() -> None:
    found = faults(EXPECTED, Findings("1.0", {}, {}, {}, ""), is_whole=True)
    assert [test for test, _ in found] == ["test_a.A.test_listen", "test_a.A.test_race"]


def test_every_reason_in_the_list_says_why_and_what_the_failure_says() -> None:
    expected = load()
    assert expected.reasons
    assert all(reason.name and reason.why and reason.says and reason.tests for reason in expected.reasons)


def test_each_test_has_an_ending_whatever_the_others_do(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_some.py").write_text(dedent(TESTS))
    (folder / "test_broken.py").write_text("import no_such_module\n")
    server = Endpoint("127.0.0.1", 1, "nobody", "", "nothing")
    endings = Run(folder, server, tmp_path / "log", time.monotonic() + 60).all()
    assert {test: str(ending.outcome) for test, ending in endings.items()} == {
        "test_some.Some.test_passes": "passed",
        "test_some.Some.test_fails": "failed",
        "test_some.Some.test_in_parts_fails_when_one_does": "failed",
        "test_some.Some.test_skipped": "skipped",
        "test_some.Fatal.test_1": "passed",
        "test_some.Fatal.test_2": "failed",
        "test_some.Fatal.test_3": "passed",
        "test_some.Unset.test_never": "failed",
        "test_some.Left.test_never": "skipped",
        "unittest.loader._FailedTest.test_broken": "failed",
    }
    assert "no server" in endings["test_some.Unset.test_never"].detail
    assert "brought its process down" in endings["test_some.Fatal.test_2"].detail
    assert "no_such_module" in endings["unittest.loader._FailedTest.test_broken"].detail


def test_a_test_that_hangs_is_ended(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_some.py").write_text(
        "import unittest, threading\nclass A(unittest.TestCase):\n def test_waits(self):\n  threading.Event().wait()\n"
    )
    server = Endpoint("127.0.0.1", 1, "nobody", "", "nothing")
    endings = Run(folder, server, tmp_path / "log", time.monotonic() + 10, silence=3).all()
    assert endings["test_some.A.test_waits"].outcome is Outcome.FAILED
