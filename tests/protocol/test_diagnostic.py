"""What ErrorResponse and NoticeResponse tell of their fields."""

import pytest

from pgshim.protocol import backend


def test_an_error_response_tells_its_fields() -> None:
    error = backend.ErrorResponse(
        (
            (b"S", b"FEHLER"),
            (b"V", b"ERROR"),
            (b"C", b"42601"),
            (b"M", b"syntax error"),
            (b"H", b"try again"),
            (b"P", b"15"),
            (b"R", b"scanner_yyerror"),
        )
    )
    assert (error.severity, error.sqlstate, error.message) == (b"ERROR", b"42601", b"syntax error")
    assert (error.hint, error.position, error.routine) == (b"try again", 15, b"scanner_yyerror")


def test_an_error_response_without_fields_is_not_fatal() -> None:
    error = backend.ErrorResponse(())
    assert (error.severity, error.sqlstate, error.message) == (b"", b"", b"")
    assert (error.hint, error.position, error.routine) == (None, None, None)
    assert error.with_field(b"S", b"FATAL").severity == b"FATAL"


@pytest.mark.parametrize("position", [b"", b"-1", b"x", b"1_0", b"9" * 5000])
def test_a_position_that_is_no_number_is_none(position: bytes) -> None:
    assert backend.ErrorResponse(((b"P", position),)).position is None


def test_with_field_sets_a_field_in_its_place_or_behind_the_others() -> None:
    notice = backend.NoticeResponse(((b"M", b"hi"), (b"P", b"8")))
    assert notice.with_field(b"M", b"ho") == backend.NoticeResponse(((b"M", b"ho"), (b"P", b"8")))
    hinted = notice.with_field(b"H", b"hint")
    assert hinted == backend.NoticeResponse(((b"M", b"hi"), (b"P", b"8"), (b"H", b"hint")))
