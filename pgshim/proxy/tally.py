"""What a process counts: what its sessions do (`pgshim.session.counts`), and what becomes of its connections.

A tally is plain integers, for the hot path. A `Ledger` writes them now and then into the process's row of the memory
that all workers share (`counters`), so that any of them can show the sum.
"""

from __future__ import annotations

import time
from bisect import bisect_left

from pgshim.errors import (
    FeatureNotSupported,
    InvalidParameterValue,
    InvalidSwitch,
    LoginTimeout,
    PgshimError,
    ProtocolViolation,
    ShuttingDown,
    TooManyConnections,
    UpstreamLost,
    UpstreamUnreachable,
    UpstreamViolation,
)
from pgshim.protocol import hot
from pgshim.proxy.counters import CONNECTIONS, PID, PREWARMED, Counters
from pgshim.session.counts import Counts

#: When pgshim was started, in seconds since 1970. Workers have it from the supervisor.
STARTED = time.time()

#: Why a connection did not come to a session.
REASONS = {
    TooManyConnections: "too_many_clients",
    LoginTimeout: "login_timeout",
    UpstreamUnreachable: "upstream_unreachable",
    UpstreamLost: "upstream_lost",
    UpstreamViolation: "upstream_violation",
    ShuttingDown: "shutting_down",
    FeatureNotSupported: "startup",
    InvalidParameterValue: "startup",
    InvalidSwitch: "startup",
    ProtocolViolation: "protocol_violation",
}
#: The pooler or the server behind it has refused the login.
LOGIN = "login"

#: SQLSTATEs of pgshim's own, at the end of a connection. They are shown from the start: a series that begins with the
#: first error has no increase at it.
OWN = frozenset(kind.sqlstate.decode() for kind in REASONS)

CANCELS = ("forwarded", "idle", "unknown_key", "failed")

#: Upper bounds of the buckets, in seconds; the last one has none.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How many times were at most as long as each of `BUCKETS`, and their sum."""

    __slots__ = ("buckets", "microseconds")

    def __init__(self) -> None:
        #: The number of times between one bound and the next.
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.microseconds = 0

    def note(self, seconds: float) -> None:
        """One more."""
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.microseconds += round(seconds * 1e6)

    def totals(self, name: str) -> dict[str, int]:
        """`name:0`, `name:1`, ... for the buckets, `name:sum` in microseconds."""
        found = {f"{name}:{index}": number for index, number in enumerate(self.buckets)}
        return {**found, f"{name}:sum": self.microseconds}


class Tally(Counts):
    """All that a process counts; none of it ever goes down."""

    __slots__ = ("cancels", "connect", "connect_failures", "first_byte", "from_clients", "logins", "refusals",
                 "started", "to_clients", "warm", "warm_missed")  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        #: Bytes, without what TLS adds.
        self.from_clients = self.to_clients = 0
        #: Connections that clients have begun, and those that came to a session.
        self.started = self.logins = 0
        self.refusals = dict.fromkeys((*REASONS.values(), LOGIN), 0)
        self.cancels = dict.fromkeys(CANCELS, 0)
        #: Clients that took a warm connection (--prewarm), and those for whom there was none.
        self.warm = self.warm_missed = 0
        self.connect = Histogram()
        self.connect_failures = 0
        self.first_byte = Histogram()

    def note_fatal(self, error: PgshimError, *, has_session: bool = False) -> bytes:
        """A connection is ended for that: the ErrorResponse that its client is given."""
        if not has_session:
            kind = next((kind for kind in REASONS if isinstance(error, kind)), ProtocolViolation)
            self.refusals[REASONS[kind]] += 1
        message = hot.error_response("FATAL", error.sqlstate, error.message, error.hint)
        self.note_error(message)
        return message

    def note_refused_login(self, message: bytes) -> None:
        """Upstream has refused a login with that ErrorResponse."""
        self.refusals[LOGIN] += 1
        self.note_error(message)

    def totals(self) -> dict[str, int]:
        return super().totals() | {
            "bytes:from_clients": self.from_clients,
            "bytes:to_clients": self.to_clients,
            "started": self.started,
            "logins": self.logins,
            **{f"refusals:{reason}": number for reason, number in self.refusals.items()},
            **{f"cancels:{outcome}": number for outcome, number in self.cancels.items()},
            "prewarm:hit": self.warm,
            "prewarm:miss": self.warm_missed,
            **self.connect.totals("connect"),
            "connect_failures": self.connect_failures,
            **self.first_byte.totals("first_byte"),
        }


#: What stands in the shared memory.
COLUMNS = (CONNECTIONS, PREWARMED, PID, *Tally().totals())


class Ledger:
    """Brings a tally into a worker's row (from 0), on top of what the workers before it in that place have done."""

    def __init__(self, tally: Tally, counters: Counters, worker: int) -> None:
        self._tally = tally
        self._row = counters.row(worker)
        before = self._row.tolist()
        self._columns = [(counters.column(name), before[counters.column(name)]) for name in tally.totals()]

    def write(self) -> None:
        """Bring the row up to date."""
        row = self._row
        for (column, before), number in zip(self._columns, self._tally.totals().values(), strict=True):
            row[column] = before + number
