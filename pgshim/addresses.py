"""Where a server listens: `Address`, and how one is written.

The parsers take what a user typed and raise ConfigurationError with one sentence that names the value and the fix; the
option's name is put in front by whoever knows it. Nothing here touches a socket.
"""

from __future__ import annotations

import os.path
import re
import stat
from dataclasses import dataclass

from pgshim.errors import ConfigurationError

DEFAULT_PORT = 6432


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or a Unix socket when `path` is set."""

    host: str = ""
    port: int = 0
    path: str = ""
    #: Of a pair for one port: the address family may be missing on this machine.
    is_optional: bool = False

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    @property
    def is_loopback(self) -> bool:
        """Whether nothing sent there leaves the machine."""
        return self.is_unix or is_loopback_host(self.host)

    def is_reached_by(self, target: Address) -> bool:
        """Whether who connects to `target` comes to the server that listens here, as far as the addresses say."""
        if self.path or target.path:
            return self.path == target.path
        if self.port != target.port or not self.port:
            return False
        if self.host == "0.0.0.0" and is_loopback_host(target.host) and target.host != "::1":
            return True
        return not _hosts(self.host).isdisjoint(_hosts(target.host))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _hosts(host: str) -> frozenset[str]:
    """The addresses that a name of this machine stands for."""
    if host == "localhost":
        return frozenset({"127.0.0.1", "::1"})
    # To connect to the address of none is to connect to loopback.
    return frozenset({{"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host.lower())})


def is_loopback_host(host: str) -> bool:
    """Whether this is a loopback address, or the name that RFC 6761 reserves for it."""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def parse_listen(text: str) -> tuple[Address, ...]:
    """PORT (both loopback addresses), HOST:PORT, [IPv6]:PORT, unix:/path or /path.

    A directory means the socket in it that libpq looks for: /dir or /dir:PORT is /dir/.s.PGSQL.PORT.
    """
    how = "write PORT, HOST:PORT, [IPv6]:PORT or unix:/path"
    _refuse_secrets(text, how)
    if (path := _unix_path(text)) is not None:
        return (Address(path=_socket_in(path, DEFAULT_PORT)),)
    if text.isascii() and text.isdigit():
        port = _port(text, text, how)
        return Address("127.0.0.1", port), Address("::1", port, is_optional=True)
    return (_tcp(text, how),)


def parse_upstream(text: str) -> Address:
    """HOST:PORT, [IPv6]:PORT, /socket/dir:PORT, or the path of a Unix socket."""
    how = "write HOST:PORT, [IPv6]:PORT or /socket/dir:PORT"
    _refuse_secrets(text, f"{how}; user and database stay in the app's own URL")
    if (path := _unix_path(text)) is not None:
        if re.search(r":\d+$", path) is None and _is_directory(path):
            path = path.rstrip("/")
            raise ConfigurationError(f"'{text}' is a directory and has no port; write {path}:{DEFAULT_PORT}")
        return Address(path=_socket_in(path, DEFAULT_PORT))
    if text.count(":") > 1 and not text.startswith("["):
        raise ConfigurationError(
            f"'{text}' is not clear; write an IPv6 address in brackets, as in [::1]:{DEFAULT_PORT}"
        )
    if re.search(r":\d+$", text) is None:
        name = text.rstrip(":") or "HOST"
        if (match := re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]+):(.+)", text)) is not None:
            name, port = match.groups()
            fix = f"write a number, as in {name}:{DEFAULT_PORT}"
            raise ConfigurationError(f"the port '{port}' of '{text}' is not a number; {fix}")
        raise ConfigurationError(f"'{text}' has no port; write {name}:{DEFAULT_PORT}, or whatever the port is")
    return _tcp(text, how)


def _refuse_secrets(text: str, how: str) -> None:
    """What may hold a password is not repeated."""
    if "://" in text:
        raise ConfigurationError(f"a URL is not taken; {how}")
    if "@" in text and not text.startswith(("/", "unix:")):
        raise ConfigurationError(f"a user is not taken; {how}")


def _unix_path(text: str) -> str | None:
    if text.startswith("unix:"):
        return os.path.abspath(text[5:])
    return text if text.startswith("/") else None


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return path.endswith("/")


def _socket_in(path: str, port: int) -> str:
    directory, _, digits = path.rpartition(":")
    if directory and digits.isdigit():
        return os.path.join(directory, f".s.PGSQL.{int(digits)}")
    return os.path.join(path, f".s.PGSQL.{port}") if _is_directory(path) else path


def _tcp(text: str, how: str) -> Address:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\s/\[\]]+)):(\d+)", text)
    if match is None:
        raise ConfigurationError(f"'{text}' is not an address; {how}")
    return Address(match[1] or match[2], _port(match[3], text, how))


def _port(digits: str, text: str, how: str) -> int:
    if int(digits) > 65535:
        raise ConfigurationError(f"'{text}' has a port over 65535; {how}")
    return int(digits)
