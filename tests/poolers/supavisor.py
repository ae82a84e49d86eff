"""A stand-in for Supavisor in transaction mode, in front of real PostgreSQL servers.

It is modelled on Supavisor's source and documents, on what they say that a client can notice; Supavisor itself was not
run. What a hosted one does may differ by its version and its settings.

- SSLRequest comes alone in one read, and the StartupMessage in one of at most 1,024 bytes (`supavisor_login`).
- The user is `role.tenant`; SCRAM-SHA-256 is all that is offered. What else a client asks for at startup is dropped:
  the servers are logged in with `application_name=Supavisor` and nothing else. (Of `search_path` the real one makes a
  pool; that is not modelled.) Each client gets the ParameterStatus of the pool's first server.
- An idle client is told `application_name=Supavisor` from time to time, unasked.
- Names of statements go to whichever server it is: its support for them is off by default.
- A client that sends something while it is idle gets a server. The server goes back to the pool when as many
  ReadyForQuery have come as Query, Sync and FunctionCall were counted in its reads, and the last one says idle. The
  client is told a moment later: it is a process of its own. What is read from it in between goes to the server that is
  no longer its own, and the replies to whoever has that server now, or to nobody. So replies get lost or misrouted
  when a second batch comes in a read of its own while the first is under way; a client that waits is safe. A Sync that
  a COPY swallows is counted too, and never answered: that server stays with its client until the client leaves.
- A read that starts with Sync is answered on the spot if the client is idle, and the rest of it thrown away; else it
  goes on uncounted. Terminate is known only as a whole read; behind something else it goes to the server, which ends.
- A client that leaves while it has a server takes the server with it.
- Its own errors are FATAL and say `(CODE) message`.

`python -m tests.poolers.supavisor CONFIGURATION` serves until it is ended; `poolers.Supavisor` starts that.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from tests.poolers.supavisor_login import READY, Failures, Login, fatal, key_data, parameter_status
from tests.poolers.supavisor_pool import NAME, TERMINATE, Configuration, Pool, Scanner, Server

SYNC = b"S\0\0\0\4"
#: Query, Sync, FunctionCall: each brings a ReadyForQuery.
_READY_PRODUCERS = frozenset(b"QSF")


@dataclass
class House:
    """What all clients share."""

    configuration: Configuration
    pools: dict[tuple[str, str], Pool] = field(default_factory=dict)
    clients: dict[bytes, Client] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)

    def pool(self, user: str, database: str) -> Pool:
        if (user, database) not in self.pools:
            self.pools[user, database] = Pool(self.configuration, user, database)
        return self.pools[user, database]


class Client(asyncio.Protocol):
    """A client: logging in (`login` is set), idle (`server` is None), waiting for a server, or busy with one."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.login: Login | None = Login(self, house)
        self.key = b""
        self.is_closed = False
        self._pool: Pool | None = None
        #: The one it believes to have.
        self._server: Server | None = None
        self._reads: deque[bytes] = deque()
        self._scanner = Scanner()
        self._timer: asyncio.TimerHandle | None = None
        self._is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self.is_closed = True
        self._stop_timer()
        self.house.clients.pop(self.key, None)
        if self._pool is not None:
            self._pool.forget(self)
        server = self._server
        if server is not None and server.owner is self:
            server.end()

    def fail(self, code: str, message: str, sqlstate: str = "XX000") -> None:
        """Its errors end the connection."""
        if not self.is_closed:
            self.transport.write(fatal(sqlstate, f"({code}) {message}"))
            self.transport.close()

    def logged_in(self, pool: Pool) -> None:
        self.login, self._pool = None, pool
        self.key = os.urandom(8)
        self.house.clients[self.key] = self
        told = b"".join(parameter_status(*item) for item in pool.statuses)
        self.transport.write(told + key_data(self.key) + READY)
        self._beat_later()

    def data_received(self, data: bytes) -> None:
        if self.login is not None:
            self.login.data_received(data)
        elif self._is_waiting:
            self._reads.append(data)
        else:
            self._on_read(data)

    def _on_read(self, data: bytes) -> None:
        self._stop_timer()
        if data == TERMINATE:
            self.transport.close()
        elif self._server is not None:
            self._pass_on(data)
        elif data.startswith(SYNC):
            self.transport.write(READY)
            self._beat_later()
        else:
            assert self._pool is not None
            self._reads.append(data)
            self._is_waiting = True
            self._timer = self._later(self.house.configuration.checkout_timeout, self._give_up)
            self._pool.take(self)

    def _pass_on(self, data: bytes) -> None:
        assert self._server is not None
        found = self._scanner.feed(data)
        count = sum(type_code in _READY_PRODUCERS for type_code, _ in found)
        self._server.send(data, 0 if data.startswith(SYNC) else count)

    def is_given(self, server: Server) -> None:
        """The pool has found a server."""
        self._stop_timer()
        self._is_waiting = False
        self._server = server
        server.take(self)
        while self._reads:
            self._pass_on(self._reads.popleft())

    def _give_up(self) -> None:
        ms = int(self.house.configuration.checkout_timeout * 1000)
        self.fail("ECHECKOUTTIMEOUT", f"unable to check out connection from the pool after {ms}ms in Transaction mode")

    def is_released_soon(self, data: bytes) -> None:
        """The server is another's now; this client's own process hears of it a moment later, with the last replies."""
        self._later(self.house.configuration.release_delay, self._is_released, data)

    def _is_released(self, data: bytes) -> None:
        self._server = None
        if not self.is_closed:
            self.transport.write(data)
            self._beat_later()

    def cancel(self) -> None:
        """Forwarded only while it has a server."""
        if self._server is not None and self._server.owner is self:
            asyncio.get_running_loop().run_in_executor(None, self._server.login.get_cancel().cancel)

    def _beat_later(self) -> None:
        self._timer = self._later(self.house.configuration.heartbeat, self._beat)

    def _beat(self) -> None:
        self.transport.write(parameter_status(b"application_name", NAME))
        self._beat_later()

    def _later(self, seconds: float, call: object, *arguments: object) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, call, *arguments)  # type: ignore[arg-type]

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def serve(configuration: Configuration) -> None:
    house = House(configuration)
    listener = await asyncio.get_running_loop().create_server(lambda: Client(house), "127.0.0.1", configuration.port)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Configuration(**json.loads(Path(sys.argv[1]).read_text()))))
