"""The vocabulary messages are declared with: constructs, paired with the Python type each one yields.

A field of a message is annotated with one of the names at the end of this file (`String`, `Int32`, ...: the
manual's "Message Data Types"). Each is an `Annotated` type: mypy reads the type, `Record` the construct in it,
and a trace what its bytes are (`Content`). Nothing here reads past the end of a body, and no count makes it
allocate before the bytes are there. A body that does not fit raises a ConstructError, which only `message.py`
may see.
"""

import struct
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum, auto
from io import BytesIO
from typing import Annotated, Any

from construct import (
    Bytes,
    Construct,
    ConstructError,
    Container,
    GreedyBytes,
    Int8sb,
    Int16sb,
    Int16ub,
    Int32sb,
    Int32ub,
    Mapping,
    RangeError,
    StringError,
    stream_read,
)

NUL = b"\0"
_INT32 = struct.Struct("!i")
_NULL = _INT32.pack(-1)


class Content(Enum):
    """What the bytes of a field are, where they may be shown to one who looks on; all others may hold a value."""

    #: Of a statement, a portal, a column, ...; a command's tag.
    NAME = auto()
    #: A text of SQL: only what kind of statement it is, and its size.
    SQL = auto()
    #: (name, value) pairs: the names.
    SETTINGS = auto()
    #: (code, value) pairs of an error or a notice: severity and SQLSTATE.
    DIAGNOSTIC = auto()
    VALUE = auto()


class NulTerminated(Construct):  # type: ignore[misc]
    """A String: bytes up to a NUL. (construct's CString reads byte by byte: 150 times slower on 20 KB.)"""

    def _parse(self, stream: BytesIO, context: Any, path: str) -> bytes:
        start = stream.tell()
        # Not a copy: BytesIO gives back the very bytes object it was made from.
        data = stream.getvalue()
        end = data.find(NUL, start)
        if end < 0:
            raise StringError("no NUL ends the string", path=path)
        stream.seek(end + 1)
        return data[start:end]

    def _build(self, obj: bytes, stream: BytesIO, context: Any, path: str) -> None:
        if NUL in obj:
            raise StringError("a string cannot hold a NUL", path=path)
        stream.write(obj + NUL)


class Nullable(Construct):  # type: ignore[misc]
    """A value: Int32 length, then the bytes. "As a special case, -1 indicates a NULL" value: None."""

    def _parse(self, stream: BytesIO, context: Any, path: str) -> bytes | None:
        (length,) = _INT32.unpack(stream_read(stream, 4, path))
        if length == -1:
            return None
        value: bytes = stream_read(stream, length, path)
        return value

    def _build(self, obj: bytes | None, stream: BytesIO, context: Any, path: str) -> None:
        stream.write(_NULL if obj is None else _INT32.pack(len(obj)) + obj)


class Remaining(Construct):  # type: ignore[misc]
    """All bytes up to the message's end: `minimum` to `maximum` of them."""

    def __init__(self, minimum: int, maximum: int) -> None:
        super().__init__()
        self.minimum = minimum
        self.maximum = maximum

    def _parse(self, stream: BytesIO, context: Any, path: str) -> bytes:
        return self._check(stream.read(), path)

    def _build(self, obj: bytes, stream: BytesIO, context: Any, path: str) -> None:
        stream.write(self._check(obj, path))

    def _check(self, data: bytes, path: str) -> bytes:
        if not self.minimum <= len(data) <= self.maximum:
            raise RangeError(f"{len(data)} bytes, not {self.minimum} to {self.maximum}", path=path)
        return data


class Tuple(Construct):  # type: ignore[misc]
    """One element of each of `members`, in order, as a tuple."""

    def __init__(self, *members: Construct) -> None:
        super().__init__()
        self.members = members

    def _parse(self, stream: BytesIO, context: Any, path: str) -> tuple[Any, ...]:
        return tuple([member._parsereport(stream, context, path) for member in self.members])

    def _build(self, obj: Sequence[Any], stream: BytesIO, context: Any, path: str) -> None:
        for member, value in zip(self.members, obj, strict=True):
            member._build(value, stream, context, path)


class Counted(Construct):  # type: ignore[misc]
    """A count, then that many elements, as a tuple. The first missing element ends it, whatever the count."""

    def __init__(self, count: Construct, element: Construct) -> None:
        super().__init__()
        self.count = count
        self.element = element

    def _parse(self, stream: BytesIO, context: Any, path: str) -> tuple[Any, ...]:
        count = self.count._parsereport(stream, context, path)
        if count < 0:
            raise RangeError(f"a count of {count}", path=path)
        return tuple([self.element._parsereport(stream, context, path) for _ in range(count)])

    def _build(self, obj: Sequence[Any], stream: BytesIO, context: Any, path: str) -> None:
        self.count._build(len(obj), stream, context, path)
        for value in obj:
            self.element._build(value, stream, context, path)


class UntilNul(Construct):  # type: ignore[misc]
    """Elements up to a zero byte where the next would begin, as a tuple; so no element may begin with one."""

    def __init__(self, element: Construct) -> None:
        super().__init__()
        self.element = element

    def _parse(self, stream: BytesIO, context: Any, path: str) -> tuple[Any, ...]:
        elements = []
        while stream_read(stream, 1, path) != NUL:
            stream.seek(-1, 1)
            elements.append(self.element._parsereport(stream, context, path))
        return tuple(elements)

    def _build(self, obj: Sequence[Any], stream: BytesIO, context: Any, path: str) -> None:
        for value in obj:
            start = stream.tell()
            self.element._build(value, stream, context, path)
            if stream.getbuffer()[start] == 0:
                raise StringError("an element that begins with NUL would end the list", path=path)
        stream.write(NUL)


class Record(Construct):  # type: ignore[misc]
    """An instance of dataclass `cls`: its fields in order, each by the construct its annotation carries."""

    def __init__(self, cls: type[Any]) -> None:
        super().__init__()
        self.cls = cls
        self.members = [(field.name, field.name / construct_of(field.type)) for field in fields(cls)]

    def _parse(self, stream: BytesIO, context: Any, path: str) -> Any:
        return self.cls(*[member._parsereport(stream, context, path) for _, member in self.members])

    def _build(self, obj: Any, stream: BytesIO, context: Any, path: str) -> None:
        for name, member in self.members:
            member._build(getattr(obj, name), stream, context, path)

    def read_head(self, data: bytes) -> tuple[list[Any], int]:
        """The values of the fields that `data` begins with, up to one that is not whole; and how many bytes they have.

        A field without an end of its own (`Rest`) takes all there is.
        """
        stream, values, end = BytesIO(data), [], 0
        for _, member in self.members:
            try:
                values.append(member._parsereport(stream, Container(), ""))
            except ConstructError:
                break
            end = stream.tell()
        return values, end


def construct_of(annotation: Any) -> Construct:
    """The construct that an `Annotated` type carries."""
    return annotation.__metadata__[0]


def content_of(annotation: Any) -> Content:
    """What the bytes are that an `Annotated` type stands for."""
    return next((each for each in annotation.__metadata__[1:] if isinstance(each, Content)), Content.VALUE)


def one_of(kind: type[Enum]) -> Construct:
    """A Byte1 that must be one of the enumeration's values."""
    return Mapping(Bytes(1), {member: member.value for member in kind})


Int8 = Annotated[int, Int8sb]
Int16 = Annotated[int, Int16sb]
UInt16 = Annotated[int, Int16ub]
Int32 = Annotated[int, Int32sb]
# Object IDs are unsigned, and those above 2^31 do occur.
Oid = Annotated[int, Int32ub]
Byte4 = Annotated[bytes, Bytes(4)]
String = Annotated[bytes, NulTerminated()]
Name = Annotated[bytes, NulTerminated(), Content.NAME]
Sql = Annotated[bytes, NulTerminated(), Content.SQL]
Value = Annotated[bytes | None, Nullable()]
Rest = Annotated[bytes, GreedyBytes]
# "Minimum and maximum key length are 4 and 256 bytes, respectively." (3.2; until then always 4)
SecretKey = Annotated[bytes, Remaining(4, 256)]

# Counts that the manual calls Int16 are unsigned in practice: libpq binds up to 65535 parameters. One meant
# to be negative is a large one here, and fails because its elements are missing.
FormatCodes = Annotated[tuple[int, ...], Counted(Int16ub, Int16sb)]
Oids = Annotated[tuple[int, ...], Counted(Int16ub, Int32ub)]
Values = Annotated[tuple[bytes | None, ...], Counted(Int16ub, Nullable())]
CountedNames = Annotated[tuple[bytes, ...], Counted(Int32sb, NulTerminated()), Content.NAME]

Names = Annotated[tuple[bytes, ...], UntilNul(NulTerminated()), Content.NAME]
Parameters = Annotated[
    tuple[tuple[bytes, bytes], ...], UntilNul(Tuple(NulTerminated(), NulTerminated())), Content.SETTINGS
]
DiagnosticFields = Annotated[
    tuple[tuple[bytes, bytes], ...], UntilNul(Tuple(Bytes(1), NulTerminated())), Content.DIAGNOSTIC
]
