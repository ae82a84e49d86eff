"""What is made of pytest's junit file."""

from pathlib import Path

from tests.frameworks.report import Client, Pooler, modules, read, stories
from tests.matrix.results import Outcome

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.frameworks.one" name="test_two_workers[a-b]"><properties>
<property name="detail" value="7 right" /></properties></testcase>
<testcase classname="tests.frameworks.one" name="test_listening"><properties>
<property name="refused" value="LISTEN" /></properties></testcase>
<testcase classname="tests.frameworks.one" name="test_bad"><failure message="assert 1 ==&#10;2">...</failure></testcase>
<testcase classname="tests.integration.test_two" name="test_x[asyncpg]" />
<testcase classname="tests.integration.test_two" name="test_x[psycopg]"><error message="no server" /></testcase>
</testsuite></testsuites>"""
POOLER = Pooler("PgBouncer", "1.18")


def test_each_story_is_a_result_and_one_that_was_not_run_a_failure(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    found = list(stories(Client("One", "1.0", ["one", "absent"]), POOLER, read(tmp_path / "junit.xml")))
    assert [(result.feature, result.outcome, result.reason) for result in found] == [
        ("two workers: a-b", Outcome.PASSED, "7 right"),
        ("listening", Outcome.REFUSED, "LISTEN"),
        ("bad", Outcome.FAILED, "assert 1 == 2"),
        ("absent", Outcome.FAILED, "it was not run"),
    ]


def test_each_module_of_a_driver_is_a_result_with_how_many_passed(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    cases = read(tmp_path / "junit.xml")
    for pattern, outcome, reason in (
        ("asyncpg", Outcome.PASSED, "1 of 1 tests"),
        ("psycopg", Outcome.FAILED, "0 of 1 tests; test_x[psycopg]: no server"),
        ("absent", Outcome.FAILED, "0 of 0 tests"),
    ):
        [result] = modules(Client("Two", "2.0", ["test_two"], pattern), POOLER, cases)
        assert (result.feature, result.outcome, result.reason) == ("two", outcome, reason)
