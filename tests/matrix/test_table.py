"""The table of compatibility, from results."""

from __future__ import annotations

from tests.matrix.results import Outcome, Result
from tests.matrix.table import page


def result(outcome: Outcome, client: str = "asyncpg", pooler: str = "PgBouncer", reason: str = "") -> Result:
    return Result(client, "0.30", pooler, "1.24", "LISTEN", outcome, reason)


def test_a_cell_counts_what_passed_and_names_what_did_not() -> None:
    rows = [result(Outcome.REFUSED, reason="0A000 a|b"), result(Outcome.FAILED, reason="it\nhangs")]
    text = page([result(Outcome.PASSED), *rows, result(Outcome.NOT_RUN, client="pgx", reason="no Go")])
    assert "| client | PgBouncer 1.24 |" in text
    assert "| asyncpg 0.30 | 1 of 3, 1 R, 1 F |" in text
    assert "| pgx 0.30 | not run |" in text
    assert "| asyncpg | PgBouncer 1.24 | LISTEN | 0A000 a\\|b |" in text
    assert "| asyncpg | PgBouncer 1.24 | LISTEN | it hangs |" in text
    assert "Supavisor" not in text


def test_a_stand_in_is_called_one() -> None:
    text = page([result(Outcome.PASSED), result(Outcome.PASSED, pooler="Supavisor (stand-in)")])
    assert "| client | PgBouncer 1.24 | Supavisor (stand-in) 1.24 |" in text
    assert "Supavisor\nitself was not run" in text
    assert "## What failed" not in text
