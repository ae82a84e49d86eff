"""Every message a backend sends, in the manual's order ("Message Formats")."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from construct import Int16ub

from pgshim.protocol.diagnostic import Diagnostic
from pgshim.protocol.fields import (
    Byte4,
    Counted,
    CountedNames,
    FormatCodes,
    Int8,
    Int16,
    Int32,
    Name,
    Names,
    Oid,
    Oids,
    Record,
    Rest,
    SecretKey,
    String,
    Value,
    Values,
    one_of,
)
from pgshim.protocol.frontend import CopyData as CopyData
from pgshim.protocol.frontend import CopyDone as CopyDone
from pgshim.protocol.message import Catalogue, Message, int32, message

BACKEND = Catalogue("backend")


def decode(type_code: int, body: bytes) -> Message:
    """The backend's message of this type code and body.

    Raises UnknownMessageType if no backend sends this type code or authentication request, MalformedMessage
    if the body does not fit.
    """
    return BACKEND.decode(type_code, body)


@message(BACKEND, b"R", prefix=int32(0))
class AuthenticationOk(Message):
    """The authentication succeeded."""


@message(BACKEND, b"R", prefix=int32(2))
class AuthenticationKerberosV5(Message):
    """Asks for Kerberos V5, which no supported server does."""


@message(BACKEND, b"R", prefix=int32(3))
class AuthenticationCleartextPassword(Message):
    """Asks for a password in clear."""


@message(BACKEND, b"R", prefix=int32(5))
class AuthenticationMD5Password(Message):
    """Asks for a password hashed with MD5 and this salt."""

    salt: Byte4


@message(BACKEND, b"R", prefix=int32(7))
class AuthenticationGSS(Message):
    """Asks for GSSAPI."""


@message(BACKEND, b"R", prefix=int32(8))
class AuthenticationGSSContinue(Message):
    """The backend's next piece of a GSSAPI or SSPI exchange."""

    data: Rest = field(repr=False)


@message(BACKEND, b"R", prefix=int32(9))
class AuthenticationSSPI(Message):
    """Asks for SSPI."""


@message(BACKEND, b"R", prefix=int32(10))
class AuthenticationSASL(Message):
    """Asks for SASL; the mechanisms offered, "in the server's order of preference"."""

    mechanisms: Names


@message(BACKEND, b"R", prefix=int32(11))
class AuthenticationSASLContinue(Message):
    """The backend's next piece of a SASL exchange."""

    data: Rest = field(repr=False)


@message(BACKEND, b"R", prefix=int32(12))
class AuthenticationSASLFinal(Message):
    """The outcome of a SASL exchange, by which the backend proves itself."""

    data: Rest = field(repr=False)


@message(BACKEND, b"K")
class BackendKeyData(Message):
    """What a CancelRequest for this session must carry. The key has 4 bytes in 3.0, 4 to 256 in 3.2."""

    process_id: Int32
    secret_key: SecretKey = field(repr=False)


@message(BACKEND, b"2")
class BindComplete(Message):
    """A Bind succeeded."""


@message(BACKEND, b"3")
class CloseComplete(Message):
    """A Close succeeded."""


@message(BACKEND, b"C")
class CommandComplete(Message):
    """A command ended; the tag says which, and often how many rows (`INSERT 0 1`)."""

    tag: Name


# Both sides send these two; they are declared among the frontend's.
BACKEND.add(CopyData)
BACKEND.add(CopyDone)


@message(BACKEND, b"G")
class CopyInResponse(Message):
    """The backend now takes CopyData. Formats: 0 text, 1 binary; overall, then one for each column."""

    overall_format: Int8
    column_formats: FormatCodes


@message(BACKEND, b"H")
class CopyOutResponse(Message):
    """CopyData follows; formats as in CopyInResponse."""

    overall_format: Int8
    column_formats: FormatCodes


@message(BACKEND, b"W")
class CopyBothResponse(Message):
    """CopyData goes both ways (streaming replication); formats as in CopyInResponse."""

    overall_format: Int8
    column_formats: FormatCodes


@message(BACKEND, b"D")
class DataRow(Message):
    """One row of a result."""

    values: Values


@message(BACKEND, b"I")
class EmptyQueryResponse(Message):
    """Stands for CommandComplete where the query was empty."""


@message(BACKEND, b"E")
class ErrorResponse(Diagnostic, Message):
    """An error; in an extended batch, all up to the Sync is then skipped."""


@message(BACKEND, b"V")
class FunctionCallResponse(Message):
    """The result of a FunctionCall."""

    value: Value


@message(BACKEND, b"v")
class NegotiateProtocolVersion(Message):
    """The backend does not speak the minor version, or knows not the options, asked for.

    The manual says the number is the newest *minor* version supported; servers send all of it (196608: 3.0).
    """

    newest_version: Int32
    unrecognized_options: CountedNames


@message(BACKEND, b"n")
class NoData(Message):
    """What was described returns no rows."""


@message(BACKEND, b"N")
class NoticeResponse(Diagnostic, Message):
    """A warning or notice; it may come at any time."""


@message(BACKEND, b"A")
class NotificationResponse(Message):
    """A NOTIFY of a channel listened to; it may come at any time."""

    process_id: Int32
    channel: Name
    payload: String


@message(BACKEND, b"t")
class ParameterDescription(Message):
    """Object IDs of the parameter types of a described statement."""

    parameter_types: Oids


@message(BACKEND, b"S")
class ParameterStatus(Message):
    """A setting's value, at login and when it changes; it may come at any time."""

    name: Name
    value: String


@message(BACKEND, b"1")
class ParseComplete(Message):
    """A Parse succeeded."""


@message(BACKEND, b"s")
class PortalSuspended(Message):
    """An Execute stopped at its row limit."""


class TransactionStatus(bytes, Enum):
    """How a session stands to transactions, as ReadyForQuery tells it."""

    IDLE = b"I"
    IN_TRANSACTION = b"T"
    FAILED = b"E"


@message(BACKEND, b"Z")
class ReadyForQuery(Message):
    """The answer to Query and Sync is complete."""

    status: Annotated[TransactionStatus, one_of(TransactionStatus)]


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One column of a RowDescription; `table_oid` and `column_number` are zero for what is no table's."""

    name: Name
    table_oid: Oid
    column_number: Int16
    type_oid: Oid
    type_size: Int16
    type_modifier: Int32
    format: Int16


@message(BACKEND, b"T")
class RowDescription(Message):
    """The columns of the rows that follow or that Execute would return."""

    fields: Annotated[tuple[FieldDescription, ...], Counted(Int16ub, Record(FieldDescription))]
