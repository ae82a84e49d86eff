"""The messages of the hot path, read and built by hand: `struct` and `bytes.find`, no construct.

Each function reads or builds what a class of `pgshim.protocol.frontend` or `.backend` declares; a property test holds
the two equal. Readers take (buffer, start, end) of a whole message, type byte included, and raise MalformedMessage
where the body does not fit its format. Names and SQL stay bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from pgshim.errors import MalformedMessage

_HEADER = Struct("!BI")
_INT32 = Struct("!I")
_INT16 = Struct("!H")
_COLUMN = Struct("!IhIhih")

#: Bytes of a position in an error, P included: an Int32 in decimal.
_POSITION_SIZE = 11

SYNC = b"S\0\0\0\x04"
FLUSH = b"H\0\0\0\x04"
TERMINATE = b"X\0\0\0\x04"
DESCRIBE_UNNAMED = b"D\0\0\0\x06S\0"

PARSE_COMPLETE = b"1\0\0\0\x04"
BIND_COMPLETE = b"2\0\0\0\x04"
CLOSE_COMPLETE = b"3\0\0\0\x04"
NO_DATA = b"n\0\0\0\x04"

#: Transaction status of a ReadyForQuery -> the whole message.
READY = {status: b"Z\0\0\0\x05" + bytes((status,)) for status in b"ITE"}
IDLE, IN_BLOCK, IN_FAILED_BLOCK = b"ITE"


def message(type_code: int, body: bytes) -> bytes:
    """A message of any type from its body."""
    return _HEADER.pack(type_code, len(body) + 4) + body


def query(sql: bytes) -> bytes:
    """A Query."""
    return message(0x51, sql + b"\0")


def parse_unnamed(tail: bytes) -> bytes:
    """A Parse of the unnamed statement; `tail` is what follows the name: text, NUL, Int16 count, Int32 type OIDs."""
    return _HEADER.pack(0x50, len(tail) + 5) + b"\0" + tail


def parameter_types(oids: bytes) -> bytes:
    """The end of a Parse, from type OIDs of four bytes each."""
    return _INT16.pack(len(oids) // 4) + oids


def command_complete(tag: bytes) -> bytes:
    """A CommandComplete."""
    return message(0x43, tag + b"\0")


def _missing_nul() -> MalformedMessage:
    return MalformedMessage("invalid string in message")


def _bad_format() -> MalformedMessage:
    return MalformedMessage("invalid message format")


def read_parse(buffer: bytes, start: int, end: int) -> tuple[bytes, bytes, bytes]:
    """(statement name, SQL text, tail) of a Parse; `tail` as for `parse_unnamed`."""
    name_end = buffer.find(b"\0", start + 5, end)
    text_end = buffer.find(b"\0", name_end + 1, end)
    if name_end < 0 or text_end < 0:
        raise _missing_nul()
    if text_end + 3 > end or text_end + 3 + 4 * _INT16.unpack_from(buffer, text_end + 1)[0] != end:
        raise _bad_format()
    return buffer[start + 5 : name_end], buffer[name_end + 1 : text_end], buffer[name_end + 1 : end]


def read_bind_names(buffer: bytes, start: int, end: int) -> tuple[bytes, bytes, int]:
    """(portal name, statement name, offset of what follows) of a Bind, of which the rest may still be missing."""
    portal_end = buffer.find(b"\0", start + 5, end)
    name_end = buffer.find(b"\0", portal_end + 1, end)
    if portal_end < 0 or name_end < 0:
        raise _missing_nul()
    return buffer[start + 5 : portal_end], buffer[portal_end + 1 : name_end], name_end + 1


def describe_portal(portal: bytes) -> bytes:
    """A Describe of a portal."""
    return b"D%sP%s\0" % (_INT32.pack(len(portal) + 6), portal)


def bind_unnamed(portal: bytes, rest_size: int) -> bytes:
    """The start of a Bind of the unnamed statement; `rest_size` is the number of bytes that follow the names."""
    return _HEADER.pack(0x42, len(portal) + rest_size + 6) + portal + b"\0\0"


def check_bind(buffer: bytes, pos: int, end: int) -> int:
    """Walk what follows the names of a whole Bind; returns the offset of its result-format codes."""
    unpack16, unpack32 = _INT16.unpack_from, _INT32.unpack_from
    if pos + 2 > end:
        raise _bad_format()
    pos += 2 + 2 * unpack16(buffer, pos)[0]
    if pos + 2 > end:
        raise _bad_format()
    count = unpack16(buffer, pos)[0]
    pos += 2
    for _ in range(count):
        if pos + 4 > end:
            raise _bad_format()
        size = unpack32(buffer, pos)[0]
        pos += 4 if size == 0xFFFFFFFF else 4 + size
    if pos + 2 > end or pos + 2 + 2 * unpack16(buffer, pos)[0] != end:
        raise _bad_format()
    return pos


def read_bind_values(rest: bytes) -> tuple[bytes, list[bytes | None], bytes]:
    """(parameter-format codes of two bytes each, values, the result-format part) of what follows a Bind's names."""
    end = check_bind(rest, 0, len(rest))
    pos = 2 + 2 * _INT16.unpack_from(rest)[0]
    formats = rest[2:pos]
    values: list[bytes | None] = []
    for _ in range(_INT16.unpack_from(rest, pos)[0]):
        size = _INT32.unpack_from(rest, pos + 2)[0]
        is_null = size == 0xFFFFFFFF
        values.append(None if is_null else rest[pos + 6 : pos + 6 + size])
        pos += 4 if is_null else 4 + size
    return formats, values, rest[end:]


def bind_values(formats: bytes, values: list[bytes | None]) -> bytes:
    """The parameter part of a Bind: what `read_bind_values` has read."""
    parts = [_INT16.pack(len(formats) // 2), formats, _INT16.pack(len(values))]
    for value in values:
        parts.append(b"\xff\xff\xff\xff" if value is None else _INT32.pack(len(value)) + value)
    return b"".join(parts)


def format_of(formats: bytes, index: int) -> int:
    """The format code of a parameter: one code holds for all, none means text."""
    at = 2 * index if len(formats) > 2 else 0
    return _INT16.unpack_from(formats, at)[0] if at + 2 <= len(formats) else 0


def read_only_value(rows: bytes | bytearray) -> bytes:
    """The text of a result of one row and one column (a DataRow); empty for NULL or none."""
    if len(rows) < 11:
        return b""
    size = _INT32.unpack_from(rows, 7)[0]
    value = bytes(rows[11:])
    if len(value) != (0 if size == 0xFFFFFFFF else size) or b"\0" in value:
        raise _bad_format()
    return value


def expand_result_formats(rest: bytes, columns: int) -> bytes:
    """What follows the names of a Bind, with zero or one result-format codes made one for each of `columns`."""
    pos = check_bind(rest, 0, len(rest))
    count = _INT16.unpack_from(rest, pos)[0]
    if count > 1:
        return rest
    code = rest[pos + 2 : pos + 4] if count else b"\0\0"
    return rest[:pos] + _INT16.pack(columns) + code * columns


def read_target(buffer: bytes, start: int, end: int) -> tuple[int, bytes]:
    """(b"S"[0] or b"P"[0], name) of a Describe or a Close."""
    if end - start < 7 or buffer.find(b"\0", start + 6, end) != end - 1:
        raise _missing_nul()
    kind = buffer[start + 5]
    if kind not in b"SP":
        raise MalformedMessage(f"invalid {'DESCRIBE' if buffer[start] == 0x44 else 'CLOSE'} message subtype {kind}")
    return kind, buffer[start + 6 : end - 1]


def read_execute(buffer: bytes, start: int, end: int) -> bytes:
    """The portal name of an Execute."""
    portal_end = buffer.find(b"\0", start + 5, end)
    if portal_end < 0:
        raise _missing_nul()
    if portal_end + 5 != end:
        raise _bad_format()
    return buffer[start + 5 : portal_end]


def read_function_oid(buffer: bytes, start: int, end: int) -> int:
    """The function's OID of a FunctionCall, of which the rest may still be missing."""
    if start + 9 > end:
        raise _bad_format()
    found: int = _INT32.unpack_from(buffer, start + 5)[0]
    return found


def read_query(buffer: bytes, start: int, end: int) -> bytes:
    """The text of a Query."""
    if buffer.find(b"\0", start + 5, end) != end - 1:
        raise _missing_nul()
    return buffer[start + 5 : end - 1]


def read_parameter_status(buffer: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """(name, value) of a ParameterStatus."""
    parts = buffer[start + 5 : end].split(b"\0")
    if len(parts) != 3 or parts[2]:
        raise _missing_nul()
    return parts[0], parts[1]


def read_fields(buffer: bytes, start: int, end: int) -> dict[int, bytes]:
    """The fields of an ErrorResponse or NoticeResponse, by code; of a cut-off one those that are there."""
    return {field[0]: field[1:] for field in buffer[start + 5 : end].split(b"\0") if field}


def read_parameter_oids(buffer: bytes, start: int, end: int) -> bytes:
    """The type OIDs, four bytes each, of a ParameterDescription."""
    if end - start < 7 or start + 7 + 4 * _INT16.unpack_from(buffer, start + 5)[0] != end:
        raise _bad_format()
    return buffer[start + 7 : end]


def read_shape(buffer: bytes, start: int, end: int) -> tuple[int, bytes]:
    """(number of columns, shape) of a RowDescription.

    The shape is equal for two RowDescriptions when what PostgreSQL compares is: names, type OIDs and typmods
    (equalTupleDescs in RevalidateCachedQuery), not the table a column comes from, nor the format.
    """
    if end - start < 7:
        raise _bad_format()
    count = _INT16.unpack_from(buffer, start + 5)[0]
    pos = start + 7
    parts = []
    for _ in range(count):
        name_end = buffer.find(b"\0", pos, end)
        if name_end < 0 or name_end + 19 > end:
            raise _bad_format()
        _, _, type_oid, _, typmod, _ = _COLUMN.unpack_from(buffer, name_end + 1)
        parts.append(b"%s\0%d %d\0" % (buffer[pos:name_end], type_oid, typmod))
        pos = name_end + 19
    if pos != end:
        raise _bad_format()
    return count, b"".join(parts)


def error_response(severity: str, sqlstate: bytes, text: str, hint: str = "", *, routine: bytes = b"") -> bytes:
    """An ErrorResponse of pgshim's own (`text` is the primary message)."""
    return _report(0x45, severity, sqlstate, text, hint, routine)


def notice_response(severity: str, sqlstate: bytes, text: str, hint: str = "") -> bytes:
    """A NoticeResponse of pgshim's own."""
    return _report(0x4E, severity, sqlstate, text, hint, b"")


def _report(type_code: int, severity: str, sqlstate: bytes, text: str, hint: str, routine: bytes) -> bytes:
    level = severity.encode()
    fields = [b"S" + level, b"V" + level, b"C" + sqlstate, b"M" + text.encode("utf-8", "replace")]
    if hint:
        fields.append(b"H" + hint.encode("utf-8", "replace"))
    if routine:
        fields.append(b"R" + routine)
    return message(type_code, b"\0".join(fields) + b"\0\0")

def with_hint(error: bytes, hint: str) -> bytes:
    """An ErrorResponse with a hint, if it has none."""
    if b"\0H" in error:
        return error
    return message(error[0], error[5:-1] + b"H" + hint.encode() + b"\0\0")


def without_position(message: bytes) -> bytes:
    """An ErrorResponse or NoticeResponse without its position (P)."""
    return with_position(message, None)


def with_position(message: bytes, change: Callable[[int], int | None] | None) -> bytes:
    """The same with its position changed, or without it where that gives None. Characters, the first is 1."""
    parts = message[5:-1].split(b"\0")
    for index, part in enumerate(parts):
        if part[:1] == b"P" and part[1:].isdigit() and len(part) <= _POSITION_SIZE:
            position = change(int(part[1:])) if change is not None else None
            parts[index : index + 1] = [] if position is None else [b"P%d" % position]
            return _HEADER.pack(message[0], len(b"\0".join(parts)) + 5) + b"\0".join(parts) + b"\0"
    return message
