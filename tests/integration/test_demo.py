"""`pgshim demo`, as a user runs it."""

import subprocess
import sys
import tempfile
from pathlib import Path

from pgshim.demo.processes import clean_environment


def test_the_demo_ends_by_itself_with_every_answer_right_and_leaves_nothing_behind() -> None:
    # Short, for PostgreSQL's socket goes below it and a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="demo-") as temporary:
        Path(temporary).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-m", "pgshim", "demo"],
            capture_output=True,
            text=True,
            timeout=60,
            env=clean_environment(TMPDIR=temporary),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WRONG answers, no error" in done.stdout
        assert "round trips per right answer" in done.stdout
        assert not list(Path(temporary).iterdir())
