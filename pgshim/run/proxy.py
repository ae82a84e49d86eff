"""The proxy of `pgshim run`: a child process, forked before there is a loop or a thread.

It is a process of its own because its parent has to wait for signals in a way that tells who sent them, and because a
loop that is stopped with the command (Ctrl-Z) would leave the pooler's connections without an answer. Signals that the
command's whole process group gets are not for it: it ends when its parent says so, or is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError, PgshimError
from pgshim.proxy.listen import ListenError, open_listeners
from pgshim.proxy.monitor import Monitor, check_installed
from pgshim.proxy.run import loop_factory, probe_only, start_monitor
from pgshim.proxy.server import Server
from pgshim.proxy.sockets import raise_descriptor_limit
from pgshim.proxy.summary import summary
from pgshim.settings import Settings

logger = logging.getLogger("pgshim.server")

#: What a terminal or a supervisor sends to all processes of a job.
_NOT_FOR_IT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")

#: Seconds that it may take to end, beyond its own limits.
_END = 10.0

_STOP = b"."


class ProxyFailed(Exception):
    """The proxy could not start: one sentence, and the exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Proxy:
    """The running child, seen from its parent."""

    pid: int
    #: (host, port) of each of the settings it was started with.
    addresses: tuple[tuple[str, int], ...]
    _channel: socket.socket

    @classmethod
    def start(cls, poolers: Sequence[Settings], loop: str, directory: str = "") -> Self:
        """Fork it, and wait until it listens. Raises ConfigurationError, ProxyFailed.

        directory -- it is removed at the proxy's end, which may be later than this process's
        """
        ours, its = socket.socketpair()
        # Whatever arrives before it has settled what signals do is kept until then.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            ours.close()
            code = _main(poolers, loop, its, mask)
            if directory:
                shutil.rmtree(directory, ignore_errors=True)
            os._exit(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        its.close()
        said = _receive(ours)
        if said is None or "error" in said:
            os.waitpid(pid, 0)
            said = said or {"error": "the proxy ended before it listened; its own lines say why", "code": 1}
            raise ProxyFailed(said["error"], said["code"])
        return cls(pid, tuple((host, port) for host, port in said["addresses"]), ours)

    def stop(self) -> str:
        """End it; returns what it has done, for people. Empty: it was gone already."""
        try:
            self._channel.sendall(_STOP)
            self._channel.settimeout(_END)
            said = _receive(self._channel)
        except OSError:
            said = None
        finally:
            self._channel.close()
        if said:
            os.waitpid(self.pid, 0)
        return said["summary"] if said else ""


def _receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next line; None at the end."""
    line = b""
    while not line.endswith(b"\n"):
        more = channel.recv(65536)
        if not more:
            return None
        line += more
    said: dict[str, Any] = json.loads(line)
    return said


def _main(poolers: Sequence[Settings], loop: str, channel: socket.socket, mask: set[int | signal.Signals]) -> int:
    """All of the child; returns its exit code."""
    try:
        for name in _NOT_FOR_IT:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # The command's input and output are not its own: who waits for their end would wait for it as well.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            runner.run(_serve(poolers, channel))
    except (ConfigurationError, ListenError, PgshimError) as error:
        code = 2 if isinstance(error, ConfigurationError) else 1
        sentence = error.message if isinstance(error, PgshimError) else str(error)
        if isinstance(error, PgshimError) and error.hint:
            sentence = f"{sentence}. {error.hint}"
        _send(channel, {"error": sentence, "code": code})
        return code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


async def _serve(poolers: Sequence[Settings], channel: socket.socket) -> None:
    if any(settings.metrics for settings in poolers):
        check_installed()
    servers: list[Server] = []
    monitors: list[Monitor] = []
    descriptors = raise_descriptor_limit() // len(poolers)
    for settings in poolers:
        server = Server(settings, descriptors)
        if settings.require_upstream:
            for upstream in filter(None, (server.upstream, server.session_upstream)):
                await upstream.probe()
        metrics_listeners = open_listeners(settings.metrics, option="--metrics")
        server.start()
        if (monitor := start_monitor(server, metrics_listeners)) is not None:
            monitors.append(monitor)
        if not settings.require_upstream:
            server.spawn(probe_only(server))
        servers.append(server)
    _send(channel, {"addresses": [_address(server.listeners[0].address) for server in servers]})
    channel.setblocking(False)
    loop = asyncio.get_running_loop()
    if await loop.sock_recv(channel, 1):
        # The command is gone: nobody is left to wait for.
        await asyncio.gather(*(server.stop() for server in servers))
    else:
        # Its parent was killed, and the command may be in the middle of something.
        await asyncio.gather(*(server.drain() for server in servers))
    for monitor in monitors:
        await monitor.close()
    channel.setblocking(True)
    _send(channel, {"summary": summary(servers)})


def _address(address: Address) -> tuple[str, int]:
    if not address.is_unix:
        return address.host, address.port
    directory, _, name = address.path.rpartition("/")
    return directory, int(name.rpartition(".")[2])


def _send(channel: socket.socket, said: dict[str, Any]) -> None:
    try:
        channel.sendall(json.dumps(said).encode() + b"\n")
    except OSError:
        logger.debug("the parent is gone")
