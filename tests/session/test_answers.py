"""Answers that may be passed on as they came (`pgshim.session.answers`)."""

from pgshim.protocol import hot
from pgshim.session.answers import is_answer_to_execute

_ROW = b"D\0\0\0\x0b\0\1\0\0\0\1x"
_DONE = hot.command_complete(b"SELECT 1")
_READY = hot.READY[hot.IDLE]


def test_rows_and_what_ends_them_are_an_answer_to_execute() -> None:
    assert is_answer_to_execute(_ROW + _ROW + _DONE + _READY, 0)
    assert not is_answer_to_execute(_ROW + _DONE + _DONE + _READY, 0)
    assert not is_answer_to_execute(_ROW + _READY, 0)


def test_a_length_that_no_message_has_is_none() -> None:
    assert not is_answer_to_execute(b"D\0\0\0\3" + _DONE + _READY, 0)
