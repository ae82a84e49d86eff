"""The hot path's readers and builders that settings need say the same as the catalogue."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgshim.errors import MalformedMessage
from pgshim.protocol import hot
from pgshim.protocol.backend import DataRow, ErrorResponse, NoticeResponse
from pgshim.protocol.frontend import Bind, FunctionCall
from tests.protocol.strategies import instances

bounded = settings(derandomize=True, max_examples=150, deadline=None)
ERROR = ErrorResponse(((b"S", b"ERROR"), (b"C", b"42601"), (b"M", b"P5"), (b"P", b"17"), (b"R", b"yyerror")))


# The parameters of a Bind.


@bounded
@given(instances(Bind))
def test_the_values_of_a_bind_are_read_and_built(bind: Bind) -> None:
    buffer = bind.encode()
    rest = buffer[hot.read_bind_names(buffer, 0, len(buffer))[2] :]
    formats, values, tail = hot.read_bind_values(rest)
    assert tuple(values) == bind.parameter_values
    assert formats == b"".join(code.to_bytes(2, "big", signed=True) for code in bind.parameter_formats)
    assert hot.bind_values(formats, values) + tail == rest


@bounded
@given(instances(Bind), st.data())
def test_of_one_that_is_cut_off_none_are_read(bind: Bind, data: st.DataObject) -> None:
    buffer = bind.encode()
    rest = buffer[hot.read_bind_names(buffer, 0, len(buffer))[2] :]
    end = data.draw(st.integers(0, len(rest) - 1))
    with pytest.raises(MalformedMessage):
        hot.read_bind_values(rest[:end])


@pytest.mark.parametrize(
    ("codes", "found"), [((), (0, 0, 0)), ((1,), (1, 1, 1)), ((0, 1, 0), (0, 1, 0)), ((1, 0), (1, 0, 0))]
)
def test_the_format_of_a_parameter(codes: tuple[int, ...], found: tuple[int, ...]) -> None:
    formats = b"".join(code.to_bytes(2, "big") for code in codes)
    assert tuple(hot.format_of(formats, index) for index in range(3)) == found


# Rows.


@given(st.none() | st.binary(max_size=9).filter(lambda value: b"\0" not in value))
def test_the_value_of_a_row_of_one_column(value: bytes | None) -> None:
    row = DataRow((value,)).encode()
    assert hot.read_only_value(row) == (value or b"")
    assert hot.read_only_value(bytearray(row)) == (value or b"")


@pytest.mark.parametrize(
    "rows",
    [
        DataRow((b"a\0b",)).encode(),
        DataRow((b"a", b"b")).encode(),
        DataRow((b"a",)).encode() * 2,
        DataRow((b"abc",)).encode()[:-1],
        DataRow((None,)).encode() + b"x",
    ],
)
def test_what_is_no_text_of_one_row_and_one_column_is_refused(rows: bytes) -> None:
    with pytest.raises(MalformedMessage):
        hot.read_only_value(rows)


def test_of_no_row_and_of_no_column_it_is_empty() -> None:
    assert hot.read_only_value(b"") == hot.read_only_value(DataRow(()).encode()) == b""


# FunctionCall.


@bounded
@given(instances(FunctionCall), st.binary(max_size=5))
def test_the_function_of_a_function_call(call: FunctionCall, before: bytes) -> None:
    data = before + call.encode()
    assert hot.read_function_oid(data, len(before), len(data)) == call.function_oid
    assert hot.read_function_oid(data, len(before), len(before) + 9) == call.function_oid
    with pytest.raises(MalformedMessage):
        hot.read_function_oid(data, len(before), len(before) + 8)


# Errors and notices.


def test_a_notice_is_one() -> None:
    data = hot.notice_response("WARNING", b"01000", "well", "what to do")
    notice = NoticeResponse.decode(data[5:])
    assert (data[:1], notice.encode()) == (b"N", data)
    assert dict(notice.fields) == {
        b"S": b"WARNING",
        b"V": b"WARNING",
        b"C": b"01000",
        b"M": b"well",
        b"H": b"what to do",
    }


def test_a_hint_is_added_where_there_is_none() -> None:
    hinted = ErrorResponse.decode(hot.with_hint(ERROR.encode(), "do this")[5:])
    assert hinted.fields == (*ERROR.fields, (b"H", b"do this"))
    assert hot.with_hint(hinted.encode(), "do that") == hinted.encode()


@bounded
@given(instances(ErrorResponse) | instances(NoticeResponse), st.integers(1, 9999))
def test_a_position_is_changed_and_nothing_else(message: ErrorResponse | NoticeResponse, position: int) -> None:
    fields = tuple((code, value) for code, value in message.fields if code != b"P")
    given_, moved = (type(message)((*fields, (b"P", b"%d" % at))) for at in (position, position + 3))
    assert hot.with_position(given_.encode(), lambda at: at + 3) == moved.encode()
    bare = type(message)(fields).encode()
    assert hot.without_position(given_.encode()) == hot.with_position(given_.encode(), lambda at: None) == bare
    assert hot.with_position(bare, lambda at: at + 3) == hot.without_position(bare) == bare


def test_what_only_looks_like_a_position_stays() -> None:
    for digits in (b"here", b"9" * 5000):
        message = ErrorResponse(((b"M", b"P12"), (b"P", digits), (b"p", b"4"))).encode()
        assert hot.without_position(message) == message
