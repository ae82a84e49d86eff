"""A database URL: what it says of the server, and the same URL with another server in it.

    postgresql+asyncpg://user:password@host:port,host2/database?sslmode=require&host=/run/postgresql

Source: the manual, "Connection URIs"; SQLAlchemy, JDBC, Prisma and the drivers of Node have dialects of it. What need
not be changed stays as it was written. What is raised here names no variable, and repeats no password.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, unquote

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError
from pgshim.url_tls import TLS_PARAMETERS, UpstreamTls, upstream_tls

_DEFAULT_PORT = 5432

_SCHEME = re.compile(
    r"(?P<scheme>(?:jdbc:)?(?:postgres(?:ql)?|postgis|pgsql|psql|asyncpg|psycopg)(?:\+(?P<driver>\w+))?)://(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

#: Where libpq looks for a server when nobody says a host: Debian's directory, and the manual's.
_SOCKET_DIRECTORIES = ("/var/run/postgresql", "/run/postgresql", "/tmp")

#: What says where the server is, beside the host in front of the path.
_PLACE = frozenset({"host", "hostaddr", "port"})

#: Parameters with a value that is there to get along with a transaction pooler: with pgshim they only cost round trips.
#: Without values: whatever it is.
_WORKAROUNDS: dict[str, set[str]] = {
    "prepared_statement_name_func": set(),
    "pgbouncer": {"true"},
    "statement_cache_size": {"0"},
    "prepared_statement_cache_size": {"0"},
    "statement_cache_capacity": {"0"},
    "statement-cache-capacity": {"0"},
    "prepare_threshold": {"none", "null", "0"},
    "preparethreshold": {"0"},
    "prepared_statements": {"false", "0"},
    "prefer_simple_protocol": {"true", "1"},
    "prefersimpleprotocol": {"true", "1"},
    "preferquerymode": {"simple"},
    "default_query_exec_mode": {"exec", "simple_protocol", "describe_exec", "cache_describe"},
    "binary_parameters": {"yes"},
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of the query: as it is written, and what it says."""

    text: str
    name: str
    value: str

    @property
    def written(self) -> str:
        """The value as it is written."""
        return self.text.partition("=")[2]

    @property
    def is_workaround(self) -> bool:
        """Whether it is there to get along with a transaction pooler."""
        values = _WORKAROUNDS.get(self.name.lower())
        return values is not None and (not values or self.value.lower() in values)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A URL in its parts. `login` (with its @) and `path` (with its /) are as they were written."""

    scheme: str
    #: SQLAlchemy's driver, in lower case; empty: none is said.
    driver: str
    login: str
    #: (host, port) of each, decoded; both may be empty.
    hosts: tuple[tuple[str, str], ...]
    path: str
    query: tuple[Parameter, ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """Take a URL apart. Raises ConfigurationError."""
        match = _SCHEME.fullmatch(text.strip())
        if match is None:
            raise ConfigurationError(_no_url(text))
        before, mark, query = match["rest"].partition("?")
        authority, slash, database = before.partition("/")
        login, at, hosts = authority.rpartition("@")
        if not at and "@" in before:
            raise ConfigurationError("there is a / in the user or password; write %2F for it")
        if not at and mark and "@" in query and not all("=" in part for part in query.split("&")):
            raise ConfigurationError("there is a ? in the user or password; write %3F for it")
        scheme = match["scheme"]
        driver = (match["driver"] or "").lower()
        if scheme.lower() in ("asyncpg", "psycopg"):
            driver = scheme.lower()
        parts = tuple(_parameter(part) for part in query.split("&") if part)
        return cls(scheme, driver, login + at, _hosts(hosts), slash + database, parts)

    @property
    def user(self) -> str:
        """Who logs in, decoded; empty where it does not say."""
        return decoded(self.login[:-1].partition(":")[0]) or self.said("user")

    @property
    def password(self) -> str:
        """Decoded; empty where there is none."""
        return decoded(self.login[:-1].partition(":")[2]) or self.said("password")

    @property
    def database(self) -> str:
        """Decoded; empty where it does not say."""
        return self.said("dbname") or decoded(self.path[1:])

    def with_login(self, user: str, password: str) -> Self:
        """The same with this login: in front of the host, or for JDBC, which takes that for the host, in the query."""
        user, password = quote(user, safe=""), quote(password, safe="")
        if not self.scheme.lower().startswith("jdbc:"):
            return replace(self, login=f"{user}:{password}@")
        kept = (each for each in self.query if each.name not in ("user", "password"))
        return replace(self, query=(*kept, _parameter(f"user={user}"), _parameter(f"password={password}")))

    def said(self, name: str) -> str:
        """The value of a parameter, the last if there are several, as for libpq; empty where it is not given.

        Several `host`, and `port` beside them, are SQLAlchemy's list of servers: the first.
        """
        values = self._all_said(name)
        is_list = name in ("host", "port") and len(self._all_said("host")) > 1
        return values[0 if is_list else -1] if values else ""

    def _all_said(self, name: str) -> list[str]:
        return [each.value for each in self.query if each.name == name and each.value]

    def address(self, environment: Mapping[str, str]) -> Address:
        """Where the server is; the first, if there are several. What the URL leaves open, PGHOST and PGPORT may say."""
        if self.said("service"):
            raise ConfigurationError("service= names an entry in a file that is not read; write host and port")
        host, port = self.hosts[0]
        # "Parameters in the query override": so libpq, and SQLAlchemy's dialects.
        host = self.said("host").split(",")[0] or host
        port = self.said("port").split(",")[0] or port
        if (match := re.fullmatch(r"([^:/\[\]]+):(\d+)", host)) is not None:
            host, port = match[1], match[2]  # SQLAlchemy's way to write several hosts.
        hostaddr = self.said("hostaddr").split(",")[0]
        if hostaddr and self.tls(environment).mode != "verify-full":
            host = hostaddr
        return place(host or environment.get("PGHOST", ""), port or environment.get("PGPORT", ""))

    @property
    def has_several_hosts(self) -> bool:
        """Whether there are others than the first."""
        listed = self._all_said("host")
        return len(self.hosts) > 1 or len(listed) > 1 or any("," in host for host in listed)

    def tls(self, environment: Mapping[str, str]) -> UpstreamTls:
        """How the server is to be spoken to. Raises ConfigurationError for what the upstream side cannot have."""
        return upstream_tls({each.name: each.value for each in self.query if each.value}, environment)

    @property
    def workarounds(self) -> list[str]:
        """Parameters that have no use with pgshim, as `name=value`."""
        return [f"{each.name}={each.value}" for each in self.query if each.is_workaround]

    def pointed_at(self, host: str, port: int, *, says_no_tls: bool = False) -> str:
        """The URL with this server in it, a host or a socket's directory, which is spoken to without TLS.

        says_no_tls -- say so in any case; else only where it said something of TLS
        """
        kept = [each.text for each in self.query if each.name not in _PLACE | TLS_PARAMETERS]
        if says_no_tls or any(each.name in TLS_PARAMETERS for each in self.query):
            kept += self._no_tls()
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        path = self.path
        if host.startswith("/"):
            authority, path = "", path or "/"
            kept += [f"host={quote(host)}", f"port={port}"]
        query = "?" + "&".join(kept) if kept else ""
        return f"{self.scheme}://{self.login}{authority}{path}{query}"

    def _no_tls(self) -> list[str]:
        """How this driver is told to do without TLS."""
        if self.driver == "pg8000":
            return []  # It does without unless it is given a context.
        # SQLAlchemy's dialect for asyncpg takes parameters for arguments of asyncpg.connect, which has no sslmode.
        if self.driver == "asyncpg" and not self.said("sslmode"):
            return ["ssl=disable"]
        return ["sslmode=disable"]


def place(host: str, port: str) -> Address:
    """The address that host and port say; empty ones say libpq's defaults. Raises ConfigurationError."""
    host, port = host.split(",")[0], port.split(",")[0]
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigurationError("its port is not a number from 1 to 65535; write HOST:PORT")
    number = int(port) if port else _DEFAULT_PORT
    if host.startswith("/"):
        return Address(path=_socket(host, number))
    if not host:
        found = [path for path in (_socket(each, number) for each in _SOCKET_DIRECTORIES) if os.path.exists(path)]
        return Address(path=found[0]) if found else Address("localhost", number)
    return Address(host, number)


def _socket(directory: str, port: int) -> str:
    return f"{directory.rstrip('/')}/.s.PGSQL.{port}"


def _no_url(text: str) -> str:
    scheme, separator, _ = text.strip().partition("://")
    how = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    if separator and re.fullmatch(r"[\w+.:-]+", scheme):
        return f"'{scheme}://' is not a PostgreSQL server's; {how}"
    return f"this is no URL; {how}"


def _hosts(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None:
            # Not repeated: of a URL that is cut in the wrong place it may be the password.
            raise ConfigurationError(
                "host and port cannot be read; write HOST:PORT or [IPv6]:PORT, and percent-encode the password"
            )
        found.append((decoded(match["ipv6"] or match["name"]), match["port"] or ""))
    return tuple(found)


def _parameter(text: str) -> Parameter:
    name, _, value = text.partition("=")
    return Parameter(text, unquote(name), decoded(value))


def decoded(text: str) -> str:
    """Without percent signs. Raises ConfigurationError."""
    if "%00" in text:
        raise ConfigurationError("there is a %00 in it, which no part of it can have; leave it out")
    if _BAD_PERCENT.search(text):
        raise ConfigurationError("there is a % without two hexadecimal digits behind it; write %25 for it")
    return unquote(text)
