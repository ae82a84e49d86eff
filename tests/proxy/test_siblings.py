"""How workers pass CancelRequests on to each other; here all of them live in one process."""

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from pgshim.proxy import siblings
from pgshim.proxy.siblings import Mailboxes, Siblings
from tests.proxy.conftest import Run


class Worker:
    """One that knows some keys, and deals with each when it is let."""

    def __init__(self, number: int, mailboxes: Mailboxes, *keys: bytes) -> None:
        self.keys = keys
        self.dealt: list[bytes] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.siblings = Siblings(number, mailboxes)

    def knows(self, key: bytes) -> bool:
        return key in self.keys

    async def cancel(self, key: bytes) -> bool:
        self.dealt.append(key)
        await self.may_end.wait()
        return True

    def open(self) -> None:
        self.siblings.open(self, self._spawn)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@pytest.fixture
def mailboxes() -> Iterator[Mailboxes]:
    boxes = Mailboxes(3)
    yield boxes
    boxes.close()


def test_the_one_that_knows_the_key_deals_with_it_before_the_asker_goes_on(run: Run, mailboxes: Mailboxes) -> None:
    async def story() -> None:
        asker, one, other = Worker(1, mailboxes, b"a"), Worker(2, mailboxes, b"b"), Worker(3, mailboxes, b"c" * 256)
        for worker in (asker, one, other):
            worker.open()
        other.may_end.clear()
        asking = asyncio.ensure_future(asker.siblings.cancel(b"c" * 256))
        while not other.dealt:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert not asking.done()
        other.may_end.set()
        assert await asking
        assert (asker.dealt, one.dealt, other.dealt) == ([], [], [b"c" * 256])
        for worker in (asker, one, other):
            worker.siblings.close()

    run(story())


def test_a_key_that_nobody_knows_is_soon_over(run: Run, mailboxes: Mailboxes) -> None:
    async def story() -> None:
        workers = [Worker(number, mailboxes, b"key") for number in (1, 2, 3)]
        for worker in workers:
            worker.open()
        async with asyncio.timeout(1):
            # None is the beginning of a known one, nor longer than a record may be.
            for key in (b"ke", b"key\0", b"", b"k" * 257, b"k" * 10_000):
                assert not await workers[0].siblings.cancel(key)
            found = await asyncio.gather(*(workers[0].siblings.cancel(b"%d" % number) for number in range(60)))
        assert not any(found)
        assert not any(worker.dealt for worker in workers)
        for worker in workers:
            worker.siblings.close()

    run(story())


def test_one_that_was_cut_off_while_it_dealt_with_it_says_so(run: Run, mailboxes: Mailboxes) -> None:
    async def story() -> None:
        asker, other = Worker(1, mailboxes), Worker(2, mailboxes, b"key")
        asker.open()
        other.open()
        other.may_end.clear()
        asking = asyncio.ensure_future(asker.siblings.cancel(b"key"))
        while not other.dealt:
            await asyncio.sleep(0.001)
        for task in other.tasks:
            task.cancel()
        async with asyncio.timeout(1):
            await asking
        asker.siblings.close()
        other.siblings.close()

    run(story())


def test_nobody_waits_for_ever_for_one_that_is_stuck(
    run: Run, mailboxes: Mailboxes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(siblings, "_PATIENCE", 0.1)

    async def story() -> None:
        asker, answers = Worker(1, mailboxes), Worker(2, mailboxes)
        asker.open()
        answers.open()
        # It may be that one's.
        assert await asker.siblings.cancel(b"key")
        assert caplog.messages[-1] == "CancelRequest: workers 3 did not answer"
        asker.siblings.close()
        answers.siblings.close()

    with caplog.at_level(logging.WARNING):
        run(story())


def test_a_full_mailbox_takes_no_more_and_its_next_owner_finds_whole_records(run: Run, mailboxes: Mailboxes) -> None:
    async def story() -> None:
        asker = Worker(1, mailboxes)
        asker.open()
        while mailboxes.post(2, b"\0\0\0junk") and mailboxes.post(3, b"\0\0\0junk"):
            pass
        while mailboxes.post(3, b"\0\0\0junk"):
            pass
        # Nobody can be asked, so nobody can say that the key is unknown.
        async with asyncio.timeout(1):
            assert await asker.siblings.cancel(b"key")
        successor = Worker(2, mailboxes, b"key")
        mailboxes.take(2)
        successor.open()
        while mailboxes.take(3):
            pass
        third = Worker(3, mailboxes)
        third.open()
        await asyncio.sleep(0.05)
        async with asyncio.timeout(1):
            await asker.siblings.cancel(b"key")
        assert successor.dealt == [b"key"]
        for worker in (asker, successor, third):
            worker.siblings.close()

    run(story())


def test_an_answer_to_a_predecessor_is_not_taken_for_ones_own(run: Run, mailboxes: Mailboxes) -> None:
    async def story() -> None:
        other = Worker(2, mailboxes, b"old")
        Worker(3, mailboxes).open()
        gone = Worker(1, mailboxes)
        asking = asyncio.ensure_future(gone.siblings.cancel(b"old"))
        await asyncio.sleep(0)
        asking.cancel()
        other.open()
        await asyncio.sleep(0.05)
        successor = Worker(1, mailboxes)
        successor.open()
        other.may_end.clear()
        asking = asyncio.ensure_future(successor.siblings.cancel(b"old"))
        await asyncio.sleep(0.05)
        assert not asking.done()
        other.may_end.set()
        await asking
        for number in (1, 2, 3):
            asyncio.get_running_loop().remove_reader(mailboxes.fileno(number))

    run(story())


def test_records_that_several_processes_write_stay_whole(mailboxes: Mailboxes) -> None:
    pids = []
    for letter in b"abc":
        pid = os.fork()
        if not pid:
            sent = 0
            while sent < 300:
                sent += mailboxes.post(1, bytes([letter]) * 512)
            os._exit(0)
        pids.append(pid)
    found: list[bytes] = []
    while len(found) < 900:
        found += mailboxes.take(1)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    assert {record: found.count(record) for record in set(found)} == {bytes([letter]) * 512: 300 for letter in b"abc"}
