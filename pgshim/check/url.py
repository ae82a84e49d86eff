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

from pgshim.addresses import Address
from pgshim.check.report import Level, Remark
from pgshim.check.target import SSL_MODES, THE_URL, Target, Tls, default_mode, socket_path
from pgshim.errors import ConfigurationError
from pgshim.url import DatabaseUrl, decoded

DEFAULT_PORT = 5432

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
    url = _taken_apart(text)
    query = _query(url)
    given = {**_said(url), **query}
    for name, variable in _ENVIRONMENT.items():
        if not given.get(name) and environment.get(variable):
            given[name] = environment[variable]
    _check_encoding(given)
    addresses = _addresses(given.get("host", ""), given.get("port", ""))
    user = given.get("user") or _own_name()
    tls = _tls(given, addresses)
    left_out = _OF_THE_CONNECTION.union(each.name for each in url.query if each.is_workaround)
    return Target(
        addresses=addresses,
        user=user,
        database=given.get("dbname") or user,
        tls=tls,
        password=given.get("password") or None,
        password_source=THE_URL if given.get("password") else "",
        password_file=given.get("passfile", ""),
        scheme=url.scheme,
        startup=tuple((name, given[name]) for name in ("application_name", "options") if given.get(name)),
        kept=tuple(item for item in query.items() if item[0] not in left_out),
        connect_timeout=_timeout(given.get("connect_timeout", ""), connect_timeout),
        remarks=tuple(_remarks(url, text, query, given)),
    )


def _check_encoding(given: Mapping[str, str]) -> None:
    """Python gives bytes that are not UTF-8 as surrogates, with which nothing can be sent or printed."""
    for name, value in given.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(f"URL: {name} is not UTF-8; write it in UTF-8, percent-encoded") from None


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


def _taken_apart(text: str) -> DatabaseUrl:
    try:
        url = DatabaseUrl.read(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"URL: {error.message}") from None
    if url.scheme.startswith("jdbc:"):
        raise ConfigurationError("URL: a JDBC URL is not taken; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return url


def _said(url: DatabaseUrl) -> dict[str, str]:
    """What stands in front of the query; hosts and ports as lists with commas."""
    if "@" in url.login[:-1]:
        raise ConfigurationError("URL: there is an @ in the user or password; write %40 for it")
    user, _, password = url.login[:-1].partition(":")
    said = {"user": _decoded(user), "password": _decoded(password), "dbname": _decoded(url.path[1:])}
    if re.fullmatch(r"[\[<{].*[\]>}]", said["password"]):
        raise ConfigurationError("URL: the password is a placeholder in brackets; put the password there instead")
    said["host"], said["port"] = (",".join(parts) for parts in zip(*url.hosts, strict=True))
    return said


def _query(url: DatabaseUrl) -> dict[str, str]:
    found = {}
    for each in url.query:
        if "=" not in each.text:
            raise ConfigurationError("URL: behind the ? there is a word without =; write NAME=VALUE, and & between")
        # libpq takes a + as it is; the others take it for a space, which is what `options` means by it.
        found[each.name] = _decoded(each.written.replace("+", " ")) if each.name == "options" else each.value
    return found


def _decoded(text: str) -> str:
    try:
        return decoded(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"URL: {error.message}") from None


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
    port = int(number) if number.isdecimal() else DEFAULT_PORT
    if number and not (number.isdecimal() and 0 < port < 65536):
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
    if not text.strip().isdecimal():
        raise ConfigurationError(f"URL: '{text}' is no connect_timeout; give seconds")
    # "Zero, negative, or not specified means wait indefinitely"; nobody wants that of a check.
    return float(text) or default


def _remarks(url: DatabaseUrl, written: str, query: Mapping[str, str], given: Mapping[str, str]) -> Iterator[Remark]:
    scheme = url.scheme
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
    if "#" in written:
        text = "there is a # in it, where many drivers cut a URL off"
        yield Remark(Level.WARNING, "encoding", text, "Write %23 for it.")
    workarounds = sorted({each.name for each in url.query if each.is_workaround})
    if workarounds:
        text = f"{', '.join(workarounds)}: to get along with a pooler"
        yield Remark(Level.NOTE, "workaround", text, "With pgshim leave it out: it costs round trips.")
    if given.get("channel_binding") == "require":
        text = "channel_binding=require cannot be met through a proxy that ends TLS, nor by most poolers"
        fix = "Leave it out for pgshim; the leg to the pooler is safe with --upstream-tls=verify-full."
        yield Remark(Level.WARNING, "channel_binding", text, fix)


_DRIVERS = {"asyncpg": "asyncpg itself", "psycopg": "psycopg itself", "psycopg2": "psycopg2 itself"}
