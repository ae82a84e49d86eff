"""What `pgshim run` does with itself when its command stops."""

import os
import signal

import pytest

from pgshim.run.command import stop_as


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGSTOP])
def test_it_stops_once_though_the_terminals_signal_has_come_as_well(number: signal.Signals) -> None:
    pid = os.fork()
    if pid == 0:
        # A process group that has its parent outside: the kernel stops no others.
        os.setpgid(0, 0)
        if number != signal.SIGSTOP:
            signal.pthread_sigmask(signal.SIG_BLOCK, {number})
            os.kill(0, number)
        stop_as(number)
        os._exit(7)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert os.WSTOPSIG(status) == number
    os.kill(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert os.WIFEXITED(status)
    assert os.WEXITSTATUS(status) == 7
