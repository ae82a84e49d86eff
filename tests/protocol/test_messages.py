"""The catalogue: what is decoded encodes to the same bytes; bytes that are no message are a typed error."""

import struct
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgshim.errors import InvalidLength, MalformedMessage, ProtocolViolation, UnknownMessageType
from pgshim.protocol import Message, backend, frontend, startup
from tests.protocol.samples import BACKEND, FRONTEND, OPEN_ENDED, STARTUP
from tests.protocol.strategies import instances

CATALOGUES = {"startup": startup.STARTUP, "frontend": frontend.FRONTEND, "backend": backend.BACKEND}
DECODERS: dict[str, Callable[[int, bytes], Message]] = {
    "frontend": frontend.decode,
    "backend": backend.decode,
}
TABLES = {"startup": STARTUP, "frontend": FRONTEND, "backend": BACKEND}
CLASSES = sorted(
    {cls for catalogue in CATALOGUES.values() for cls in catalogue}, key=lambda cls: cls.__name__
)
BY_CONTEXT = {
    frontend.GSSResponse,
    frontend.PasswordMessage,
    frontend.SASLInitialResponse,
    frontend.SASLResponse,
}

every_sample = pytest.mark.parametrize(
    ("direction", "sample", "data"),
    [
        pytest.param(direction, sample, data, id=f"{direction}-{type(sample).__name__}-{number}")
        for direction, table in TABLES.items()
        for number, (sample, data) in enumerate(table)
    ],
)


def decode(direction: str, data: bytes) -> Message:
    """Decodes a whole message as this direction does."""
    if direction == "startup":
        return startup.decode(data)
    return DECODERS[direction](data[0], data[5:])


def body_of(direction: str, data: bytes) -> bytes:
    return data[4:] if direction == "startup" else data[5:]


@pytest.mark.parametrize("direction", CATALOGUES)
def test_every_message_has_a_sample(direction: str) -> None:
    assert set(CATALOGUES[direction]) == {type(sample) for sample, _ in TABLES[direction]}


@every_sample
def test_a_sample_decodes(direction: str, sample: Message, data: bytes) -> None:
    assert type(sample).decode(body_of(direction, data)) == sample


@every_sample
def test_a_sample_is_found_by_its_type_code(direction: str, sample: Message, data: bytes) -> None:
    decoded = decode(direction, data)
    if type(sample) in BY_CONTEXT:
        assert isinstance(decoded, frontend.AuthenticationResponse)
        decoded = decoded.read_as(type(sample))
    assert decoded == sample


@every_sample
def test_a_sample_encodes_to_its_exact_bytes(direction: str, sample: Message, data: bytes) -> None:
    assert sample.encode() == data


@every_sample
def test_a_truncated_body_is_an_error(direction: str, sample: Message, data: bytes) -> None:
    cls, body = type(sample), body_of(direction, data)
    for size in range(len(body)):
        if cls in OPEN_ENDED:
            assert_decodes_or_refuses(cls, body[:size])
        else:
            with pytest.raises(MalformedMessage, match=cls.__name__):
                cls.decode(body[:size])


@every_sample
@pytest.mark.parametrize("junk", [b"\0", b"x", b"\0\0\0\0"])
def test_trailing_junk_is_an_error(direction: str, sample: Message, data: bytes, junk: bytes) -> None:
    cls, body = type(sample), body_of(direction, data)
    if cls in OPEN_ENDED:
        assert_decodes_or_refuses(cls, body + junk)
    else:
        with pytest.raises(MalformedMessage, match=cls.__name__):
            cls.decode(body + junk)


def assert_decodes_or_refuses(cls: type[Message], body: bytes) -> None:
    """Whatever is decoded encodes to the same bytes; all else raises a ProtocolViolation."""
    try:
        decoded = cls.decode(body)
    except ProtocolViolation:
        return
    assert decoded.encode().endswith(struct.pack("!I", len(body) + 4) + body)


@settings(deadline=None)
@given(st.sampled_from(CLASSES).flatmap(instances))
def test_any_message_survives_encode_and_decode(built: Message) -> None:
    data = built.encode()
    header = 5 if built.type_code else 4
    assert int.from_bytes(data[header - 4 : header], "big") == len(data) - header + 4
    assert type(built).decode(data[header:]) == built


@settings(deadline=None)
@given(st.sampled_from(CLASSES), st.binary(max_size=60))
def test_random_bytes_are_refused_or_survive(cls: type[Message], body: bytes) -> None:
    assert_decodes_or_refuses(cls, body)
    assert_decodes_or_refuses(cls, cls.prefix + body)


@settings(deadline=None)
@given(
    st.sampled_from([(direction, data) for direction, table in TABLES.items() for _, data in table]),
    st.integers(0, 300),
    st.binary(max_size=4),
)
def test_a_damaged_message_is_refused_or_survives(
    original: tuple[str, bytes], position: int, damage: bytes
) -> None:
    direction, data = original
    damaged = data[:position] + damage + data[position + len(damage) :]
    if len(damaged) < 5:
        return
    try:
        decoded = decode(direction, damaged)
    except ProtocolViolation:
        return
    assert body_of(direction, decoded.encode()) == body_of(direction, damaged)


@settings(deadline=None)
@given(st.integers(0, 255), st.binary(max_size=30), st.sampled_from(["frontend", "backend"]))
def test_random_types_and_bytes_are_refused_or_survive(type_code: int, body: bytes, direction: str) -> None:
    whole = struct.pack("!BI", type_code, len(body) + 4) + body
    try:
        decoded = decode(direction, whole)
    except ProtocolViolation:
        return
    assert decoded.encode() == whole


@pytest.mark.parametrize(
    ("cls", "body"),
    [
        (backend.DataRow, b"\x7f\xff"),
        (backend.RowDescription, b"\x7f\xff"),
        (backend.ParameterDescription, b"\xff\xff"),
        (backend.CopyInResponse, b"\0\x7f\xff"),
        (backend.NegotiateProtocolVersion, b"\0\3\0\0\x7f\xff\xff\xff"),
        (backend.DataRow, b"\0\1\x7f\xff\xff\xff"),
        (frontend.Bind, b"\0\0\x7f\xff"),
        (frontend.Parse, b"\0\0\x7f\xff"),
    ],
)
def test_a_count_or_length_that_lies_is_a_cheap_error(cls: type[Message], body: bytes) -> None:
    start = time.process_time()
    with pytest.raises(MalformedMessage):
        cls.decode(body)
    assert time.process_time() - start < 0.05


@pytest.mark.parametrize(
    ("cls", "body"),
    [
        (backend.DataRow, b"\0\1\xff\xff\xff\xfe"),
        (backend.FunctionCallResponse, b"\x80\0\0\0"),
        (backend.NegotiateProtocolVersion, b"\0\3\0\0\xff\xff\xff\xff"),
        (frontend.SASLInitialResponse, b"X\0\xff\xff\xff\xfe"),
        (backend.BackendKeyData, b"\0\0\0\1key"),
        (backend.BackendKeyData, b"\0\0\0\1" + b"k" * 257),
        (startup.CancelRequest, b"\x04\xd2\x16\x2e\0\0\0\1"),
        (startup.CancelRequest, b"\x04\xd2\x16\x2e\0\0\0\1" + b"k" * 257),
        (startup.SSLRequest, b"\x04\xd2\x16\x2e"),
        (frontend.Close, b"Xname\0"),
        (frontend.Describe, b"\0name\0"),
        (backend.ReadyForQuery, b"X"),
        (backend.AuthenticationOk, b"\0\0\0\3"),
    ],
)
def test_what_no_peer_may_say_is_an_error(cls: type[Message], body: bytes) -> None:
    with pytest.raises(MalformedMessage, match=cls.__name__):
        cls.decode(body)


@pytest.mark.parametrize("direction", ["frontend", "backend"])
@pytest.mark.parametrize("type_code", [0, ord("!"), ord("O"), 255])
def test_an_unknown_type_code_is_an_error(direction: str, type_code: int) -> None:
    with pytest.raises(UnknownMessageType, match=f"type 0x{type_code:02x}"):
        DECODERS[direction](type_code, b"")


@pytest.mark.parametrize("body", [b"", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\x63data", b"\xff\xff\xff\xff"])
def test_an_unknown_authentication_request_is_an_error(body: bytes) -> None:
    with pytest.raises(UnknownMessageType, match="no backend message of type 0x52"):
        backend.decode(ord("R"), body)


@pytest.mark.parametrize("body", [b"\0\2\0\0user\0", b"\0\4\0\0\0", b"\x04\xd2\x16\x2d", b"\x04\xd2\x16\x31"])
def test_an_unknown_request_code_or_major_version_is_an_error(body: bytes) -> None:
    with pytest.raises(UnknownMessageType, match="startup message"):
        startup.decode(struct.pack("!I", len(body) + 4) + body)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0\0\0\x04",
        b"\0\0\0\x08\x04\xd2\x16",
        b"\0\0\0\x07\x04\xd2\x16\x2f",
        b"\0\0\0\x08\x04\xd2\x16\x2f\0",
    ],
)
def test_a_startup_packet_whose_length_lies_is_an_error(packet: bytes) -> None:
    with pytest.raises(InvalidLength):
        startup.decode(packet)


@pytest.mark.parametrize(
    "impossible",
    [
        frontend.Query(b"select '\0'"),
        frontend.Execute(b"", 2**31),
        frontend.Parse(b"", b"", (0,) * 65536),
        startup.StartupMessage(0, ((b"", b"value"),)),
        backend.AuthenticationSASL((b"",)),
        backend.ErrorResponse(((b"\0", b"value"),)),
        backend.ErrorResponse(((b"SV", b"value"),)),
        backend.BackendKeyData(1, b"key"),
        backend.AuthenticationMD5Password(b"salty"),
    ],
)
def test_what_no_body_can_say_is_not_encoded(impossible: Message) -> None:
    with pytest.raises(ValueError, match=type(impossible).__name__):
        impossible.encode()


def test_an_error_names_the_message_and_the_field_but_not_the_data() -> None:
    with pytest.raises(MalformedMessage) as caught:
        frontend.PasswordMessage.decode(b"hunter2")
    assert str(caught.value) == "PasswordMessage: password: no NUL ends the string"


def test_secrets_are_not_in_the_repr() -> None:
    secrets: list[Message] = [
        frontend.PasswordMessage(b"hunter2"),
        frontend.AuthenticationResponse(b"hunter2"),
        frontend.SASLInitialResponse(b"PLAIN", b"hunter2"),
        backend.BackendKeyData(1, b"hunter2"),
        startup.CancelRequest(1, b"hunter2"),
    ]
    assert "hunter2" not in repr(secrets)
    assert repr(frontend.Query(b"select 1")) == "Query(query=b'select 1')"


def test_65535_parameters_may_be_bound() -> None:
    bind = frontend.Bind(b"", b"", (), (None,) * 65535, ())
    assert frontend.decode(ord("B"), bind.encode()[5:]) == bind


def test_a_long_text_is_decoded_in_one_step() -> None:
    body = b"\0" + b"x" * 4_000_000 + b"\0\0\0"
    start = time.process_time()
    frontend.Parse.decode(body)
    assert time.process_time() - start < 0.2


def test_copy_messages_are_the_same_in_both_directions() -> None:
    assert backend.CopyData is frontend.CopyData
    assert backend.decode(ord("c"), b"") == frontend.decode(ord("c"), b"") == frontend.CopyDone()


def test_a_message_is_a_value() -> None:
    execute = frontend.Execute(b"p", 0)
    assert replace(execute, row_limit=1) == frontend.Execute(b"p", 1)
    assert len({execute, frontend.Execute(b"p", 0)}) == 1
    with pytest.raises(FrozenInstanceError):
        execute.portal = b"q"  # type: ignore[misc]
    assert not hasattr(execute, "__dict__")


def test_of_a_repeated_startup_parameter_the_last_counts() -> None:
    opened = startup.StartupMessage(2, ((b"user", b"a"), (b"_pq_.x", b"1"), (b"user", b"b")))
    assert opened.parameter(b"user") == b"b"
    assert opened.parameter(b"database") is None
    assert opened.protocol_options == (b"_pq_.x",)
