"""Where a password comes from: the URL, PGPASSWORD, the password file. In libpq's order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from pgshim import password_file
from pgshim.check.report import Level, Remark
from pgshim.check.target import Target


def with_password(target: Target, environment: Mapping[str, str] = os.environ) -> Target:
    """The target with the password that libpq would use; unchanged where there is none."""
    if target.password is not None:
        return target
    if environment.get("PGPASSWORD"):
        return replace(target, password=environment["PGPASSWORD"], password_source="PGPASSWORD")
    path = password_file.path_in(environment, target.password_file)
    try:
        lines = password_file.lines_of(path)
        if lines and password_file.is_open_to_others(path):
            remark = Remark(
                Level.WARNING,
                "password file",
                f"{path} is not used, by libpq neither: others may read it",
                f"chmod 600 {path}",
            )
            return replace(target, remarks=(*target.remarks, remark))
    except OSError:
        return target
    for address in target.addresses:
        password = password_file.find(lines, address, target.database, target.user)
        if password is not None:
            return replace(target, password=password, password_source=str(path))
    return target
