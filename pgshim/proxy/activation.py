"""Sockets that a service manager listens on for pgshim: systemd's socket activation, sd_listen_fds(3).

They are descriptors 3, 4, ...; `LISTEN_PID` says for which process, `LISTEN_FDS` how many, `LISTEN_FDNAMES` their
names, of which one means something here: `session`. Clients that come while pgshim is restarted wait in such a socket.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from dataclasses import replace

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError
from pgshim.proxy.listen import Listener, ListenError
from pgshim.settings import Settings, check_loop

_FIRST_DESCRIPTOR = 3

#: The name (`FileDescriptorName=`) of a socket whose clients go to the session endpoint.
_SESSION = "session"


def inherit(settings: Settings, environment: MutableMapping[str, str]) -> tuple[Settings, list[Listener]]:
    """The listeners this process was started with, and settings without the addresses whose place they take.

    Sockets by the name of `session` take the place of --session-listen, all others that of --listen. What said so is
    taken out of `environment`, for children have no part in it. Raises ConfigurationError, ListenError.
    """
    pid, count, names = (environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        check_loop(settings)
        return settings, []
    # Where systemd gives names, there is one for each.
    named = names.split(":") + [""] * int(count)
    listeners = [_adopt(_FIRST_DESCRIPTOR + place, named[place] == _SESSION) for place in range(int(count))]
    for listener in listeners:
        _check(listener, settings)
    if any(not listener.is_at_session_endpoint for listener in listeners):
        settings = replace(settings, listen=())
    if any(listener.is_at_session_endpoint for listener in listeners):
        settings = replace(settings, session_listen=())
    check_loop(settings, [listener.address for listener in listeners])
    return settings, listeners


def _adopt(descriptor: int, is_at_session_endpoint: bool) -> Listener:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise ListenError(f"descriptor {descriptor} of LISTEN_FDS cannot be had: {reason}") from None
    families = (socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_UNIX", None))
    if (
        sock.type != socket.SOCK_STREAM
        or sock.family not in families
        or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        sock.detach()
        raise ListenError(
            f"descriptor {descriptor} of LISTEN_FDS is no stream socket that listens; in the socket unit, write"
            " ListenStream= and Accept=no"
        )
    sock.set_inheritable(False)
    sock.setblocking(False)
    return Listener(sock, _address_of(sock), is_at_session_endpoint, is_shared=True)


def _address_of(sock: socket.socket) -> Address:
    name = sock.getsockname()
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return Address(str(name[0]), int(name[1]))
    # An abstract name is bytes with a zero in front.
    return Address(path=name if isinstance(name, str) else "@" + os.fsdecode(name[1:]))


def _check(listener: Listener, settings: Settings) -> None:
    """What `settings.check` asks of addresses on the command line."""
    if listener.is_at_session_endpoint and settings.session_upstream is None:
        raise ConfigurationError(
            f"the socket {listener.address} has the name {_SESSION} and needs --session-upstream; give the session"
            " endpoint's address, as in --session-upstream pooler.example:5432"
        )
    if not (listener.address.is_loopback or settings.has_tls or settings.allow_plaintext):
        raise ConfigurationError(
            f"the inherited socket {listener.address} is not loopback and would be served without TLS;"
            " give --tls-cert and --tls-key, --tls-self-signed, or --allow-plaintext"
        )
