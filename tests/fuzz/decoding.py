"""The messages: what is decoded encodes to the same bytes, and what is read by hand says the same.

A record is a message: `f` one of the frontend's, `b` one of the backend's, its payload the type code and the body; `s`
a startup packet.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pgshim.errors import MalformedMessage, ProtocolViolation
from pgshim.protocol import Message, backend, frontend, hot, startup
from pgshim.protocol.message import Catalogue
from pgshim.session.hints import with_hint
from tests.fuzz.inputs import unpack


def run(data: bytes) -> None:
    """Raises only on a fault."""
    for operation, payload in unpack(data):
        if operation == ord("s"):
            _startup(payload)
        elif payload:
            catalogue = backend.BACKEND if operation == ord("b") else frontend.FRONTEND
            _typed(catalogue, payload[0], payload[1:])


def _startup(packet: bytes) -> None:
    try:
        message = startup.decode(packet)
    except ProtocolViolation:
        return
    assert message.encode() == packet
    repr(message)


def _typed(catalogue: Catalogue, type_code: int, body: bytes) -> None:
    whole = hot.message(type_code, body)
    with suppress(ProtocolViolation):
        assert catalogue.decode(type_code, body).encode() == whole
    for cls in catalogue:
        if cls.type_code == type_code:
            message = _decoded(cls, body)
            assert message is None or message.encode() == whole
            reading = READINGS.get(cls)
            if reading is not None:
                _by_hand(reading, message, whole)
    if catalogue is backend.BACKEND and type_code in b"EN":
        _errors(whole)


def _decoded(cls: type[Message], body: bytes) -> Message | None:
    try:
        message = cls.decode(body)
    except MalformedMessage:
        return None
    repr(message)
    return message


Reading = tuple[Callable[[bytes, int, int], object], Callable[..., object]]


def _by_hand(reading: Reading, message: Message | None, whole: bytes) -> None:
    """The hot path's reader, with other bytes before and behind."""
    read, of_declared = reading
    try:
        found = read(b"\0" * 7 + whole + b"\0" * 9, 7, 7 + len(whole))
    except MalformedMessage:
        assert message is None
        return
    assert message is not None
    assert found == of_declared(message)


def _bind(buffer: bytes, start: int, end: int) -> object:
    portal, name, offset = hot.read_bind_names(buffer, start, end)
    hot.check_bind(buffer, offset, end)
    rest = buffer[offset:end]
    formats, values, tail = hot.read_bind_values(rest)
    assert hot.bind_values(formats, values) + tail == rest
    assert hot.bind_unnamed(portal, len(rest)) + rest == hot.message(ord("B"), portal + b"\0\0" + rest)
    expanded = hot.expand_result_formats(rest, 3)
    hot.check_bind(expanded, 0, len(expanded))
    return portal, name, formats, values, tail


def _codes(codes: tuple[int, ...]) -> bytes:
    return b"".join(code.to_bytes(2, "big", signed=True) for code in codes)


def _oids(oids: tuple[int, ...]) -> bytes:
    return b"".join(oid.to_bytes(4, "big") for oid in oids)


READINGS: dict[type[Message], Reading] = {
    frontend.Parse: (
        lambda *where: hot.read_parse(*where)[:2] + (hot.parse_unnamed(hot.read_parse(*where)[2]),),
        lambda m: (m.statement, m.query, frontend.Parse(b"", m.query, m.parameter_types).encode()),
    ),
    frontend.Bind: (
        _bind,
        lambda m: (
            m.portal,
            m.statement,
            _codes(m.parameter_formats),
            list(m.parameter_values),
            len(m.result_formats).to_bytes(2, "big") + _codes(m.result_formats),
        ),
    ),
    frontend.Describe: (hot.read_target, lambda m: (m.target.value[0], m.name)),
    frontend.Close: (hot.read_target, lambda m: (m.target.value[0], m.name)),
    frontend.Execute: (hot.read_execute, lambda m: m.portal),
    frontend.Query: (hot.read_query, lambda m: m.query),
    backend.ParameterStatus: (hot.read_parameter_status, lambda m: (m.name, m.value)),
    backend.ParameterDescription: (hot.read_parameter_oids, lambda m: _oids(m.parameter_types)),
    backend.RowDescription: (
        hot.read_shape,
        lambda m: (
            len(m.fields),
            b"".join(b"%b\0%d %d\0" % (field.name, field.type_oid, field.type_modifier) for field in m.fields),
        ),
    ),
}


def _errors(whole: bytes) -> None:
    """What a session does to errors and notices: nothing breaks it, and of a good one it makes a good one."""
    hot.read_fields(whole, 0, len(whole))
    changed = [
        with_hint(whole) or whole,
        hot.with_hint(whole, "do this"),
        hot.without_position(whole),
        hot.with_position(whole, lambda position: position + 7),
    ]
    if _decoded(backend.ErrorResponse, whole[5:]) is None:
        return
    for message in changed:
        assert backend.decode(message[0], message[5:]).encode() == message
