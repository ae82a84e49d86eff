"""What a client says before its first packet: TLS or not.

On the bare socket, because asyncio can only start TLS on bytes that it has not read yet.

    0x16               a TLS ClientHello: direct TLS (libpq 17's sslnegotiation=direct), with ALPN
    SSLRequest         answered S or N; once
    GSSENCRequest      answered N; once
    anything else      the first packet: `greeting` reads it
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass

from pgshim.errors import ProtocolViolation
from pgshim.proxy.upstream import SSL_REQUEST

logger = logging.getLogger("pgshim.server")

GSSENC_REQUEST = SSL_REQUEST[:7] + b"\x30"
_TLS_HANDSHAKE = 0x16

_warnings = {"no TLS"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was agreed: whether TLS comes next, whether it does so unasked, and the bytes of the first packet so far."""

    has_tls: bool
    is_direct: bool
    early: bytes


async def negotiate(sock: socket.socket, *, offers_tls: bool) -> Outcome | None:
    """Answer what the client asks for until its first packet or ClientHello comes; None when it left.

    Raises ProtocolViolation for bytes that come behind a request: somebody may have put them there to be taken for the
    client's once the connection is encrypted (CVE-2021-23214).
    """
    loop = asyncio.get_running_loop()
    if offers_tls and (await _peek(loop, sock)) == bytes((_TLS_HANDSHAKE,)):
        return Outcome(has_tls=True, is_direct=True, early=b"")
    pending = {SSL_REQUEST, GSSENC_REQUEST}
    has_refused_tls = False
    while True:
        head = await _read_head(loop, sock)
        if not head and has_refused_tls and "no TLS" in _warnings:
            _warnings.discard("no TLS")
            logger.warning(
                "a client left because it was not offered TLS: start pgshim with --tls-self-signed"
                " (or --tls-cert and --tls-key), or let the client use sslmode=disable"
            )
        if len(head) < 8:
            return None
        if head not in pending:
            return Outcome(has_tls=False, is_direct=False, early=head)
        pending.discard(head)
        _check_nothing_follows(sock, "SSL request" if head == SSL_REQUEST else "GSSAPI encryption request")
        if head == SSL_REQUEST and offers_tls:
            await loop.sock_sendall(sock, b"S")
            return Outcome(has_tls=True, is_direct=False, early=b"")
        has_refused_tls |= head == SSL_REQUEST
        await loop.sock_sendall(sock, b"N")


async def _peek(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    """The first byte, left where it is; empty at EOF."""
    readable = asyncio.Event()
    try:
        loop.add_reader(sock, readable.set)
    except NotImplementedError:
        # Windows' proactor loop: there is no direct TLS then, and nothing to look at.
        return b""
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)


async def _read_head(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    """The next eight bytes: the size of a request, and of the shortest packet there is. Fewer at EOF."""
    head = b""
    while len(head) < 8 and (more := await loop.sock_recv(sock, 8 - len(head))):
        head += more
    return head


def _check_nothing_follows(sock: socket.socket, request: str) -> None:
    with contextlib.suppress(BlockingIOError):
        if sock.recv(1, socket.MSG_PEEK):
            raise ProtocolViolation(
                f"received unencrypted data after {request}",
                hint="This could be a bug of the client, or evidence of an attempted man-in-the-middle attack.",
            )
