"""Every message a frontend sends once its StartupMessage is out, in the manual's order ("Message Formats").

Type code `p` is four messages which only the course of the authentication tells apart. So `decode` gives an
AuthenticationResponse, its bytes unread; who knows what was asked reads it as one of the four (`read_as`).
"""

from dataclasses import field
from enum import Enum
from typing import Annotated

from pgshim.protocol.fields import (
    FormatCodes,
    Int16,
    Int32,
    Name,
    Oid,
    Oids,
    Rest,
    Sql,
    String,
    Value,
    Values,
    one_of,
)
from pgshim.protocol.message import Catalogue, Message, MessageT, message

FRONTEND = Catalogue("frontend")


def decode(type_code: int, body: bytes) -> Message:
    """The frontend's message of this type code and body.

    Raises UnknownMessageType if no frontend sends this type code, MalformedMessage if the body does not fit.
    """
    return FRONTEND.decode(type_code, body)


class Target(bytes, Enum):
    """What Close and Describe are about."""

    STATEMENT = b"S"
    PORTAL = b"P"


TargetField = Annotated[Target, one_of(Target)]


@message(FRONTEND, b"p")
class AuthenticationResponse(Message):
    """Any of PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse, unread."""

    data: Rest = field(repr=False)

    def read_as(self, cls: type[MessageT]) -> MessageT:
        """This response as the message the backend asked for; MalformedMessage if it is not one."""
        assert cls.type_code == self.type_code
        return cls.decode(self.data)


@message(FRONTEND, b"B")
class Bind(Message):
    """Makes a portal of a statement and parameter values. Formats: none, all text; one, it is for all."""

    portal: Name
    statement: Name
    parameter_formats: FormatCodes
    parameter_values: Values
    result_formats: FormatCodes


@message(FRONTEND, b"C")
class Close(Message):
    """Closes a prepared statement or a portal; no error if there is none of that name."""

    target: TargetField
    name: Name


@message(FRONTEND, b"d")
class CopyData(Message):
    """A piece of a COPY's data, of any size; both sides send it."""

    data: Rest


@message(FRONTEND, b"c")
class CopyDone(Message):
    """The end of a COPY's data; both sides send it."""


@message(FRONTEND, b"f")
class CopyFail(Message):
    """Makes a COPY fail, with the reason the frontend gives."""

    reason: String


@message(FRONTEND, b"D")
class Describe(Message):
    """Asks for the description of a prepared statement or a portal."""

    target: TargetField
    name: Name


@message(FRONTEND, b"E")
class Execute(Message):
    """Runs a portal, up to `row_limit` rows; "zero denotes no limit"."""

    portal: Name
    row_limit: Int32


@message(FRONTEND, b"H")
class Flush(Message):
    """Asks the backend to send what it has buffered."""


@message(FRONTEND, b"F")
class FunctionCall(Message):
    """Calls a function by its object ID (the legacy "fast path")."""

    function_oid: Oid
    argument_formats: FormatCodes
    argument_values: Values
    result_format: Int16


@message(FRONTEND, b"p", by_context=True)
class GSSResponse(Message):
    """A GSSAPI or SSPI token, in answer to AuthenticationGSS, -SSPI or -GSSContinue."""

    data: Rest = field(repr=False)


@message(FRONTEND, b"P")
class Parse(Message):
    """Makes a prepared statement; object ID zero, or none, leaves a parameter's type to the server."""

    statement: Name
    query: Sql
    parameter_types: Oids


@message(FRONTEND, b"p", by_context=True)
class PasswordMessage(Message):
    """A password, in clear or MD5-hashed as was asked."""

    password: String = field(repr=False)


@message(FRONTEND, b"Q")
class Query(Message):
    """A simple query: SQL text, possibly of several statements."""

    query: Sql


@message(FRONTEND, b"p", by_context=True)
class SASLInitialResponse(Message):
    """Chooses a SASL mechanism; `data` is None where the mechanism has no initial response."""

    mechanism: Name
    data: Value = field(repr=False)


@message(FRONTEND, b"p", by_context=True)
class SASLResponse(Message):
    """The frontend's next piece of a SASL exchange."""

    data: Rest = field(repr=False)


@message(FRONTEND, b"S")
class Sync(Message):
    """Ends a batch: the backend answers with ReadyForQuery."""


@message(FRONTEND, b"X")
class Terminate(Message):
    """Ends the session."""
