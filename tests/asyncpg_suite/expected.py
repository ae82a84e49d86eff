"""What is known not to pass through a transaction pooler, with its reason."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

FILE = Path(__file__).parent / "expected.toml"


class Kind(StrEnum):
    REFUSED = "refused"
    DIFFERENT = "different"
    UNSTEADY = "unsteady"


@dataclass(frozen=True)
class Reason:
    """Tests that cannot pass for the same reason.

    name -- of the feature, as `--allow` takes it, where pgshim refuses it; else what is different
    why -- in a sentence or two, with the way out where there is one
    says -- a regular expression for the traceback of each: pgshim's message, or what the assertion found
    kind -- REFUSED by pgshim, DIFFERENT behind a pooler, or UNSTEADY with PostgreSQL directly as well
    tests -- their names, as unittest has them
    may_pass -- whether they pass at times, by chance
    """

    name: str
    why: str
    says: str
    kind: Kind
    tests: tuple[str, ...]
    may_pass: bool = False


@dataclass(frozen=True)
class Expected:
    """The list: the version of asyncpg for which it was made, the SHA-256 of its source, the reasons."""

    version: str
    sha256: str
    reasons: tuple[Reason, ...]

    def tests(self, *kinds: Kind) -> set[str]:
        """All tests that stand in it for a reason of these kinds."""
        return {test for reason in self.reasons if reason.kind in kinds for test in reason.tests}

    def reason_of(self, test: str) -> Reason | None:
        return next((reason for reason in self.reasons if test in reason.tests), None)


def load() -> Expected:
    """The list. Raises ValueError where a test stands in it twice."""
    data = tomllib.loads(FILE.read_text())
    reasons = tuple(
        Reason(kind=kind, **{"may_pass": kind is Kind.UNSTEADY, **row, "tests": tuple(row["tests"])})
        for kind in Kind
        for row in data.get(kind, [])
    )
    tests = [test for reason in reasons for test in reason.tests]
    if twice := {test for test in tests if tests.count(test) > 1}:
        raise ValueError(f"{FILE.name} has these more than once: {', '.join(sorted(twice))}")
    return Expected(data["asyncpg"]["version"], data["asyncpg"]["sha256"], reasons)
