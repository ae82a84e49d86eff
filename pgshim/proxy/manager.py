"""What a service manager is told: sd_notify(3), one datagram for each thing that happens.

Only the process that systemd started speaks; with --workers that is the supervisor. Without `NOTIFY_SOCKET` in the
environment there is nobody to tell.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping

logger = logging.getLogger("pgshim.server")

#: Seconds for which the manager may leave a datagram waiting.
_PATIENCE = 0.5

#: Seconds that a stop may take beyond what was announced.
_MARGIN = 10.0


class Manager:
    """The service manager that `environment` speaks of, if there is one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        #: Where it listens: a path, or an abstract name; empty: nobody is told.
        self._address = ""
        if name[:1] in ("/", "@"):
            self._address = "\0" + name[1:] if name[0] == "@" else name
        elif name:
            logger.warning("NOTIFY_SOCKET is not a Unix socket, so nobody is told that pgshim is ready")
        #: Seconds between two heartbeats, half of what it would wait for one; 0: it does not wait.
        self._interval = 0.0
        microseconds = environment.get("WATCHDOG_USEC", "")
        if self._address and microseconds.isdigit() and environment.get("WATCHDOG_PID", _own_pid()) == _own_pid():
            self._interval = int(microseconds) / 2e6
        self._last_beat = time.monotonic()

    @property
    def next_beat(self) -> float | None:
        """When `beat` is due, by the monotonic clock; None: never."""
        return self._last_beat + self._interval if self._interval else None

    def ready(self) -> None:
        """Clients are served from now on, or again."""
        self._tell("READY=1", f"MAINPID={os.getpid()}", "STATUS=Serving clients")

    def reloading(self) -> None:
        """Certificates are read again; `ready` follows."""
        # The clock is what Type=notify-reload goes by.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=Reading certificates")

    def stopping(self, seconds: float) -> None:
        """Nobody is let in any more; transactions have so long to end, whatever TimeoutStopSec= says."""
        microseconds = int((seconds + _MARGIN) * 1e6)
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={microseconds}", "STATUS=Waiting for transactions to end")

    def beat(self) -> None:
        """Say that this process lives, if that is due."""
        now = time.monotonic()
        if self.next_beat is not None and now >= self.next_beat:
            self._last_beat = now
            self._tell("WATCHDOG=1")

    async def keep_beating(self) -> None:
        """The same for ever, from an event loop: one that hangs stops to beat."""
        while self.next_beat is not None:
            await asyncio.sleep(max(0.0, self.next_beat - time.monotonic()))
            self.beat()

    def _tell(self, *assignments: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_PATIENCE)
                sock.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            logger.warning("cannot tell the service manager %s: %s", assignments[0], reason.lower())


def _own_pid() -> str:
    return str(os.getpid())
