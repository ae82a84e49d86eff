"""Frontend messages in the notation of the design, and what a server answers to them.

A script is a list of bursts; a burst is written at once, and the next one only when its replies have come. In a burst,
messages are separated by two spaces:  P a|select $1::int|23   B portal|a|7   D S|a   E portal|2   S   H   C S|a
Q text   d data   c   f reason   X   F oid|arg.   A NULL value is `~`. Values are text.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from struct import Struct

from pgshim.protocol import backend, hot
from pgshim.protocol.frontend import Bind, CopyData, CopyFail, Describe, Execute, FunctionCall, Parse, Query
from pgshim.protocol.frontend import Close as CloseMessage

_HEADER = Struct("!BI")


def _fields(text: str, count: int) -> list[bytes]:
    found = [part.encode() for part in text.split("|")]
    return found + [b""] * (count - len(found))


def _values(parts: list[bytes]) -> tuple[bytes | None, ...]:
    return tuple(None if part == b"~" else part for part in parts)


def encode(step: str) -> bytes:
    """The bytes of one message in the notation."""
    kind, _, rest = step.strip().partition(" ")
    match kind:
        case "P":
            name, sql, *oids = _fields(rest, 2)
            return Parse(name, sql, tuple(int(oid) for oid in oids if oid)).encode()
        case "B":
            portal, name, *values = _fields(rest, 2)
            return Bind(portal, name, (), _values(values), ()).encode()
        case "D":
            return Describe(*_fields(rest, 2)).encode()  # type: ignore[arg-type]
        case "C":
            return CloseMessage(*_fields(rest, 2)).encode()  # type: ignore[arg-type]
        case "E":
            portal, limit = _fields(rest, 2)
            return Execute(portal, int(limit or 0)).encode()
        case "Q":
            return Query(rest.encode()).encode()
        case "d":
            return CopyData(rest.encode().decode("unicode_escape").encode()).encode()
        case "f":
            return CopyFail(rest.encode()).encode()
        case "F":
            oid, *values = _fields(rest, 1)
            return FunctionCall(int(oid), (), _values(values), 0).encode()
        case "S" | "H" | "c" | "X":
            return hot.message(ord(kind), b"")
    raise ValueError(f"no message {step!r}")


def encode_burst(burst: str) -> bytes:
    """The bytes of a burst."""
    return b"".join(encode(step) for step in burst.split("  ") if step.strip())


def frames(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """(type code, body) of each whole message."""
    pos = 0
    while pos + 5 <= len(stream):
        type_code, length = _HEADER.unpack_from(stream, pos)
        yield type_code, stream[pos + 5 : pos + 1 + length]
        pos += 1 + length


_UNTOLD = {b"F", b"L", b"R", b"S", b"W", b"q", b"p"}


def show(stream: bytes) -> list[str]:
    """A conversation's backend messages, a line each, without what legitimately differs between two servers."""
    shown = []
    for type_code, body in frames(stream):
        message = backend.decode(type_code, body)
        if isinstance(message, backend.ErrorResponse | backend.NoticeResponse):
            fields = [f"{code.decode()}={value.decode()}" for code, value in message.fields if code not in _UNTOLD]
            shown.append(f"{type(message).__name__}({', '.join(fields)})")
        elif isinstance(message, backend.RowDescription):
            columns = [(c.name, c.type_oid, c.type_modifier, c.format) for c in message.fields]
            shown.append(f"RowDescription({columns})")
        else:
            shown.append(repr(message))
    return shown


def is_answered(stream: bytes, readies: int) -> bool:
    """Whether that many ReadyForQuery have come, and the last message is whole."""
    found = [type_code for type_code, _ in frames(stream)]
    return found.count(ord("Z")) >= readies


def collect(connection: socket.socket, readies: int, quiet: float, limit: float = 5.0, *, messages: int = 0) -> bytes:
    """What comes until `readies` ReadyForQuery and `messages` in all are there, and nothing more for `quiet` seconds.

    Or until the end, or until nothing has come for `limit` seconds.
    """
    stream = b""
    while True:
        is_all = is_answered(stream, readies) and sum(1 for _ in frames(stream)) >= messages
        wait = quiet if is_all else limit
        if not select.select([connection], [], [], wait)[0]:
            return stream
        data = connection.recv(1 << 20)
        if not data:
            return stream
        stream += data


def expected_readies(burst: str) -> int:
    """How many ReadyForQuery a burst brings, unless a COPY swallows some."""
    return sum(step.strip().split(" ")[0] in ("S", "Q", "F") for step in burst.split("  "))
