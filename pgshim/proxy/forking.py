"""How the supervisor makes its children, and waits for one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable

logger = logging.getLogger("pgshim.server")

#: What the supervisor acts on; and what a child has blocked until it has handlers of its own.
SUPERVISED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD) if hasattr(signal, "SIGHUP") else ()
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT) if hasattr(signal, "SIGHUP") else ()


def fork(body: Callable[[], int], wakeup: tuple[int, int]) -> int:
    """Run `body` in a child, with the signals blocked that end it or tell it something; returns its pid.

    `wakeup` is the pipe by which the supervisor learns of signals.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            # Not a step back into what called us, whatever happens.
            _be_a_child(body, wakeup)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait_for(pid: int) -> int:
    """The exit code of this child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _be_a_child(body: Callable[[], int], wakeup: tuple[int, int]) -> None:
    """Forget the supervisor's signals, do that, and exit."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in SUPERVISED:
            signal.signal(number, signal.SIG_DFL)
        for end in wakeup:
            os.close(end)
        code = body()
    except BaseException as error:
        logger.error("internal error: %r", error, exc_info=error)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
