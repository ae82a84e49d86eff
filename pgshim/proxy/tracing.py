"""Where the traces of all connections go: a file or stderr, written by a thread.

    -- 2026-01-31 pgshim 0.1.0: F client, B upstream, | pgshim
    12:00:00.123456 #17  F----->B              8 Query <SELECT, 8 bytes>

A disk that is full, or a terminal that nobody reads, stalls the thread and not the loop: lines that find no room are
lost, and counted. When the file can no longer be written, the trace ends with one warning, and the proxy goes on.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from functools import partial

from pgshim import __version__
from pgshim.errors import ConfigurationError
from pgshim.session.trace import Trace

logger = logging.getLogger("pgshim.trace")

STDERR = "-"

#: Characters of lines that may wait to be written.
_MOST_WAITING = 8 * 1024 * 1024

#: Seconds that the last lines have.
_PATIENCE = 2.0

_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def check_file(path: str) -> None:
    """Make the file if it is not there, for its owner alone. Raises ConfigurationError."""
    if path == STDERR:
        return
    try:
        os.close(os.open(path, _FILE_FLAGS, 0o600))
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise ConfigurationError(f"--trace {path} cannot be written: {reason}; give another file") from error


class Tracing:
    """The traces of one process, or of one worker (`worker`: its number, from 1)."""

    def __init__(self, path: str, *, shows_values: bool = False, worker: int = 0) -> None:
        self._path = path
        self._shows_values = shows_values
        self._worker = f"[{worker}] " if worker else ""
        #: Guards all that follows.
        self._changed = threading.Condition()
        self._lines: list[str] = []
        #: Characters in them.
        self._waiting = 0
        self._lost = 0
        #: Nothing is taken any more.
        self._is_over = False
        self._thread: threading.Thread | None = None
        #: The second of the last line, and how it is written; its day.
        self._second, self._clock, self._day = -1, "", ""

    def trace(self, number: int) -> Trace:
        """The trace of one connection."""
        return Trace(partial(self._say, f"{self._worker}#{number}"), shows_values=self._shows_values)

    def _say(self, name: str, text: str) -> None:
        if self._is_over:
            return
        line = f"{self._time()} {name:<4} {text}\n"
        with self._changed:
            if self._waiting > _MOST_WAITING:
                self._lost += 1
                return
            self._put(line)
            if self._thread is None:
                # Not before: a fork takes no thread along.
                self._thread = threading.Thread(target=self._write_all, name="trace", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _put(self, line: str) -> None:
        self._lines.append(line)
        self._waiting += len(line)

    def _time(self) -> str:
        now = time.time_ns()
        second, rest = divmod(now, 10**9)
        if second != self._second:
            moment = time.localtime(second)
            self._second, self._clock = second, time.strftime("%H:%M:%S", moment)
            day = time.strftime("%Y-%m-%d", moment)
            if day != self._day:
                self._day = day
                with self._changed:
                    self._put(f"-- {day} pgshim {__version__}: F client, B upstream, | pgshim\n")
        return f"{self._clock}.{rest // 1000:06}"

    def close(self) -> None:
        """Write what is there, and end."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    # The thread.

    def _write_all(self) -> None:
        is_file = self._path != STDERR
        try:
            descriptor = os.open(self._path, _FILE_FLAGS, 0o600) if is_file else 2
            try:
                while lines := self._take():
                    _write(descriptor, "".join(lines).encode())
            finally:
                if is_file:
                    os.close(descriptor)
        except OSError as error:
            self._is_over = True
            logger.warning("the trace ends here: %s: %s", self._path, os.strerror(error.errno or 0).lower())

    def _take(self) -> list[str]:
        """The lines that wait, once there are any; none: it is over."""
        with self._changed:
            while not self._lines and not self._is_over:
                self._changed.wait()
            if self._lost:
                self._put(f"-- {self._lost} lines lost here: they came faster than they could be written\n")
            lines, self._lines, self._waiting, self._lost = self._lines, [], 0, 0
            return lines


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # Whoever shares stderr with us has made it so.
            select.select([], [descriptor], [])
