"""Warm connections to the pooler (--prewarm): TCP and TLS are done, and nothing is said but the SSLRequest.

A client that connects takes one and its StartupMessage goes up at once: one round trip for TCP, one for the SSLRequest
and one or two for TLS are saved. Nothing of a login is done ahead: pgshim knows no user.

    connecting --> idle --taken--> a connection's own
                     |--> closed: too old, older than the certificates, or by the pooler

There are never more than N that no client has taken, the connecting and the closing ones included. CancelRequests and
the session endpoint take none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any, cast

from pgshim.errors import UpstreamUnreachable
from pgshim.protocol import hot
from pgshim.proxy.age_limit import OLDEST, AgeLimit
from pgshim.proxy.sockets import abort, is_readable
from pgshim.proxy.upstream import Endpoint, Upstream

logger = logging.getLogger("pgshim.upstream")

#: How many are connected at the same time.
_AT_ONCE = 16

#: Seconds that one has to last before the upstream counts as one that takes them.
_TRIAL = 1.0

#: Seconds before another try, doubled each time.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0


class WarmConnection(asyncio.Protocol):
    """One of them: waits, and notices what the pooler does meanwhile."""

    __slots__ = ("_pool", "endpoint", "generation", "is_lost", "is_unwanted", "made_at", "said", "timer", "transport")

    def __init__(self, pool: Prewarm, generation: int) -> None:
        self._pool = pool
        self.generation = generation
        self.endpoint: Endpoint | None = None
        self.made_at = 0.0
        self.timer: asyncio.TimerHandle | None = None
        #: Why the pooler closed it, as far as it said so.
        self.said = b""
        #: pgshim closes it, and the pooler has done nothing wrong.
        self.is_unwanted = False
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.made_at = asyncio.get_running_loop().time()

    def data_received(self, data: bytes) -> None:
        """No server speaks before its client does: what comes is a farewell, or somebody else's."""
        self.said = self.said or _message_of(data)
        self._pool.drop(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._pool.lost(self)


class Prewarm:
    """Keeps `size` warm connections to `upstream`. `spawn` runs a task; `oldest` is their age limit in seconds."""

    def __init__(
        self,
        upstream: Upstream,
        size: int,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        oldest: float = OLDEST,
    ) -> None:
        self._upstream = upstream
        self._size = size
        self._spawn = spawn
        self._age = AgeLimit(oldest)
        self._connecting: set[asyncio.Task[None]] = set()
        #: Those that are connected and not taken, in the order in which they came; `_open` has the closing ones too.
        self._idle: dict[WarmConnection, None] = {}
        self._open: set[WarmConnection] = set()
        #: Counts `renew`: what was begun before it is not used.
        self._generation = 0
        self._is_running = False
        #: Failures since the last one that lasted.
        self._failures = 0
        #: While it runs none is connected: a pause, or the trial of the first one after it.
        self._timer: asyncio.TimerHandle | None = None
        self._is_on_trial = False

    @property
    def idle(self) -> int:
        """How many can be taken."""
        return len(self._idle)

    @property
    def sockets(self) -> int:
        """How many sockets are in use for it."""
        return len(self._open) + len(self._connecting)

    def start(self) -> None:
        """Connect, and stay connected from now on."""
        self._is_running = True
        self._fill()

    def close(self) -> None:
        """Close all, for good."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
        for task in self._connecting:
            task.cancel()
        self._drop_all()

    def renew(self) -> None:
        """Replace all: the certificates have changed."""
        self._generation += 1
        self._drop_all()

    def take(self) -> WarmConnection | None:
        """Hand over the oldest that can be used; another takes its place. None: there is none."""
        for warm in list(self._idle):
            if self._upstream.has_spoken_tls and warm.transport.get_extra_info("ssl_object") is None:
                # It stems from before that: "a host that spoke TLS once is never spoken to in clear".
                self._forsake(warm)
            elif not warm.transport.is_closing() and not is_readable(warm.transport):
                # What can be read has yet to be seen by the loop: an EOF most likely.
                self._remove(warm)
                self._open.discard(warm)
                self._fill()
                return warm
        return None

    # What becomes of them.

    def drop(self, warm: WarmConnection) -> None:
        """Close one; that makes room for another as soon as its socket is closed."""
        self._remove(warm)
        abort(warm.transport)

    def lost(self, warm: WarmConnection) -> None:
        """One is closed, by whomever."""
        self._remove(warm)
        if warm not in self._open:
            # Before it was known that it is connected: `_connect` will see.
            return
        self._open.discard(warm)
        if not warm.is_unwanted:
            self._learn(warm)
        self._fill()

    def _forsake(self, warm: WarmConnection) -> None:
        warm.is_unwanted = True
        self.drop(warm)

    def _drop_all(self) -> None:
        for warm in list(self._idle):
            self._forsake(warm)

    def _remove(self, warm: WarmConnection) -> None:
        self._idle.pop(warm, None)
        if warm.timer is not None:
            warm.timer.cancel()

    def _learn(self, warm: WarmConnection) -> None:
        """The pooler has closed one: that is its login timeout, or a restart; or it takes none."""
        now = asyncio.get_running_loop().time()
        age = now - warm.made_at
        text = warm.said.decode("utf-8", "replace")
        logger.debug("the upstream closed a warm connection after %.1f s%s", age, f": {text}" if text else "")
        if age >= _TRIAL:
            self._age.learn(age, now, is_certain="timeout" in text.lower())
        else:
            reason = f"the upstream {self._upstream.address} closes connections on which nothing was said yet"
            self._fail(f"{reason}{': ' + text if text else ''}")

    # Connecting.

    def _fill(self) -> None:
        """Connect as many as are missing, a few at a time; one alone after a failure."""
        if not self._is_running or self._timer is not None:
            return
        at_once = 1 if self._failures else _AT_ONCE
        while self.sockets < self._size and len(self._connecting) < at_once:
            task = self._spawn(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fail("internal error")
        self._fill()

    async def _connect(self) -> None:
        generation = self._generation
        try:
            transport, endpoint = await self._upstream.connect(lambda: WarmConnection(self, generation))
        except UpstreamUnreachable as error:
            self._age.doubt(asyncio.get_running_loop().time())
            self._fail(f"{error.message}. {error.hint}")
            return
        warm = cast(WarmConnection, transport.get_protocol())
        warm.endpoint = endpoint
        # No await from here on: the task is as good as done, and its socket is not to be counted twice.
        self._connecting.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._open.add(warm)
        if warm.is_lost:
            self.lost(warm)
        elif not self._is_running or warm.generation != self._generation:
            self._forsake(warm)
        elif not transport.is_closing():
            self._keep(warm)

    def _keep(self, warm: WarmConnection) -> None:
        loop = asyncio.get_running_loop()
        self._idle[warm] = None
        # No secret: the ages are only to differ.
        limit = self._age.at(loop.time()) * random.uniform(0.75, 1.0)  # noqa: S311
        warm.timer = loop.call_later(limit, self._forsake, warm)
        if self._failures and self._timer is None:
            self._is_on_trial = True
            self._timer = loop.call_later(_TRIAL, self._recover)

    def _fail(self, reason: str) -> None:
        """Wait a little before the next: one WARNING, however long it takes."""
        if not self._is_running or (self._timer is not None and not self._is_on_trial):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._is_on_trial = False
        if not self._failures:
            logger.warning("--prewarm: %s", reason)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures) * random.uniform(0.75, 1.25)  # noqa: S311
        self._failures = min(self._failures + 1, 16)
        self._timer = asyncio.get_running_loop().call_later(pause, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        self._fill()

    def _recover(self) -> None:
        self._failures = 0
        self._is_on_trial = False
        logger.info("--prewarm: connected to the upstream %s", self._upstream.address)
        self._try_again()


def _message_of(data: bytes) -> bytes:
    """The message of an ErrorResponse; empty if this is none."""
    return hot.read_fields(data, 0, len(data)).get(ord("M"), b"") if data[:1] == b"E" else b""
