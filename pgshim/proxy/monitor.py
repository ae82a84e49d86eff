"""The HTTP server of --metrics, in the same loop: GET and HEAD of three paths, one request for each connection.

    /metrics    the figures, for Prometheus
    /healthz    200: the process lives, and its loop turns
    /readyz     200: the pooler can be reached, and pgshim is not being stopped; else 503

It cannot be made to hold anything: a request has a few seconds and a few kilobytes, and of too many connections the
oldest makes room for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING

from pgshim.errors import ConfigurationError, UpstreamUnreachable
from pgshim.proxy.listen import Listener, accept

if TYPE_CHECKING:
    import h11

    from pgshim.proxy.server import Server

logger = logging.getLogger("pgshim.metrics")

#: Seconds that a connection has, from accept to the last byte of the answer.
_SECONDS = 10.0

#: Seconds for which what else a client sends is read and dropped.
_FAREWELL = 1.0

_MOST_CONNECTIONS = 16
_LONGEST_REQUEST = 8192

#: What a client that was set up for a proxy puts before the path (RFC 9112, 3.2.2).
_ORIGIN = re.compile(rb"\Ahttps?://[^/?]*", re.IGNORECASE)

#: Seconds for which it holds what was found out about the upstream; and that it has to take a connection.
_FRESH = 3.0
_PATIENCE = 5.0

#: Seconds between two times that a worker writes down what the others may be asked for.
_INTERVAL = 1.0

_TEXT = "text/plain; charset=utf-8"


def check_installed() -> None:
    """Raise ConfigurationError if what --metrics needs is not there."""
    try:
        import h11
        import prometheus_client

        assert h11
        assert prometheus_client
    except ImportError as error:
        raise ConfigurationError(
            f"--metrics needs the package {error.name}, which is not installed; pip install 'pgshim[metrics]'"
        ) from None


class Monitor:
    """Serves the metrics and the health of one process on `listeners`."""

    def __init__(self, server: Server, listeners: list[Listener]) -> None:
        from pgshim.proxy.metrics import registry_of

        self._server = server
        self._listeners = listeners
        self._registry = registry_of(server)
        self._readiness = Readiness(server)
        self._accepting: list[asyncio.Task[None]] = []
        #: What is being answered, the oldest first. Not the server's tasks: they outlive its end, if only by a moment.
        self._requests: dict[asyncio.Task[None], None] = {}

    def start(self) -> None:
        """Answer from now on."""
        loop = asyncio.get_running_loop()
        self._accepting = [loop.create_task(accept(listener, self._admit)) for listener in self._listeners]
        if self._server.counters.workers > 1:
            self._server.spawn(self._write_down())

    async def close(self) -> None:
        """Stop listening; what has been accepted is answered."""
        self._server.bring_up_to_date()
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        if self._requests:
            await asyncio.wait(self._requests, timeout=_FAREWELL)
        left = list(self._requests)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _write_down(self) -> None:
        while True:
            self._server.bring_up_to_date()
            await asyncio.sleep(_INTERVAL)

    def _admit(self, sock: socket.socket) -> None:
        if len(self._requests) >= _MOST_CONNECTIONS:
            oldest = next(iter(self._requests))
            del self._requests[oldest]
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._serve(sock))
        self._requests[task] = None
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._requests.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("internal error: %r", error, exc_info=error)

    async def _serve(self, sock: socket.socket) -> None:
        import h11

        with sock, contextlib.suppress(OSError, h11.RemoteProtocolError):
            async with asyncio.timeout(_SECONDS):
                await self._answer(sock, h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_REQUEST))

    async def _answer(self, sock: socket.socket, connection: h11.Connection) -> None:
        import h11

        loop = asyncio.get_running_loop()
        has_body = True
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await loop.sock_recv(sock, _LONGEST_REQUEST))
            if not isinstance(event, h11.Request):
                return
            has_body = event.method != b"HEAD"
            status, kind, body = await self._response_to(event)
        except h11.RemoteProtocolError as error:
            status, kind, body = error.error_status_hint, _TEXT, b"bad request\n"
        except OSError:
            raise
        except Exception as error:
            logger.error("internal error: %r", error, exc_info=error)
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"internal error; pgshim's log says more\n"
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD"))
        response = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())
        output = connection.send(response) or b""
        if has_body:
            output += connection.send(h11.Data(data=body)) or b""
        await loop.sock_sendall(sock, output)
        # To close with something unread would take the answer back.
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_FAREWELL):
            while await loop.sock_recv(sock, _LONGEST_REQUEST):
                pass

    async def _response_to(self, request: h11.Request) -> tuple[int, str, bytes]:
        """(status, content type, body)."""
        if request.method not in (b"GET", b"HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET and HEAD\n"
        path = _ORIGIN.sub(b"", request.target).partition(b"?")[0]
        if path == b"/metrics":
            return HTTPStatus.OK, *self._metrics(dict(request.headers).get(b"accept", b"").decode("latin-1"))
        if path == b"/healthz":
            return HTTPStatus.OK, _TEXT, b"ok\n"
        if path == b"/readyz":
            reason = await self._readiness.reason_against()
            if reason:
                return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{reason}\n".encode()
            return HTTPStatus.OK, _TEXT, b"ok\n"
        return HTTPStatus.NOT_FOUND, _TEXT, b"/metrics, /healthz or /readyz\n"

    def _metrics(self, accepted: str) -> tuple[str, bytes]:
        from prometheus_client.exposition import choose_encoder

        # It takes a version's parts for numbers, and repeats what the client says in its answer's media type.
        with contextlib.suppress(TypeError, ValueError):
            encode, kind = choose_encoder(accepted)
            if kind.isascii():
                return kind, encode(self._registry)
        encode, kind = choose_encoder("")
        return kind, encode(self._registry)


class Readiness:
    """Whether clients are better sent here than elsewhere."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._reason = ""
        #: The loop's time until which that holds.
        self._until = 0.0
        self._probe: asyncio.Task[None] | None = None

    async def reason_against(self) -> str:
        """Why not, in one sentence; empty: it is ready. All who ask at the same time wait for the same probe."""
        if not self._server.is_draining and asyncio.get_running_loop().time() >= self._until:
            if self._probe is None or self._probe.done():
                self._probe = self._server.spawn(self._look())
            # Not the probe's end itself: it is cancelled when pgshim is stopped.
            await asyncio.wait([self._probe])
        return "pgshim is being stopped" if self._server.is_draining else self._reason

    async def _look(self) -> None:
        """Connect to the pooler, TLS included, and no more: no login, so no password and no server of the pooler's."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._server.upstream.probe()
            self._reason = ""
        except UpstreamUnreachable as error:
            self._reason = error.message
        except TimeoutError:
            self._reason = f"the upstream {self._server.upstream.address} took longer than {_PATIENCE:g} s to connect"
        except Exception as error:
            logger.error("internal error: %r", error, exc_info=error)
            self._reason = f"could not connect to the upstream {self._server.upstream.address}: internal error"
        self._until = asyncio.get_running_loop().time() + _FRESH
