"""Listening sockets, and the loop that accepts on each.

The loop is pgshim's own and not `create_server`'s, which on EMFILE stops for a second without a word to anybody, and
hands over a transport when it is too late to look at the first byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace

from pgshim.addresses import Address
from pgshim.proxy.resolve import no_host_name

logger = logging.getLogger("pgshim.server")

BACKLOG = 1024

#: What accept says when the process or the machine has no room: worth a pause, not an end.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE = 0.25

#: What bind says of an address family that this machine does not have.
_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class ListenError(Exception):
    """An address that cannot be listened on; one sentence."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and the address it has (with the port that the system chose for port 0)."""

    sock: socket.socket
    address: Address
    #: Of --session-listen: its clients go to the session endpoint.
    is_at_session_endpoint: bool = False
    #: One socket that all workers accept on, or a service manager's; who made it takes the file away.
    is_shared: bool = False

    def close(self) -> None:
        """Stop listening, and take away a Unix socket's file."""
        self.sock.close()
        if self.address.is_unix and not self.is_shared:
            with contextlib.suppress(OSError):
                os.unlink(self.address.path)


def open_listeners(
    addresses: tuple[Address, ...],
    session_addresses: tuple[Address, ...] = (),
    open_tcp: Callable[[Address], list[Listener]] | None = None,
    *,
    option: str = "--listen",
) -> list[Listener]:
    """Listen on all of them; raises ListenError, with nothing left open, when one cannot be had.

    `open_tcp` opens those that are not Unix sockets in another way; `option` is where `addresses` come from.
    """
    listeners: list[Listener] = []
    wanted = [(address, option) for address in addresses]
    wanted += [(address, "--session-listen") for address in session_addresses]
    try:
        for address, given in wanted:
            try:
                opened = _open_unix(address) if address.is_unix else (open_tcp or _open_tcp)(address)
            except OSError as error:
                if not (address.is_optional and error.errno in _NO_FAMILY):
                    raise ListenError(_sentence(address, error, given)) from error
            else:
                is_at_session_endpoint = given == "--session-listen"
                listeners += (replace(each, is_at_session_endpoint=is_at_session_endpoint) for each in opened)
    except ListenError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _sentence(address: Address, error: OSError, option: str) -> str:
    has_number = error.errno is not None and error.errno > 0
    reason = os.strerror(error.errno or 0).lower() if has_number else str(error.strerror or error).lower()
    what_to_do = f"choose another address with {option}"
    if error.errno == errno.EADDRINUSE:
        what_to_do = f"stop what listens there, or choose another port with {option}"
    return f"cannot listen on {address}: {reason}; {what_to_do}"


def _open_tcp(address: Address) -> list[Listener]:
    """One listening socket for each address that the name has."""
    return bind_tcp(address, lambda sock: sock.listen(BACKLOG))


def bind_tcp(address: Address, finish: Callable[[socket.socket], None]) -> list[Listener]:
    """One socket for each address that the name has, bound, and then made what it is to be. Raises OSError."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except ValueError as error:
        raise no_host_name() from error
    listeners: list[Listener] = []
    for family, kind, proto, _, sockaddr in dict.fromkeys(found):
        sock = socket.socket(family, kind, proto)
        try:
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(sockaddr)
            finish(sock)
        except OSError:
            sock.close()
            for listener in listeners:
                listener.close()
            raise
        sock.setblocking(False)
        host, port = sock.getsockname()[:2]
        listeners.append(Listener(sock, Address(str(host), int(port))))
    return listeners


def _open_unix(address: Address) -> list[Listener]:
    _remove_stale(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(address.path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return [Listener(sock, address)]


def _remove_stale(path: str) -> None:
    """Take away the file of a listener that is gone; one that answers, or is no socket, stays and makes bind fail."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


async def accept(listener: Listener, admit: Callable[[socket.socket], None]) -> None:
    """Accept as long as the socket listens. Without descriptors it pauses, and says so once until it can go on."""
    loop = asyncio.get_running_loop()
    has_warned = has_failed = False
    while True:
        try:
            sock, _ = await loop.sock_accept(listener.sock)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                if not has_warned:
                    logger.warning("cannot accept: %s; clients have to wait", os.strerror(error.errno or 0).lower())
                has_warned = True
                await asyncio.sleep(_PAUSE)
            elif not _is_listening(listener.sock):
                # Somebody else who has the socket, as a service manager has, may shut it down.
                if listener.sock.fileno() >= 0:
                    reason = os.strerror(error.errno or 0).lower()
                    logger.error("no longer listening on %s: %s", listener.address, reason)
                return
            else:
                # Most likely the client's trouble: it left before it was accepted. If not, others have their turn.
                await asyncio.sleep(_PAUSE if has_failed else 0)
            has_failed = True
            continue
        has_warned = has_failed = False
        sock.setblocking(False)
        admit(sock)


def _is_listening(sock: socket.socket) -> bool:
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
