"""pgshim in the process of its app, or of its tests: `pgshim.serve`. Signals and logging stay the app's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Unpack

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError
from pgshim.options import Listen, ServeOptions, parse_addresses, parse_option, parsed, settings_from
from pgshim.proxy.server import Server
from pgshim.proxy.sockets import descriptor_limit
from pgshim.session.hazards import Feature
from pgshim.url import DatabaseUrl
from pgshim.url_tls import says_tls
from pgshim.values import READERS


@dataclass(frozen=True, slots=True)
class ServedAddress:
    """Where pgshim listens: `host` and `port`; of a Unix socket the directory and the number in its name, as for libpq.

    `str()` is HOST:PORT.
    """

    host: str
    port: int
    #: What `serve` was given, if that was a URL.
    _given: DatabaseUrl | None = field(default=None, repr=False)
    #: libpq's variables have said of TLS what the URL does not, and were for the pooler.
    _says_no_tls: bool = field(default=False, repr=False)

    def url(self, url: str = "") -> str:
        """A database URL with pgshim in the server's place; without one, the URL that `serve` was given.

        Login, database and all other parameters stay; those about TLS go, or say that there is none. Raises
        ConfigurationError for what is no URL.
        """
        if url:
            return read_url(url).pointed_at(self.host, self.port, says_no_tls=self._says_no_tls)
        if self._given is None:
            raise ConfigurationError("serve() was given an address and no URL; give one here, as in address.url(URL)")
        return self._given.pointed_at(self.host, self.port, says_no_tls=self._says_no_tls)

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return f"{self.host}:{self.port}"
        return str(Address(self.host, self.port))


@asynccontextmanager
async def serve(
    upstream: str, *, listen: Listen = "127.0.0.1:0", **options: Unpack[ServeOptions]
) -> AsyncIterator[ServedAddress]:
    """pgshim in front of `upstream`, in the running event loop, as long as the `async with` lasts.

    upstream -- the pooler, as "HOST:PORT" or as a database URL; what that says of TLS is for the pooler then
    listen -- as --listen, or a port's number; port 0: a free one. With several, the address is the first one's
    options -- the command line's, as in pipeline="through" or drain_timeout="5s"

    At the end open transactions have `drain_timeout` to end; after an exception nobody waits. Raises
    ConfigurationError (the command line's sentences), ListenError, and with `require_upstream` UpstreamUnreachable.
    """
    values = parsed(options)
    given = read_url(upstream) if isinstance(upstream, str) and "://" in upstream else None
    if given is None:
        values["upstream"] = parse_option("upstream", READERS["upstream"], upstream)
    else:
        values = {**values, **_from_url(given, values)}
    values["listen"] = parse_addresses("listen", listen)
    if not values["listen"]:
        raise ConfigurationError("--listen: there is no address; give one, as in '127.0.0.1:0'")
    _check_features(values["allow"])
    server = Server(settings_from(values), descriptor_limit())
    if values.get("require_upstream"):
        for each in filter(None, (server.upstream, server.session_upstream)):
            await each.probe()
    server.start()
    try:
        yield _served(server.listeners[0].address, given)
    except BaseException:
        await server.stop()
        raise
    try:
        await server.drain()
    except BaseException:
        await server.close()
        raise


def read_url(text: str) -> DatabaseUrl:
    """A database URL. Raises ConfigurationError."""
    try:
        return DatabaseUrl.read(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"the URL cannot be used: {error.message}") from None


def _from_url(url: DatabaseUrl, options: dict[str, Any]) -> dict[str, Any]:
    """--upstream and what belongs to it; an option that is given says more than the URL."""
    try:
        address, tls = url.address(os.environ), url.tls(os.environ)
    except ConfigurationError as error:
        raise ConfigurationError(f"the URL cannot be used: {error.message}") from None
    return {"upstream": address, **tls.options(address, options)}


def _check_features(names: Sequence[str]) -> None:
    for name in names:
        parse_option("allow", Feature.named, name)


def _served(address: Address, given: DatabaseUrl | None) -> ServedAddress:
    says_no_tls = given is not None and says_tls(os.environ)
    if not address.is_unix:
        return ServedAddress(address.host, address.port, given, says_no_tls)
    directory, _, name = address.path.rpartition("/")
    number = name.removeprefix(".s.PGSQL.")
    return ServedAddress(directory or "/", int(number) if number.isdigit() else 0, given, says_no_tls)
