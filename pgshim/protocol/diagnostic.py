"""Diagnostic: what ErrorResponse and NoticeResponse have in common.

The manual's "Error and Notice Message Fields" has the codes. "Frontends should silently ignore fields of
unrecognized type", so unknown ones are kept, in their place.
"""

from dataclasses import dataclass, replace
from typing import Self

from pgshim.protocol.fields import DiagnosticFields


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """(code, value) pairs as they came; a code is one byte."""

    fields: DiagnosticFields

    def get(self, code: bytes) -> bytes | None:
        """The value of the first field with this code; None if there is none."""
        return next((value for field_code, value in self.fields if field_code == code), None)

    def with_field(self, code: bytes, value: bytes) -> Self:
        """The same message with this field set: in its place if there is one, else behind the others."""
        if self.get(code) is None:
            return replace(self, fields=(*self.fields, (code, value)))
        return replace(self, fields=tuple((c, value if c == code else v) for c, v in self.fields))

    @property
    def severity(self) -> bytes:
        """ERROR, FATAL, WARNING, ...: never localized where the server says so (field V), b"" if missing."""
        return self.get(b"V") or self.get(b"S") or b""

    @property
    def sqlstate(self) -> bytes:
        """Five characters; b"" if missing."""
        return self.get(b"C") or b""

    @property
    def message(self) -> bytes:
        """The primary message, in the session's encoding; b"" if missing."""
        return self.get(b"M") or b""

    @property
    def hint(self) -> bytes | None:
        """What to do about the problem."""
        return self.get(b"H")

    @property
    def position(self) -> int | None:
        """Where in the query the problem is: "The first character has index 1". In characters, not bytes."""
        value = self.get(b"P") or b""
        return int(value) if value.isdigit() and len(value) <= len(str(2**31)) else None

    @property
    def routine(self) -> bytes | None:
        """The function of the server's source that reports the problem."""
        return self.get(b"R")
