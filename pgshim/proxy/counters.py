"""Numbers that all workers count together, in memory that they share.

    counters = Counters(("connections", "queries"), workers=2)      # before the fork
    row = counters.row(worker)                                      # in worker 0 or 1: what it alone writes
    row[counters.column("queries")] += 1
    counters.total("queries")                                       # anywhere

Each worker writes its own row and no other, so nothing is locked and nothing is lost. A value is eight aligned bytes,
which the processor reads and writes in one piece; a total is not of one moment, for its rows are read one by one.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence

#: Clients that have begun a connection, as --max-connections counts them.
CONNECTIONS = "connections"

#: Connections that --prewarm has ready; and the process that has the row.
PREWARMED = "prewarmed"
PID = "pid"

#: What a worker has, not what it has done: gone with the worker.
GAUGES = (CONNECTIONS, PREWARMED, PID)

_SIZE = 8

#: Values in a line of the processor's cache: no two rows share one, or each write would cost the other workers theirs.
_LINE = 64 // _SIZE


class Counters:
    """A row of signed 64-bit values for each worker (from 0), and a column for each name; all 0 at first."""

    __slots__ = ("_columns", "_values", "_width", "workers")

    def __init__(self, names: Sequence[str], workers: int = 1) -> None:
        self._columns = {name: column for column, name in enumerate(names)}
        self._width = -(-max(len(names), 1) // _LINE) * _LINE
        self.workers = workers
        # Anonymous and shared: what is forked later sees the same pages.
        self._values = memoryview(mmap.mmap(-1, self._width * workers * _SIZE)).cast("q")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._columns)

    def column(self, name: str) -> int:
        """Where a name stands in each row."""
        return self._columns[name]

    def row(self, worker: int) -> memoryview[int]:
        """The values of one worker, by column. Only that worker may write there, or who clears up behind it."""
        start = worker * self._width
        return self._values[start : start + len(self._columns)]

    def total(self, name: str) -> int:
        """The sum over all workers."""
        # A slice with a step makes no copy.
        return sum(self._values[self._columns[name] :: self._width])

    def totals(self) -> dict[str, int]:
        """name -> the sum over all workers."""
        return {name: self.total(name) for name in self._columns}

    def clear(self, worker: int, names: Iterable[str] = GAUGES) -> None:
        """Set these values of a worker that is gone to 0; the others stay, and its successor goes on from there."""
        row = self.row(worker)
        for name in names:
            if name in self._columns:
                row[self._columns[name]] = 0
