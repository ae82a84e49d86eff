"""The login: startup and authentication, relayed end to end.

pgshim knows no password. It passes what client and upstream say to each other until the first ReadyForQuery, and
changes three things: upstream is always spoken to in protocol 3.0; SCRAM-SHA-256-PLUS is taken out of the offer,
because a login bound to a TLS channel cannot pass through a proxy that ends it; known refusals get a HINT. Pure: bytes
in, bytes out.
"""

from __future__ import annotations

from struct import Struct

from pgshim.errors import FeatureNotSupported, MalformedMessage, ProtocolViolation, UpstreamViolation
from pgshim.protocol import backend, hot
from pgshim.protocol.startup import StartupMessage
from pgshim.session.hints import with_hint

_HEADER = Struct("!BI")
_INT32 = Struct("!I")

_PROTOCOL_3_0 = 3 << 16

#: A message of the login is small; PostgreSQL's own limit for what a client sends here.
_MESSAGE_LIMIT = 65_535

#: Bytes that a client may send ahead of the end of its login.
_EARLY_LIMIT = 256 * 1024

_AUTHENTICATION, _BACKEND_KEY, _PARAMETER_STATUS, _READY, _ERROR, _NOTICE, _NEGOTIATE = b"RKSZENv"
_PASSWORD, _TERMINATE = b"pX"
_AUTHENTICATION_OK, _AUTHENTICATION_SASL, _AUTHENTICATION_SASL_FINAL = 0, 10, 12

#: Multi-byte encodings that only clients have, whose second bytes may look like a quote or a backslash.
_UNSAFE_ENCODINGS = frozenset({b"SJIS", b"SHIFTJIS2004", b"BIG5", b"GBK", b"GB18030", b"UHC", b"JOHAB"})
_ENCODING_ALIASES = {b"SHIFTJIS": b"SJIS", b"MSKANJI": b"SJIS", b"WIN932": b"SJIS", b"WINDOWS932": b"SJIS",
                     b"WIN936": b"GBK", b"WINDOWS936": b"GBK", b"WIN949": b"UHC", b"WINDOWS949": b"UHC",
                     b"WIN950": b"BIG5", b"WINDOWS950": b"BIG5"}  # fmt: skip
_FALSE = frozenset({b"", b"0", b"f", b"false", b"n", b"no", b"off"})


class Login:
    """One client's login. Raises PgshimError where it cannot go on; the client is told so and disconnected."""

    __slots__ = (
        "_from_client",
        "_from_upstream",
        "_is_asked",
        "_is_authenticated",
        "_to_client",
        "_to_upstream",
        "backend_key",
        "database",
        "has_said_fatal",
        "is_complete",
        "is_terminated",
        "parameters",
        "user",
    )

    def __init__(self, packet: bytes) -> None:
        """Take the client's StartupMessage. Raises FeatureNotSupported, ProtocolViolation."""
        startup = StartupMessage.decode(packet[4:])
        self._from_client = bytearray()
        self._from_upstream = bytearray()
        self._to_client: list[bytes] = []
        self._to_upstream: list[bytes] = []
        #: Upstream waits for an answer of the client's.
        self._is_asked = False
        self._is_authenticated = False
        #: The body of BackendKeyData: what a CancelRequest will name.
        self.backend_key: bytes | None = None
        #: The first ReadyForQuery has come.
        self.is_complete = False
        #: The client has sent Terminate.
        self.is_terminated = False
        #: The client has been given a reason for which the login failed.
        self.has_said_fatal = False
        #: ParameterStatus: name -> value.
        self.parameters: dict[bytes, bytes] = {}
        self.user = startup.parameter(b"user") or b""
        self.database = startup.parameter(b"database") or self.user
        _refuse_what_cannot_work(startup)
        own = tuple(item for item in startup.parameters if not item[0].startswith(b"_pq_."))
        options = [name for name, _ in startup.parameters if name.startswith(b"_pq_.")]
        if startup.minor_version or options:
            self._to_client.append(backend.NegotiateProtocolVersion(_PROTOCOL_3_0, tuple(options)).encode())
        self._to_upstream.append(StartupMessage(0, own).encode())

    # The client's direction.

    def receive_from_client(self, data: bytes) -> None:
        """Take the next bytes from the client. Raises ProtocolViolation."""
        self._from_client += data
        self._pass_answers()
        if len(self._from_client) > _EARLY_LIMIT:
            raise ProtocolViolation("too much was sent before the login was complete")

    def _pass_answers(self) -> None:
        """Pass on what belongs to the authentication; other messages may come early where none is asked for."""
        stream = self._from_client
        while stream and not self._is_authenticated and not self.is_terminated:
            if stream[0] not in (_PASSWORD, _TERMINATE):
                if self._is_asked:
                    raise ProtocolViolation(f"expected an authentication response, got message type {stream[0]}")
                return
            message = _next_message(stream)
            if message is None:
                return
            if message[0] == _TERMINATE:
                self.is_terminated = True
            else:
                self._is_asked = False
                self._to_upstream.append(message)

    # The upstream's direction.

    def receive_from_upstream(self, data: bytes) -> None:
        """Take the next bytes from upstream. Raises UpstreamViolation, FeatureNotSupported."""
        self._from_upstream += data
        while not self.is_complete:
            try:
                message = _next_message(self._from_upstream)
            except ProtocolViolation as error:
                raise UpstreamViolation(f"the upstream sent an {error.message} during login") from error
            if message is None:
                return
            self._to_client.append(self._relay(message[0], message))

    def _relay(self, type_code: int, message: bytes) -> bytes:
        if type_code == _AUTHENTICATION:
            return self._on_authentication(message)
        if type_code == _PARAMETER_STATUS:
            self._note_parameter(message)
        elif type_code == _BACKEND_KEY:
            self.backend_key = message[5:]
        elif type_code == _READY:
            if not self._is_authenticated or len(message) != 6 or message[5] != hot.IDLE:
                raise UpstreamViolation("the upstream sent a ReadyForQuery out of order during login")
            self.is_complete = True
        elif type_code == _ERROR:
            self.has_said_fatal = True
            return with_hint(message)
        elif type_code not in (_NOTICE, _NEGOTIATE):
            raise UpstreamViolation(f"the upstream sent message type {chr(type_code)!r} during login")
        return message

    def _note_parameter(self, message: bytes) -> None:
        try:
            name, value = hot.read_parameter_status(message, 0, len(message))
        except MalformedMessage as error:
            raise UpstreamViolation(f"the upstream sent an {error.message} during login") from error
        self.parameters[name] = value

    def _on_authentication(self, message: bytes) -> bytes:
        if len(message) < 9:
            raise UpstreamViolation("the upstream sent an authentication request without a code")
        code = _INT32.unpack_from(message, 5)[0]
        self._is_authenticated = code == _AUTHENTICATION_OK
        self._is_asked = code not in (_AUTHENTICATION_OK, _AUTHENTICATION_SASL_FINAL)
        self._pass_answers()
        return _without_channel_binding(message) if code == _AUTHENTICATION_SASL else message

    # What the connection asks.

    def take_client_output(self) -> bytes:
        """What is to be written to the client now."""
        output = b"".join(self._to_client)
        self._to_client.clear()
        return output

    def take_upstream_output(self) -> bytes:
        """What is to be written to the upstream now."""
        output = b"".join(self._to_upstream)
        self._to_upstream.clear()
        return output

    @property
    def leftover_client(self) -> bytes:
        """What the client has sent behind its login."""
        return bytes(self._from_client)

    @property
    def leftover_upstream(self) -> bytes:
        """What upstream has sent behind the first ReadyForQuery."""
        return bytes(self._from_upstream)


def _next_message(stream: bytearray) -> bytes | None:
    """Take the next whole message off the stream; None while it is not there."""
    if len(stream) < 5:
        return None
    length = _HEADER.unpack_from(stream)[1]
    if length < 4 or length > _MESSAGE_LIMIT:
        raise ProtocolViolation(f"invalid message length {length}")
    if len(stream) < length + 1:
        return None
    message = bytes(stream[: length + 1])
    del stream[: length + 1]
    return message


def _without_channel_binding(message: bytes) -> bytes:
    mechanisms = message[9:].rstrip(b"\0").split(b"\0")
    kept = [mechanism for mechanism in mechanisms if not mechanism.endswith(b"-PLUS")]
    if not kept:
        raise FeatureNotSupported(
            "the server offers no authentication that can pass through pgshim: it insists on channel binding",
            hint="Connect to the database directly, or allow SCRAM-SHA-256 without channel binding.",
        )
    return hot.message(message[0], message[5:9] + b"".join(mechanism + b"\0" for mechanism in kept) + b"\0")


def _refuse_what_cannot_work(startup: StartupMessage) -> None:
    replication = startup.parameter(b"replication")
    if replication is not None and replication.lower() not in _FALSE:
        raise FeatureNotSupported(
            "replication connections do not work through a transaction pooler",
            hint="Connect to the database directly.",
        )
    encoding = startup.parameter(b"client_encoding") or b""
    name = bytes(char for char in encoding.upper() if chr(char).isalnum())
    if _ENCODING_ALIASES.get(name, name) in _UNSAFE_ENCODINGS:
        raise FeatureNotSupported(
            f"client_encoding {encoding.decode('ascii', 'replace')} is not supported",
            hint="Its characters can contain the bytes of quotes, so SQL cannot be read safely; use UTF8.",
        )
