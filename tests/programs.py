"""The programs that tests need. A missing one ends the run with a sentence that says what to install."""

from __future__ import annotations

import shutil

import pytest

from pgshim.demo.binaries import MissingBinary, find_pgbouncer, find_postgres, wheel_bindir


def need_servers() -> None:
    """PostgreSQL, of the system and of the wheel, and PgBouncer."""
    try:
        find_postgres()
        find_pgbouncer()
        wheel_bindir()
    except MissingBinary as error:
        pytest.exit(str(error), returncode=1)


def need_prometheus() -> None:
    for name in ("prometheus", "promtool"):
        if shutil.which(name) is None:
            pytest.exit(f"the tests of the metrics need {name}: on Debian, apt-get install prometheus", returncode=1)
