"""Message, and the catalogues messages are registered in by type code.

A message is declared once, as a class whose annotations name its fields in the order of the manual:

    @message(BACKEND, b"S")
    class ParameterStatus(Message):
        name: String
        value: String

The decorator makes it a frozen dataclass with slots; decode, encode, dispatch and repr derive from that. This
is the one place where a ConstructError becomes a MalformedMessage.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from construct import Const, Construct, ConstructError, Terminated

from pgshim.errors import MalformedMessage, UnknownMessageType
from pgshim.protocol.fields import Record, Tuple

_LENGTH = struct.Struct("!I")
_HEADER = struct.Struct("!BI")

# What stands for the type code of a startup packet, which has none.
UNTYPED = b"\0"


class Message:
    """One message of the protocol. Names, SQL and values are bytes; None is the NULL value."""

    __slots__ = ()

    # The type byte as a number, as indexing bytes gives it; 0 for the untyped startup packets.
    type_code: ClassVar[int]
    # What the body begins with, where several messages share a type code: the manual's Int32(n). Not a field.
    prefix: ClassVar[bytes]
    # The construct of the whole body: prefix, fields, end.
    _body: ClassVar[Construct]

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """The message whose body (all that follows the length) this is; MalformedMessage if it is not one."""
        try:
            _, decoded, _ = cls._body.parse(body)
        except ConstructError as error:
            raise MalformedMessage(cls._describe(error)) from error
        assert isinstance(decoded, cls)
        return decoded

    @classmethod
    def decode_head(cls, body: bytes) -> tuple[tuple[Any, ...], bytes]:
        """The fields that stand whole in the beginning of a body, in their order; and what is behind them.

        For one who looks at a message that may be cut off, or is none.
        """
        record: Record = cls._body.members[1]
        start = len(cls.prefix)
        values, end = record.read_head(body[start:])
        return tuple(values), body[start + end :]

    def encode(self) -> bytes:
        """The whole message: type code (if it has one), length, body. ValueError for what no body can say."""
        try:
            body: bytes = self._body.build((self.prefix, self, None))
        except ConstructError as error:
            raise ValueError(self._describe(error)) from error
        if not self.type_code:
            return _LENGTH.pack(len(body) + 4) + body
        return _HEADER.pack(self.type_code, len(body) + 4) + body

    @classmethod
    def _describe(cls, error: ConstructError) -> str:
        """Which message, which field of it, what is wrong: `Bind: portal: no NUL ends the string`."""
        _, *path = error.path.split(" -> ")
        return ": ".join([cls.__name__, *path, str(error).partition("\n")[2]])


MessageT = TypeVar("MessageT", bound=Message)


class Catalogue:
    """The messages of one direction; iterating gives their classes in the order of declaration."""

    def __init__(self, direction: str) -> None:
        # "frontend", "backend" or "startup", for error texts
        self.direction = direction
        # Every class, those that only the context tells apart included.
        self._classes: list[type[Message]] = []
        # What decode() chooses from.
        self._by_type_code: dict[int, list[type[Message]]] = {}

    def __iter__(self) -> Iterator[type[Message]]:
        return iter(self._classes)

    def add(self, cls: type[Message], *, by_context: bool = False) -> None:
        """Registers a class. One told only `by_context` is never chosen by decode()."""
        self._classes.append(cls)
        if not by_context:
            self._by_type_code.setdefault(cls.type_code, []).append(cls)

    def find(self, type_code: int, body: bytes) -> type[Message] | None:
        """The class of the message of this type code that a body begins; None if this direction has none such."""
        return next((cls for cls in self._by_type_code.get(type_code, ()) if body.startswith(cls.prefix)), None)

    def decode(self, type_code: int, body: bytes) -> Message:
        """The message of this type code and body.

        Raises UnknownMessageType if this direction has none such, MalformedMessage if the body does not fit.
        """
        cls = self.find(type_code, body)
        if cls is not None:
            return cls.decode(body)
        if type_code in self._by_type_code:
            raise UnknownMessageType(
                f"no {self.direction} message of type 0x{type_code:02x} begins with 0x{body[:4].hex()}"
            )
        raise UnknownMessageType(f"no {self.direction} message has type 0x{type_code:02x}")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def message(
    catalogue: Catalogue, type_byte: bytes, *, prefix: bytes = b"", by_context: bool = False
) -> Callable[[type[MessageT]], type[MessageT]]:
    """Declares a message: makes the class a frozen dataclass with slots and registers it in its catalogue.

    `prefix` is what the body begins with where that, not the type byte alone, says which message it is.
    `by_context` marks a message that is told from others of its type byte only by what was sent before it.
    """

    def declare(cls: type[MessageT]) -> type[MessageT]:
        declared = dataclass(frozen=True, slots=True)(cls)
        (declared.type_code,) = type_byte
        declared.prefix = prefix
        declared._body = Tuple(Const(prefix), Record(declared), Terminated)
        catalogue.add(declared, by_context=by_context)
        return declared

    return declare


def int32(number: int) -> bytes:
    """The manual's Int32(number), as a prefix."""
    return _LENGTH.pack(number)
