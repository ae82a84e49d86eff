"""What passed with which client and which pooler: a file for each target; `python -m tests.matrix` makes the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "build" / "compatibility"


class Outcome(StrEnum):
    """How it went. REFUSED: pgshim said by name what cannot be had, as it should."""

    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Result:
    """One cell, or a part of it.

    client -- "asyncpg", "postgres.js", "Django", ...; version -- its own, as it says it
    pooler -- "PgBouncer", "Supavisor (stand-in)", ...; pooler_version -- of the one that ran
    feature -- what was tried, in a few words
    reason -- why it did not pass; or a figure ("312 of 312")
    """

    client: str
    version: str
    pooler: str
    pooler_version: str
    feature: str
    outcome: Outcome
    reason: str = ""


def write(area: str, results: Sequence[Result]) -> None:
    """Keep the results of one target (`clients`, `poolers`, ...); those of its last run are replaced."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(result) for result in results], indent=1)
    (FOLDER / f"{area}.json").write_text(text + "\n")


def read() -> list[Result]:
    """All results that there are."""
    rows = [row for file in sorted(FOLDER.glob("*.json")) for row in json.loads(file.read_text())]
    return [Result(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]
