"""Variables in which a command finds its server: what they say of it, and what with pgshim in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgshim.errors import ConfigurationError
from pgshim.settings import Address
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

    def pointed_at(self, host: str, port: int) -> dict[str, str | None]:
        """The variables with pgshim in the server's place; None: it is not to be there."""
        if self.url is not None:
            return {self.name: self.url.pointed_at(host, port, says_no_tls=self.says_no_tls)}
        place_now: dict[str, str | None] = {"PGHOST": host, "PGHOSTADDR": None, "PGPORT": str(port)}
        return place_now | dict.fromkeys(_TLS) | {"PGSSLMODE": "disable"}


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
    return Server(name, upstream, tls, tuple(_remarks(url, tls)), url, says_no_tls)


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
    return Server(PGHOST, upstream, tls, tuple(remarks))


def _remarks(url: DatabaseUrl, tls: UpstreamTls) -> Iterator[str]:
    if url.workarounds:
        yield f"{', '.join(url.workarounds)} can go: it costs round trips, and pgshim needs none of it"
    if url.has_several_hosts:
        yield "it has several hosts, of which pgshim takes the first"
    yield from _lost(tls)


def _lost(tls: UpstreamTls) -> list[str]:
    return [f"{each} is left out: it cannot be had through pgshim" for each in tls.lost]
