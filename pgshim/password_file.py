"""libpq's password file. Source: the manual, "The Password File".

    hostname:port:database:username:password        * for any, \\ before : and \\
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from pgshim.addresses import Address

_PLACE = re.compile(r"((?:\\.|[^:\\])*):((?:\\.|[^:\\])*):(.*)", re.DOTALL)
_FIELD = re.compile(r"((?:\\.|[^:\\])*)(?::|$)")


def path_in(environment: Mapping[str, str], said: str = "") -> Path:
    """Where it is: as a URL says it, or the environment, or ~/.pgpass."""
    default = Path(environment.get("HOME") or "~").expanduser() / ".pgpass"
    return Path(said or environment.get("PGPASSFILE") or default)


def is_open_to_others(path: Path) -> bool:
    """Whether others may read it: libpq does not use it then. Raises OSError."""
    return bool(path.stat().st_mode & 0o077) and os.name == "posix"


def lines_of(path: Path) -> list[str]:
    """What is in it; nothing if it is no ordinary file. Raises OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        return []
    return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def find(lines: list[str], address: Address, database: str, user: str) -> str | None:
    """The password of the first line that fits."""
    wanted = (*_host_and_port(address), database, user)
    for line in lines:
        if line.startswith("#"):
            continue
        fields = _FIELD.findall(line)[:5]
        if len(fields) == 5 and all(
            field == "*" or _plain(field) == value for field, value in zip(fields, wanted, strict=False)
        ):
            return _plain(fields[4])
    return None


def pointed_at(lines: list[str], address: Address, host: str, port: int) -> list[str]:
    """The same lines, and those for `address` once more, for this host or directory; empty if there are none.

    Some drivers look for any Unix socket under `localhost`. These lines are the last: who is called so has its own.
    """
    wanted = _host_and_port(address)
    moved = []
    for line in lines:
        match = None if line.startswith("#") else _PLACE.fullmatch(line)
        if match is not None and all(
            field == "*" or _plain(field) == value for field, value in zip(match.groups(), wanted, strict=False)
        ):
            moved.append(match[3])
    if not moved:
        return []
    here = re.sub(r"([:\\])", r"\\\1", host)
    also = [f"localhost:{port}:{rest}" for rest in moved] if host.startswith("/") else []
    return [*(f"{here}:{port}:{rest}" for rest in moved), *lines, *also]


def _plain(field: str) -> str:
    return re.sub(r"\\(.)", r"\1", field)


def _host_and_port(address: Address) -> tuple[str, str]:
    if not address.is_unix:
        return address.host, str(address.port)
    directory, _, name = address.path.rpartition("/")
    # "The host name localhost is also searched for when the connection is a Unix-domain socket ... in the default
    # directory"
    is_default = directory in ("/var/run/postgresql", "/run/postgresql", "/tmp")
    return "localhost" if is_default else directory, name.removeprefix(".s.PGSQL.")
