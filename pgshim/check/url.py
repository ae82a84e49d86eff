"""Reads a PostgreSQL URL as libpq does, and SQLAlchemy's with a driver in its scheme.

    postgresql://user:password@host:port,host2:port2/database?sslmode=require&host=/tmp

Source: the manual, "Connection URIs". What it raises never repeats what may be a password.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from urllib.parse import unquote, unquote_plus

from pgshim.check.report import Level, Remark
from pgshim.check.target import SSL_MODES, THE_URL, Target, Tls, default_mode, socket_path
from pgshim.errors import ConfigurationError
from pgshim.settings import Address

DEFAULT_PORT = 5432

_SCHEME = re.compile(r"(?P<scheme>postgres(?:ql)?(?:\+\w+)?)://(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

#: Said by a URL to get along with a pooler: with pgshim they only cost round trips.
WORKAROUNDS = frozenset(
    {"statement_cache_size", "prepared_statement_cache_size", "prepared_statement_name_func", "prepare_threshold"}
    | {"prepareThreshold", "preferQueryMode", "pgbouncer", "default_query_exec_mode"}
)
#: About the connection to the pooler, which is pgshim's then.
_OF_THE_CONNECTION = frozenset(
    {"host", "hostaddr", "port", "user", "password", "passfile", "dbname", "sslmode", "ssl", "sslrootcert", "sslcert"}
    | {"sslkey", "sslpassword", "sslnegotiation", "sslsni", "sslcrl", "sslcompression", "channel_binding"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version", "gssencmode", "target_session_attrs"}
    | {"load_balance_hosts", "require_auth", "requiressl", "sslcertmode", "sslcrldir"}
)
#: What SQLAlchemy's dialect for asyncpg says with `ssl`.
_TRUE = {"true": "require", "True": "require", "1": "require", "on": "require"}
#: Environment variables of libpq's that say what a URL does not.
_ENVIRONMENT = {
    "user": "PGUSER",
    "dbname": "PGDATABASE",
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "application_name": "PGAPPNAME",
    "options": "PGOPTIONS",
}


def read_url(text: str, environment: Mapping[str, str] = os.environ, *, connect_timeout: float = 10.0) -> Target:
    """What a URL says; what it leaves open, libpq's variables in the environment. Raises ConfigurationError."""
    scheme, rest = _split_scheme(text.strip())
    said, query = _split(rest)
    given = {**said, **query}
    for name, variable in _ENVIRONMENT.items():
        if not given.get(name) and environment.get(variable):
            given[name] = environment[variable]
    addresses = _addresses(given.get("host", ""), given.get("port", ""))
    user = given.get("user") or _own_name()
    tls = _tls(given, addresses)
    return Target(
        addresses=addresses,
        user=user,
        database=given.get("dbname") or user,
        tls=tls,
        password=given.get("password") or None,
        password_source=THE_URL if given.get("password") else "",
        password_file=given.get("passfile", ""),
        scheme=scheme,
        startup=tuple((name, given[name]) for name in ("application_name", "options") if given.get(name)),
        kept=tuple(item for item in query.items() if item[0] not in _OF_THE_CONNECTION | WORKAROUNDS),
        connect_timeout=_timeout(given.get("connect_timeout", ""), connect_timeout),
        remarks=tuple(_remarks(scheme, rest, query, given)),
    )


def from_address(address: Address, user: str, database: str, *, connect_timeout: float) -> Target:
    """What options say instead of a URL; empty ones leave it to PGUSER and PGDATABASE."""
    user = user or os.environ.get("PGUSER") or _own_name()
    return Target(
        addresses=(address,),
        user=user,
        database=database or os.environ.get("PGDATABASE") or user,
        tls=Tls(default_mode((address,))),
        connect_timeout=connect_timeout,
    )


def with_tls(target: Target, *, mode: str, ca: str, certificate: str, key: str) -> Target:
    """The target with what options say instead of its URL; empty ones say nothing."""
    tls = target.tls
    if ca and not mode:
        mode = "verify-full"
    tls = replace(
        tls,
        mode=mode or tls.mode,
        ca=ca or tls.ca,
        certificate=certificate or tls.certificate,
        key=key or tls.key,
    )
    return replace(target, tls=tls)


def _own_name() -> str:
    """Of whoever runs this. Raises ConfigurationError where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ConfigurationError("URL: no user is named; write postgresql://USER@HOST/DATABASE") from error


def _split_scheme(text: str) -> tuple[str, str]:
    match = _SCHEME.fullmatch(text)
    if match is not None:
        return match["scheme"], match["rest"]
    if text.startswith("jdbc:"):
        raise ConfigurationError("URL: a JDBC URL is not taken; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    scheme, separator, _ = text.partition("://")
    if separator and re.fullmatch(r"[\w+.-]+", scheme):
        raise ConfigurationError(f"URL: '{scheme}://' is not a PostgreSQL server's; write postgresql://...")
    raise ConfigurationError("URL: this is no URL; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")


def _split(rest: str) -> tuple[dict[str, str], dict[str, str]]:
    """(what stands in front of the query, the query), decoded; hosts and ports as lists with commas."""
    before, _, query = rest.partition("?")
    authority, _, database = before.partition("/")
    login, at, hosts = authority.rpartition("@")
    if "@" in login:
        raise ConfigurationError("URL: there is an @ in the user or password; write %40 for it")
    if not at and "@" in before:
        raise ConfigurationError("URL: there is a / in the user or password; write %2F for it")
    if not at and "@" in rest and not _looks_like_query(query):
        raise ConfigurationError("URL: there is a ? in the user or password; write %3F for it")
    user, _, password = login.partition(":")
    said = {"user": _decoded(user), "password": _decoded(password), "dbname": _decoded(database)}
    if re.fullmatch(r"[\[<{].*[\]>}]", said["password"]):
        raise ConfigurationError("URL: the password is a placeholder in brackets; put the password there instead")
    said["host"], said["port"] = _hosts(hosts)
    return said, _query(query)


def _looks_like_query(query: str) -> bool:
    return all("=" in part for part in query.split("&"))


def _hosts(text: str) -> tuple[str, str]:
    hosts, ports = [], []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None:
            # Not repeated: of a URL that is cut in the wrong place it may be the password.
            raise ConfigurationError(
                "URL: host and port cannot be read; write HOST:PORT or [IPv6]:PORT, and percent-encode the password"
            )
        hosts.append(_decoded(match["ipv6"] or match["name"]))
        ports.append(match["port"] or "")
    return ",".join(hosts), ",".join(ports)


def _query(text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, text.split("&")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigurationError("URL: behind the ? there is a word without =; write NAME=VALUE, and & between")
        # libpq takes a + as it is; the others take it for a space, which is what `options` means by it.
        decode = unquote_plus if name == "options" else unquote
        _check_percents(value)
        found[unquote(name)] = decode(value)
    return found


def _decoded(text: str) -> str:
    _check_percents(text)
    return unquote(text)


def _check_percents(text: str) -> None:
    if "%00" in text:
        raise ConfigurationError("URL: there is a %00 in it, which no part of it can have; leave it out")
    if _BAD_PERCENT.search(text):
        raise ConfigurationError("URL: there is a % without two hexadecimal digits behind; write %25 for it")


def _addresses(hosts: str, ports: str) -> tuple[Address, ...]:
    names = hosts.split(",")
    numbers = ports.split(",")
    if len(numbers) == 1:
        numbers *= len(names)
    if len(numbers) != len(names):
        raise ConfigurationError(
            f"URL: there are {len(names)} hosts and {len(numbers)} ports; give each a port, or one for all"
        )
    return tuple(_address(name, number or "") for name, number in zip_longest(names, numbers))


def _address(host: str, number: str) -> Address:
    port = int(number) if number.isdigit() else DEFAULT_PORT
    if number and not (number.isdigit() and 0 < port < 65536):
        raise ConfigurationError("URL: a port is a number from 1 to 65535")
    return Address(path=socket_path(host, port)) if host.startswith("/") else Address(host or "localhost", port)


def _tls(given: Mapping[str, str], addresses: tuple[Address, ...]) -> Tls:
    mode = given.get("sslmode") or given.get("ssl") or ""
    mode = _TRUE.get(mode, mode) or default_mode(addresses)
    if mode in ("false", "False", "0", "off"):
        mode = "disable"
    if mode not in SSL_MODES:
        raise ConfigurationError(f"URL: '{mode}' is no sslmode; give one of {', '.join(SSL_MODES)}")
    ca = given.get("sslrootcert", "")
    if ca == "system" and not given.get("sslmode"):
        mode = "verify-full"
    if mode == "require" and ca:
        # libpq: "for backwards compatibility", as verify-ca.
        mode = "verify-ca"
    return Tls(
        mode=mode,
        ca=ca,
        certificate=given.get("sslcert", ""),
        key=given.get("sslkey", ""),
        key_password=given.get("sslpassword", ""),
        is_direct=given.get("sslnegotiation") == "direct",
    )


def _timeout(text: str, default: float) -> float:
    if not text:
        return default
    if not text.strip().isdigit():
        raise ConfigurationError(f"URL: '{text}' is no connect_timeout; give seconds")
    # "Zero, negative, or not specified means wait indefinitely"; nobody wants that of a check.
    return float(text) or default


def _remarks(scheme: str, rest: str, query: Mapping[str, str], given: Mapping[str, str]) -> Iterator[Remark]:
    plain, _, driver = scheme.partition("+")
    if driver:
        fix = f"{_DRIVERS.get(driver, 'Drivers')}, psql and libpq take postgresql:// without +{driver}."
        yield Remark(Level.NOTE, "scheme", f"'{scheme}://' is SQLAlchemy's way to write it", fix)
    if plain == "postgres":
        text = "'postgres://' is not taken by SQLAlchemy"
        yield Remark(Level.NOTE, "scheme", text, "Write postgresql://, which everybody takes.")
    if driver == "asyncpg" and "sslmode" in query:
        text = "SQLAlchemy's dialect for asyncpg fails with sslmode (TypeError: unexpected keyword argument)"
        fix = f"Write ssl={given['sslmode']} instead; with pgshim, leave it out."
        yield Remark(Level.WARNING, "sslmode", text, fix)
    if "#" in rest:
        text = "there is a # in it, where many drivers cut a URL off"
        yield Remark(Level.WARNING, "encoding", text, "Write %23 for it.")
    workarounds = sorted(WORKAROUNDS & set(query))
    if workarounds:
        text = f"{', '.join(workarounds)}: to get along with a pooler"
        yield Remark(Level.NOTE, "workaround", text, "With pgshim leave it out: it costs round trips.")
    if given.get("channel_binding") == "require":
        text = "channel_binding=require cannot be met through a proxy that ends TLS, nor by most poolers"
        fix = "Leave it out for pgshim; the leg to the pooler is safe with --upstream-tls=verify-full."
        yield Remark(Level.WARNING, "channel_binding", text, fix)


_DRIVERS = {"asyncpg": "asyncpg itself", "psycopg": "psycopg itself", "psycopg2": "psycopg2 itself"}
