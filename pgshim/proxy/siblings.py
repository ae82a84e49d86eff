"""How a CancelRequest reaches the worker that has its connection.

The key that a client has is the upstream's own, all of it, so it cannot say which worker that is. A worker that does
not know a key asks all others, and waits until one has dealt with it or nobody knows it.

Each worker has a mailbox: a pipe that was there before the workers, so that only they can write to it, and that stays
when one of them is replaced. A record is never larger than what a pipe takes in one piece, and all have one size: a
read never ends within one. A full mailbox, of a worker that is gone or stuck, takes no more: cancelling is a request.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Coroutine
from struct import Struct
from typing import Any, Protocol

logger = logging.getLogger("pgshim.cancel")

#: POSIX lets no PIPE_BUF be smaller: up to there a write is whole, whoever else writes.
_RECORD = 512

#: What it is, the number of the worker it comes from, the number of the request, the length of the key behind it.
_HEADER = Struct("!BHQH")
_ASK, _DONE, _UNKNOWN = range(3)

#: Bytes of the longest key of protocol 3.2.
_LONGEST_KEY = 256

#: Seconds that the other workers have for an answer: a little more than a cancel takes at most where nothing answers.
_PATIENCE = 25.0

_READ = 64 * _RECORD


class Cancels(Protocol):
    """What deals with CancelRequests in one process."""

    def knows(self, key: bytes) -> bool:
        """Whether a connection of this process has the key."""

    async def cancel(self, key: bytes) -> bool:
        """Deal with a CancelRequest; False: no connection here has the key."""


class Mailboxes:
    """One for each worker, made before the first is."""

    def __init__(self, workers: int) -> None:
        self.pipes = [os.pipe() for _ in range(workers)]
        for pipe in self.pipes:
            for end in pipe:
                os.set_blocking(end, False)

    def post(self, number: int, record: bytes) -> bool:
        """Put a record into the mailbox of a worker (from 1); False: there is no room."""
        try:
            return os.write(self.pipes[number - 1][1], record.ljust(_RECORD, b"\0")) == _RECORD
        except BlockingIOError:
            return False

    def take(self, number: int) -> list[bytes]:
        """The next records in a worker's mailbox."""
        try:
            data = os.read(self.pipes[number - 1][0], _READ)
        except BlockingIOError:
            return []
        return [data[start : start + _RECORD] for start in range(0, len(data), _RECORD)]

    def fileno(self, number: int) -> int:
        """What is readable when a worker's mailbox is not empty."""
        return self.pipes[number - 1][0]

    def close(self) -> None:
        """Close them, for this process."""
        for pipe in self.pipes:
            for end in pipe:
                os.close(end)


class Siblings:
    """The other workers, as worker `number` (from 1) sees them."""

    def __init__(self, number: int, mailboxes: Mailboxes) -> None:
        self._number = number
        self._mailboxes = mailboxes
        self._others = [other + 1 for other in range(len(mailboxes.pipes)) if other + 1 != number]
        # Answers to questions that this worker's predecessor asked must not be taken for its own.
        self._requests = itertools.count(int.from_bytes(os.urandom(7)))
        #: Questions of this worker: how many may still answer, and what is set when that does not matter any more.
        self._pending: dict[int, tuple[set[int], asyncio.Future[bool]]] = {}

    def open(self, cancels: Cancels, spawn: Callable[[Coroutine[Any, Any, None]], Any]) -> None:
        """Answer the others from now on, in the running loop."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._mailboxes.fileno(self._number), self._read, cancels, spawn)

    def close(self) -> None:
        """Answer no more."""
        asyncio.get_running_loop().remove_reader(self._mailboxes.fileno(self._number))

    async def cancel(self, key: bytes) -> bool:
        """Have the worker that knows the key deal with its CancelRequest; returns when it has.

        False: nobody knows it. Where some did not answer, or could not be asked, one of them may: True.
        """
        if len(key) > _LONGEST_KEY:
            return False
        request = next(self._requests)
        asked = {other for other in self._others if self._post(other, _ASK, request, key)}
        is_for_all = len(asked) == len(self._others)
        if not asked:
            return not is_for_all
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending[request] = asked, answered
        try:
            async with asyncio.timeout(_PATIENCE):
                return await answered or not is_for_all
        except TimeoutError:
            logger.warning("CancelRequest: workers %s did not answer", ", ".join(map(str, sorted(asked))))
            return True
        finally:
            del self._pending[request]

    def _post(self, other: int, kind: int, request: int, key: bytes = b"") -> bool:
        return self._mailboxes.post(other, _HEADER.pack(kind, self._number, request, len(key)) + key)

    def _read(self, cancels: Cancels, spawn: Callable[[Coroutine[Any, Any, None]], Any]) -> None:
        for record in self._mailboxes.take(self._number):
            kind, sender, request, length = _HEADER.unpack_from(record)
            if kind != _ASK:
                self._note(kind, sender, request)
                continue
            key = record[_HEADER.size : _HEADER.size + length]
            if cancels.knows(key):
                spawn(self._deal(cancels, key, sender, request))
            else:
                self._post(sender, _UNKNOWN, request)

    async def _deal(self, cancels: Cancels, key: bytes, sender: int, request: int) -> None:
        try:
            await cancels.cancel(key)
        finally:
            self._post(sender, _DONE, request)

    def _note(self, kind: int, sender: int, request: int) -> None:
        """An answer; one to a question that is over is late."""
        asked, answered = self._pending.get(request, (set(), None))
        asked.discard(sender)
        if answered is not None and not answered.done() and (kind == _DONE or not asked):
            answered.set_result(kind == _DONE)
