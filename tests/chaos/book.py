"""What the clients know of their transfers, and what has been seen to go wrong."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.chaos.understanding import leaves_commit_open


class Outcome(Enum):
    OPEN = "open"
    COMMITTED = "committed"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass
class Deal:
    """One or more transfers that are committed together."""

    transfers: list[Transfer]
    outcome: Outcome = Outcome.OPEN
    #: Set right before the client says COMMIT: from then on a lost connection leaves the outcome unknown.
    is_committing: bool = False


@dataclass(frozen=True)
class Transfer:
    id: str
    source: int
    target: int
    amount: int


@dataclass
class Book:
    """The notes of all clients. Times are seconds since the bank opened."""

    deals: dict[str, list[tuple[float, Deal]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    #: By label and meaning.
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Errors that no client can understand: how often, and the first, by label and text without names and numbers.
    riddles: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    #: What drivers left to the event loop's exception handler.
    complaints: Counter[str] = field(default_factory=Counter)
    #: The acts of sabotage, each with the time it began.
    diary: list[tuple[float, str]] = field(default_factory=list)
    replies: int = 0
    #: The ids in the ledger, once it has been read.
    found: set[str] = field(default_factory=set)
    #: Seconds.
    longest_drain: float = 0
    opened: float = field(default_factory=time.monotonic)

    @property
    def now(self) -> float:
        return time.monotonic() - self.opened

    @contextmanager
    def deal(self, client: str, transfers: list[Transfer]) -> Iterator[Deal]:
        """Notes how it ends: committed if the block does not raise."""
        deal = Deal(transfers)
        self.deals.setdefault(client, []).append((self.now, deal))
        try:
            yield deal
        except BaseException as error:
            if deal.outcome == Outcome.OPEN:
                is_open = deal.is_committing and leaves_commit_open(error)
                deal.outcome = Outcome.UNKNOWN if is_open else Outcome.FAILED
            raise
        if deal.outcome == Outcome.OPEN:
            deal.outcome = Outcome.COMMITTED

    def count(self, client: str) -> Counter[Outcome]:
        """The client's deals by outcome."""
        return Counter(deal.outcome for _, deal in self.deals.get(client, []))

    def has_committed_since(self, client: str, moment: float) -> bool:
        """Whether a deal that began after `moment` is committed."""
        recent = reversed(self.deals.get(client, []))
        return any(deal.outcome == Outcome.COMMITTED for began, deal in recent if began > moment)

    def fault(self, what: str) -> None:
        """Note something that must not happen."""
        self.faults.append(f"{self.when()}: {what}")

    def riddle(self, label: str, line: str, where: str) -> None:
        """Note an error that no client can understand."""
        text = re.sub(r'"[^"]*"|\d+', "", line)
        self.riddles.setdefault((label, text), []).append(f"{where} {self.when()}: {line}")

    def when(self) -> str:
        """This moment, for a person to read."""
        moment = self.now
        recent = f", {moment - self.diary[-1][0]:.2f} s into {self.diary[-1][1]!r}" if self.diary else ""
        return f"at {moment:.2f} s{recent}"


class Clock:
    """How long everything has been up, in seconds; outages may overlap."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outages = 0
        self._total = 0.0
        self._since = time.monotonic()

    @property
    def uptime(self) -> float:
        with self._lock:
            return self._total + (0 if self._outages else time.monotonic() - self._since)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Something is down meanwhile."""
        with self._lock:
            if not self._outages:
                self._total += time.monotonic() - self._since
            self._outages += 1
        try:
            yield
        finally:
            with self._lock:
                self._outages -= 1
                self._since = time.monotonic()
