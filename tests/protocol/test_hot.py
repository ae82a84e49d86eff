"""The hot path's readers and builders say the same as the catalogue, of every message, and of bytes that are none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pgshim.protocol import Message, backend, frontend, hot
from pgshim.protocol.backend import (
    CloseComplete,
    CommandComplete,
    ErrorResponse,
    NoData,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
    ReadyForQuery,
    RowDescription,
    TransactionStatus,
)
from pgshim.protocol.frontend import Bind, Close, Describe, Execute, Flush, Parse, Query, Sync, Target, Terminate
from tests.protocol.strategies import instances, strings

bounded = settings(derandomize=True, max_examples=150, deadline=None)
#: What may stand around a message in the buffer that it came in.
around = st.tuples(st.binary(max_size=5), st.binary(max_size=5))


def placed(message: Message, where: tuple[bytes, bytes]) -> tuple[bytes, int, int]:
    """(buffer, start, end) of a message among other bytes."""
    data = message.encode()
    return where[0] + data + where[1], len(where[0]), len(where[0]) + len(data)


# Constants.


def test_constants_are_what_the_catalogue_says() -> None:
    assert (Sync().encode(), Flush().encode(), Terminate().encode()) == (hot.SYNC, hot.FLUSH, hot.TERMINATE)
    assert Describe(Target.STATEMENT, b"").encode() == hot.DESCRIBE_UNNAMED
    assert ParseComplete().encode() == hot.PARSE_COMPLETE
    assert (CloseComplete().encode(), NoData().encode()) == (hot.CLOSE_COMPLETE, hot.NO_DATA)
    assert {status.value[0]: ReadyForQuery(status).encode() for status in TransactionStatus} == hot.READY
    assert tuple(b"ITE") == (hot.IDLE, hot.IN_BLOCK, hot.IN_FAILED_BLOCK)


# Builders.


@bounded
@given(strings, strings, st.lists(st.integers(0, 2**32 - 1), max_size=5))
def test_builders_build_what_the_catalogue_does(first: bytes, second: bytes, oids: list[int]) -> None:
    assert hot.query(first) == Query(first).encode()
    assert hot.command_complete(first) == CommandComplete(first).encode()
    types = hot.parameter_types(b"".join(oid.to_bytes(4, "big") for oid in oids))
    assert hot.parse_unnamed(first + b"\0" + types) == Parse(b"", first, tuple(oids)).encode()
    assert hot.message(ord("d"), second) == frontend.CopyData(second).encode()


@bounded
@given(instances(Bind))
def test_a_bind_is_turned_to_the_unnamed_statement(bind: Bind) -> None:
    buffer = bind.encode()
    portal, statement, offset = hot.read_bind_names(buffer, 0, len(buffer))
    assert (portal, statement) == (bind.portal, bind.statement)
    unnamed = Bind(bind.portal, b"", bind.parameter_formats, bind.parameter_values, bind.result_formats)
    assert hot.bind_unnamed(portal, len(buffer) - offset) + buffer[offset:] == unnamed.encode()


@bounded
@given(instances(Bind), st.integers(0, 6))
def test_result_formats_are_expanded_to_one_for_each_column(bind: Bind, columns: int) -> None:
    buffer = bind.encode()
    _, _, offset = hot.read_bind_names(buffer, 0, len(buffer))
    formats = bind.result_formats
    if len(formats) < 2:
        formats = (formats or (0,)) * columns
    expanded = Bind(bind.portal, bind.statement, bind.parameter_formats, bind.parameter_values, formats)
    assert buffer[:offset] + hot.expand_result_formats(buffer[offset:], columns) in (
        # The length in the header is that of the original.
        buffer[:1] + buffer[1:5] + expanded.encode()[5:],
    )


@bounded
@given(st.sampled_from(["ERROR", "FATAL"]), st.text(max_size=20).filter(lambda text: "\0" not in text), st.booleans())
def test_an_error_response_is_one(severity: str, text: str, is_full: bool) -> None:
    data = hot.error_response(
        severity, b"0A000", text, "what to do" if is_full else "", routine=b"Routine" if is_full else b""
    )
    error = ErrorResponse.decode(data[5:])
    assert error.encode() == data
    assert (error.severity, error.get(b"S"), error.sqlstate) == (severity.encode(), severity.encode(), b"0A000")
    assert error.message == text.encode("utf-8", "replace")
    assert (error.hint, error.routine) == ((b"what to do", b"Routine") if is_full else (None, None))


def test_a_text_that_is_no_unicode_is_replaced() -> None:
    assert ErrorResponse.decode(hot.error_response("ERROR", b"XX000", "\ud800")[5:]).message == b"?"


# Readers.


@bounded
@given(instances(Parse), around)
def test_a_parse_is_read_as_the_catalogue_reads_it(parse: Parse, where: tuple[bytes, bytes]) -> None:
    name, sql, tail = hot.read_parse(*placed(parse, where))
    assert (name, sql) == (parse.statement, parse.query)
    assert hot.parse_unnamed(tail) == Parse(b"", parse.query, parse.parameter_types).encode()


@bounded
@given(instances(Bind), around)
def test_the_names_of_a_bind_are_read_as_the_catalogue_reads_them(bind: Bind, where: tuple[bytes, bytes]) -> None:
    buffer, start, end = placed(bind, where)
    portal, statement, offset = hot.read_bind_names(buffer, start, end)
    assert (portal, statement) == (bind.portal, bind.statement)
    formats = hot.check_bind(buffer, offset, end)
    assert formats == end - 2 - 2 * len(bind.result_formats)


@bounded
@given(instances(Bind))
def test_the_names_of_a_bind_are_read_while_the_rest_is_missing(bind: Bind) -> None:
    data = bind.encode()
    offset = 5 + len(bind.portal) + 1 + len(bind.statement) + 1
    for end in range(offset, len(data) + 1):
        assert hot.read_bind_names(data[:end], 0, end) == (bind.portal, bind.statement, offset)


@bounded
@given(instances(Describe) | instances(Close), around)
def test_a_target_is_read_as_the_catalogue_reads_it(message: Describe | Close, where: tuple[bytes, bytes]) -> None:
    assert hot.read_target(*placed(message, where)) == (message.target.value[0], message.name)


@bounded
@given(instances(Execute), instances(Query), instances(ParameterStatus), around)
def test_strings_are_read_as_the_catalogue_reads_them(
    execute: Execute, query: Query, status: ParameterStatus, where: tuple[bytes, bytes]
) -> None:
    assert hot.read_execute(*placed(execute, where)) == execute.portal
    assert hot.read_query(*placed(query, where)) == query.query
    assert hot.read_parameter_status(*placed(status, where)) == (status.name, status.value)


@bounded
@given(instances(ErrorResponse) | instances(backend.NoticeResponse), around)
def test_fields_are_read_as_the_catalogue_reads_them(
    message: ErrorResponse | backend.NoticeResponse, where: tuple[bytes, bytes]
) -> None:
    assert hot.read_fields(*placed(message, where)) == {code[0]: value for code, value in message.fields}


@bounded
@given(instances(ErrorResponse), st.integers(5, 200))
def test_of_a_cut_off_error_the_fields_that_are_there_are_read(error: ErrorResponse, end: int) -> None:
    data = error.encode()
    end = min(end, len(data))
    read = hot.read_fields(data, 0, end)
    for code, value in read.items():
        assert any(field[0] == code and whole.startswith(value) for field, whole in error.fields)


@bounded
@given(instances(ParameterDescription), around)
def test_parameter_types_are_read_as_the_catalogue_reads_them(
    description: ParameterDescription, where: tuple[bytes, bytes]
) -> None:
    oids = b"".join(oid.to_bytes(4, "big") for oid in description.parameter_types)
    assert hot.read_parameter_oids(*placed(description, where)) == oids


def shape(description: RowDescription, where: tuple[bytes, bytes] = (b"", b"")) -> tuple[int, bytes]:
    return hot.read_shape(*placed(description, where))


def what_postgresql_compares(description: RowDescription) -> list[tuple[bytes, int, int]]:
    return [(field.name, field.type_oid, field.type_modifier) for field in description.fields]


@bounded
@given(instances(RowDescription), instances(RowDescription), around)
def test_shapes_are_equal_where_names_types_and_typmods_are(
    one: RowDescription, other: RowDescription, where: tuple[bytes, bytes]
) -> None:
    assert shape(one, where) == shape(one)
    assert shape(one)[0] == len(one.fields)
    assert (shape(one) == shape(other)) == (what_postgresql_compares(one) == what_postgresql_compares(other))
    moved = RowDescription(
        tuple(
            backend.FieldDescription(field.name, 1, 2, field.type_oid, 3, field.type_modifier, 4)
            for field in one.fields
        )
    )
    assert shape(moved) == shape(one)


@bounded
@given(
    instances(RowDescription).filter(lambda description: bool(description.fields)),
    st.sampled_from(["name", "oid", "mod"]),
)
def test_a_change_of_one_of_them_is_another_shape(description: RowDescription, what: str) -> None:
    first, *others = description.fields
    changed = backend.FieldDescription(
        first.name + b"x" * (what == "name"),
        first.table_oid,
        first.column_number,
        first.type_oid ^ (what == "oid"),
        first.type_size,
        first.type_modifier ^ (what == "mod"),
        first.format,
    )
    assert shape(RowDescription((changed, *others))) != shape(description)
