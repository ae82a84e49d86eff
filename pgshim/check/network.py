"""The addresses of the hosts, and which of them answer."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

from pgshim.addresses import Address
from pgshim.proxy.sockets import tune
from pgshim.proxy.upstream import Endpoint

_NO_ROUTE = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EHOSTUNREACH}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One address that was tried: `seconds` until it answered, or why it did not."""

    address: Address
    endpoint: Endpoint
    seconds: float = 0.0
    error: OSError | None = None

    @property
    def is_ipv6(self) -> bool:
        return self.endpoint.family == socket.AF_INET6

    @property
    def has_no_route(self) -> bool:
        """Whether it was this machine that had no way there."""
        return self.error is not None and self.error.errno in _NO_ROUTE

    @property
    def where(self) -> str:
        """The address as a number, or the path."""
        sockaddr = self.endpoint.sockaddr
        return sockaddr if isinstance(sockaddr, str) else str(sockaddr[0])


async def resolve(address: Address, timeout: float) -> list[Endpoint]:
    """All addresses of a host, in the resolver's order. Raises OSError."""
    if address.is_unix:
        return [Endpoint(socket.AF_UNIX, address.path)]
    async with asyncio.timeout(timeout):
        try:
            return await _look_up(address)
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error


async def _look_up(address: Address) -> list[Endpoint]:
    """asyncio waits at its end for its threads, so that neither a time limit nor Ctrl-C would end a slow resolver."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Endpoint]] = loop.create_future()

    def settle(found: list[Endpoint], error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        found, failure = [], None
        try:
            infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            found = [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in infos]
        except Exception as error:  # it is raised where the answer is awaited
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            loop.call_soon_threadsafe(settle, found, failure)

    Thread(target=look_up, daemon=True).start()
    return await answer


async def attempt(address: Address, endpoint: Endpoint, timeout: float) -> Attempt:
    """Connect, and leave at once."""
    started = time.perf_counter()
    try:
        sock = await connect(endpoint, timeout)
    except OSError as error:
        return Attempt(address, endpoint, error=error)
    sock.close()
    return Attempt(address, endpoint, time.perf_counter() - started)


async def connect(endpoint: Endpoint, timeout: float) -> socket.socket:
    """A connected socket, nothing sent yet. Raises OSError, a TimeoutError too."""
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        tune(sock)
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(sock, endpoint.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def reason(error: OSError) -> str:
    """Why there is no connection, in a few words."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return (error.strerror or str(error)).lower()
    if error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
