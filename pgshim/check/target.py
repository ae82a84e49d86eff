"""What is checked: addresses, a login, TLS, and what else a URL says."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from pgshim.addresses import Address
from pgshim.check.report import Remark
from pgshim.settings import PUBLIC_POOLERS, is_under

#: What libpq's `sslmode` can be; `allow` asks for TLS only where it is insisted on.
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

#: Where a password came from, of those in `Target.password_source`.
THE_URL = "the URL"

SUPABASE_POOLER, SUPABASE_DIRECT = (".pooler.supabase.com",), (".supabase.co",)


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server is to be spoken to: `mode` as libpq's sslmode, PEM files, `ca` also "system"."""

    mode: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)
    #: libpq's sslnegotiation=direct: the handshake comes first, without asking.
    is_direct: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """All that an app would connect with."""

    addresses: tuple[Address, ...]
    user: str
    database: str
    tls: Tls
    password: str | None = field(default=None, repr=False)
    #: Where the password came from, for people.
    password_source: str = ""
    password_file: str = ""
    #: As in the URL: `postgresql`, `postgresql+asyncpg`, ...
    scheme: str = "postgresql"
    #: Of the StartupMessage, beside user and database.
    startup: tuple[tuple[str, str], ...] = ()
    #: What the URL's query says beyond the connection itself; it stays in the app's URL.
    kept: tuple[tuple[str, str], ...] = ()
    connect_timeout: float = 10.0
    #: What there is to say of the URL itself.
    remarks: tuple[Remark, ...] = ()

    @property
    def url(self) -> str:
        """For people: the password is ***."""
        hosts = ",".join(_host_in_url(address) for address in self.addresses)
        return app_url(self, hosts)

    def is_at(self, domains: tuple[str, ...]) -> bool:
        """Whether its first host lies in one of the domains."""
        return is_under(self.addresses[0].host, domains)


def app_url(target: Target, authority: str) -> str:
    """The app's URL with another host and port, and *** for the password if it is in there."""
    login = quote(target.user, safe="") + (":***" if target.password_source == THE_URL else "")
    query = f"?{urlencode(target.kept, quote_via=quote)}" if target.kept else ""
    return f"{target.scheme}://{login}@{authority}/{quote(target.database, safe='')}{query}"


def default_mode(addresses: tuple[Address, ...]) -> str:
    """The sslmode where none is asked for: libpq's, but for hosts that are known to offer TLS to everybody."""
    return "require" if any(is_under(address.host, PUBLIC_POOLERS) for address in addresses) else "prefer"


def socket_path(directory: str, port: int) -> str:
    """Where libpq looks for a server's Unix socket."""
    return f"{directory.rstrip('/')}/.s.PGSQL.{port}"


def _host_in_url(address: Address) -> str:
    if not address.is_unix:
        return str(address)
    directory, _, name = address.path.rpartition("/")
    port = name.removeprefix(".s.PGSQL.")
    return quote(directory, safe="") + (f":{port}" if port.isdigit() else "")
