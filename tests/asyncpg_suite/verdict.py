"""What a run makes of the list of reasons, and what is kept of it for the table of clients and poolers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.asyncpg_suite.expected import FILE, Expected, Kind, Reason
from tests.asyncpg_suite.places import POOL_SIZE, Findings
from tests.asyncpg_suite.running import Ending, Outcome
from tests.matrix import results

# What is not heard of a class is that it was set up and torn down.
_PASSED = Ending(Outcome.PASSED)


def faults(expected: Expected, findings: Findings, *, is_whole: bool) -> Iterator[tuple[str, str]]:
    """What should not be: a test, and what is wrong with it. `is_whole`: all tests ran, not only some."""
    direct, through = findings.direct, findings.through
    for test in {**direct, **through}:
        ending = direct.get(test, _PASSED)
        if ending.outcome is Outcome.FAILED and test not in expected.tests(Kind.UNSTEADY):
            yield test, f"It fails with PostgreSQL directly:\n{ending.detail}"
        elif ending.outcome is Outcome.PASSED:
            yield from _of_one(test, expected.reason_of(test), through.get(test, _PASSED))
    for test, ending in findings.session.items():
        if ending.outcome is not Outcome.PASSED and ending.outcome is not Outcome.LEFT_OUT:
            yield test, f"It does not pass on the session endpoint ({ending.outcome}):\n{ending.detail}"
    for reason in expected.reasons:
        for test in reason.tests:
            if is_whole and test not in direct and test not in through:
                yield test, f"It stands in {FILE.name}, but there is no such test, or it passes."
    if "Traceback (most recent call last)" in findings.log:
        yield "pgshim", f"It has logged a traceback:\n{findings.log[-6000:]}"


def _of_one(test: str, reason: Reason | None, ending: Ending) -> Iterator[tuple[str, str]]:
    """Of a test that passes directly."""
    if ending.outcome is Outcome.PASSED:
        if reason is not None and not reason.may_pass:
            yield test, f"It passes, but stands in {FILE.name}: {reason.why}"
    elif reason is None:
        yield test, f"It passes directly, and does not through pgshim ({ending.outcome}):\n{ending.detail}"
    elif not re.search(reason.says, ending.detail):
        yield test, f"It fails, but not with {reason.says!r}, as it should: {reason.why}\n{ending.detail}"


def failed_for(reason: Reason, findings: Findings) -> list[str]:
    """The tests that pass directly and did not through pgshim, for this reason."""
    return [
        test
        for test in reason.tests
        if findings.direct.get(test, _PASSED).outcome is Outcome.PASSED
        and findings.through.get(test, _PASSED).outcome is not Outcome.PASSED
    ]


def keep(expected: Expected, findings: Findings, version: str, found: Sequence[tuple[str, str]]) -> None:
    """Writes the results for the table of clients and poolers."""

    def result(feature: str, outcome: results.Outcome, reason: str) -> results.Result:
        pooler = ("PgBouncer", findings.pooler_version)
        return results.Result("asyncpg", version, *pooler, f"its own tests{feature}", outcome, reason)

    passing = [test for test, ending in findings.direct.items() if ending.outcome is Outcome.PASSED]
    passed = sum(findings.through[test].outcome is Outcome.PASSED for test in passing)
    outcome = results.Outcome.FAILED if found else results.Outcome.PASSED
    rows = [result("", outcome, f"{passed} of the {len(passing)} that pass directly; pool of {POOL_SIZE}")]
    for reason in expected.reasons:
        kind = results.Outcome.REFUSED if reason.kind is Kind.REFUSED else results.Outcome.FAILED
        if count := len(failed_for(reason, findings)):
            rows.append(result(f": {reason.name}", kind, f"{count}: {reason.why}"))
    left_out = Counter(e.detail for e in findings.direct.values() if e.outcome is Outcome.LEFT_OUT)
    for why, count in left_out.items():
        rows.append(result(", left out", results.Outcome.NOT_RUN, f"{count}: {why}"))
    results.write("asyncpg-suite", rows)
