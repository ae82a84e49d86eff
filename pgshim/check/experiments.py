"""What shows only when it is tried: the pool's mode, prepared statements, pipelines, round trips.

Nothing that outlives a transaction is made, but one prepared statement, which is taken away in the same transaction.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from pgshim.check.failures import CheckFailure, NoAnswer, Refused
from pgshim.check.wire import REPLY_TIMEOUT, Answer, Wire
from pgshim.protocol.frontend import Bind, Close, Execute, Parse, Query, Sync, Target

#: Seconds after which a query that waits for another connection's transaction is known to wait.
WAITING = 2.0

#: Seconds that another connection has to wait for a server before there is none for it.
PATIENCE = 4.0

#: Seconds within which a pipelined batch is answered, or is not going to be.
PIPELINED = 5.0

_ROUNDS = 4
_SAMPLES, _SAMPLING = 20, 3.0

Connect = Callable[[], Awaitable[Wire]]


class Mode(StrEnum):
    """When a pool's server goes to another client."""

    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PoolMode:
    """The mode, and what showed it."""

    mode: Mode
    evidence: str


class Kept(StrEnum):
    """Who keeps a prepared statement's name from one transaction to the next."""

    BY_SESSION = "session"
    BY_POOLER = "pooler"
    NOT = "none"
    UNKNOWN = "unknown"


@dataclass
class Statements:
    """`name` is ours, `server_name` what it was called on the server: empty if it was not there."""

    kept: Kept = Kept.UNKNOWN
    evidence: str = ""
    name: str = ""
    text: str = ""
    server_name: str | None = None
    process_id: int = 0
    #: Where a transaction is refused: the mode that this shows.
    mode: PoolMode | None = None


async def process_id(wire: Wire, timeout: float = REPLY_TIMEOUT) -> int:
    """Of the server that answers. Raises CheckFailure."""
    return (await wire.query("SELECT pg_catalog.pg_backend_pid()", timeout)).number


async def find_mode(wire: Wire, connect: Connect) -> PoolMode:
    """Whether two clients share a server: while one holds a transaction open, where does the other one land?

    `wire` is idle. Raises CheckFailure.
    """
    before = await process_id(wire)
    holders: list[Wire] = []
    try:
        for _ in range(2):
            holders.append(await connect())
            try:
                found = await _hold(holders[-1])
            except NoAnswer:
                await holders[-1].leave()
                return await _mode_of_a_full_pool(wire)
            if isinstance(found, PoolMode):
                return found
            if found == before:
                return PoolMode(Mode.TRANSACTION, "a second client was given the first one's server, which was idle")
            for _ in range(_ROUNDS):
                now = await process_id(wire, PATIENCE)
                if now != before:
                    return PoolMode(Mode.TRANSACTION, "one client's queries were answered by several servers")
    except NoAnswer:
        return PoolMode(Mode.TRANSACTION, "one client waits for another one's transaction: the pool has one server")
    finally:
        for holder in holders:
            if not holder.is_lost:
                await let_go(holder)
            await holder.close()
        await _settle(wire)
    return PoolMode(Mode.SESSION, "a client kept its server, and no other client was given it")


async def _mode_of_a_full_pool(wire: Wire) -> PoolMode:
    """Where a second client waits for a server: does the first one have its own?"""
    try:
        await process_id(wire, PATIENCE)
    except NoAnswer:
        return PoolMode(Mode.UNKNOWN, "all servers of the pool are busy: try again when there is less to do")
    return PoolMode(Mode.SESSION, "a second client waits while the first one is answered: the pool is full")


async def _hold(wire: Wire) -> int | PoolMode:
    """Begin a transaction; the server's process id, or what refuses it."""
    try:
        begun = await wire.query("BEGIN", PATIENCE)
        if begun.error is not None:
            raise begun.error
    except Refused as refused:
        if "statement" in refused.message:
            return PoolMode(Mode.STATEMENT, f'BEGIN is refused: "{refused.message}"')
        raise
    return await process_id(wire)


async def let_go(wire: Wire) -> None:
    """End the transaction, if there is somebody who can."""
    with suppress(CheckFailure):
        await wire.query("ROLLBACK", WAITING)


async def _settle(wire: Wire) -> None:
    """Take what an earlier wait has left unanswered."""
    wire.send(Query(b"SELECT 'settled'"))
    with suppress(CheckFailure):
        while (await wire.answer(WAITING)).rows != [("settled",)]:
            pass
        wire.is_lost = False


async def prepare(wire: Wire) -> Statements:
    """Prepare a statement in a transaction, and look on its server what became of the name. Raises CheckFailure.

    It is taken away there before the transaction ends: a pooler that keeps it believes it to be there still.
    """
    token = secrets.token_hex(6)
    found = Statements(name=f"pgshim_check_{token}", text=f"SELECT 1 /* pgshim check {token} */")
    held = await _hold(wire)
    if isinstance(held, PoolMode):
        return Statements(evidence=held.evidence, mode=held)
    found.process_id = held
    try:
        parsed = await wire.exchange(Parse(found.name.encode(), found.text.encode(), ()), Sync())
        if parsed.error is not None:
            found.kept, found.evidence = Kept.NOT, f'a Parse with a name fails: "{parsed.error.message}"'
            return found
        found.server_name = await _name_on_the_server(wire, found.text)
        if found.server_name == found.name:
            found.kept, found.evidence = Kept.NOT, "its name stands on one server as it was sent"
            await wire.exchange(Close(Target.STATEMENT, found.name.encode()), Sync())
        else:
            await _forget(wire, found.text)
            found.kept = Kept.BY_POOLER
            name = found.server_name
            found.evidence = f"it is called {name} on the server" if name else "it goes up without a name"
    finally:
        await let_go(wire)
    return found


async def follow(found: Statements, wire: Wire, connect: Connect) -> bool | None:
    """Whether a statement that is kept works on a second server; None where no second one could be had.

    Raises CheckFailure.
    """
    holder = await connect()
    try:
        for _ in range(_ROUNDS):
            await _hold(holder)
            try:
                other = await _hold(wire)
                if other != found.process_id:
                    used = await wire.exchange(*_execute(found.name.encode()), Sync())
                    await _forget(wire, found.text)
                    return used.error is None
            except NoAnswer:
                return None
            finally:
                await let_go(holder)
                await let_go(wire)
                await _settle(wire)
    finally:
        await holder.close()
    return None


def _execute(name: bytes) -> tuple[Bind, Execute]:
    return Bind(b"", name, (), (), ()), Execute(b"", 0)


async def _forget(wire: Wire, text: str) -> None:
    """Take the statement off the server that this transaction is on.

    Our text is nobody else's, so nobody misses it. Not as a simple query: Supavisor ends the connection for that.
    """
    name = await _name_on_the_server(wire, text)
    if name:
        quoted = '"' + name.replace('"', '""') + '"'
        await wire.exchange(Parse(b"", f"DEALLOCATE {quoted}".encode(), ()), *_execute(b""), Sync())


async def _name_on_the_server(wire: Wire, text: str) -> str:
    answer = await wire.query(f"SELECT name FROM pg_catalog.pg_prepared_statements WHERE statement = '{text}'")
    if answer.error is not None:
        raise answer.error
    return (answer.rows[0][0] or "") if answer.rows else ""


@dataclass(frozen=True, slots=True)
class Pipelining:
    """Whether three batches in flight were all answered, each with its own reply; None: not tried."""

    in_one_write: bool | None = None
    in_several_writes: bool | None = None

    @property
    def is_fine(self) -> bool:
        """Tried in both ways, and answered."""
        return bool(self.in_one_write and self.in_several_writes)

    @property
    def has_failed(self) -> bool:
        return self.in_one_write is False or self.in_several_writes is False


async def pipeline(connect: Connect, *, in_several_writes: bool) -> Pipelining:
    """Three batches ahead of their replies, on connections of their own: who loses replies cannot be spoken to again.

    A pooler that loses them may give them to another client. So this is only for one that is known not to, and several
    writes for one that keeps count of what it owes.
    """
    in_one = await _pipelined(connect, at_once=True)
    return Pipelining(in_one, await _pipelined(connect, at_once=False) if in_several_writes else None)


async def _pipelined(connect: Connect, *, at_once: bool) -> bool | None:
    wire = await connect()
    try:
        # First see that there is a server to be had.
        await process_id(wire, PATIENCE)
    except CheckFailure as failure:
        await wire.close()
        if isinstance(failure, NoAnswer):
            return None
        raise
    batches = [(Parse(b"", f"SELECT {number}".encode(), ()), *_execute(b""), Sync()) for number in (1, 2, 3)]
    try:
        if at_once:
            wire.send(*(message for batch in batches for message in batch))
        else:
            for batch in batches:
                await wire.write_now(*batch)
        answers: list[Answer] = [await wire.answer(PIPELINED) for _ in batches]
    except CheckFailure:
        return False
    finally:
        await wire.close()
    return [answer.rows for answer in answers] == [[("1",)], [("2",)], [("3",)]]


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Milliseconds of `SELECT 1`, one after the other."""

    samples: int
    least: float
    median: float


async def round_trips(wire: Wire) -> RoundTrips:
    """At most twenty, for at most three seconds. Raises CheckFailure."""
    times: list[float] = []
    end = time.perf_counter() + _SAMPLING
    while len(times) < _SAMPLES and (not times or time.perf_counter() < end):
        started = time.perf_counter()
        _ = (await wire.query("SELECT 1")).value
        times.append((time.perf_counter() - started) * 1000)
    return RoundTrips(len(times), round(min(times), 2), round(statistics.median(times), 2))
