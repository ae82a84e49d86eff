"""The tests of asyncpg's source distribution, for the version that is installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "build" / "asyncpg-suite"


class SuiteMissing(Exception):
    """The tests could not be had; the message says why."""


def installed_version() -> str:
    return metadata.version("asyncpg")


def fetch(version: str, sha256: str | None) -> Path:
    """The folder with the tests of this version; downloaded by pip at the first time, and checked. Raises SuiteMissing.

    Only the tests are unpacked: the package that they import is the installed one, which has its extension built.
    """
    if find_spec("distro") is None:
        raise SuiteMissing("they import `distro`, which is not installed: `pip install distro`.")
    archive = FOLDER / f"asyncpg-{version}.tar.gz"
    if not archive.exists():
        _download(version)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if sha256 is not None and found != sha256:
        archive.unlink()
        raise SuiteMissing(f"{archive.name} has the SHA-256 {found}; expected.toml has {sha256}.")
    tests = FOLDER / f"asyncpg-{version}" / "tests"
    if not (tests / "test_connect.py").exists():
        with tarfile.open(archive) as source:
            prefix = f"asyncpg-{version}/tests/"
            # Python 3.11.2 has no filters.
            if hasattr(tarfile, "data_filter"):
                source.extraction_filter = tarfile.data_filter
            source.extractall(FOLDER, [member for member in source if member.name.startswith(prefix)])
    return tests


def _download(version: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-binary", "asyncpg", "--dest", FOLDER, f"asyncpg=={version}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    if done.returncode != 0:
        raise SuiteMissing(f"pip could not download the source of asyncpg {version}: {done.stdout[-1000:]}")
