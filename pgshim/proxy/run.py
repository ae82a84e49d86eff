"""Runs pgshim: the loop, the signals, the lines that are logged at the start."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError, UpstreamUnreachable
from pgshim.proxy.activation import inherit
from pgshim.proxy.listen import Listener, open_listeners
from pgshim.proxy.manager import Manager
from pgshim.proxy.monitor import Monitor, check_installed
from pgshim.proxy.server import Server
from pgshim.proxy.sockets import raise_descriptor_limit
from pgshim.proxy.supervisor import Supervisor
from pgshim.proxy.tracing import STDERR, check_file
from pgshim.proxy.upstream import Upstream
from pgshim.proxy.worker import Worker
from pgshim.settings import Settings

logger = logging.getLogger("pgshim.server")


def loop_factory(choice: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The event loop of --loop: auto is uvloop where it is installed. Raises ConfigurationError."""
    if choice != "asyncio":
        try:
            import uvloop
        except ImportError:
            if choice == "uvloop":
                raise ConfigurationError(
                    "--loop uvloop needs the package uvloop, which is not installed; pip install 'pgshim[uvloop]'"
                ) from None
        else:
            return uvloop.new_event_loop
    if sys.platform == "win32":
        # The proactor loop cannot tell when a socket is readable without reading from it.
        return asyncio.SelectorEventLoop
    return asyncio.new_event_loop


def run(settings: Settings, loop: str) -> int:
    """Run until a signal ends it; returns the exit code. Raises ConfigurationError, ListenError."""
    factory = loop_factory(loop)
    if settings.metrics:
        check_installed()
    check_file(settings.trace or STDERR)
    if settings.trace_values:
        logger.warning("--trace-values: texts of SQL and values go into the trace")
    manager = Manager(os.environ)
    settings, inherited = inherit(settings, os.environ)

    def in_loop(main: Coroutine[Any, Any, int]) -> int:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    if settings.workers == 1:
        return in_loop(_main(settings, inherited, manager))
    supervisor = Supervisor(
        settings,
        serve=lambda worker: in_loop(_work(settings, worker)),
        probe=lambda: in_loop(_require_upstream(settings)),
        announce=lambda listeners, metrics: _log_start(settings, listeners, metrics),
        inherited=inherited,
        manager=manager,
    )
    return supervisor.run()


async def _main(settings: Settings, inherited: list[Listener], manager: Manager) -> int:
    """All of pgshim in one process."""
    server = Server(settings, raise_descriptor_limit())
    if settings.require_upstream and not await _probe(server):
        return 1
    metrics_listeners = open_listeners(settings.metrics, option="--metrics")
    server.start(inherited + open_listeners(settings.listen, settings.session_listen))
    monitor = start_monitor(server, metrics_listeners)
    _log_start(settings, server.listeners, metrics_listeners)
    ending = _Ending(server, manager)
    ending.install()
    manager.ready()
    server.spawn(manager.keep_beating())
    if not settings.require_upstream:
        server.spawn(probe_only(server))
    await ending.wait()
    if monitor is not None:
        await monitor.close()
    logger.info("stopped")
    return 0


def start_monitor(server: Server, listeners: list[Listener]) -> Monitor | None:
    """Serve --metrics on these, if it is given."""
    if not listeners:
        return None
    monitor = Monitor(server, listeners)
    monitor.start()
    return monitor


async def _work(settings: Settings, worker: Worker) -> int:
    """One of several processes; what all of them would say is left to the supervisor, or to the first."""
    # The mailboxes take two descriptors each.
    server = Server(worker.share_of(settings), raise_descriptor_limit() - 2 * settings.workers, worker)
    server.start(worker.listeners)
    worker.siblings.open(server.canceller, server.spawn)
    monitor = start_monitor(server, worker.metrics_listeners)
    # The supervisor speaks for all.
    ending = _WorkersEnding(server, Manager({}))
    ending.install()
    ending.watch(worker.lifeline)
    if worker.is_first and not settings.require_upstream:
        server.spawn(probe_only(server))
    await ending.wait()
    if monitor is not None:
        await monitor.close()
    worker.siblings.close()
    return 0


async def _require_upstream(settings: Settings) -> int:
    """The exit code that --require-upstream asks for."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return 0 if await _probe(Server(settings)) else 1


async def _probe(server: Server) -> bool:
    return await _reach(server.upstream, server.session_upstream)


async def _reach(*upstreams: Upstream | None) -> bool:
    """Whether all are there; each that is not gets a WARNING."""
    is_there = True
    for upstream in upstreams:
        try:
            if upstream is not None:
                await upstream.probe()
        except UpstreamUnreachable as error:
            logger.warning("%s. %s", error.message, error.hint)
            is_there = False
    return is_there


async def probe_only(server: Server) -> None:
    """A WARNING for each upstream that is not there."""
    # What is prewarmed says itself if it cannot be had.
    await _reach(None if server.settings.prewarm else server.upstream, server.session_upstream)


def _log_start(settings: Settings, listeners: list[Listener], metrics_listeners: Iterable[Listener] = ()) -> None:
    """What listens where, what upstream, which TLS both ways, which mode."""
    down = "plaintext"
    if settings.has_tls:
        down = "TLS, self-signed" if settings.tls_self_signed else "TLS"
    for listener in listeners:
        how = "plaintext" if listener.address.is_unix else down
        # Here, where no worker has its share yet.
        how += ", inherited" if listener.is_shared else ""
        where = " for the session endpoint" if listener.is_at_session_endpoint else ""
        logger.info("listening on %s (%s)%s", listener.address, how, where)
    for listener in metrics_listeners:
        logger.info("metrics and health on %s", listener.address)
    pipeline = settings.pipeline
    session = ""
    if settings.session_upstream is not None:
        session = f"; session endpoint {settings.session_upstream} ({_describe(settings, settings.session_upstream)})"
    up = _describe(settings, settings.upstream)
    warm = f", {settings.prewarm} prewarmed" if settings.prewarm else ""
    text = "upstream %s (%s), %s mode, pipeline %s%s%s"
    logger.info(text, settings.upstream, up, settings.upstream_mode, pipeline, warm, session)


def _describe(settings: Settings, upstream: Address) -> str:
    """How an upstream is spoken to."""
    if upstream.is_unix:
        return "Unix socket"
    mode = settings.tls_of(upstream)
    if mode == "disable":
        return "unencrypted"
    caveat = {"prefer": ": certificate not verified, unencrypted if there is no TLS",
              "require": ": certificate not verified"}.get(mode, "")  # fmt: skip
    return f"TLS {mode}{caveat}"


class _Ending:
    """What signals do: SIGTERM and the first SIGINT drain, the second SIGINT stops, SIGHUP reads certificates."""

    def __init__(self, server: Server, manager: Manager) -> None:
        self._server = server
        self._manager = manager
        self._is_draining = False
        self._drain: asyncio.Task[None] | None = None
        self._over = asyncio.get_running_loop().create_future()

    def install(self) -> None:
        """Have the signals come here."""
        loop = asyncio.get_running_loop()
        for name, handler in self._handlers().items():
            number = getattr(signal, name, None)
            if number is None:
                continue
            try:
                loop.add_signal_handler(number, handler)
            except NotImplementedError:
                # Windows: Python's own handler, which runs in the main thread between two bytecodes.
                signal.signal(number, lambda *_, handler=handler: loop.call_soon_threadsafe(handler))

    def _handlers(self) -> dict[str, Callable[[], None]]:
        return {"SIGTERM": self._on_terminate, "SIGINT": self._on_interrupt, "SIGHUP": self._on_hangup}

    async def wait(self) -> None:
        """Until pgshim is to exit."""
        await self._over

    def _on_terminate(self) -> None:
        if not self._is_draining:
            seconds = self._server.settings.drain_timeout
            logger.info("stopping: transactions have %g s to end", seconds)
            self._manager.stopping(seconds)
            self._begin_drain()

    def _on_interrupt(self) -> None:
        if not self._is_draining:
            self._on_terminate()
        elif self._drain is not None:
            logger.info("stopping at once")
            self._stop()

    def _begin_drain(self) -> None:
        if not self._is_draining:
            self._is_draining = True
            self._drain = self._start(self._server.drain())

    def _stop(self) -> None:
        if self._is_draining and self._drain is None:
            return
        self._is_draining = True
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None
        self._start(self._server.stop())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def to_the_end() -> None:
            try:
                await work
            except Exception as error:
                # A bug, but not one that keeps the process.
                logger.error("internal error: %r", error, exc_info=error)
                await self._server.close()
            if not self._over.done():
                self._over.set_result(None)

        return self._server.spawn(to_the_end())

    def _on_hangup(self) -> None:
        self._manager.reloading()
        try:
            self._server.reload()
        except ConfigurationError as error:
            logger.error("certificates not changed: %s", error.message)
        else:
            logger.info("certificates read again")
        self._manager.ready()


class _WorkersEnding(_Ending):
    """Of one of several: SIGTERM drains, SIGQUIT stops, SIGHUP reads certificates; the supervisor says so in the log.

    SIGINT is the supervisor's: a terminal sends it to all processes.
    """

    def install(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().install()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _handlers(self) -> dict[str, Callable[[], None]]:
        return {"SIGTERM": self._begin_drain, "SIGQUIT": self._stop, "SIGHUP": self._on_hangup}

    def watch(self, lifeline: int) -> None:
        """Drain when the supervisor is gone: its end of the lifeline is closed then, however it ended."""
        asyncio.get_running_loop().add_reader(lifeline, self._on_lifeline_end, lifeline)

    def _on_lifeline_end(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        if not self._is_draining:
            logger.error("the supervisor is gone")
        self._begin_drain()
