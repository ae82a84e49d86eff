"""The login: startup and authentication, relayed end to end, and the settings that the client asks for.

pgshim knows no password. It passes what client and upstream say to each other until the first ReadyForQuery, and
changes this: upstream is always spoken to in protocol 3.0, and given only what a pooler takes (`startup_request`);
SCRAM-SHA-256-PLUS is taken out of the offer, because a login bound to a TLS channel cannot pass through a proxy that
ends it; known refusals get a HINT; with settings asked for, the end of the login is held back until a server has
accepted them (`startup_check`), and ParameterStatus says what they make of it. Pure: bytes in, bytes out.

    startup packet -> authentication -> ParameterStatus, BackendKeyData -> ReadyForQuery -> [check] -> complete
"""

from __future__ import annotations

from struct import Struct

from pgshim.errors import MalformedMessage, ProtocolViolation, UpstreamViolation
from pgshim.protocol import backend, hot
from pgshim.protocol.startup import StartupMessage
from pgshim.session.hints import with_hint
from pgshim.session.startup_check import Accepted, AcceptedSettings, SettingsCheck
from pgshim.session.startup_refusals import without_channel_binding
from pgshim.session.startup_request import Service, as_reported, read_request

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

_APPLICATION_NAME, _CLIENT_ENCODING = b"application_name", b"client_encoding"

_POOLER = Service()


class Login:
    """One client's login. Raises PgshimError where it cannot go on; the client is told so and disconnected."""

    __slots__ = (
        "_cache",
        "_check",
        "_from_client",
        "_from_upstream",
        "_held",
        "_is_asked",
        "_is_authenticated",
        "_reported",
        "_request",
        "_to_client",
        "_to_upstream",
        "backend_key",
        "database",
        "has_said_fatal",
        "is_at_session_endpoint",
        "is_complete",
        "is_plain",
        "is_refused",
        "is_terminated",
        "parameters",
        "reference", "refusal",
        "settings",
        "startup",
        "told",
        "user",
    )

    def __init__(self, packet: bytes, service: Service = _POOLER, accepted: AcceptedSettings | None = None) -> None:
        """Take the client's StartupMessage; `accepted` is what servers of the pooler have accepted before.

        Raises FeatureNotSupported, InvalidSwitch, InvalidParameterValue, ProtocolViolation.
        """
        startup = StartupMessage.decode(packet[4:])
        self._request = request = read_request(startup, service)
        self._from_client = bytearray()
        self._from_upstream = bytearray()
        self._to_client: list[bytes] = []
        self._to_upstream = [request.packet]
        #: Upstream waits for an answer of the client's.
        self._is_asked = False
        self._is_authenticated = False
        #: With settings: BackendKeyData and ReadyForQuery, which wait until it is known what ParameterStatus says.
        self._held: list[bytes] = []
        self._check: SettingsCheck | None = None
        #: What ParameterStatus is to say: name in lower case -> value.
        self._reported: dict[bytes, bytes] = {}
        #: Towards the session endpoint settings have to be put in force: what was accepted before is no answer.
        self._cache = None if request.is_plain else accepted
        #: The body of BackendKeyData: what a CancelRequest will name.
        self.backend_key: bytes | None = None
        #: The login is at its end.
        self.is_complete = False
        #: The client has sent Terminate.
        self.is_terminated = False
        #: A server did not accept the settings; the client has its reason, and the connection ends.
        self.is_refused = False
        #: The client has been given a reason for which the login failed; that ErrorResponse.
        self.has_said_fatal, self.refusal = False, b""
        #: ParameterStatus as upstream sent it, and as the client was told: name -> value.
        self.parameters: dict[bytes, bytes] = {}
        self.told: dict[bytes, bytes] = {}
        #: In the order in which they are put in force: name in lower case -> value as SHOW gives it. Without
        #: application_name and client_encoding, which go up, unless they were dropped; in `startup` these, if given.
        self.settings: dict[bytes, bytes] = {}
        self.startup = dict(request.startup)
        #: As they went up; the database also if none was named.
        self.user, self.database, self.reference = request.user, request.database, request.reference
        self.is_at_session_endpoint = request.is_at_session_endpoint
        #: The session that follows is to change nothing.
        self.is_plain = request.is_plain
        if startup.minor_version or startup.protocol_options:
            negotiation = backend.NegotiateProtocolVersion(_PROTOCOL_3_0, startup.protocol_options)
            self._to_client.append(negotiation.encode())

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
        while not (self.is_complete or self.is_refused):
            try:
                message = _next_message(self._from_upstream)
            except ProtocolViolation as error:
                raise UpstreamViolation(f"the upstream sent an {error.message} during login") from error
            if message is None:
                return
            self._to_client.append(self._relay(message[0], message))

    def _relay(self, type_code: int, message: bytes) -> bytes:
        """What the client gets instead of a message of the upstream's."""
        if type_code == _NOTICE:
            return message
        if type_code == _PARAMETER_STATUS:
            return self._on_parameter_status(message)
        if self._check is not None:
            return self._on_check(self._check, type_code, message)
        if type_code == _AUTHENTICATION:
            return self._on_authentication(message)
        if type_code == _BACKEND_KEY:
            self.backend_key = message[5:]
            if self._request.settings:
                self._held.append(message)
                return b""
            return message
        if type_code == _READY:
            return self._on_ready(message)
        if type_code == _ERROR:
            self.has_said_fatal, self.refusal = True, with_hint(message)
            return self.refusal
        if type_code != _NEGOTIATE:
            raise UpstreamViolation(f"the upstream sent message type {chr(type_code)!r} during login")
        return message

    def _on_authentication(self, message: bytes) -> bytes:
        if len(message) < 9:
            raise UpstreamViolation("the upstream sent an authentication request without a code")
        code = _INT32.unpack_from(message, 5)[0]
        self._is_authenticated = code == _AUTHENTICATION_OK
        self._is_asked = code not in (_AUTHENTICATION_OK, _AUTHENTICATION_SASL_FINAL)
        self._pass_answers()
        return without_channel_binding(message) if code == _AUTHENTICATION_SASL else message

    def _on_ready(self, message: bytes) -> bytes:
        if not self._is_authenticated or len(message) != 6 or message[5] != hot.IDLE:
            raise UpstreamViolation("the upstream sent a ReadyForQuery out of order during login")
        settings = self._request.settings + self._dropped
        if not settings:
            self.is_complete = True
            return message
        self._held.append(message)
        accepted = self._cache.find((self._request.key, self._dropped)) if self._cache is not None else None
        if accepted is not None:
            return self._complete(accepted)
        self._check = SettingsCheck(settings, is_local=not self.is_at_session_endpoint)
        self._to_upstream.append(self._check.query)
        return b""

    # The client's settings.

    @property
    def _dropped(self) -> tuple[tuple[bytes, bytes], ...]:
        """What went up and is not in force: Supavisor drops it, and says what its servers have."""
        return tuple((name, value) for name, value in self._request.startup if value and self._is_dropped(name, value))

    def _is_dropped(self, name: bytes, value: bytes) -> bool:
        in_force = self.parameters.get(name)
        # Only of its own name is it known: others shorten what they are given.
        is_other = in_force == b"Supavisor" if name == _APPLICATION_NAME else in_force is not None
        return is_other and in_force != as_reported(name, value)

    def _on_parameter_status(self, message: bytes) -> bytes:
        try:
            name, value = hot.read_parameter_status(message, 0, len(message))
        except MalformedMessage as error:
            raise UpstreamViolation(f"the upstream sent an {error.message} during login") from error
        value = as_reported(name, value)
        self.parameters[name] = value
        return b"" if self._request.settings else self._tell(name, value)

    def _tell(self, name: bytes, value: bytes) -> bytes:
        """The ParameterStatus for the client."""
        value = self._reported.get(name.lower(), value)
        if name == _APPLICATION_NAME and value == b"Supavisor" and not self.is_plain:
            # Its own name, whatever the client's is.
            value = self.startup.get(name, b"")
        self.told[name] = value
        return hot.message(_PARAMETER_STATUS, name + b"\0" + value + b"\0")

    def _on_check(self, check: SettingsCheck, type_code: int, message: bytes) -> bytes:
        check.receive(type_code, message)
        is_final = type_code == _ERROR and check.is_final
        if check.refusal and (is_final or type_code == _READY):
            if not is_final:
                self._to_upstream.append(hot.TERMINATE)
            self.is_refused = self.has_said_fatal = True
            self.refusal = with_hint(check.refusal)
            return self.refusal
        if type_code != _READY:
            return b""
        accepted = check.accepted
        if self._cache is not None:
            self._cache.keep((self._request.key, self._dropped), accepted)
        return self._complete(accepted)

    def _complete(self, accepted: Accepted) -> bytes:
        self._reported = accepted.reported
        self.settings = dict(accepted.settings)
        self.is_complete = True
        return b"".join([self._tell(name, value) for name, value in self.parameters.items()] + self._held)

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
