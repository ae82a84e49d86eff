"""Names become addresses, in threads that nobody has to wait for.

A resolver whose servers do not answer takes half a minute for one name, and cannot be interrupted. A loop's own
`getaddrinfo` asks in threads that are joined when the loop is closed, or when the process exits: pgshim, or the app
that it is part of, would stay for that long after its last word.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from typing import Any

#: Threads of one `Resolver`; whoever comes later waits for one of them.
_AT_ONCE = 16


class Resolver:
    """Asks the system's resolver, in the loop in which it is first used."""

    __slots__ = ("_room",)

    def __init__(self) -> None:
        # Who has given up waiting for an answer keeps the place until there is one: the thread is still there.
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def addresses(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """What `socket.getaddrinfo` has for TCP, in its order. Raises OSError."""
        try:
            if _is_address(host):
                return _ask(host, port)
            return await self._in_thread(host, port)
        except ValueError as error:
            # What IDNA cannot encode.
            raise no_host_name() from error

    async def _in_thread(self, host: str, port: int) -> list[tuple[Any, ...]]:
        loop = asyncio.get_running_loop()
        await self._room.acquire()
        answer: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

        def take(found: list[tuple[Any, ...]], error: Exception | None) -> None:
            self._room.release()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found)

        def ask() -> None:
            found: list[tuple[Any, ...]] = []
            failure = None
            try:
                found = _ask(host, port)
            except Exception as error:
                failure = error
            # The loop may be closed by now.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(take, found, failure)

        try:
            # Those of `threading` take twice as long to start, and nothing that they can do besides is needed.
            _thread.start_new_thread(ask, ())
        except RuntimeError as error:
            self._room.release()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        return await answer


def no_host_name() -> socket.gaierror:
    """The error for what is no name of a host, where Python has a UnicodeError."""
    return socket.gaierror(
        socket.EAI_NONAME, "not a host name (a label is empty, too long, or has a character that names do not have)"
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _ask(host: str, port: int) -> list[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
