"""What sessions count (`pgshim.session.counts`)."""

import pytest

from pgshim.protocol import hot
from pgshim.session.counts import TRIPS, Counts
from pgshim.session.hazard_names import Feature


@pytest.mark.parametrize(
    ("sqlstate", "name"),
    [
        (b"42P01", "42P01"),
        (b"42Z99", "42xxx"),
        (b"ZZ999", "other"),
        (b"", "other"),
        (b"42", "42xxx"),
        (b"42xxx", "42xxx"),
    ],
)
def test_an_error_is_counted_by_its_sqlstate_or_its_class(sqlstate: bytes, name: str) -> None:
    counts = Counts()
    counts.note_error(hot.error_response("ERROR", sqlstate, "message"))
    assert {each: number for each, number in counts.errors.items() if number} == {name: 1}


@pytest.mark.parametrize("body", [b"C42P01\0SERROR\0\0", b"SERROR\0C42P01\0\0", b"SERROR\0VERROR\0C42P01\0Mthere\0\0"])
def test_the_fields_of_an_error_may_stand_in_any_order(body: bytes) -> None:
    counts = Counts()
    counts.note_error(b"E" + (4 + len(body)).to_bytes(4) + body)
    assert counts.errors["42P01"] == 1


@pytest.mark.parametrize("body", [b"", b"SERROR\0", b"\0"])
def test_an_error_without_a_sqlstate_is_counted_too(body: bytes) -> None:
    counts = Counts()
    counts.note_error(b"E" + (4 + len(body)).to_bytes(4) + body)
    assert counts.errors["other"] == 1


def test_the_names_of_the_totals_are_always_the_same() -> None:
    counts = Counts()
    before = list(counts.totals())
    counts.note_error(hot.error_response("ERROR", b"99999", "message"))
    counts.note_ready(is_in_block=True)
    assert list(counts.totals()) == before
    assert {f"trips:{kind}" for kind in TRIPS} <= set(before)
    assert {f"refused:{feature}" for feature in Feature} <= set(before)


def test_the_summary_in_one_line() -> None:
    counts = Counts()
    assert counts.summary() == ""
    counts.trips["end"] = 1
    assert counts.summary() == "1 round trip saved"
    counts.trips["end"] = 0
    counts.parses = counts.reused = 1
    counts.trips["begin"] = 1500
    counts.refused["listen"] = 2
    assert counts.summary() == (
        "1 message of prepared statements rewritten; 1,500 round trips saved; 1 prepared execution in one trip; "
        "refused: listen 2"
    )
