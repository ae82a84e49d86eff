"""How a count is made: an operation is done until all is prepared, and then three times more, counted by the relay."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from pgshim.demo.processes import Endpoint
from pgshim.demo.relay import Relay

DIRECT, WORKAROUND, PGSHIM = "direct", "workaround", "pgshim"

#: psycopg prepares what it has executed five times.
WARM = 8
TIMES = 3
#: All of them cost the same, or they are counted again: a client that is kept from running for 50 ms between its
#: Describe and its Bind costs pgshim a round trip more, because no pooler's server may wait for it.
ATTEMPTS = 4
#: What is said upstream when the app has its answer already, as after a client has left, is counted as well.
SETTLING = 0.07
#: A driver that waits longer than this for an answer waits for ever.
TIMEOUT = 10.0

# Operations by their names in the table; what else there is has its name where it is.
FETCH = "fetch, seen before"
FIRST_FETCH = "fetch, the first"
TRANSACTION = "transaction with 1 query"
TRANSACTION_OF_3 = "transaction with 3 queries"
EMPTY = "empty transaction"
EXECUTEMANY = "executemany, 100 rows"
FIRST_EXECUTEMANY = "executemany, 100 rows, the first"
CURSOR = "cursor, 100 rows by 50"
POOL = "pool: acquire, fetch, release"
CONNECTION = "new connection, one fetch"

ROWS = 100

#: Round trips, or "fails (...)" with the error's class.
Count = int | str


@dataclass(frozen=True)
class Way:
    """A way to the server: the relay that counts, and where the driver connects to."""

    name: str
    relay: Relay
    endpoint: Endpoint

    @property
    def is_workaround(self) -> bool:
        """Whether the driver is to be set up as its documentation says for transaction poolers."""
        return self.name == WORKAROUND


@dataclass(frozen=True)
class Case:
    """One operation of a driver.

    subject -- opens what it is done with, by a way: a connection, a pool, ...
    act -- does it once
    most -- round trips that the design allows pgshim
    waits -- how many more where the pooler is given one batch at a time
    """

    operation: str
    subject: Callable[[Way], AbstractAsyncContextManager[Any]]
    act: Callable[[Any], Awaitable[None]]
    most: int
    waits: int = 0


@dataclass(frozen=True)
class Driver:
    """A driver, its version, its cases, and the errors by which one of them fails."""

    name: str
    version: str
    cases: Sequence[Case]
    errors: tuple[type[Exception], ...]


class Failed(Exception):
    """An operation failed in another process; the message is what the error there is called."""


async def count(driver: Driver, case: Case, way: Way) -> Count:
    """Round trips of each time the operation is done, those of new connections included."""
    try:
        async with case.subject(way) as subject:
            await _repeat(case, subject, WARM)
            for _ in range(ATTEMPTS):
                await asyncio.sleep(SETTLING)
                way.relay.take()
                await _repeat(case, subject, TIMES)
                await asyncio.sleep(SETTLING)
                taken = way.relay.take()
                turns = taken.startup + taken.queries
                if turns % TIMES == 0:
                    break
    except (*driver.errors, TimeoutError) as error:
        return f"fails ({_root(error)})"
    return math.ceil(turns / TIMES)


async def _repeat(case: Case, subject: Any, times: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        for _ in range(times):
            await case.act(subject)


def _root(error: BaseException) -> str:
    """The class of the error that is behind all others: SQLAlchemy wraps the driver's."""
    while cause := error.__cause__ or getattr(error, "orig", None):
        error = cause
    return str(error) if isinstance(error, Failed) else type(error).__name__
