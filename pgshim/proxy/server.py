"""What all connections of a process share: who may come in, who is here, how all of them end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Coroutine
from functools import partial
from typing import Any, cast

from pgshim.errors import PgshimError, TooManyConnections
from pgshim.proxy import farewells
from pgshim.proxy.cancel import Canceller
from pgshim.proxy.connection import Connection
from pgshim.proxy.counters import CONNECTIONS, PID, PREWARMED, Counters
from pgshim.proxy.departure import Departure
from pgshim.proxy.greeting import Greeting
from pgshim.proxy.listen import Listener, accept, open_listeners
from pgshim.proxy.negotiate import negotiate
from pgshim.proxy.prewarm import Prewarm
from pgshim.proxy.sockets import RESERVED_DESCRIPTORS, tune
from pgshim.proxy.stages import make_stages
from pgshim.proxy.sweep import IdleSweep, PinSweep
from pgshim.proxy.tally import COLUMNS, Ledger, Tally
from pgshim.proxy.tls import SHUTDOWN_TIMEOUT, Contexts, handshake_timeout
from pgshim.proxy.upstream import Upstream
from pgshim.proxy.worker import Worker
from pgshim.settings import Settings

logger = logging.getLogger("pgshim.server")

#: Seconds that connections have to go once they have been told to, and when nobody wants to wait.
_FAREWELL = 2.0
_HURRY = 0.2


class Server:
    """pgshim itself, or one `worker` of it. `descriptors` is how many file descriptors the process may have."""

    def __init__(self, settings: Settings, descriptors: int = 1 << 20, worker: Worker | None = None) -> None:
        self.settings = settings
        self.contexts = worker.contexts if worker else Contexts(settings)
        #: What all workers count together; the row of this one, and where its connections stand in it.
        self.counters = worker.counters if worker else Counters(COLUMNS)
        number = worker.number - 1 if worker else 0
        self._row = self.counters.row(number)
        self._place = self.counters.column(CONNECTIONS)
        #: What this process counts alone, and how that comes into its row.
        self.tally = Tally()
        self._ledger = Ledger(self.tally, self.counters, number)
        self.upstream = Upstream(settings, settings.upstream, self.contexts, self.tally)
        #: The session endpoint.
        self.session_upstream: Upstream | None = None
        if settings.session_upstream is not None:
            self.session_upstream = Upstream(settings, settings.session_upstream, self.contexts, self.tally)
        self.prewarm = Prewarm(self.upstream, settings.prewarm, self.spawn)
        self.stages = make_stages(settings, self.tally, worker.number if worker else 0)
        self.canceller = Canceller(self.stages, self.tally, self.spawn, worker.siblings if worker else None)
        self.pins = PinSweep()
        self.listeners: list[Listener] = []
        #: Clients whose first packet has not come yet.
        self.greetings: set[Greeting] = set()
        self.connections: set[Connection] = set()
        #: Upstream connections whose clients are gone.
        self.departures: set[Departure] = set()
        self._descriptors = max(descriptors - RESERVED_DESCRIPTORS - settings.prewarm, 4)
        # A connection has two sockets; one in eight is kept for those that are told that there is no room, and cancels.
        self._most_connections = min(settings.max_connections, max(1, self._descriptors * 7 // 16))
        #: Those that have yet to agree on TLS, or to do its handshake; and of these, those that have to agree on it.
        self._arrivals: set[asyncio.Task[None]] = set()
        self._negotiating: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self._idle_sweep = IdleSweep(self, settings.idle_timeout)
        self._is_over: asyncio.Future[None] | None = None
        #: Whether it accepts no more clients.
        self.is_draining = False

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task; it is kept until it ends, and what it raises is seen."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("internal error: %r", error, exc_info=error)

    # Coming in.

    def start(self, listeners: list[Listener] | None = None) -> None:
        """Listen, on all addresses or none, unless the listeners are there already. Raises ListenError."""
        self.listeners = listeners or open_listeners(self.settings.listen, self.settings.session_listen)
        for listener in self.listeners:
            admit = partial(self.admit, is_at_session_endpoint=listener.is_at_session_endpoint)
            self._accepting.append(self.spawn(accept(listener, admit)))
        self.prewarm.start()
        if self.settings.idle_timeout:
            self._idle_sweep.start()

    def admit(self, sock: socket.socket, *, is_at_session_endpoint: bool = False) -> None:
        """Take a client's socket from the accept loop."""
        in_use = len(self._arrivals) + len(self.greetings) + len(self.departures)
        in_use += 2 * (len(self.connections) + self.canceller.under_way)
        if in_use >= self._descriptors:
            # No time to ask who it is: a CancelRequest or an SSLRequest ends here as well.
            with contextlib.suppress(OSError), sock:
                sock.send(self.tally.note_fatal(self._no_room()))
            return
        task = self.spawn(self._welcome(sock, is_at_session_endpoint))
        self._arrivals.add(task)
        self._negotiating.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._arrivals.discard(task)
        self._negotiating.discard(task)

    async def _welcome(self, sock: socket.socket, is_at_session_endpoint: bool) -> None:
        """Agree on TLS, and wait for the first packet; all of it, and the login, within --login-timeout."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.login_timeout if self.settings.login_timeout else 0.0
        context = self.contexts.client_side if sock.family != getattr(socket, "AF_UNIX", None) else None
        try:
            tune(sock)
            async with asyncio.timeout_at(deadline or None):
                outcome = await negotiate(sock, offers_tls=context is not None)
            if outcome is None:
                sock.close()
                return
            # From here on nothing is cancelled: uvloop would close the transport without a word to the connection that
            # may have begun by then.
            self._negotiating.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            await loop.connect_accepted_socket(
                lambda: Greeting(
                    self,
                    outcome.early,
                    deadline,
                    is_direct=outcome.is_direct,
                    is_at_session_endpoint=is_at_session_endpoint,
                ),
                sock,
                ssl=context if outcome.has_tls else None,
                ssl_handshake_timeout=handshake_timeout(deadline) if outcome.has_tls else None,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT if outcome.has_tls else None,
            )
        except PgshimError as error:
            logger.warning("closed: %s", error.message)
            with contextlib.suppress(OSError), sock:
                sock.send(self.tally.note_fatal(error))
        except OSError as error:
            logger.info("closed before the first packet: %s", str(error) or "timeout")
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    def take_place(self) -> None:
        """Count one more connection, which begins now; raises TooManyConnections if there is no room for it.

        It is counted first, then all are: of two that take the last place in two workers at once, both may be refused,
        but never are both let in.
        """
        here = len(self.connections)
        self._row[self._place] = here + 1
        if here >= self._most_connections or self.counters.total(CONNECTIONS) > self.settings.max_connections:
            error = self._no_room()
            self._row[self._place] = here
            raise error

    def _no_room(self) -> TooManyConnections:
        hint = "The limit is pgshim's --max-connections."
        if self._most_connections < self.settings.max_connections >= self.counters.total(CONNECTIONS):
            hint = "The limit is that of open files in pgshim's environment (ulimit -n)."
        return TooManyConnections("sorry, too many clients already", hint=hint)

    def upstream_of(self, *, is_at_session_endpoint: bool) -> Upstream:
        """Where a connection goes: the session endpoint, or the pooler."""
        if is_at_session_endpoint:
            assert self.session_upstream is not None
            return self.session_upstream
        return self.upstream

    def reload(self) -> None:
        """Read the certificates again; raises ConfigurationError and changes nothing when they are no good."""
        self.contexts.reload()
        self.prewarm.renew()

    def bring_up_to_date(self) -> None:
        """Have all that this process counts in the counters."""
        self._ledger.write()
        self._row[self.counters.column(PREWARMED)] = self.prewarm.idle
        self._row[self.counters.column(PID)] = os.getpid()

    @property
    def most_connections(self) -> int:
        """How many clients all workers together take."""
        return min(self.settings.max_connections, self._most_connections * self.counters.workers)

    def next_number(self) -> int:
        """The number by which the log calls the next connection."""
        return next(self._numbers)

    def forget(self, connection: Connection) -> None:
        """The connection's client is gone."""
        self.connections.discard(connection)
        self._row[self._place] = len(self.connections)
        self._check_over()

    # Going out.

    async def drain(self) -> None:
        """Stop accepting; let transactions end, within --drain-timeout; then end all that is left."""
        await self._stop_accepting()
        for connection in list(self.connections):
            connection.drain()
        await self._wait(self.settings.drain_timeout)
        await self.stop(_FAREWELL)

    async def stop(self, farewell: float = _HURRY) -> None:
        """Stop accepting, and end all connections now; they have `farewell` seconds to take a last word."""
        await self._stop_accepting()
        for connection in list(self.connections):
            connection.fail(farewells.shutting_down())
        await self._wait(farewell)
        await self.close()

    async def close(self) -> None:
        """Cut off whatever is left."""
        await self._stop_accepting()
        self._idle_sweep.stop()
        for connection in list(self.connections):
            connection.flow.abort_client()
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        await self._turn()
        for departure in list(self.departures):
            departure.abort()
        await self._turn()
        self.stages.close()

    @staticmethod
    async def _turn() -> None:
        """Let the loop turn: transports that were aborted say so in its next rounds."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def _stop_accepting(self) -> None:
        self.is_draining = True
        self.prewarm.close()
        tasks = [*self._accepting, *self._negotiating]
        self._accepting.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener.close()
        for greeting in list(self.greetings):
            greeting.abort()

    async def _wait(self, timeout: float) -> None:
        """Until nobody is left, but no longer than that."""
        self._is_over = asyncio.get_running_loop().create_future()
        self._check_over()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._is_over
        self._is_over = None

    def depart(self, departure: Departure) -> None:
        """An upstream connection without a client is closed."""
        self.departures.discard(departure)
        self._check_over()

    def _check_over(self) -> None:
        if self._is_over is not None and not self._is_over.done() and not self.connections and not self.departures:
            self._is_over.set_result(None)
