"""One client of the bank: its work, one piece after the other, and how it looks at each reply and error."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from tests.chaos.book import Book, Clock
from tests.chaos.desks import Desk, Rows
from tests.chaos.understanding import CANCELLED, explain, sqlstate_of

PAUSE_SECONDS = 0.04
#: At most, after a connection was lost.
RETRY_SECONDS = 0.3

Task = Callable[[], Awaitable[None]]


class Cancelled(Exception):
    """A statement was cancelled as it was to be: its transaction is rolled back."""


class Client:
    """Works until `is_over` says so. `expected` is what schema.SETTINGS must find, without token and question."""

    def __init__(
        self,
        name: str,
        kind: str,
        desk: Desk,
        expected: tuple[str, ...],
        book: Book,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.name = name
        self.kind = kind
        self.desk = desk
        self.expected = expected
        self.book = book
        self.clock = clock
        self.rng = rng
        #: What it is doing, and how long everything had been up when it began; None between two pieces of work.
        self.doing: tuple[str, float] | None = None
        self._tokens = 0

    def tasks(self) -> list[tuple[Task, int]]:
        """What it does, and how often."""
        raise NotImplementedError

    async def work(self, is_over: Callable[[Client], bool]) -> None:
        """Does one thing after the other."""
        while not is_over(self):
            tasks, weights = zip(*self.tasks(), strict=True)
            task = self.rng.choices(tasks, weights)[0]
            self.doing = (task.__name__.strip("_"), self.clock.uptime)
            is_well = await self._attempt(task)
            self.doing = None
            await asyncio.sleep(self.rng.uniform(0, PAUSE_SECONDS if is_well else RETRY_SECONDS))
        await self.desk.close()

    async def _attempt(self, task: Task) -> bool:
        """Whether the connection can still be used."""
        is_broken = True
        try:
            await self.desk.enter()
            try:
                await task()
                is_broken = False
            except Exception as error:
                is_broken = _breaks(error)
                raise
            finally:
                await self.desk.leave(is_broken=is_broken)
        except Cancelled:
            pass
        except Exception as error:
            self._note(task, error)
        return not is_broken

    def _note(self, task: Task, error: Exception) -> None:
        label, meaning = explain(error)
        self.book.errors[label, meaning or "NOT UNDERSTANDABLE"] += 1
        where = f"{self.name} in {task.__name__.strip('_')}"
        if meaning is None:
            self.book.riddle(label, _first_line(error), where)
        elif sqlstate_of(error) == CANCELLED:
            self.book.fault(f"{where} was cancelled, and had not asked for it: {_first_line(error)}")

    # Replies.

    def token(self) -> str:
        """One that no query has had."""
        self._tokens += 1
        return f"{self.name}/{self._tokens}"

    def check(self, rows: Rows, token: str, question: str) -> Rows:
        """Rows of a reply."""
        for row in rows:
            self.book.replies += 1
            if row[0] != token or row[-1] != question:
                whose = "its own" if str(row[0]).startswith(f"{self.name}/") else "ANOTHER CLIENT'S"
                self.book.fault(f"{self.name} asked {question!r} as {token} and got {whose} reply {row!r}")
        return rows

    async def ask(self, question: str, sql: str, *arguments: Any) -> tuple[Any, ...]:
        """Its only row, in a block."""
        token = self.token()
        return self._only(self.check(await self.desk.fetch(sql, token, *arguments), token, question))

    async def ask_alone(self, question: str, sql: str, *arguments: Any) -> tuple[Any, ...]:
        """Its only row, outside of a block."""
        token = self.token()
        return self._only(self.check(await self.desk.fetch_alone(sql, token, *arguments), token, question))

    def _only(self, rows: Rows) -> tuple[Any, ...]:
        self.expect("rows", len(rows), 1)
        return rows[0]

    def expect(self, what: str, found: object, expected: object) -> None:
        """Note a fault if they differ."""
        if found != expected:
            self.book.fault(f"{self.name} found {what} {found!r} instead of {expected!r}")


def _breaks(error: Exception) -> bool:
    """Whether the connection is not used again."""
    return sqlstate_of(error) not in ("40001", "40P01") and not isinstance(error, Cancelled)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
