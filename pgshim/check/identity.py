"""Which pooler this is, by how each shows itself. "Not known" is an answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pgshim.check.target import SUPABASE_POOLER, Target
from pgshim.settings import is_under

PGBOUNCER, SUPAVISOR, PGDOG, ODYSSEY, PGCAT = "PgBouncer", "Supavisor", "PgDog", "Odyssey", "pgcat"
RDS_PROXY, PGSHIM, NONE, UNKNOWN = "RDS Proxy", "pgshim", "none", "unknown"

#: What each calls a prepared statement of a client's on the server.
_RENAMED = (
    (re.compile(r"PGBOUNCER_\d+"), PGBOUNCER),
    (re.compile(r"sv_"), SUPAVISOR),
    (re.compile(r"__pgdog_\d+"), PGDOG),
    (re.compile(r"odyssey_pstmt_|[0-9a-f]{8,}_odyssey"), ODYSSEY),
    (re.compile(r"PGCAT_\d+"), PGCAT),
)

#: Words of theirs in errors.
_ERRORS = (
    (re.compile(r"unsupported (?:options )?startup parameter|statement pooling mode"), PGBOUNCER),
    (re.compile(r"\(E[A-Z]{5,}\)|Tenant or user not found"), SUPAVISOR),
    (re.compile(r"^odyssey: "), ODYSSEY),
    (re.compile(r"is wrong, or the database does not exist"), PGDOG),
)


@dataclass
class Evidence:
    """What was seen; each field may be missing."""

    host: str
    parameters: dict[str, str] = field(default_factory=dict)
    #: Of BackendKeyData, and what pg_backend_pid() said on the same connection.
    key_process_id: int = 0
    backend_process_id: int = 0
    #: What a prepared statement of ours is called on the server; None: not looked.
    server_name: str | None = None
    #: Texts of errors: a refused login, a startup parameter, a transaction.
    errors: list[str] = field(default_factory=list)
    #: What the database `pgbouncer` answered: SHOW VERSION, or an error.
    console_version: str = ""
    console_error: str = ""

    @property
    def is_the_server(self) -> bool:
        """Whether the key at login is that of the server process that answers."""
        return self.key_process_id != 0 and self.key_process_id == self.backend_process_id


@dataclass(frozen=True, slots=True)
class Identity:
    """`kind` is one of the names above; `evidence` says how it is known."""

    kind: str
    version: str
    evidence: str


def identify(seen: Evidence) -> Identity:
    """The first that speaks for one of them, from the surest on."""
    for look in _LOOKS:
        found = look(seen)
        if found is not None:
            return found
    return Identity(UNKNOWN, "", "nothing that it said gives it away")


def _by_choice(seen: Evidence) -> Identity | None:
    # Others only repeat the name, as one that they do not know.
    if any('"pgshim.session" requires a Boolean value' in error for error in seen.errors):
        return Identity(PGSHIM, "", "it knows the parameter pgshim.session")
    return None


def _by_console(seen: Evidence) -> Identity | None:
    match = re.match(r"(PgBouncer|PgCat|PgDog)\s+v?(\S+)", seen.console_version, re.IGNORECASE)
    if match is not None:
        kinds = {"pgbouncer": PGBOUNCER, "pgcat": PGCAT, "pgdog": PGDOG}
        return Identity(kinds[match[1].lower()], match[2], "its console says so (SHOW VERSION)")
    return None


def _by_parameters(seen: Evidence) -> Identity | None:
    own = {name: value for name, value in seen.parameters.items() if name.startswith("pgbouncer_")}
    if own:
        version = next((value for name, value in own.items() if name.endswith("version")), "")
        return Identity(PGBOUNCER, version, f"it says so at login ({', '.join(own)})")
    if seen.parameters.get("application_name") == SUPAVISOR:
        return Identity(SUPAVISOR, "", "it says so at login (application_name)")
    return None


def _by_name_on_the_server(seen: Evidence) -> Identity | None:
    for pattern, kind in _RENAMED:
        if seen.server_name and pattern.match(seen.server_name):
            version = "1.21 or later" if kind == PGBOUNCER else ""
            return Identity(kind, version, f"it calls a prepared statement {seen.server_name}")
    return None


def _by_error(seen: Evidence) -> Identity | None:
    for error in seen.errors:
        for pattern, kind in _ERRORS:
            if pattern.search(error):
                return Identity(kind, _pgbouncer_version(error), f'by its words: "{error}"')
    if seen.console_error.startswith("not allowed"):
        return Identity(PGBOUNCER, "", "there is a database pgbouncer, for its administrators only")
    return None


def _pgbouncer_version(error: str) -> str:
    """From 1.20 on it looks into `options`."""
    if error.startswith("unsupported startup parameter: options"):
        return "before 1.20"
    return "1.20 or later" if "startup parameter in options" in error else ""


def _by_host(seen: Evidence) -> Identity | None:
    if is_under(seen.host, SUPABASE_POOLER):
        return Identity(SUPAVISOR, "", "the host is Supabase's pooler")
    if re.search(r"\.proxy-[^.]+\.[^.]+\.rds\.amazonaws\.com$", seen.host):
        return Identity(RDS_PROXY, "", "the host is an RDS Proxy's")
    if re.search(r"-pooler\..*neon\.tech$", seen.host):
        return Identity(PGBOUNCER, "", "the host is Neon's pooler")
    return None


def _by_key(seen: Evidence) -> Identity | None:
    if seen.is_the_server:
        return Identity(NONE, "", "the key at login is the server process's own")
    if seen.key_process_id and seen.backend_process_id:
        return Identity(
            UNKNOWN, "", "something is in between: the key at login is not the server's; it does not say what"
        )
    return None


_LOOKS: tuple[Callable[[Evidence], Identity | None], ...] = (
    *(_by_choice, _by_console, _by_parameters, _by_name_on_the_server, _by_error, _by_host, _by_key),
)


def of_refusal(target: Target, text: str) -> Identity:
    """Which pooler refused a login with this text."""
    return identify(Evidence(host=target.addresses[0].host, errors=[text]))
