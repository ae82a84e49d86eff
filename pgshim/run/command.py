"""The command of `pgshim run`: started, waited for, handed the signals that only pgshim got.

It is in pgshim's own process group, as it would be without pgshim: it may use the terminal, `| less` works, and Ctrl-C,
Ctrl-Z and hangups reach it from the terminal. So a signal from the kernel is not handed on, it would come twice; one
that somebody sent to pgshim with kill is. When the command stops, pgshim stops as well, and the shell has its prompt.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_HANDED_ON = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
    | {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}
)
_AWAITED = _HANDED_ON | {signal.SIGCHLD}
#: What a terminal sends, where it cannot be seen who sent a signal (macOS).
_OF_A_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)

#: As shells say it.
CANNOT_RUN, NOT_FOUND = 126, 127


class CommandFailed(Exception):
    """The command could not be started: one sentence, and the exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(slots=True)
class Command:
    """The running command, and the proxy it depends on."""

    pid: int
    proxy_pid: int
    #: Seconds that it has to end if the proxy is gone.
    patience: float
    #: As `os.waitstatus_to_exitcode`: -n for signal n.
    code: int | None = None
    #: How the proxy ended, if it did.
    proxy_code: int | None = None
    _deadline: float | None = field(default=None, init=False)

    def wait(self) -> int:
        """Until it has ended; returns its exit code, -n for signal n. `proxy_code` says if the proxy went first."""
        while self.code is None:
            number, is_for_all = self._next_signal()
            if number is None:
                self._send(signal.SIGKILL)
                self._deadline = None
            elif number == signal.SIGCHLD:
                self._look_after_children()
            elif not is_for_all:
                self._send(number)
        return self.code

    def _next_signal(self) -> tuple[signal.Signals | None, bool]:
        """(the next signal, whether the command has had it as well); None: the patience is at its end."""
        if not hasattr(signal, "sigwaitinfo"):
            number = signal.Signals(signal.sigwait(_AWAITED))
            return number, number in _OF_A_TERMINAL and _is_in_foreground()
        if self._deadline is None:
            info = signal.sigwaitinfo(_AWAITED)
        else:
            found = signal.sigtimedwait(_AWAITED, max(self._deadline - time.monotonic(), 0))
            if found is None:
                return None, False
            info = found
        number = signal.Signals(info.si_signo)
        # A hangup is told to the leader of the session alone.
        is_alone = number == signal.SIGHUP and os.getsid(0) == os.getpid()
        return number, info.si_code > 0 and not is_alone

    def _look_after_children(self) -> None:
        """Whoever has ended or stopped; as process 1 of a container that may be anybody."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                if pid == self.pid:
                    stop_as(signal.Signals(os.WSTOPSIG(status)))
            elif pid == self.pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif pid == self.proxy_pid and self.code is None:
                self.proxy_code = os.waitstatus_to_exitcode(status)
                self._deadline = time.monotonic() + self.patience
                self._send(signal.SIGTERM)
                self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, number)


def start(words: Sequence[str], environment: Mapping[str, str], proxy_pid: int, patience: float) -> Command:
    """Start the command; from now on signals wait until `Command.wait` takes them. Raises CommandFailed."""
    if not words[0]:
        raise CommandFailed("the command's name is empty; write one, as in pgshim run -- uvicorn app:app", NOT_FOUND)
    for number in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT):
        # Where they are ignored by default they would not be kept.
        signal.signal(number, lambda *_: None)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    try:
        # Python ignores these two, which a command does not expect.
        pid = os.posix_spawnp(
            words[0], list(words), environment, setsigmask=mask, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
        )
    except OSError as error:
        raise _failure(words[0], error) from None
    except ValueError as error:
        raise CommandFailed(f"{words[0]!r}: {error}", CANNOT_RUN) from None
    return Command(pid, proxy_pid, patience)


def _failure(word: str, error: OSError) -> CommandFailed:
    if error.errno == errno.ENOENT and not ("/" in word and os.path.exists(word)):
        return CommandFailed(f"{word}: command not found", NOT_FOUND)
    reason = os.strerror(error.errno or 0).lower()
    if error.errno == errno.ENOENT:
        reason = "its interpreter is not there"
    elif os.path.isdir(word):
        reason = "it is a directory"
    return CommandFailed(f"{word}: cannot be run: {reason}", CANNOT_RUN)


def stop_as(number: signal.Signals) -> None:
    """Stop as the command did, until somebody continues the job."""
    # While it is blocked: the terminal's own may be waiting already, and two would stop it twice.
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number} - {signal.SIGSTOP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {number} - {signal.SIGSTOP})


def end_as(code: int) -> int:
    """The exit code for a command that ended so; if it was a signal, this process dies by it, as the shell expects."""
    if code >= 0:
        return code
    number = -code
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        # One core dump is enough.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    # Process 1 of a container does not die by a signal.
    return 128 + number


def _is_in_foreground() -> bool:
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
