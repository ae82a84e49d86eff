"""What every test runs under."""

import os

import pytest
from hypothesis import settings

from tests.programs import need_prometheus, need_servers

# Before the first event loop of this process or of a child: slow callbacks and forgotten awaits are reported.
os.environ["PYTHONASYNCIODEBUG"] = "1"

# How long an example takes says nothing on a machine that has other work.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_sessionstart(session: pytest.Session) -> None:
    """In several processes (`make test`) what is missing is said here: from one of those nobody would hear it."""
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        need_servers()
        need_prometheus()
