"""The process that starts the workers of --workers, starts others for those that die, and ends them all.

Workers are forked, not started anew: a fork inherits settings, certificates, pipes and shared memory as they are, so
that no secret passes through arguments or files. It is safe because this process has no event loop and no thread, now
or later: it waits in one `select` for signals, and whatever needs a loop is done in a child.

    SIGTERM, first SIGINT   SIGTERM to all workers: they drain; one that is far over --drain-timeout is killed
    second SIGINT           SIGQUIT to all workers: they stop at once
    SIGHUP                  to all workers; certificates are read again here too, for workers to come
    a worker dies           another takes its number: at once, then with growing pauses if it dies again soon
    this process is killed  the workers see the end of their lifeline, and drain
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from pgshim.errors import ConfigurationError
from pgshim.proxy import log
from pgshim.proxy.counters import Counters
from pgshim.proxy.forking import SUPERVISED, fork, wait_for
from pgshim.proxy.listen import Listener
from pgshim.proxy.manager import Manager
from pgshim.proxy.ports import Ports
from pgshim.proxy.siblings import Mailboxes, Siblings
from pgshim.proxy.tally import COLUMNS
from pgshim.proxy.tls import Contexts
from pgshim.proxy.worker import Worker
from pgshim.settings import Settings

logger = logging.getLogger("pgshim.server")

#: Seconds a worker has beyond --drain-timeout, for its last words; and to stop at once.
_GRACE = 5.0

#: A worker that dies sooner has died soon; how long its successor waits when that has happened again, at most.
_SOON = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


@dataclass(slots=True)
class _Place:
    """The place of one worker."""

    number: int
    #: 0: nobody is there.
    pid: int = 0
    started: float = 0.0
    #: How many in a row have died soon.
    failures: int = 0
    #: When the next is to start.
    due: float = 0.0


class Supervisor:
    """Runs `settings.workers` workers, each of which is a `serve(worker)` that returns its exit code.

    `probe` is asked for an exit code first, in a child of its own, where --require-upstream says so; `announce` is
    called once, with what is listened on, beside it `inherited`, and with that for --metrics. Raises
    ConfigurationError, ListenError.
    """

    def __init__(
        self,
        settings: Settings,
        serve: Callable[[Worker], int],
        probe: Callable[[], int],
        announce: Callable[[list[Listener], list[Listener]], None],
        inherited: list[Listener],
        manager: Manager,
    ) -> None:
        if not hasattr(os, "fork"):
            raise ConfigurationError(f"--workers {settings.workers} needs a system that can fork; leave it out here")
        self._settings = settings
        self._serve, self._probe, self._announce = serve, probe, announce
        self._inherited, self._manager = inherited, manager
        self._contexts = Contexts(settings)
        self._counters = Counters(COLUMNS, settings.workers)
        self._mailboxes = Mailboxes(settings.workers)
        self._places = [_Place(number) for number in range(1, settings.workers + 1)]
        self._lifeline = os.pipe()
        self._wakeup = os.pipe()
        self._ports: Ports | None = None
        #: Of --metrics: held to the end, for probes come while transactions end as well.
        self._metrics_ports: Ports | None = None
        #: SIGTERM or SIGINT has come, and when those that are still there are killed.
        self._is_ending = False
        self._deadline = 0.0
        self._exit_code = 0

    def run(self) -> int:
        """Until a signal ends it; returns the exit code."""
        if self._settings.require_upstream and wait_for(fork(self._probe, self._wakeup)) != 0:
            return 1
        self._ports = Ports(self._settings.listen, self._settings.session_listen, self._inherited)
        self._metrics_ports = Ports(self._settings.metrics, option="--metrics")
        self._watch_signals()
        # What is here by now is shared with all workers: the collector would write to its pages.
        gc.freeze()
        for place in self._places:
            self._start(place, is_first=place.number == 1)
        self._announce(self._ports.held, self._metrics_ports.held)
        pids = ", ".join(str(place.pid) for place in self._places if place.pid)
        logger.info("%d workers: processes %s", len(self._places), pids)
        self._manager.ready()
        while not self._is_ending or any(place.pid for place in self._places):
            for number in self._next_signals():
                self._on_signal(number)
            self._reap()
            self._act_on_time()
        self._ports.close()
        self._metrics_ports.close()
        logger.info("stopped")
        return self._exit_code

    # Starting.

    def _start(self, place: _Place, *, is_first: bool = False) -> None:
        assert self._ports is not None and self._metrics_ports is not None  # noqa: PT018
        place.started = time.monotonic()
        try:
            listeners = self._ports.listeners()
            metrics_listeners: list[Listener] = []
            try:
                metrics_listeners += self._metrics_ports.listeners()
                worker = Worker(
                    place.number,
                    self._contexts,
                    self._counters,
                    Siblings(place.number, self._mailboxes),
                    listeners,
                    metrics_listeners,
                    self._lifeline[0],
                    is_first,
                )
                place.pid = fork(lambda: self._work(worker), self._wakeup)
            finally:
                self._ports.release(listeners + metrics_listeners)
        except OSError as error:
            logger.error("cannot start worker %d: %s", place.number, os.strerror(error.errno or 0).lower())
            self._replace(place)

    def _work(self, worker: Worker) -> int:
        """The life of a worker; signals wait until it takes them."""
        for ports in (self._ports, self._metrics_ports):
            assert ports is not None
            ports.let_go()
        # The lifeline ends with the last process that has its writing end.
        os.close(self._lifeline[1])
        log.name_worker(worker.number)
        return self._serve(worker)

    # Signals.

    def _watch_signals(self) -> None:
        for end in self._wakeup:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        for number in SUPERVISED:
            # The number goes through the pipe; without a handler of Python's it would not.
            signal.signal(number, lambda *_: None)

    def _next_signals(self) -> list[int]:
        """Wait until something has happened or is due."""
        times = [place.due for place in self._places if not place.pid and not self._is_ending]
        if self._is_ending and self._deadline:
            times.append(self._deadline)
        if (beat := self._manager.next_beat) is not None:
            times.append(beat)
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        select.select([self._wakeup[0]], [], [], timeout)
        try:
            return list(os.read(self._wakeup[0], 4096))
        except BlockingIOError:
            return []

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._manager.reloading()
            # Each worker says what came of it.
            with contextlib.suppress(ConfigurationError):
                self._contexts.reload()
            self._tell_all(signal.SIGHUP)
            self._manager.ready()
        elif number in (signal.SIGTERM, signal.SIGINT) and not self._is_ending:
            logger.info("stopping: transactions have %g s to end", self._settings.drain_timeout)
            self._manager.stopping(self._settings.drain_timeout)
            self._end(signal.SIGTERM, self._settings.drain_timeout + _GRACE)
        elif number == signal.SIGINT:
            logger.info("stopping at once")
            self._end(signal.SIGQUIT, _GRACE)

    def _end(self, number: signal.Signals, seconds: float) -> None:
        assert self._ports is not None
        self._is_ending = True
        self._deadline = time.monotonic() + seconds
        self._tell_all(number)
        self._ports.close()

    def _tell_all(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid:
                # Not reaped yet, so the number is nobody else's.
                os.kill(place.pid, number)

    # Dying.

    def _reap(self) -> None:
        """Take leave of all children that have ended; as the first process of a container, of others' as well."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for place in self._places:
                if place.pid == pid:
                    place.pid = 0
                    self._counters.clear(place.number - 1)
                    self._take_leave(place, pid, os.waitstatus_to_exitcode(status))

    def _take_leave(self, place: _Place, pid: int, code: int) -> None:
        how = f"exit code {code}" if code >= 0 else _name(-code)
        if not self._is_ending:
            pause = self._replace(place)
            then = f"in {pause:g} s" if pause else "now"
            logger.warning("worker %d (process %d) has ended: %s; another starts %s", place.number, pid, how, then)
        elif code:
            self._exit_code = 1
            logger.error("worker %d (process %d) has ended: %s", place.number, pid, how)

    def _replace(self, place: _Place) -> float:
        """Have another worker start there; returns after how many seconds."""
        now = time.monotonic()
        place.failures = place.failures + 1 if now - place.started < _SOON else 0
        pause = min(_FIRST_PAUSE * 2.0 ** (place.failures - 2), _LONGEST_PAUSE) if place.failures > 1 else 0.0
        place.due = now + pause
        return pause

    def _act_on_time(self) -> None:
        self._manager.beat()
        now = time.monotonic()
        if self._is_ending:
            if self._deadline and now >= self._deadline:
                logger.error("workers that do not end are killed")
                self._tell_all(signal.SIGKILL)
                self._deadline = 0.0
            return
        for place in self._places:
            if not place.pid and now >= place.due:
                self._start(place)
                if place.pid:
                    logger.info("worker %d is process %d", place.number, place.pid)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
