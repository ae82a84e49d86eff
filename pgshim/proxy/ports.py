"""The addresses that several workers listen on.

On Linux each worker has sockets of its own on one port (SO_REUSEPORT), and the kernel deals new connections out by a
hash of both addresses. So that nobody else can take the port while a worker is replaced, the supervisor keeps it: bound
but not listening. That socket is bound before it shares, so a port in use is found as without workers; and from then on
it shares with SO_REUSEPORT alone, which the kernel grants only to processes of the same user.

A Unix socket is one for all workers, and so are that of --metrics, a service manager's, and every socket elsewhere:
whoever is free takes the next connection, and a worker that ends takes none with it that it has not accepted.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

from pgshim.addresses import Address
from pgshim.proxy.listen import BACKLOG, Listener, bind_tcp, open_listeners

_HAS_REUSEPORT = sys.platform == "linux"


class Ports:
    """What the supervisor holds of --listen and --session-listen, or of --metrics, and what it was started with.

    Raises ListenError.
    """

    def __init__(
        self,
        addresses: tuple[Address, ...],
        session_addresses: tuple[Address, ...] = (),
        inherited: Sequence[Listener] = (),
        *,
        option: str = "--listen",
    ) -> None:
        self._has_one_for_each = _HAS_REUSEPORT and option == "--listen"
        how = _reserve if self._has_one_for_each else None
        #: What is bound, with the port that the system chose for port 0.
        self.held = [*inherited, *open_listeners(addresses, session_addresses, how, option=option)]

    def listeners(self) -> list[Listener]:
        """What one more worker accepts on, from now on. Raises OSError, with nothing left open."""
        listeners: list[Listener] = []
        try:
            for held in self.held:
                listeners.append(replace(held, is_shared=True) if self._is_shared(held) else _join(held))
        except OSError:
            self.release(listeners)
            raise
        return listeners

    @staticmethod
    def release(listeners: list[Listener]) -> None:
        """Close, in the supervisor, the sockets that are a worker's own."""
        for listener in listeners:
            if not listener.is_shared:
                listener.close()

    def let_go(self) -> None:
        """In a worker: the supervisor's own sockets are not its business."""
        for held in self.held:
            if not self._is_shared(held):
                held.sock.close()

    def close(self) -> None:
        """Nobody is to come any more; takes away the files of Unix sockets."""
        held, self.held = self.held, []
        for listener in held:
            listener.close()

    def _is_shared(self, held: Listener) -> bool:
        return held.is_shared or held.address.is_unix or not self._has_one_for_each


def _reserve(address: Address) -> list[Listener]:
    """Bound as the only one, then opened to those that share; raises OSError if anybody listens there."""
    return bind_tcp(address, _share)


def _share(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # With it the kernel would let others bind there whenever no worker listens.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _join(held: Listener) -> Listener:
    """A listening socket beside the supervisor's."""
    sock = socket.socket(held.sock.family, socket.SOCK_STREAM)
    try:
        # Connections that a server before us had may be in TIME_WAIT there.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(held.sock.getsockname())
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return replace(held, sock=sock)
