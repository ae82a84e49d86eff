"""One day at the bank: it opens, is sabotaged, calms down, closes, and is audited."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos import schema
from tests.chaos.audit import audit
from tests.chaos.book import Book, Clock
from tests.chaos.clients import employ
from tests.chaos.saboteur import Saboteur
from tests.chaos.teller import Teller
from tests.chaos.town import Town
from tests.chaos.verdict import Check

#: How long one piece of work may take while everything is up.
HANG_SECONDS = 20.0
#: How long it may take from the last act of sabotage until every client has done a transfer.
RECOVERY_SECONDS = 45.0
LOOK_SECONDS = 0.5
#: How long a client that is ended by force may take.
CANCEL_SECONDS = 10.0


@dataclass
class Day:
    """What is left of it for the report."""

    town: Town
    book: Book
    saboteur: Saboteur
    clock: Clock
    tellers: list[Teller] = field(default_factory=list)
    #: Seconds from the last act of sabotage until every client had done a transfer; None if one did not.
    recovery: float | None = None
    checks: list[Check] = field(default_factory=list)


async def spend(town: Town, seconds: float, rng: random.Random, only: str) -> Day:
    """Raises ServerFailed if a server cannot be brought up again."""
    with town.auditor() as auditor:
        auditor.execute(schema.creation())
    book, clock = Book(), Clock()
    day = Day(town, book, Saboteur(town, book, clock, random.Random(rng.random()), only), clock)
    _listen_to_loop(book)
    async with employ(town, book, clock, rng) as day.tellers:
        await _work(day, seconds)
    day.checks = [*_check(day), *audit(town, book)]
    return day


async def _work(day: Day, seconds: float) -> None:
    calm_since = asyncio.get_running_loop().create_future()

    def is_over(teller: Teller) -> bool:
        return calm_since.done() and day.book.has_committed_since(teller.name, calm_since.result())

    tasks = {teller: asyncio.create_task(teller.work(is_over)) for teller in day.tellers}
    watch = asyncio.create_task(_watch(day, tasks))
    sabotage = asyncio.create_task(asyncio.to_thread(day.saboteur.run))
    try:
        await asyncio.wait([sabotage], timeout=seconds)
        day.saboteur.calm.set()
        await sabotage
        calm_since.set_result(day.saboteur.last_end)
        _, late = await asyncio.wait(tasks.values(), timeout=RECOVERY_SECONDS)
        if not late:
            day.recovery = day.book.now - calm_since.result()
    finally:
        day.saboteur.calm.set()
        watch.cancel()
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values(), timeout=CANCEL_SECONDS)
    for teller, task in tasks.items():
        if not task.done():
            day.book.fault(f"{teller.name} hung in {teller.doing} and could not be cancelled: {_where(task)}")
        elif not task.cancelled() and (error := task.exception()) is not None:
            day.book.fault(f"{teller.name} ended with {error!r}")


async def _watch(day: Day, tasks: dict[Teller, asyncio.Task[None]]) -> None:
    """Ends the work of clients that hang."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for teller, task in tasks.items():
            if teller.doing is not None and day.clock.uptime - teller.doing[1] > HANG_SECONDS:
                day.book.fault(f"{teller.name} hung in {teller.doing[0]} while everything was up: {_where(task)}")
                teller.doing = None
                task.cancel()


def _where(task: asyncio.Task[None]) -> str:
    """The innermost line of the bank's own that the task waits in."""
    awaited = task.get_coro()
    place = ""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return place


def _listen_to_loop(book: Book) -> None:
    """What drivers leave to the event loop's handler would only clutter the report."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        what = f"{context['message']}: {context.get('exception', '')}"
        book.complaints[what.partition("\n")[0][:100]] += 1

    asyncio.get_running_loop().set_exception_handler(handle)


def _riddles(book: Book) -> list[str]:
    return [f"{label}, {len(found)} times, first {found[0]}" for (label, _), found in book.riddles.items()]


def _check(day: Day) -> list[Check]:
    book = day.book

    def check(what: str, is_meant: Callable[[str], bool]) -> Check:
        return Check(what, "\n".join(fault for fault in book.faults if is_meant(fault)))

    late = [
        teller.name
        for teller in day.tellers
        if day.recovery is None and not book.has_committed_since(teller.name, day.saboteur.last_end)
    ]
    return [
        check("every reply was the one that was asked for", lambda fault: " reply " in fault),
        check("every setting was the client's own, and every read consistent", lambda fault: " instead of " in fault),
        check("nobody was cancelled who had not asked for it", lambda fault: " was cancelled" in fault),
        Check("every error was one that a client can understand", "\n".join(_riddles(book))),
        check("nothing hung", lambda fault: " hung in " in fault),
        check("pgshim ended as it should, and no client broke", lambda fault: " ended with " in fault),
        Check("every client did a transfer after the last act of sabotage", ", ".join(late)),
    ]

