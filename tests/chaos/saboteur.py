"""Breaks what lies between the clients and their data, one act after the other."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import psycopg

from tests.chaos.book import Book, Clock
from tests.chaos.sockets import reset_some
from tests.chaos.town import EXIT_SECONDS, Town, end

REST_SECONDS = (0.3, 2.0)
STALL_SECONDS = 1.0
PAUSE_SECONDS = 0.5
#: PAUSE waits for transactions to end; a console that has waited this long gives up.
CONSOLE_SECONDS = 5


class Saboteur:
    """`run` until `calm` is set; what was done is counted in `acts`. Every act leaves everything up again."""

    def __init__(self, town: Town, book: Book, clock: Clock, rng: random.Random, only: str = "") -> None:
        self.town = town
        self.book = book
        self.clock = clock
        self.rng = rng
        self.calm = threading.Event()
        self._only = only
        self.acts: Counter[str] = Counter()
        #: When `run` returned.
        self.last_end = 0.0

    def run(self) -> None:
        """Raises ServerFailed if something does not come up again."""
        acts = {name: act for name, act in self._acts().items() if self._only.lower() in name.lower()}
        while not self.calm.wait(self.rng.uniform(*REST_SECONDS)):
            if not acts:
                continue
            name = self.rng.choice(list(acts))
            self.book.diary.append((self.book.now, name))
            acts[name]()
            self.acts[name] += 1
        self.last_end = self.book.now

    def _acts(self) -> dict[str, Callable[[], None]]:
        acts: dict[str, Callable[[], None]] = {
            "PgBouncer restarted (SIGTERM)": lambda: self._restart_pgbouncer(signal.SIGTERM),
            "PgBouncer restarted (SIGKILL)": lambda: self._restart_pgbouncer(signal.SIGKILL),
            "PgBouncer stalled for 1 s": self._stall,
            "PgBouncer: RECONNECT": lambda: self._console("RECONNECT app"),
            "PgBouncer: PAUSE, RESUME": self._pause,
            "some servers of the pool terminated": lambda: self._terminate(0.5),
            "all servers of the pool terminated": lambda: self._terminate(1),
            "PostgreSQL restarted (fast)": lambda: self._restart_postgres(signal.SIGINT),
            "PostgreSQL restarted (immediate)": lambda: self._restart_postgres(signal.SIGQUIT),
            "some clients' sockets reset": lambda: self._reset(0.3),
        }
        if self.town.shims:
            acts |= {
                "pgshim restarted (SIGTERM)": self._drain_pgshim,
                "pgshim restarted (SIGKILL)": self._kill_pgshim,
                "pgshim stalled for 1 s": self._stall_pgshim,
            }
        if "kill," in self._only.lower():
            # By request alone: PgBouncer 1.18 aborts or hangs, one time in a hundred, when its KILL meets a cancel.
            acts["PgBouncer: KILL, RESUME"] = lambda: self._console("KILL app", "RESUME app")
        return acts

    def _restart_pgbouncer(self, number: signal.Signals) -> None:
        with self.clock.outage():
            end(self.town.pgbouncer, number)
            self.town.pgbouncer.start()

    def _restart_postgres(self, number: signal.Signals) -> None:
        with self.clock.outage():
            end(self.town.postgres, number)
            self.town.postgres.start()

    def _drain_pgshim(self) -> None:
        """Its clients may end their transactions; it must then exit by itself."""
        shim = self.rng.choice(self.town.shims)
        with self.clock.outage():
            began = time.monotonic()
            code = end(shim, signal.SIGTERM, EXIT_SECONDS)
            if code != 0:
                self.book.fault(f"pgshim ended with exit code {code} after SIGTERM")
            self.book.longest_drain = max(self.book.longest_drain, time.monotonic() - began)
            shim.start()

    def _kill_pgshim(self) -> None:
        shim = self.rng.choice(self.town.shims)
        with self.clock.outage():
            end(shim, signal.SIGKILL)
            shim.start()

    def _stall_pgshim(self) -> None:
        self._suspend(self.rng.choice(self.town.shims).pid)

    def _stall(self) -> None:
        self._suspend(self.town.pgbouncer.pid)

    def _suspend(self, pid: int) -> None:
        with self.clock.outage():
            os.kill(pid, signal.SIGSTOP)
            try:
                self.calm.wait(STALL_SECONDS)
            finally:
                os.kill(pid, signal.SIGCONT)

    def _terminate(self, share: float) -> None:
        with self.town.auditor() as auditor:
            pids = auditor.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'app'").fetchall()
            for (pid,) in pids:
                if self.rng.random() < share:
                    auditor.execute("SELECT pg_terminate_backend(%s)", [pid])

    def _reset(self, share: float) -> None:
        reset_some(self.town.ports, share, self.rng)

    def _console(self, *commands: str) -> None:
        with self.clock.outage(), self.town.console() as console:
            for command in commands:
                console.execute(command)

    def _pause(self) -> None:
        with self.clock.outage():
            with self.town.console() as console:
                # It is answered when the last transaction has ended. One whose client waits for its cancel does not:
                # a paused PgBouncer sends none.
                timer = threading.Timer(CONSOLE_SECONDS, console.close)
                timer.start()
                try:
                    console.execute("PAUSE app")
                    self.calm.wait(PAUSE_SECONDS)
                except psycopg.OperationalError:
                    self.acts["PgBouncer: PAUSE given up"] += 1
                finally:
                    timer.cancel()
            self._console("RESUME app")
