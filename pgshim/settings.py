"""What the command line hands down: `Settings`, and how sizes and times are written.

What is wrong with a value is said as in `pgshim.addresses`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError

#: Hosts that are known to offer TLS to everybody: the default there is `require`, so that nobody between us and them
#: can talk us out of it.
PUBLIC_POOLERS = (
    ".supabase.com",
    ".supabase.co",
    ".neon.tech",
    ".rds.amazonaws.com",
    ".postgres.database.azure.com",
    ".aivencloud.com",
    ".cockroachlabs.cloud",
    ".ondigitalocean.com",
    ".postgresbridge.com",
    ".timescale.com",
    ".psdb.cloud",
    ".prisma.io",
    ".render.com",
)

LOG_LEVELS = ("debug", "info", "warning", "error")

TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Settings:
    """All options of the command line; sizes in bytes, times in seconds, 0 where it means "no limit"."""

    upstream: Address
    listen: tuple[Address, ...]
    upstream_tls: str = "prefer"
    upstream_ca: str = ""
    upstream_cert: str = ""
    upstream_key: str = ""
    upstream_mode: str = "transaction"
    #: The session endpoint; None: there is none. It is spoken to as the upstream is, but for the default of TLS.
    session_upstream: Address | None = None
    session_upstream_tls: str = "prefer"
    session_listen: tuple[Address, ...] = ()
    #: Goes behind a user name without a dot; empty: nothing does.
    tenant: str = ""
    pipeline: str = "auto"
    require_upstream: bool = False
    tls_cert: str = ""
    tls_key: str = ""
    tls_self_signed: bool = False
    allow_plaintext: bool = False
    #: What becomes of features that need a session, "refuse", "warn" or "allow"; and those that are allowed anyway.
    unsafe: str = "refuse"
    allow: tuple[str, ...] = ()
    strict_custom_settings: bool = False
    lazy_begin: bool = True
    #: Descriptions of statements that are shared between clients; 0: none.
    describe_cache: int = 1000
    #: Connections to the pooler that are made ahead, of the whole process.
    prewarm: int = 0
    #: Where metrics and health are served over HTTP.
    metrics: tuple[Address, ...] = ()
    connect_timeout: float = 10.0
    login_timeout: float = 60.0
    idle_timeout: float = 0.0
    drain_timeout: float = 30.0
    max_connections: int = 10_000
    max_message: int = 16 * 1024 * 1024
    max_statements: int = 10_000
    max_statement_bytes: int = 64 * 1024 * 1024
    #: Processes; 1: this one alone, without a supervisor.
    workers: int = 1
    #: Where the conversations are traced to: a file, or "-" for stderr; empty: nowhere.
    trace: str = ""
    trace_values: bool = False

    @property
    def has_tls(self) -> bool:
        """Whether clients are offered TLS."""
        return bool(self.tls_cert) or self.tls_self_signed

    @property
    def upstreams(self) -> tuple[Address, ...]:
        """The pooler, and the session endpoint if there is one."""
        return (self.upstream,) if self.session_upstream is None else (self.upstream, self.session_upstream)

    def tls_of(self, upstream: Address) -> str:
        """The TLS mode for one of `upstreams`."""
        if upstream.is_unix:
            return "disable"
        return self.session_upstream_tls if upstream == self.session_upstream else self.upstream_tls

    def is_serial(self, reported: Mapping[bytes, bytes]) -> bool:
        """Whether upstream is to have one Query or Sync outstanding at a time.

        `auto` goes by what it `reported` at login (name -> value of each ParameterStatus): only a PgBouncer of our day
        says what it is (`pgbouncer_...`), and keeps count of all that it owes. Those before 1.21 count Syncs alone, and
        give a server away in the middle of the next batch if that did not come in one piece; Supavisor loses replies.
        """
        if self.pipeline != "auto":
            return self.pipeline == "serial"
        return not any(name.startswith(b"pgbouncer_") for name in reported)


def is_under(host: str, domains: tuple[str, ...]) -> bool:
    """Whether a host name lies in one of the domains (each written with its leading dot)."""
    return host.lower().rstrip(".").endswith(domains)


def default_upstream_tls(upstream: Address, has_ca: bool) -> str:
    """The TLS mode when none was asked for."""
    if upstream.is_unix:
        return "disable"
    if has_ca:
        return "verify-full"
    return "require" if is_under(upstream.host, PUBLIC_POOLERS) else "prefer"


_SIZE_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "kb": 1 << 10, "k": 1 << 10, "mib": 1 << 20, "mb": 1 << 20, "m": 1 << 20}
_SIZE_UNITS |= {"gib": 1 << 30, "gb": 1 << 30, "g": 1 << 30}
_TIME_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_size(text: str) -> int:
    """A number of bytes: 1048576, 1024KiB, 1MiB. As in PostgreSQL's own settings, kB and MB are multiples of 1024."""
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ConfigurationError(f"'{text}' is not a size; write bytes, or a number with KiB, MiB or GiB, as in 16MiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_duration(text: str) -> float:
    """A time in seconds: 30, 30s, 500ms, 5min, 1h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _TIME_UNITS:
        raise ConfigurationError(f"'{text}' is not a duration; write seconds, or ms, s, min or h behind it, as in 30s")
    return float(match[1]) * _TIME_UNITS[match[2]]


def check(settings: Settings, *, has_sockets: bool = False) -> None:
    """Raise ConfigurationError for options that do not go together.

    has_sockets -- sockets may take the place of --listen: who takes them over calls `check_loop`
    """
    if bool(settings.tls_cert) != bool(settings.tls_key):
        given, missing = ("--tls-cert", "--tls-key") if settings.tls_cert else ("--tls-key", "--tls-cert")
        raise ConfigurationError(f"{given} needs {missing} as well; give both, or --tls-self-signed")
    if settings.tls_cert and settings.tls_self_signed:
        raise ConfigurationError("--tls-self-signed and --tls-cert exclude each other; give one of them")
    if bool(settings.upstream_cert) != bool(settings.upstream_key):
        given, missing = "--upstream-cert", "--upstream-key"
        if not settings.upstream_cert:
            given, missing = missing, given
        raise ConfigurationError(f"{given} needs {missing} as well; give both")
    if settings.prewarm > settings.max_connections:
        raise ConfigurationError(
            f"--prewarm {settings.prewarm} is more than --max-connections {settings.max_connections}; give fewer"
        )
    if settings.trace_values and not settings.trace:
        raise ConfigurationError("--trace-values needs --trace; give both, as in --trace=FILE --trace-values")
    _check_upstream_tls(settings)
    _check_session(settings)
    if not has_sockets:
        check_loop(settings)
    _check_metrics(settings)
    if settings.has_tls or settings.allow_plaintext:
        return
    addresses = [("--listen", address) for address in settings.listen]
    for option, address in addresses + [("--session-listen", address) for address in settings.session_listen]:
        if not address.is_loopback:
            raise ConfigurationError(
                f"{option} {address} is not loopback and would be served without TLS;"
                " give --tls-cert and --tls-key, --tls-self-signed, or --allow-plaintext"
            )


def _check_session(settings: Settings) -> None:
    if settings.session_listen and settings.session_upstream is None:
        raise ConfigurationError(
            f"--session-listen {settings.session_listen[0]} needs --session-upstream; give the session endpoint's"
            " address, as in --session-upstream pooler.example:5432"
        )
    for address in settings.session_listen:
        if address in settings.listen and (address.port or address.is_unix):
            raise ConfigurationError(f"--session-listen {address} is --listen's as well; give it another address")


def check_loop(settings: Settings, sockets: Sequence[Address] = ()) -> None:
    """Raise ConfigurationError if pgshim is its own upstream: a connection would make another one, up to the last.

    sockets -- where it listens by a service manager's sockets
    """
    upstreams = [("--upstream", settings.upstream)]
    if settings.session_upstream is not None:
        upstreams.append(("--session-upstream", settings.session_upstream))
    listeners = [("--listen", address) for address in settings.listen]
    listeners += [("--session-listen", address) for address in settings.session_listen]
    listeners += [("ListenStream=", address) for address in sockets]
    for option, upstream in upstreams:
        for ours, address in listeners:
            if address.is_reached_by(upstream):
                raise ConfigurationError(
                    f"{option} {upstream} is where pgshim itself listens; give the pooler's address, or another {ours}"
                )


def _check_metrics(settings: Settings) -> None:
    # Loopback or not: it holds no secrets, and who asks for it is another machine mostly.
    for address in settings.metrics:
        if address in settings.listen + settings.session_listen and (address.port or address.is_unix):
            raise ConfigurationError(f"--metrics {address} is where clients log in; give it another address")


def _check_upstream_tls(settings: Settings) -> None:
    mode = settings.upstream_tls
    modes = {mode} if settings.session_upstream is None else {mode, settings.session_upstream_tls}
    if all(upstream.is_unix for upstream in settings.upstreams) and mode not in ("disable", "prefer"):
        raise ConfigurationError(
            f"--upstream-tls {mode} cannot be had on the Unix socket {settings.upstream.path}; leave it out"
        )
    if mode in ("verify-ca", "verify-full") and not settings.upstream_ca:
        raise ConfigurationError(
            f"--upstream-tls {mode} needs --upstream-ca; give the CA's file, or 'system' for the machine's own roots"
        )
    for option, path in (("--upstream-ca", settings.upstream_ca), ("--upstream-cert", settings.upstream_cert)):
        if path and modes == {"disable"}:
            raise ConfigurationError(f"{option} {path} has no use with TLS off; give --upstream-tls verify-full")
    if settings.upstream_ca and modes.isdisjoint(("verify-ca", "verify-full")):
        raise ConfigurationError(
            f"--upstream-tls {mode} does not verify, so --upstream-ca {settings.upstream_ca} has no use;"
            " give --upstream-tls verify-full"
        )
