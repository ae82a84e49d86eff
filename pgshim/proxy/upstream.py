"""Making a connection to the upstream: resolve, connect, SSLRequest, TLS.

All of it happens on the bare socket; a transport exists only once the connection is ready for its first packet.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from time import perf_counter
from typing import Any

from pgshim.addresses import Address
from pgshim.errors import UpstreamUnreachable
from pgshim.protocol import hot
from pgshim.proxy.resolve import Resolver
from pgshim.proxy.sockets import tune
from pgshim.proxy.tally import Tally
from pgshim.proxy.tls import SHUTDOWN_TIMEOUT, Contexts, handshake_timeout
from pgshim.settings import Settings

logger = logging.getLogger("pgshim.upstream")

SSL_REQUEST = Struct("!II").pack(8, 80877103)

#: The longest ErrorResponse in answer to an SSLRequest that is read.
_LONGEST_REFUSAL = 8192


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One resolved address of the upstream."""

    family: int
    sockaddr: Any

    @property
    def is_loopback(self) -> bool:
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            return True
        return ipaddress.ip_address(self.sockaddr[0].partition("%")[0]).is_loopback


class Upstream:
    """What all connections of a process share that go to `address`: the pooler, or the session endpoint."""

    __slots__ = (
        "_contexts",
        "_has_warned",
        "_option",
        "_resolver",
        "_settings",
        "_tally",
        "_tls",
        "address",
        "has_spoken_tls",
    )

    def __init__(self, settings: Settings, address: Address, contexts: Contexts, tally: Tally | None = None) -> None:
        self._settings = settings
        self._contexts = contexts
        self._tally = tally or Tally()
        self._resolver = Resolver()
        self.address = address
        self._tls = settings.tls_of(address)
        self._option = "--session-upstream" if address == settings.session_upstream else "--upstream"
        #: "A host that spoke TLS once is never spoken to in clear by this process."
        self.has_spoken_tls = False
        self._has_warned = False

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], endpoint: Endpoint | None = None
    ) -> tuple[asyncio.Transport, Endpoint]:
        """Connect, to `endpoint` if one is given, else to the first address of the name that answers.

        The protocol's `connection_made` is called when the connection is ready for its first packet. Each address has
        --connect-timeout. Raises UpstreamUnreachable.
        """
        # uvloop's clock is one of milliseconds.
        start = perf_counter()
        try:
            transport, found = await self._connect_to_any([endpoint] if endpoint else await self._resolve(), factory)
        except UpstreamUnreachable:
            self._tally.connect_failures += 1
            raise
        self._tally.connect.note(perf_counter() - start)
        return transport, found

    async def _connect_to_any(
        self, candidates: list[Endpoint], factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, Endpoint]:
        failures: list[OSError] = []
        for candidate in candidates:
            limit = self._settings.connect_timeout
            deadline = asyncio.get_running_loop().time() + limit if limit else 0.0
            try:
                return await self._connect_to(candidate, factory, deadline), candidate
            except OSError as error:
                failures.append(error)
        raise self._unreachable(failures[0])

    async def probe(self) -> None:
        """Make a connection and close it; raises UpstreamUnreachable."""
        transport, _ = await self.connect(asyncio.Protocol)
        transport.close()

    async def _resolve(self) -> list[Endpoint]:
        """All addresses of the upstream's name, in the resolver's order; asked anew for each connection."""
        address = self.address
        if address.is_unix:
            return [Endpoint(socket.AF_UNIX, address.path)]
        try:
            async with asyncio.timeout(self._settings.connect_timeout or None):
                found = await self._resolver.addresses(address.host, address.port)
        except TimeoutError as error:
            raise self._unreachable(error) from error
        except OSError as error:
            raise UpstreamUnreachable(
                f'could not resolve the upstream\'s name "{address.host}": {_text(error)}',
                hint=f"Check {self._option}, and that this machine can resolve the name.",
            ) from error
        return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found]

    async def _connect_to(
        self, endpoint: Endpoint, factory: Callable[[], asyncio.Protocol], deadline: float
    ) -> asyncio.Transport:
        """By the loop's time of `deadline`; 0: there is none."""
        loop = asyncio.get_running_loop()
        context = self._contexts.upstream_side(self._tls)
        sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            async with asyncio.timeout_at(deadline or None):
                sock.setblocking(False)
                tune(sock)
                await loop.sock_connect(sock, endpoint.sockaddr)
                has_tls = context is not None and await self._has_tls(loop, sock, endpoint)
            # From here on nothing is cancelled: uvloop would close a transport without a word to its protocol, which
            # may know by then that it has one.
            if not has_tls:
                # With uvloop's create_connection, the socket object of a transport that is closed in `connection_made`
                # keeps the number of a descriptor that is no longer its own, and closes it a second time.
                transport, _ = await loop.connect_accepted_socket(factory, sock)
            else:
                transport, _ = await loop.create_connection(
                    factory,
                    sock=sock,
                    ssl=context,
                    server_hostname=self.address.host,
                    ssl_handshake_timeout=handshake_timeout(deadline),
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
                )
            self._warn(endpoint, has_tls)
        except BaseException:
            sock.close()
            raise
        return transport

    async def _has_tls(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, endpoint: Endpoint) -> bool:
        """Ask for TLS: the SSLRequest alone in one write, one byte in answer."""
        await loop.sock_sendall(sock, SSL_REQUEST)
        answer = await loop.sock_recv(sock, 4096)
        if answer == b"S":
            self.has_spoken_tls = True
            return True
        if not answer:
            raise ConnectionResetError("it closed the connection when asked for TLS")
        if answer[:1] == b"E":
            raise await self._refusal(loop, sock, answer)
        if answer != b"N":
            # Whoever can put bytes between the S and the handshake could have them taken for the server's
            # (CVE-2021-23222).
            raise UpstreamUnreachable(
                f"the upstream {self.address} sent unencrypted bytes behind its answer to the request for TLS",
                hint="Either it does not speak the PostgreSQL protocol, or somebody tampers with the connection.",
            )
        if self._tls != "prefer":
            raise UpstreamUnreachable(
                f"the upstream {self.address} does not offer TLS",
                hint="pgshim is to insist on it (--upstream-tls); if the way there is safe, use --upstream-tls=prefer.",
            )
        if self.has_spoken_tls:
            raise UpstreamUnreachable(
                f"the upstream {self.address} offered TLS before and does not now",
                hint="Somebody may tamper with the connection; if TLS was turned off there on purpose, restart pgshim.",
            )
        return False

    async def _refusal(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, answer: bytes
    ) -> UpstreamUnreachable:
        """The error for an ErrorResponse in answer to the SSLRequest; what it says is not told where TLS is due."""
        while len(answer) < min(_LONGEST_REFUSAL, 1 + int.from_bytes(answer[1:5].ljust(4, b"\xff"))):
            more = await loop.sock_recv(sock, _LONGEST_REFUSAL)
            if not more:
                break
            answer += more
        text = ""
        if self._tls == "prefer":
            text = hot.read_fields(answer, 0, len(answer)).get(ord("M"), b"").decode("utf-8", "replace")
        return UpstreamUnreachable(
            f"the upstream {self.address} refused the connection{': ' + text if text else ' when asked for TLS'}",
            hint="Its own log says why.",
        )

    def _warn(self, endpoint: Endpoint, is_encrypted: bool) -> None:
        """Once in a process: what anybody on the way to the upstream can do."""
        if self._has_warned or endpoint.is_loopback or self._tls in ("verify-ca", "verify-full"):
            return
        self._has_warned = True
        if is_encrypted:
            logger.warning("upstream %s: certificate not verified; give --upstream-ca FILE (or 'system')", self.address)
        else:
            logger.warning("upstream %s: unencrypted; passwords and data can be read on the way", self.address)

    def _unreachable(self, error: OSError) -> UpstreamUnreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"its certificate is not accepted: {error.verify_message}"
            hint = "Check --upstream-ca; --upstream-tls=verify-ca leaves the host name out of it."
        elif isinstance(error, ssl.SSLError):
            reason, hint = f"TLS failed: {_text(error)}", "Check --upstream-tls, --upstream-cert and --upstream-key."
        elif isinstance(error, TimeoutError) or (isinstance(error, ConnectionAbortedError) and error.errno is None):
            # The latter is how a loop puts it that a handshake takes too long.
            reason, hint = "no answer in time", "Check that it runs and can be reached; --connect-timeout is the limit."
        else:
            reason, hint = _text(error), f"Check that it runs and listens there, and {self._option}."
        return UpstreamUnreachable(f"could not connect to the upstream {self.address}: {reason}", hint=hint)


def _text(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if error.errno is not None and error.errno > 0 and not isinstance(error, socket.gaierror):
        # asyncio puts the address into `strerror`.
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error)).lower()
