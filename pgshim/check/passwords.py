"""Where a password comes from: the URL, PGPASSWORD, the password file. In libpq's order.

Source: the manual, "The Password File": `hostname:port:database:username:password`, * for any, \\ before : and \\.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pgshim.check.report import Level, Remark
from pgshim.check.target import Target
from pgshim.settings import Address

_FIELD = re.compile(r"((?:\\.|[^:\\])*)(?::|$)")


def with_password(target: Target, environment: Mapping[str, str] = os.environ) -> Target:
    """The target with the password that libpq would use; unchanged where there is none."""
    if target.password is not None:
        return target
    if environment.get("PGPASSWORD"):
        return replace(target, password=environment["PGPASSWORD"], password_source="PGPASSWORD")
    default = Path(environment.get("HOME") or "~").expanduser() / ".pgpass"
    path = Path(target.password_file or environment.get("PGPASSFILE") or default)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return target
        if mode & 0o077 and os.name == "posix":
            remark = Remark(
                Level.WARNING,
                "password file",
                f"{path} is not used, by libpq neither: others may read it",
                f"chmod 600 {path}",
            )
            return replace(target, remarks=(*target.remarks, remark))
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return target
    for address in target.addresses:
        password = _find(lines, address, target)
        if password is not None:
            return replace(target, password=password, password_source=str(path))
    return target


def _find(lines: list[str], address: Address, target: Target) -> str | None:
    wanted = (*_host_and_port(address), target.database, target.user)
    for line in lines:
        if line.startswith("#"):
            continue
        fields = _FIELD.findall(line)[:5]
        if len(fields) == 5 and all(
            field == "*" or _plain(field) == value for field, value in zip(fields, wanted, strict=False)
        ):
            return _plain(fields[4])
    return None


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
