"""Variables in which a command finds its server: what they say of it, and what with pgshim in its place."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pgshim import password_file
from pgshim.addresses import Address
from pgshim.errors import ConfigurationError
from pgshim.url import DatabaseUrl, place
from pgshim.url_tls import UpstreamTls, upstream_tls

DATABASE_URL, PGHOST = "DATABASE_URL", "PGHOST"

#: libpq's variables that say where the server is.
_PLACE = ("PGHOST", "PGHOSTADDR", "PGPORT")
#: Those that say something of TLS, and are to say it no longer.
_TLS = (
    *("PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLNEGOTIATION", "PGCHANNELBINDING", "PGREQUIRESSL", "PGSSLSNI"),
    *("PGSSLCRL", "PGSSLCRLDIR", "PGSSLCERTMODE", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION"),
)


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
    #: (user, password) by the password file, whose lines name the server's host and port, and not pgshim's.
    login: tuple[str, str] | None = field(default=None, repr=False)

    def pointed_at(self, host: str, port: int) -> dict[str, str | None]:
        """The variables with pgshim in the server's place; None: it is not to be there."""
        if self.url is not None:
            url = self.url.with_login(*self.login) if self.login else self.url
            return {self.name: url.pointed_at(host, port, says_no_tls=self.says_no_tls)}
        place_now: dict[str, str | None] = {"PGHOST": host, "PGHOSTADDR": None, "PGPORT": str(port)}
        password = {"PGPASSWORD": self.login[1]} if self.login else {}
        return place_now | dict.fromkeys(_TLS) | {"PGSSLMODE": "disable"} | password


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
            found.append(libpq)
    if not found:
        raise ConfigurationError(
            "DATABASE_URL is not in the environment, nor in .env, and PGHOST neither; set one of them, name another"
            " variable with --env NAME, or another file with --env-file FILE"
        )
    return found


def _named(name: str, environment: Mapping[str, str], files: Mapping[str, str]) -> Server:
    if name in _PLACE:
        return _libpq({**{each: files[each] for each in files if each.startswith("PG")}, **environment})
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
    says_no_tls = any(environment.get(each) for each in ("PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION"))
    login = None
    if not url.password:
        login = _login(upstream, url.user, url.database, environment, url.said("passfile"))
    return Server(name, upstream, tls, tuple(_remarks(url, tls)), url, says_no_tls, login)


def _libpq(environment: Mapping[str, str]) -> Server:
    if environment.get("PGSERVICE"):
        raise ConfigurationError("PGSERVICE names a server in a file, which counts more than PGHOST; unset it")
    try:
        tls = upstream_tls({}, environment)
        host, hostaddr = environment.get("PGHOST", ""), environment.get("PGHOSTADDR", "")
        if hostaddr and tls.mode != "verify-full":
            host = hostaddr
        upstream = place(host, environment.get("PGPORT", ""))
    except ConfigurationError as error:
        raise ConfigurationError(f"PGHOST and its like cannot be used: {error.message}") from None
    remarks = _lost(tls)
    if "," in host:
        remarks.append("it has several hosts, of which pgshim takes the first")
    return Server(PGHOST, upstream, tls, tuple(remarks), login=_login(upstream, "", "", environment))


def _login(
    upstream: Address, user: str, database: str, environment: Mapping[str, str], passfile: str = ""
) -> tuple[str, str] | None:
    """What the password file has for that server; None: nothing, or PGPASSWORD counts more."""
    if environment.get("PGPASSWORD"):
        return None
    path = password_file.path_in(environment, passfile)
    try:
        if password_file.is_open_to_others(path):
            return None
        user = user or environment.get("PGUSER") or getpass.getuser()
        lines = password_file.lines_of(path)
    except (OSError, KeyError):
        return None
    password = password_file.find(lines, upstream, database or environment.get("PGDATABASE") or user, user)
    return None if password is None else (user, password)


def _remarks(url: DatabaseUrl, tls: UpstreamTls) -> Iterator[str]:
    if url.workarounds:
        yield f"{', '.join(url.workarounds)} can go: it costs round trips, and pgshim needs none of it"
    if url.has_several_hosts:
        yield "it has several hosts, of which pgshim takes the first"
    yield from _lost(tls)


def _lost(tls: UpstreamTls) -> list[str]:
    return [f"{each} is left out: it cannot be had through pgshim" for each in tls.lost]
