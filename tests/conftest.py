"""What every test runs under."""

import os
import signal

import pytest
from hypothesis import settings

from tests.programs import need_prometheus, need_servers

# Before the first event loop of this process or of a child: slow callbacks and forgotten awaits are reported.
os.environ["PYTHONASYNCIODEBUG"] = "1"

# A shell's job in the background ignores Ctrl-C, and so would all that is started here, terminals included.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# How long an example takes says nothing on a machine that has other work.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_sessionstart(session: pytest.Session) -> None:
    """In several processes (`make test`) what is missing is said here: from one of those nobody would hear it."""
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        need_servers()
        need_prometheus()
