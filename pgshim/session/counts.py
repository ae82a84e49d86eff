"""What sessions count: plain integers on one object for all sessions of a process.

The hot path adds to them, at 20 ns each; nothing there is a call, a lock or a lookup. Who shows the figures reads
`totals` now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgshim.session.hazard_names import Feature
from pgshim.session.sqlstates import CLASSES, SQLSTATES

if TYPE_CHECKING:
    from pgshim.session.hazards import Hazard
    from pgshim.session.statements import Statement

#: Round trips to the upstream that a client did not have to wait for, though it would on a connection of its own.
#: `prewarm` is counted when a client connects, not by sessions.
TRIPS = ("begin", "end", "reset", "deallocate", "close", "sync", "description", "prewarm")

#: What an error is counted under that has none of PostgreSQL's SQLSTATEs: its class if it has one of these.
OTHER = "other"
_ERRORS = (*sorted(SQLSTATES), *(f"{code}xxx" for code in sorted(CLASSES)), OTHER)


class Counts:
    """The figures; all 0 at first, and none ever goes down."""

    __slots__ = (
        "again", "binds", "describes", "errors", "in_block", "injections", "parses", "refused", "replays", "reused",
        "transactions", "trips",
    )  # fmt: skip

    def __init__(self) -> None:
        #: ReadyForQuery messages that clients were given, outside of a transaction block and inside.
        self.transactions = self.in_block = 0
        #: Messages that named a prepared statement and went up without the name.
        self.parses = self.binds = self.describes = 0
        #: Parses that were sent because a server did not have the statement.
        self.replays = 0
        #: Named statements that were executed again, in a trip of their own.
        self.reused = 0
        #: What is one each of `binds`, `replays` and `reused`: most of what there is, so it is counted once.
        self.again = 0
        #: Transactions ahead of which settings were brought into force.
        self.injections = 0
        self.trips = dict.fromkeys(TRIPS, 0)
        self.refused = dict.fromkeys(map(str, Feature), 0)
        self.errors = dict.fromkeys(_ERRORS, 0)

    def note_bind(self, statement: Statement, *, is_replayed: bool, has_own_trip: bool) -> None:
        """The Bind of a named statement has gone up."""
        self.binds += 1
        self.replays += is_replayed
        self.reused += has_own_trip and statement.is_used
        statement.is_used = True

    def note_ready(self, *, is_in_block: bool) -> None:
        """A client is given a ReadyForQuery."""
        if is_in_block:
            self.in_block += 1
        else:
            self.transactions += 1

    def note_refusal(self, hazard: Hazard) -> None:
        """A client is refused what needs a session of its own."""
        self.refused[hazard.feature] += 1

    def note_error(self, message: bytes) -> None:
        """A client is given this ErrorResponse, or the beginning of it."""
        start = 6 if message[5:6] == b"C" else message.find(b"\0C", 5) + 2
        code = message[start : start + 5].decode("latin-1") if start > 1 else ""
        if code not in self.errors or len(code) != 5:
            code = f"{code[:2]}xxx" if code[:2] in CLASSES else OTHER
        self.errors[code] += 1

    def totals(self) -> dict[str, int]:
        """All of them: name -> figure. A name may have a label behind a colon; the names are always the same."""
        return {
            "transactions": self.transactions,
            "queries": self.transactions + self.in_block,
            "rewritten:parse": self.parses,
            "rewritten:bind": self.binds + self.again,
            "rewritten:describe": self.describes,
            "replays": self.replays + self.again,
            "reused": self.reused + self.again,
            "injections": self.injections,
            **{f"trips:{kind}": number for kind, number in self.trips.items()},
            **{f"refused:{feature}": number for feature, number in self.refused.items()},
            **{f"errors:{code}": number for code, number in self.errors.items()},
        }

    def summary(self) -> str:
        """One line of what it was good for, without what there was none of; empty: nothing."""
        rewritten = self.parses + self.binds + self.again + self.describes
        figures = [
            (rewritten, "message of prepared statements rewritten", "messages of prepared statements rewritten"),
            (sum(self.trips.values()), "round trip saved", "round trips saved"),
            (self.reused + self.again, "prepared execution in one trip", "prepared executions in one trip"),
        ]
        parts = [f"{number:,} {one if number == 1 else many}" for number, one, many in figures if number]
        refused = {feature: number for feature, number in self.refused.items() if number}
        if refused:
            names = ", ".join(f"{feature} {number:,}" for feature, number in refused.items())
            parts.append(f"refused: {names}")
        return "; ".join(parts)
