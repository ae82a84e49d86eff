"""What is looked at now and then, for all connections at once: none has a timer of its own once it is logged in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgshim.proxy import farewells

if TYPE_CHECKING:
    from pgshim.proxy.connection import Connection
    from pgshim.proxy.server import Server

#: Seconds between two looks at exchanges that only a Flush ended. A client that goes on does so within a round trip.
_PIN_INTERVAL = 0.05

#: An idle connection is closed after its limit, and at most a quarter of it later.
_IDLE_LOOKS = 4


class PinSweep:
    """Ends exchanges that hold a pooler's server while their client is silent. Runs only while there are any."""

    __slots__ = ("_fresh", "_ripe", "_timer")

    def __init__(self) -> None:
        #: Found since the last look: their clients may be about to go on.
        self._fresh: set[Connection] = set()
        #: Found before it.
        self._ripe: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: Connection) -> None:
        """The connection holds a server for an exchange that only a Flush ended."""
        self._fresh.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PIN_INTERVAL, self._look)

    def _look(self) -> None:
        ripe, self._ripe, self._fresh = self._ripe, self._fresh, set()
        for connection in ripe:
            connection.end_idle_exchange()
        self._timer = None
        if self._ripe:
            self._timer = asyncio.get_running_loop().call_later(_PIN_INTERVAL, self._look)


class IdleSweep:
    """Ends connections whose clients sent nothing for --idle-timeout."""

    __slots__ = ("_interval", "_server", "_timer")

    def __init__(self, server: Server, timeout: float) -> None:
        self._server = server
        self._interval = timeout / _IDLE_LOOKS
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on."""
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.start()
        for connection in list(self._server.connections):
            connection.idle_ticks = 0 if connection.is_active else connection.idle_ticks + 1
            connection.is_active = False
            if connection.idle_ticks > _IDLE_LOOKS and connection.is_idle:
                connection.fail(farewells.idle_timeout())
