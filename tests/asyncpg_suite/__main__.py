"""`python -m tests.asyncpg_suite`: exits with 1 if a test failed for no known reason, with 2 if it could not be run."""

from __future__ import annotations

import argparse
import signal
import sys

from pgshim.demo.binaries import MissingBinary
from pgshim.demo.processes import ServerFailed
from tests.asyncpg_suite.expected import load
from tests.asyncpg_suite.places import run_all
from tests.asyncpg_suite.report import console, show, show_faults
from tests.asyncpg_suite.sdist import SuiteMissing, fetch, installed_version
from tests.asyncpg_suite.verdict import failed_for, faults, keep


def main() -> int:
    """The exit code."""
    only = _arguments().only
    # The servers end with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    expected = load()
    version = installed_version()
    if version != expected.version:
        console.print(f"asyncpg is {version} here; the list of reasons was made for {expected.version}.\n")
    try:
        folder = fetch(version, expected.sha256 if version == expected.version else None)
        findings = run_all(folder, expected, only)
    except (MissingBinary, ServerFailed, SuiteMissing) as error:
        console.print(f"asyncpg's tests could not be run: {error}", markup=False)
        return 2
    found = list(faults(expected, findings, is_whole=not only))
    counts = [(reason, len(failed_for(reason, findings))) for reason in expected.reasons]
    show(findings.direct, findings.through, [(reason, count) for reason, count in counts if count])
    show_faults(found)
    if not only:
        keep(expected, findings, version, found)
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.asyncpg_suite", description=__doc__)
    parser.add_argument("only", nargs="*", help="patterns of tests: 'test_cursor.*' '*.test_pool_0*'")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
