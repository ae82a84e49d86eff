"""What is set on every socket, and the limit on how many a process may have."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket

logger = logging.getLogger("pgshim.server")

#: Bytes of output that may wait in one direction before the other side is no longer read.
HIGH_WATER = 256 * 1024

#: Seconds a peer has to take what was written to it before a close.
LINGER = 5.0

#: Descriptors that are not connections: listeners, log, resolver, a cancel request or two, files read on SIGHUP.
RESERVED_DESCRIPTORS = 64

#: A peer that went away without a word is found out after about two minutes.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

_MANY = 1 << 20


def tune(sock: socket.socket) -> None:
    """Send what is written at once, and notice a peer that is gone. Nothing to do for a Unix socket."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # The peer may be gone already (macOS says EINVAL then): the first read will tell.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def set_user_timeout(transport: asyncio.Transport, seconds: float) -> None:
    """How long what is sent may stay unacknowledged before the kernel gives the peer up; 0: its own default."""
    sock = transport.get_extra_info("socket")
    if hasattr(socket, "TCP_USER_TIMEOUT") and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def is_readable(transport: asyncio.Transport) -> bool:
    """Whether the kernel has anything of the peer's that was not read yet: bytes, EOF, an error."""
    descriptor = transport.get_extra_info("socket").fileno()
    if not hasattr(select, "poll"):  # Windows.
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def raise_descriptor_limit() -> int:
    """Raise RLIMIT_NOFILE to the hard limit; returns the limit now in force."""
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return _MANY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS says "unlimited" and refuses to set that.
        wanted = hard if hard != resource.RLIM_INFINITY else _MANY
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return descriptor_limit()


def descriptor_limit() -> int:
    """RLIMIT_NOFILE as it is."""
    try:
        import resource
    except ImportError:
        return _MANY
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MANY if soft == resource.RLIM_INFINITY else soft


def close_gently(transport: asyncio.Transport) -> asyncio.TimerHandle:
    """Close when the peer has taken what was written, or after LINGER; the caller may cancel that timer."""
    transport.close()
    return asyncio.get_running_loop().call_later(LINGER, transport.abort)


def set_reading(transport: asyncio.Transport, reads: bool) -> None:
    """Read from this peer, or let the kernel's buffers fill up."""
    if reads:
        transport.resume_reading()
    else:
        transport.pause_reading()


def abort(transport: asyncio.Transport) -> None:
    """Close a connection at once. Before Python 3.11.4 asyncio's TLS transport cannot do that to one that has ended."""
    with contextlib.suppress(AttributeError):
        transport.abort()
