"""One connection to what is checked: TLS, login, and messages back and forth, each wait with its time limit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from struct import Struct

from pgshim.check.authentication import Authentication
from pgshim.check.contexts import context_for
from pgshim.check.failures import Lost, NoAnswer, NotPostgres, Refused, TlsFailure
from pgshim.check.network import Attempt, connect, reason
from pgshim.check.target import Target
from pgshim.errors import PgshimError
from pgshim.protocol import backend
from pgshim.protocol.frontend import Query, Terminate
from pgshim.protocol.message import Message
from pgshim.protocol.startup import StartupMessage
from pgshim.proxy.upstream import SSL_REQUEST

_HEADER = Struct("!BI")

#: No reply to what is asked here is larger.
_LARGEST = 1 << 20

#: Seconds between two writes that are to be two segments.
_A_MOMENT = 0.001

#: Seconds that a reply may take where nothing is known to hold it up.
REPLY_TIMEOUT = 10.0


@dataclass
class Answer:
    """What came up to a ReadyForQuery; `error` is the first ErrorResponse. Values are text."""

    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    error: Refused | None = None
    status: bytes = b""

    @property
    def value(self) -> str:
        """The first column of the first row; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        if not self.rows:
            raise NotPostgres("a query that has a row was answered without one")
        return self.rows[0][0] or ""

    @property
    def number(self) -> int:
        """`value` as a number."""
        if not self.value.isdecimal():
            raise NotPostgres("a query for a number was answered with something else")
        return int(self.value)


class Wire:
    """A connection that is logged in, once `login` has returned."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, attempt: Attempt) -> None:
        self._reader, self._writer = reader, writer
        self.attempt = attempt
        self.tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        #: ParameterStatus, the last of each name.
        self.parameters: dict[str, str] = {}
        #: As BackendKeyData says it; 0 if it did not come.
        self.process_id = 0
        self.authentication: Authentication | None = None
        self.login_seconds = 0.0
        #: Nothing more can be said on it, or its replies are no longer in step.
        self.is_lost = False

    @classmethod
    async def open(cls, target: Target, attempt: Attempt, context: ssl.SSLContext | None = None) -> Wire:
        """Connect, with TLS as the target's mode says, or with `context`. Raises CheckFailure, ConfigurationError."""
        tls = target.tls
        wants_tls = not attempt.address.is_unix and (context is not None or tls.mode != "disable")
        if context is None and wants_tls:
            context = context_for(tls)
        assert (context is not None) == wants_tls
        try:
            sock = await connect(attempt.endpoint, target.connect_timeout)
        except OSError as error:
            raise Lost(f"could not connect to {attempt.address} again: {reason(error)}") from error
        try:
            async with asyncio.timeout(target.connect_timeout):
                must = tls.mode not in ("prefer", "allow")
                if wants_tls and not tls.is_direct and not await _has_tls(sock, must=must):
                    context = None
                host = attempt.address.host if context is not None else None
                reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host)
        except BaseException as error:
            sock.close()
            if isinstance(error, ssl.SSLError):
                raise _tls_failure(error) from error
            if isinstance(error, TimeoutError):
                raise NoAnswer("connected, and then no answer in time") from error
            if isinstance(error, OSError):
                raise Lost(f"the connection was closed when TLS was asked for: {reason(error)}") from error
            raise
        return cls(reader, writer, attempt)

    async def login(self, target: Target, *, database: str = "", extra: Sequence[tuple[str, str]] = ()) -> None:
        """Log in, with the target's startup parameters, and `extra`. Raises CheckFailure."""
        parameters = {"user": target.user, "database": database or target.database}
        parameters |= dict(target.startup)
        for name, value in extra:
            # Supavisor may find the project by what the URL has there.
            has_more = name == "options" and name in parameters
            parameters[name] = f"{parameters[name]} {value}" if has_more else value
        is_safe = self.tls is not None or self.attempt.endpoint.is_loopback or target.tls.mode == "disable"
        self.authentication = Authentication(target.user, target.password, may_send_in_clear=is_safe)
        started = time.perf_counter()
        packet = StartupMessage(0, tuple((name.encode(), value.encode()) for name, value in parameters.items()))
        self._writer.write(packet.encode())
        async with self._limit(max(target.connect_timeout, REPLY_TIMEOUT)):
            while not isinstance(message := await self._next(), backend.ReadyForQuery):
                if isinstance(message, backend.ErrorResponse):
                    raise Refused(message)
                if isinstance(message, backend.BackendKeyData):
                    self.process_id = message.process_id
                reply = self.authentication.answer(message)
                if reply is not None:
                    self._writer.write(reply.encode())
        self.login_seconds = time.perf_counter() - started

    async def query(self, sql: str, timeout: float = REPLY_TIMEOUT) -> Answer:
        """A simple query. Raises Lost, NoAnswer, NotPostgres; an error of its own is in the answer."""
        return await self.exchange(Query(sql.encode()), timeout=timeout)

    async def exchange(self, *messages: Message, timeout: float = REPLY_TIMEOUT) -> Answer:
        """Messages in one write, and what comes up to the next ReadyForQuery."""
        self.send(*messages)
        return await self.answer(timeout)

    def send(self, *messages: Message) -> None:
        """Messages in one write."""
        self._writer.write(b"".join(message.encode() for message in messages))

    async def write_now(self, *messages: Message) -> None:
        """Messages in one write, which has a segment of its own: a moment passes before the next one. Raises Lost."""
        self.send(*messages)
        try:
            await self._writer.drain()
        except OSError as error:
            self.is_lost = True
            raise Lost(f"the connection was lost: {reason(error)}") from error
        await asyncio.sleep(_A_MOMENT)

    async def answer(self, timeout: float = REPLY_TIMEOUT) -> Answer:
        """What comes up to the next ReadyForQuery. When the connection ends with an error, that is raised."""
        found = Answer()
        async with self._limit(timeout):
            while True:
                try:
                    message = await self._next()
                except Lost:
                    if found.error is not None:
                        raise found.error from None
                    raise
                if isinstance(message, backend.ReadyForQuery):
                    found.status = message.status
                    return found
                if isinstance(message, backend.ErrorResponse) and found.error is None:
                    found.error = Refused(message)
                elif isinstance(message, backend.DataRow) and message.values:
                    # Nothing that is asked here has rows without columns.
                    found.rows.append(tuple(map(_text, message.values)))

    async def close(self) -> None:
        """Say goodbye, if there is somebody to say it to."""
        if not self.is_lost:
            with contextlib.suppress(OSError):
                self._writer.write(Terminate().encode())
        await self.leave()

    async def leave(self) -> None:
        """Close the connection as it is."""
        self.is_lost = True
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.close()
            async with asyncio.timeout(1):
                await self._writer.wait_closed()

    async def _next(self) -> Message:
        try:
            type_code, length = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
            if not 4 <= length <= _LARGEST:
                self.is_lost = True
                raise NotPostgres("what answers there does not speak PostgreSQL's protocol")
            message = backend.decode(type_code, await self._reader.readexactly(length - 4))
        except asyncio.IncompleteReadError as error:
            self.is_lost = True
            raise Lost("the connection was closed without a word") from error
        except ssl.SSLError as error:
            # With TLS 1.3 a server says only after the handshake that it wants a certificate.
            self.is_lost = True
            raise _tls_failure(error) from error
        except OSError as error:
            self.is_lost = True
            raise Lost(f"the connection was lost: {reason(error)}") from error
        except PgshimError as error:
            self.is_lost = True
            raise NotPostgres(f"what answers there does not speak PostgreSQL's protocol: {error.message}") from error
        if isinstance(message, backend.ParameterStatus):
            self.parameters[message.name.decode("utf-8", "replace")] = message.value.decode("utf-8", "replace")
        return message

    @contextlib.asynccontextmanager
    async def _limit(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            self.is_lost = True
            raise NoAnswer(f"no answer within {seconds:g} s") from error


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


async def _has_tls(sock: socket.socket, *, must: bool) -> bool:
    """Ask for TLS: the SSLRequest alone in one write, one byte in answer. Raises CheckFailure, OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, SSL_REQUEST)
    answer = await loop.sock_recv(sock, 4096)
    if answer == b"S":
        return True
    if not answer:
        raise Lost("the connection was closed when TLS was asked for")
    if answer[:1] == b"E":
        with contextlib.suppress(PgshimError):
            message = backend.decode(answer[0], answer[5:])
            if isinstance(message, backend.ErrorResponse):
                raise Refused(message)
    if answer != b"N":
        raise NotPostgres("what answers there does not speak PostgreSQL's protocol")
    if must:
        raise TlsFailure(
            "the server does not offer TLS, and it is insisted on",
            "If the way there is safe (this machine, a private network), say sslmode=prefer; else turn TLS on there.",
        )
    return False


def _tls_failure(error: ssl.SSLError) -> TlsFailure:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailure("the certificate is not accepted", verify_message=error.verify_message)
    what = (error.reason or str(error)).replace("_", " ").lower()
    if "certificate required" in what or "handshake failure" in what:
        fix = "The server wants a client certificate: give sslcert and sslkey."
    else:
        fix = "TLS 1.2 is the least that is spoken here; the server's log says more."
    return TlsFailure(f"TLS failed: {what}", fix)
