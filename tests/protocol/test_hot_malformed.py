"""Bytes that are no message: the hot path's readers refuse what the catalogue refuses, with MalformedMessage only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgshim.errors import MalformedMessage
from pgshim.protocol import Message, hot
from pgshim.protocol.backend import (
    ParameterDescription,
    ParameterStatus,
    RowDescription,
)
from pgshim.protocol.frontend import Bind, Close, Describe, Execute, Parse, Query
from tests.protocol.samples import BACKEND, FRONTEND
from tests.protocol.strategies import instances

bounded = settings(derandomize=True, max_examples=150, deadline=None)


Reader = Callable[[bytes, int, int], Any]


def check_whole_bind(buffer: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    portal, statement, offset = hot.read_bind_names(buffer, start, end)
    hot.check_bind(buffer, offset, end)
    return portal, statement


READERS: dict[type[Message], Reader] = {
    Parse: hot.read_parse,
    Bind: check_whole_bind,
    Describe: hot.read_target,
    Close: hot.read_target,
    Execute: hot.read_execute,
    Query: hot.read_query,
    ParameterStatus: hot.read_parameter_status,
    ParameterDescription: hot.read_parameter_oids,
    RowDescription: hot.read_shape,
}
readers = pytest.mark.parametrize("cls", READERS, ids=lambda cls: cls.__name__)


def refuses(cls: type[Message], body: bytes, behind: bytes = b"") -> bool:
    """Whether the reader refuses the body; MalformedMessage is all that it may raise, and all it sees is the body."""
    data = hot.message(cls.type_code, body)
    try:
        READERS[cls](data + behind, 0, len(data))
    except MalformedMessage:
        return True
    return False


def is_refused_by_the_catalogue(cls: type[Message], body: bytes) -> bool:
    try:
        cls.decode(body)
    except MalformedMessage:
        return True
    return False


@readers
@bounded
@given(body=st.binary(max_size=40), behind=st.binary(max_size=20))
def test_random_bytes_are_refused_where_the_catalogue_refuses_them(
    cls: type[Message], body: bytes, behind: bytes
) -> None:
    assert refuses(cls, body, behind) == is_refused_by_the_catalogue(cls, body)


@readers
@bounded
@given(
    data=st.data(), position=st.integers(0, 60), damage=st.binary(max_size=3), behind=st.sampled_from([b"", b"\0" * 9])
)
def test_damaged_messages_are_refused_where_the_catalogue_refuses_them(
    cls: type[Message], data: st.DataObject, position: int, damage: bytes, behind: bytes
) -> None:
    body = data.draw(instances(cls)).encode()[5:]
    for damaged in (body[:position] + damage + body[position + len(damage) :], body[:position], body + damage):
        assert refuses(cls, damaged, behind) == is_refused_by_the_catalogue(cls, damaged)


SAMPLES = [(type(sample), data[5:]) for sample, data in FRONTEND + BACKEND if type(sample) in READERS]


@pytest.mark.parametrize(("cls", "body"), SAMPLES)
def test_every_truncation_of_a_sample_is_refused(cls: type[Message], body: bytes) -> None:
    assert not refuses(cls, body)
    for size in range(len(body)):
        assert refuses(cls, body[:size])
        assert refuses(cls, body[:size], behind=body[size:])
    for junk in (b"\0", b"x", b"\0\0\0\0"):
        assert refuses(cls, body + junk)


@bounded
@given(st.binary(max_size=40))
def test_expanding_formats_of_random_bytes_is_refused_or_done(rest: bytes) -> None:
    try:
        expanded = hot.expand_result_formats(rest, 3)
    except MalformedMessage:
        return
    hot.check_bind(expanded, 0, len(expanded))


@pytest.mark.parametrize(
    ("reader", "data", "text"),
    [
        (hot.read_target, b"D\0\0\0\6Xn\0", "DESCRIBE message subtype 88"),
        (hot.read_target, b"C\0\0\0\6\0n\0", "CLOSE message subtype 0"),
        (hot.read_query, b"Q\0\0\0\5x", "invalid string in message"),
        (hot.read_execute, b"E\0\0\0\6\0\0", "invalid message format"),
    ],
)
def test_a_malformed_message_is_refused_in_postgresqls_words(reader: Reader, data: bytes, text: str) -> None:
    with pytest.raises(MalformedMessage, match=text):
        reader(data, 0, len(data))
