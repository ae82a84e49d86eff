"""A directory that is this user's alone, for what one `pgshim run` has there: a Unix socket, a password file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError

#: Bytes that the path of a Unix socket may have on any system, with the null byte behind it.
_MAX_PATH = 104


@dataclass(frozen=True, slots=True)
class PrivateDirectory:
    """It is there until `remove`."""

    path: str

    @classmethod
    def make(cls) -> Self:
        """Mode 0700, in the directory for temporary files. Raises ConfigurationError."""
        try:
            return cls(tempfile.mkdtemp(prefix="pgshim-"))
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise ConfigurationError(
                f"no directory for temporary files can be had ({reason}); set TMPDIR to one that can be written to"
            ) from None

    def socket(self, port: int) -> Address:
        """The address of the socket in it that drivers look for with this port. Raises ConfigurationError."""
        path = os.path.join(self.path, f".s.PGSQL.{port}")
        if len(os.fsencode(path)) >= _MAX_PATH:
            raise ConfigurationError("the path in TMPDIR is too long for a Unix socket; set TMPDIR to a shorter one")
        return Address(path=path)

    def write_passwords(self, lines: Sequence[str]) -> str:
        """A password file, mode 0600; returns its path. Raises OSError."""
        path = os.path.join(self.path, "passwords")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        return path

    def remove(self) -> None:
        """With what is in it; the proxy may have done so."""
        shutil.rmtree(self.path, ignore_errors=True)
