"""Variables in which a command finds its server: what they say of it, and what with pgshim in its place."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pgshim import password_file
from pgshim.addresses import Address
from pgshim.errors import ConfigurationError
from pgshim.url import DatabaseUrl, place
from pgshim.url_tls import UpstreamTls, says_tls, upstream_tls

DATABASE_URL, PGHOST = "DATABASE_URL", "PGHOST"

#: libpq's variables that say where the server is.
_PLACE = ("PGHOST", "PGHOSTADDR", "PGPORT")
#: What libpq insists on without TLS as well. It holds for all of the command's connections: it is not taken away.
_WITHOUT_TLS_IN_VAIN = ("PGCHANNELBINDING", "PGSSLCERTMODE")


@dataclass(frozen=True, slots=True)
class Server:
    """What a variable says: `name` is how it is called to people, `remarks` what there is to say of it."""

    name: str
    upstream: Address
    tls: UpstreamTls
    remarks: tuple[str, ...] = ()
    #: None: libpq's variables.
    url: DatabaseUrl | None = None
    #: libpq's PGSSLMODE would tell the driver what the URL does not.
    says_no_tls: bool = False
    #: For a URL: (user, password) by the password file, whose lines name the server's host and port, and not pgshim's.
    login: tuple[str, str] | None = field(default=None, repr=False)
    #: For libpq's variables: the server's name in the password file, and the file.
    named: Address = field(default_factory=Address)
    passwords: tuple[str, ...] = field(default=(), repr=False)

    @property
    def needs_socket(self) -> bool:
        """Whether only a Unix socket will do: on TCP libpq's variables insist on TLS, and for others they go on to."""
        return self.url is None and self.tls.mode in ("require", "verify-ca", "verify-full")

    @property
    def has_passwords(self) -> bool:
        """Whether the password file has lines for libpq's variables."""
        return bool(self.password_lines("", 0))

    def password_lines(self, host: str, port: int) -> list[str]:
        """A password file for libpq with pgshim in the server's place; empty: none is needed."""
        return password_file.pointed_at(list(self.passwords), self.named, host, port)

    def pointed_at(self, host: str, port: int) -> dict[str, str | None]:
        """The variables with pgshim in the server's place; None: it is not to be there.

        Those about TLS and passwords are for the command's other connections as well, and stay.
        """
        if self.url is not None:
            url = self.url.with_login(*self.login) if self.login else self.url
            return {self.name: url.pointed_at(host, port, says_no_tls=self.says_no_tls)}
        return {"PGHOST": host, "PGHOSTADDR": None, "PGPORT": str(port)}


def find(names: tuple[str, ...], environment: Mapping[str, str], files: Mapping[str, str]) -> list[Server]:
    """The servers that these variables name, of the environment or else of `files`; without names the usual ones.

    Raises ConfigurationError for one that is not there, or cannot be read.
    """
    if names:
        return [_named(name, environment, files) for name in dict.fromkeys(names)]
    found = []
    if environment.get(DATABASE_URL) or files.get(DATABASE_URL):
        found.append(_named(DATABASE_URL, environment, files))
    if any(environment.get(name) for name in _PLACE):
        libpq = _libpq(environment)
        # Beside a URL they may well be for something else.
        if not found or found[0].upstream == libpq.upstream:
            found.append(_checked(libpq, environment))
    if not found:
        raise ConfigurationError(
            "DATABASE_URL is not in the environment, nor in .env, and PGHOST neither; set one of them, name another"
            " variable with --env NAME, or another file with --env-file FILE"
        )
    return found


def _named(name: str, environment: Mapping[str, str], files: Mapping[str, str]) -> Server:
    if name in _PLACE:
        variables = {**{each: files[each] for each in files if each.startswith("PG")}, **environment}
        return _checked(_libpq(variables), variables)
    text = environment.get(name) or files.get(name, "")
    if not text:
        raise ConfigurationError(
            f"--env {name}: it is not in the environment, nor in .env; set it, or name a file with --env-file FILE"
        )
    try:
        url = DatabaseUrl.read(text)
        upstream, tls = url.address(environment), url.tls(environment)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name} cannot be used: {error.message}") from None
    login = None
    if not url.password:
        login = _login(upstream, url.user, url.database, environment, url.said("passfile"))
    remarks = list(_remarks(url, tls))
    if environment.get("PGSSLROOTCERT") == "system" and url.driver not in ("asyncpg", "pg8000"):
        remarks.append(
            "libpq connects nowhere without TLS while PGSSLROOTCERT is system; say sslmode=verify-full and"
            " sslrootcert=system in the URLs, and unset it"
        )
    return Server(name, upstream, tls, tuple(remarks), url, says_tls(environment), login)


def _libpq(environment: Mapping[str, str]) -> Server:
    if environment.get("PGSERVICE"):
        raise ConfigurationError("PGSERVICE names a server in a file, which counts more than PGHOST; unset it")
    try:
        tls = upstream_tls({}, environment)
        host, hostaddr = environment.get("PGHOST", ""), environment.get("PGHOSTADDR", "")
        named = place(host or hostaddr, environment.get("PGPORT", ""))
        if hostaddr and tls.mode != "verify-full":
            host = hostaddr
        upstream = place(host, environment.get("PGPORT", ""))
    except ConfigurationError as error:
        raise ConfigurationError(f"PGHOST and its like cannot be used: {error.message}") from None
    remarks = _lost(tls)
    if "," in host:
        remarks.append("it has several hosts, of which pgshim takes the first")
    passwords = [] if environment.get("PGPASSWORD") else _lines(password_file.path_in(environment))
    return Server(PGHOST, upstream, tls, tuple(remarks), named=named, passwords=tuple(passwords))


def _checked(server: Server, environment: Mapping[str, str]) -> Server:
    """Raises ConfigurationError for what would keep libpq from connecting without TLS."""
    for name in _WITHOUT_TLS_IN_VAIN:
        if environment.get(name) == "require":
            raise ConfigurationError(
                f"{name}=require cannot be had through pgshim; unset it, and say it in the URLs of connections that"
                " go elsewhere"
            )
    return server


def _login(
    upstream: Address, user: str, database: str, environment: Mapping[str, str], passfile: str = ""
) -> tuple[str, str] | None:
    """What the password file has for that server; None: nothing, or PGPASSWORD counts more."""
    if environment.get("PGPASSWORD"):
        return None
    path = password_file.path_in(environment, passfile)
    try:
        user = user or environment.get("PGUSER") or getpass.getuser()
    except (OSError, KeyError):
        return None
    lines = _lines(path)
    password = password_file.find(lines, upstream, database or environment.get("PGDATABASE") or user, user)
    return None if password is None else (user, password)


def _lines(path: Path) -> list[str]:
    """What is in a password file; nothing if libpq would not use it."""
    try:
        return [] if password_file.is_open_to_others(path) else password_file.lines_of(path)
    except OSError:
        return []


def _remarks(url: DatabaseUrl, tls: UpstreamTls) -> Iterator[str]:
    if url.workarounds:
        yield f"{', '.join(url.workarounds)} can go: it costs round trips, and pgshim needs none of it"
    if url.has_several_hosts:
        yield "it has several hosts, of which pgshim takes the first"
    yield from _lost(tls)


def _lost(tls: UpstreamTls) -> list[str]:
    return [f"{each} is left out: it cannot be had through pgshim" for each in tls.lost]
