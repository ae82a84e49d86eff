"""Why a check cannot go on.

CheckFailure
+-- Refused         an ErrorResponse: of the server, or of a pooler
+-- Lost            the connection was closed, without a word
+-- NoAnswer        nothing came in time
+-- TlsFailure      TLS that is insisted on is not to be had, or not with this certificate
+-- NotPostgres     whatever answers there does not speak the protocol
+-- PasswordNeeded  the server asks for one, and there is none
+-- LoginFailure    a way to log in that is not known here, or that is not safe
"""

from __future__ import annotations

from pgshim.protocol.backend import ErrorResponse


class CheckFailure(Exception):
    """The text is for people; `fix` says what to do, if that is known where it is raised."""

    def __init__(self, text: str, fix: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.fix = fix


class Refused(CheckFailure):
    """An ErrorResponse."""

    def __init__(self, error: ErrorResponse) -> None:
        self.error = error
        self.sqlstate = error.sqlstate.decode("ascii", "replace")
        self.message = error.message.decode("utf-8", "replace")
        super().__init__(f"{self.message} ({self.sqlstate})" if self.sqlstate else self.message)


class Lost(CheckFailure):
    """The connection was closed."""


class NoAnswer(CheckFailure):
    """A timeout."""


class TlsFailure(CheckFailure):
    """No TLS, or not this one. `verify_message` is OpenSSL's word where the certificate is not accepted."""

    def __init__(self, text: str, fix: str = "", *, verify_message: str = "") -> None:
        super().__init__(text, fix)
        self.verify_message = verify_message


class NotPostgres(CheckFailure):
    """Bytes that are no answer of a PostgreSQL server."""


class PasswordNeeded(CheckFailure):
    """There is no password to give."""


class LoginFailure(CheckFailure):
    """The login cannot go on from this side."""
