"""The addresses of the hosts, and which of them answer."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from dataclasses import dataclass

from pgshim.addresses import Address
from pgshim.proxy.resolve import Resolver
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
        found = await Resolver().addresses(address.host, address.port)
    return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found]


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
