"""How the stand-in for Supavisor lets clients in: the first packets, each in a read of its own, and SCRAM-SHA-256."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.poolers.supavisor import Client, House

_TWO_WORDS = Struct("!II")
SSL_REQUEST = _TWO_WORDS.pack(8, 80877103)
CANCEL_CODE = _TWO_WORDS.pack(16, 80877102)
#: It reads a StartupMessage of protocol 3 whatever its minor version is.
MAX_STARTUP = 1024
READY = b"Z\0\0\0\5I"
_LENGTH = Struct("!I")
#: Passwords that may be wrong before nobody is let in.
MAX_FAILURES = 10
_ITERATIONS = 4096


class LoginFailed(Exception):
    """(SQLSTATE, message) of a FATAL."""


class Failures:
    """How many passwords were wrong; the real one counts them by tenant and address, for 150 seconds."""

    count = 0


def message(type_code: bytes, body: bytes) -> bytes:
    return type_code + _LENGTH.pack(4 + len(body)) + body


def parameter_status(name: bytes, value: bytes) -> bytes:
    return message(b"S", name + b"\0" + value + b"\0")


def key_data(key: bytes) -> bytes:
    return message(b"K", key)


def fatal(sqlstate: str, text: str) -> bytes:
    """Its errors have these three fields only."""
    return message(b"E", b"SFATAL\0C" + sqlstate.encode() + b"\0M" + text.encode() + b"\0\0")


def coded(code: str, text: str, sqlstate: str = "XX000") -> LoginFailed:
    return LoginFailed(sqlstate, f"({code}) {text}")


class Login:
    """One client's way in; each read is one message, or it is an error."""

    def __init__(self, client: Client, house: House) -> None:
        self._client = client
        self._house = house
        self._user = self._database = ""
        self._scram: Scram | None = None
        #: What the next read is for.
        self._next = self._on_startup
        self._task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        try:
            self._next(data)
        except LoginFailed as failure:
            self._refuse(failure)

    def _refuse(self, failure: LoginFailed) -> None:
        self._client.transport.write(fatal(*failure.args))
        self._client.transport.close()

    def _on_startup(self, data: bytes) -> None:
        write = self._client.transport.write
        if data == SSL_REQUEST:
            write(b"N")
            return
        if data.startswith(CANCEL_CODE):
            target = self._house.clients.get(data[8:16])
            if target is not None:
                target.cancel()
            self._client.transport.close()
            return
        user, self._database = read_startup(data)
        configuration = self._house.configuration
        self._user, dot, tenant = user.rpartition(".")
        if not dot:
            raise coded("ENOIDENTIFIER", "no tenant identifier provided (external_id or sni_hostname required)")
        if tenant != configuration.tenant or self._user not in configuration.users:
            raise coded("ENOTFOUND", f"tenant/user {user} not found")
        if len(self._house.clients) >= configuration.max_clients:
            raise coded("EMAXCONN", f"max client connections reached, limit: {configuration.max_clients}")
        if self._house.failures.count >= MAX_FAILURES:
            text = "too many authentication failures, new connections are temporarily blocked"
            raise coded("ECIRCUITBREAKER", text)
        self._scram = Scram(configuration.users[self._user])
        write(message(b"R", _LENGTH.pack(10) + b"SCRAM-SHA-256\0\0"))
        self._next = self._on_first

    def _on_first(self, data: bytes) -> None:
        assert self._scram is not None
        mechanism, zero, rest = _body(data).partition(b"\0")
        if mechanism != b"SCRAM-SHA-256" or not zero:
            raise coded("EAUTHPROTOCOL", "unexpected SASL mechanism", "08P01")
        reply = self._scram.first(rest[4:])
        self._client.transport.write(message(b"R", _LENGTH.pack(11) + reply))
        self._next = self._on_final

    def _on_final(self, data: bytes) -> None:
        assert self._scram is not None
        reply = self._scram.final(_body(data))
        if not reply:
            self._house.failures.count += 1
            raise LoginFailed("28P01", f'password authentication failed for user "{self._user}"')
        final = message(b"R", _LENGTH.pack(12) + reply)
        self._client.transport.write(final + message(b"R", _LENGTH.pack(0)))
        self._next = self._out_of_turn
        self._task = asyncio.get_running_loop().create_task(self._join())

    def _out_of_turn(self, data: bytes) -> None:
        raise coded("EAUTHPROTOCOL", "a message out of turn", "08P01")

    async def _join(self) -> None:
        pool = self._house.pool(self._user, self._database)
        try:
            await pool.opened()
        except LoginFailed as failure:
            self._house.pools.pop((self._user, self._database), None)
            self._refuse(failure)
            return
        if not self._client.is_closed:
            self._client.logged_in(pool)


def read_startup(data: bytes) -> tuple[str, str]:
    """(user, database) of a StartupMessage. Raises LoginFailed."""
    if len(data) > MAX_STARTUP:
        raise coded("ESTARTUPPACKETTOOLARGE", f"startup packet too large: {len(data)} bytes", "08P01")
    if len(data) < 9 or _LENGTH.unpack_from(data)[0] != len(data) or data[4:6] != b"\0\3":
        raise coded("ESTARTUPMESSAGE", "Invalid startup message: :bad_startup_payload", "08P01")
    # It trims the zeros at the end: with an empty value there, a name is left without one.
    fields = data[8:].rstrip(b"\0").split(b"\0")
    if len(fields) % 2:
        raise coded("ESTARTUPMESSAGE", "Invalid startup message: :bad_startup_payload", "08P01")
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    user = found.get(b"user", b"").decode()
    return user, found.get(b"database", b"").decode() or user.rpartition(".")[0]


def _body(data: bytes) -> bytes:
    """Of the one SASL message in a read."""
    if len(data) < 5 or data[:1] != b"p" or _LENGTH.unpack_from(data, 1)[0] != len(data) - 1:
        raise coded("EAUTHPROTOCOL", "a SASL message has to come in one read", "08P01")
    return data[5:]


class Scram:
    """The server's side of RFC 7677, without channel binding."""

    def __init__(self, password: str) -> None:
        self._salt = os.urandom(16)
        self._salted = hashlib.pbkdf2_hmac("sha256", password.encode(), self._salt, _ITERATIONS)
        self._messages: list[bytes] = []
        self._nonce = b""

    def first(self, data: bytes) -> bytes:
        """The answer to the client's first message. Raises LoginFailed."""
        header, _, bare = data.partition(b",,")
        if header not in (b"n", b"y"):
            raise coded("EAUTHPROTOCOL", "channel binding is not supported", "08P01")
        self._nonce = _attributes(bare)[b"r"] + base64.b64encode(os.urandom(12))
        salt = base64.b64encode(self._salt)
        reply = b"r=%s,s=%s,i=%d" % (self._nonce, salt, _ITERATIONS)
        self._messages = [bare, reply]
        return reply

    def final(self, data: bytes) -> bytes:
        """The answer to the client's last message; empty if the password is wrong."""
        without_proof, _, proof = data.rpartition(b",p=")
        signed = b",".join([*self._messages, without_proof])
        client_key = _hmac(self._salted, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), signed)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        is_right = hmac.compare_digest(base64.b64encode(expected), proof)
        if not is_right or _attributes(without_proof).get(b"r") != self._nonce:
            return b""
        return b"v=" + base64.b64encode(_hmac(_hmac(self._salted, b"Server Key"), signed))


def _attributes(text: bytes) -> dict[bytes, bytes]:
    return {part[:1]: part[2:] for part in text.split(b",")}


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()
