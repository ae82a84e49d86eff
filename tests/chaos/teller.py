"""What a client does at the bank."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from tests.chaos import schema
from tests.chaos.book import Deal, Outcome, Transfer
from tests.chaos.client import Cancelled, Client, Task
from tests.chaos.understanding import CANCELLED, sqlstate_of

SLEEP_SECONDS = 3.0
CANCEL_SECONDS = 0.15


class Teller(Client):
    """Moves money, looks at it, and at its settings."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cancels = 0
        self.cancels_without_effect = 0
        self._transfers = 0

    def tasks(self) -> list[tuple[Task, int]]:
        tasks: list[tuple[Task, int]] = [
            (self._transfer, 10),
            (self._transfer_alone, 8),
            (self._read, 6),
            (self._transfer_and_take_back, 4),
            (self._transfer_while_scrolling, 4),
            (self._transfer_many, 4),
            (self._transfer_serializable, 4),
            (self._transfer_cancelled, 2),
            (self._check_settings, 6),
            (self._check_books, 3),
            (self._come_anew, 1),
        ]
        if self.desk.has_atomic_many:
            tasks.append((self._enter_many_alone, 3))
        if self.desk.has_copy:
            tasks.append((self._enter_by_copy, 3))
        return tasks

    # Transfers.

    def _new(self, count: int = 1, *, of_nothing: bool = False) -> list[Transfer]:
        transfers = []
        for _ in range(count):
            self._transfers += 1
            source, target = self.rng.sample(range(1, schema.ACCOUNTS + 1), 2)
            # Mostly in one order, so that deadlocks are rare.
            if source > target and self.rng.random() < 0.9:
                source, target = target, source
            amount = 0 if of_nothing else self.rng.choice((-1, 1)) * self.rng.randint(1, 100)
            transfers.append(Transfer(f"{self.name}-{self._transfers}", source, target, amount))
        return transfers

    async def _move(self, transfer: Transfer) -> None:
        for account, amount in ((transfer.source, -transfer.amount), (transfer.target, transfer.amount)):
            row = await self.ask("move", schema.MOVE, amount, account)
            self.expect("as the account that was moved", row[1], account)
        await self.ask("enter", schema.ENTER, transfer.id, transfer.source, transfer.target, transfer.amount)

    async def _transfer(self) -> None:
        with self.book.deal(self.name, self._new()) as deal:
            async with self.desk.block():
                await self._move(deal.transfers[0])
                deal.is_committing = True

    async def _transfer_alone(self) -> None:
        with self.book.deal(self.name, self._new()) as deal:
            transfer = deal.transfers[0]
            deal.is_committing = True
            await self.ask_alone(
                "transfer", schema.TRANSFER, transfer.id, transfer.source, transfer.target, transfer.amount
            )

    async def _transfer_and_take_back(self) -> None:
        """One transfer that is kept, and one that is rolled back to a savepoint."""
        kept, dropped = self._new(2)
        with self.book.deal(self.name, [kept]) as deal, self.book.deal(self.name, [dropped]) as undone:
            undone.outcome = Outcome.FAILED
            async with self.desk.block():
                await self._move(kept)
                try:
                    async with self.desk.savepoint():
                        await self._move(dropped)
                        raise _TakenBack
                except _TakenBack:
                    row = await self.ask("look up", schema.LOOK_UP, dropped.id)
                    self.expect("in the ledger after ROLLBACK TO SAVEPOINT", row[1], 0)
                deal.is_committing = True

    async def _transfer_while_scrolling(self) -> None:
        """A transfer between the rows of a cursor, whose snapshot does not see it."""
        token, total = self.token(), 0
        with self.book.deal(self.name, self._new()) as deal:
            async with self.desk.block("repeatable_read"):
                async with aclosing(self.desk.scroll(schema.READ_ALL, token)) as rows:
                    async for row in rows:
                        self.check([row], token, "read all")
                        total += row[2]
                        if row[1] == schema.ACCOUNTS // 2:
                            await self.ask("read", schema.READ, row[1])
                self.expect("as the sum of a snapshot", total, schema.TOTAL)
                await self._move(deal.transfers[0])
                deal.is_committing = True

    async def _transfer_many(self) -> None:
        transfers = self._new(3)
        with self.book.deal(self.name, transfers) as deal:
            async with self.desk.block():
                moves = [(amount, account) for transfer in transfers for account, amount in _moves(transfer)]
                await self.desk.execute_many(schema.MOVE_MANY, moves)
                await self.desk.execute_many(schema.ENTER_MANY, _entries(transfers))
                deal.is_committing = True

    async def _enter_many_alone(self) -> None:
        """Entries of transfers of nothing: all of them, or none."""
        with self.book.deal(self.name, self._new(20, of_nothing=True)) as deal:
            deal.is_committing = True
            await self.desk.execute_many(schema.ENTER_MANY, _entries(deal.transfers))

    async def _enter_by_copy(self) -> None:
        """Entries of transfers of nothing, enough of them for several CopyData messages."""
        with self.book.deal(self.name, self._new(self.rng.randint(1, 500), of_nothing=True)) as deal:
            async with self.desk.block():
                await self.desk.copy_in("ledger", _entries(deal.transfers))
                await self.ask("look up", schema.LOOK_UP, deal.transfers[0].id)
                deal.is_committing = True

    async def _transfer_serializable(self) -> None:
        with self.book.deal(self.name, self._new()) as deal:
            transfer = deal.transfers[0]
            async with self.desk.block("serializable"):
                await self.ask("read", schema.READ, transfer.source)
                await self.ask("read", schema.READ, transfer.target)
                await self._move(transfer)
                deal.is_committing = True

    async def _transfer_cancelled(self) -> None:
        with self.book.deal(self.name, self._new()) as deal:
            async with self.desk.block():
                await self._move(deal.transfers[0])
                await self._sleep_cancelled(deal)
                deal.is_committing = True

    async def _sleep_cancelled(self, deal: Deal) -> None:
        self.cancels += 1
        token = self.token()
        try:
            rows = await self.desk.cut_short(CANCEL_SECONDS, schema.SLEEP, token, SLEEP_SECONDS)
        except Exception as error:
            if isinstance(error, TimeoutError) or sqlstate_of(error) == CANCELLED:
                raise Cancelled from error
            raise
        self.cancels_without_effect += 1
        self.check(rows, token, "sleep")

    # Looking.

    async def _read(self) -> None:
        account = self.rng.randint(1, schema.ACCOUNTS)
        row = await self.ask_alone("read", schema.READ, account)
        self.expect("as the account that was read", row[1], account)

    async def _check_books(self) -> None:
        row = await self.ask_alone("sum", schema.SUM)
        self.expect("as the sum of all accounts", row[1], schema.TOTAL)
        token = self.token()
        rows = await self.desk.fetch_alone(schema.read_literal(token))
        self.expect("as the sum of all accounts", self.check(rows, token, "literal")[0][1], schema.TOTAL)

    async def _check_settings(self) -> None:
        row = await self.ask_alone("settings", schema.SETTINGS)
        # A client without an application_name has a space for one: see docs/session-features.md.
        self.expect("settings", tuple(value.strip() for value in row[1:-1]), self.expected)

    async def _come_anew(self) -> None:
        """The next piece of work begins with a login, or with another connection of the pool."""
        await self.desk.close()
        await self.desk.enter()


class _TakenBack(Exception):
    """Rolls a savepoint back."""


def _moves(transfer: Transfer) -> list[tuple[int, int]]:
    return sorted([(transfer.source, -transfer.amount), (transfer.target, transfer.amount)])


def _entries(transfers: list[Transfer]) -> list[tuple[str, int, int, int]]:
    return [(each.id, each.source, each.target, each.amount) for each in transfers]
