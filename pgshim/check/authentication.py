"""The frontend's side of an authentication: cleartext, MD5, SCRAM-SHA-256 (by scramp). Pure: no socket.

Source: the manual, "Start-up" and "SASL Authentication".
"""

from __future__ import annotations

import hashlib

from scramp import ScramClient, ScramException

from pgshim.check.failures import LoginFailure, PasswordNeeded
from pgshim.protocol import backend
from pgshim.protocol.frontend import PasswordMessage, SASLInitialResponse, SASLResponse
from pgshim.protocol.message import Message

SCRAM, SCRAM_PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"

_UNKNOWN = {
    backend.AuthenticationGSS: "GSSAPI",
    backend.AuthenticationSSPI: "SSPI",
    backend.AuthenticationKerberosV5: "Kerberos V5",
}


class Authentication:
    """Answers what the server asks. `method` and `mechanisms` say what that was; "trust" if nothing."""

    def __init__(self, user: str, password: str | None, *, may_send_in_clear: bool) -> None:
        self.method = "trust"
        #: What the server offered for SASL.
        self.mechanisms: tuple[str, ...] = ()
        #: Whether the server has had something to refuse.
        self.has_answered = False
        self._user = user
        self._password = password
        self._may_send_in_clear = may_send_in_clear
        self._scram: ScramClient | None = None

    def answer(self, request: Message) -> Message | None:
        """The answer to an authentication request; None if there is none to give.

        Raises PasswordNeeded, LoginFailure.
        """
        reply = self._answer(request)
        self.has_answered |= reply is not None
        return reply

    def _answer(self, request: Message) -> Message | None:
        match request:
            case backend.AuthenticationCleartextPassword():
                self.method = "cleartext password"
                password = self._needed()
                if not self._may_send_in_clear:
                    raise LoginFailure(
                        "the server asks for the password in clear, on a connection in clear; it was not sent",
                        "Insist on TLS (sslmode=require, better verify-full); if the way there is safe, say"
                        " sslmode=disable.",
                    )
                return PasswordMessage(password.encode())
            case backend.AuthenticationMD5Password(salt):
                self.method = "md5"
                return PasswordMessage(md5_answer(self._user, self._needed(), salt))
            case backend.AuthenticationSASL(mechanisms):
                self.method = SCRAM
                self.mechanisms = tuple(mechanism.decode("utf-8", "replace") for mechanism in mechanisms)
                return self._first()
            case backend.AuthenticationSASLContinue(data):
                return self._second(data)
            case backend.AuthenticationSASLFinal(data):
                self._verify(data)
                return None
        if type(request) in _UNKNOWN:
            raise LoginFailure(
                f"the server asks for {_UNKNOWN[type(request)]}, which this check cannot do",
                "Have a login by password allowed for this user (pg_hba.conf: scram-sha-256).",
            )
        return None

    def _needed(self) -> str:
        if self._password is None:
            raise PasswordNeeded(f"the server asks for a password ({self.method}), and there is none")
        try:
            self._password.encode()
        except UnicodeEncodeError:
            # The environment and files give such bytes as surrogates.
            raise LoginFailure("the password is not UTF-8", "Give it in UTF-8, in a URL percent-encoded.") from None
        return self._password

    def _first(self) -> Message:
        if SCRAM not in self.mechanisms:
            offered = ", ".join(self.mechanisms)
            fix = "A login bound to the TLS channel cannot pass through a proxy." if SCRAM_PLUS in offered else ""
            raise LoginFailure(f"the server offers only {offered}", fix or "Have SCRAM-SHA-256 allowed for this user.")
        self._scram = ScramClient([SCRAM], self._user, self._needed())
        return SASLInitialResponse(SCRAM.encode(), self._scram.get_client_first().encode())

    def _second(self, data: bytes) -> Message:
        if self._scram is None:
            raise LoginFailure("the server went on with a login that had not begun")
        try:
            self._scram.set_server_first(data.decode())
            return SASLResponse(self._scram.get_client_final().encode())
        except (ScramException, UnicodeDecodeError) as error:
            raise LoginFailure(f"the server's SCRAM message is not right: {error}") from error

    def _verify(self, data: bytes) -> None:
        try:
            if self._scram is None:
                raise ScramException("it had not begun")
            self._scram.set_server_final(data.decode())
        except (ScramException, UnicodeDecodeError) as error:
            raise LoginFailure(
                "the server took the password, and did not prove that it knows it",
                "Somebody may stand between you and the server: use sslmode=verify-full.",
            ) from error


def md5_answer(user: str, password: str, salt: bytes) -> bytes:
    """ "md5" and MD5(MD5(password user) salt), in hexadecimal."""
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()
