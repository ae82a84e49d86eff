"""The untyped packets that may open a connection: no type code, only a length and a body.

Source: the manual, "Message Formats"; for the limits `ProcessStartupPacket` in the server.
"""

import struct
from dataclasses import field
from typing import Annotated

from pgshim.errors import InvalidLength
from pgshim.protocol.fields import Int32, Parameters, Remaining, UInt16
from pgshim.protocol.message import UNTYPED, Catalogue, Message, int32, message

STARTUP = Catalogue("startup")

# "The most significant 16 bits are the major version number (3 ...)", the others the minor.
_MAJOR_VERSION_3 = b"\0\x03"

_LENGTH_AND_CODE = struct.Struct("!II")

# "The maximum key length is 256 bytes". The server takes any from 1 byte on: odd ones are relayed.
CancelKey = Annotated[bytes, Remaining(1, 256)]


def decode(packet: bytes) -> Message:
    """The startup packet that this is, its four bytes of length included.

    Raises InvalidLength if the length is not the packet's, UnknownMessageType for an unknown request code or
    major version, MalformedMessage for a body that does not fit.
    """
    if len(packet) < _LENGTH_AND_CODE.size:
        raise InvalidLength(f"a startup packet of {len(packet)} bytes")
    length, _ = _LENGTH_AND_CODE.unpack_from(packet)
    if length != len(packet):
        raise InvalidLength(f"a startup packet of {len(packet)} bytes that says it has {length}")
    return STARTUP.decode(UNTYPED[0], packet[4:])


@message(STARTUP, UNTYPED, prefix=int32(80877102))
class CancelRequest(Message):
    """Asks, on a connection of its own, to cancel what another one is doing."""

    process_id: Int32
    secret_key: CancelKey = field(repr=False)


@message(STARTUP, UNTYPED, prefix=int32(80877103))
class SSLRequest(Message):
    """Asks for TLS; answered by one byte, S or N."""


@message(STARTUP, UNTYPED, prefix=int32(80877104))
class GSSENCRequest(Message):
    """Asks for GSSAPI encryption; answered by one byte, G or N."""


@message(STARTUP, UNTYPED, prefix=_MAJOR_VERSION_3)
class StartupMessage(Message):
    """Opens a session of protocol 3.`minor_version`; `parameters` are (name, value) as sent, with repeats."""

    minor_version: UInt16
    parameters: Parameters

    def parameter(self, name: bytes) -> bytes | None:
        """A parameter's value, of a repeated one the last, as the server does; None if it was not sent."""
        return dict(self.parameters).get(name)

    @property
    def protocol_options(self) -> tuple[bytes, ...]:
        """Names of the protocol extensions asked for: "names beginning with _pq_. are reserved" for them."""
        return tuple(name for name, _ in self.parameters if name.startswith(b"_pq_."))
