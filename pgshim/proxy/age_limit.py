"""How long a warm connection may stand. No clock of its own: the loop's times come in."""

from __future__ import annotations

import math

#: Seconds that one may stand; each gets between three quarters and all of it, so that they are not replaced all at
#: once. PgBouncer, PgDog and PostgreSQL give a client 60 s from accept to the end of its login: 20 s are left for it.
OLDEST = 40.0

#: The shortest age limit.
_SHORTEST = 1.0

#: Seconds after which an age limit is forgotten if the pooler has just closed, and not said why.
_DOUBT = 600.0

#: Seconds after such a close in which an upstream that is not there shows that it was no more than that.
_RESTART = 2.0


class AgeLimit:
    """How old warm connections may become: half of the pooler's login timeout. The other half is the login's.

    Poolers do not tell how long they wait for a StartupMessage; it shows when they close one. PgBouncer says why then.
    Supavisor, which waits 5 s, does not, and neither does a pooler that is being restarted: so that is forgotten after
    a while, or believed if the next one to grow old is closed at that age again.
    """

    __slots__ = ("_ends", "_forgotten", "_learnt_at", "_limit", "_oldest")

    def __init__(self, oldest: float = OLDEST) -> None:
        self._oldest = self._limit = oldest
        #: The loop's times until which the limit is in force, and at which it was learnt.
        self._ends = math.inf
        self._learnt_at = -math.inf
        #: The limit before it was forgotten.
        self._forgotten = 0.0

    def at(self, now: float) -> float:
        """The limit in force, in seconds; `now` is the loop's time."""
        if now >= self._ends:
            self._forgotten = self._limit
            self._limit, self._ends = self._oldest, math.inf
        return self._limit

    def learn(self, age: float, now: float, *, is_certain: bool) -> None:
        """The pooler has closed one of this age; `is_certain`: because of it."""
        limit = max(age / 2, _SHORTEST)
        if limit < self.at(now):
            is_certain |= abs(limit - self._forgotten) <= self._forgotten / 10
            self._limit, self._ends = limit, math.inf if is_certain else now + _DOUBT
            self._learnt_at = now

    def doubt(self, now: float) -> None:
        """The upstream is not there: what it has just closed, it closed because it was stopped."""
        if self._ends != math.inf and now - self._learnt_at < _RESTART:
            self._limit, self._ends = self._oldest, math.inf
