"""What to do about a failure: by its text and SQLSTATE, and by where it happened."""

from __future__ import annotations

import re
import socket

from pgshim.addresses import Address
from pgshim.check.failures import CheckFailure, Lost, NoAnswer, NotPostgres, PasswordNeeded, Refused
from pgshim.check.network import Attempt
from pgshim.check.target import SUPABASE_DIRECT, SUPABASE_POOLER, THE_URL, Target
from pgshim.protocol import hot
from pgshim.session.hints import with_hint
from pgshim.settings import is_under

_TENANT = re.compile(r"Tenant or user not found|\(ENOTFOUND\)|\(ENOIDENTIFIER\)|\(EINVALIDUSERINFO\)", re.IGNORECASE)

#: PgBouncer says the last for users that it does not know as well.
_PASSWORD = re.compile(r"password authentication failed|SASL authentication failed|credentials are invalid")

#: (SQLSTATE or None, pattern of the text, what to do). The first that fits counts.
_REFUSALS: tuple[tuple[str | None, re.Pattern[str], str], ...] = tuple(
    (sqlstate, re.compile(pattern, re.IGNORECASE), fix)
    for sqlstate, pattern, fix in (
        (
            None,
            r"no pg_hba\.conf entry.*(no encryption|SSL off)",
            "The server wants TLS for this user and address, or does not let them in at all: say sslmode=require; if"
            " that is refused too, a line for them is missing in pg_hba.conf.",
        ),
        (
            None,
            r"no pg_hba\.conf entry|\(EADDRNOTALLOWED\)|pg_hba\.conf rejects",
            "The server does not let this user into this database from this address: whoever runs it adds a line to"
            " pg_hba.conf (Supabase: Database settings, Network restrictions).",
        ),
        (
            None,
            r"SSL required|\(ESSLREQUIRED\)",
            "Encrypted connections only are taken here: say sslmode=require, better verify-full.",
        ),
        (
            None,
            r"database .* does not exist|no such database",
            "Check the database's name, the part behind the last / of the URL; at Supabase it is postgres.",
        ),
        (
            None,
            r"role .* does not exist|no such user",
            "Check the user's name; at Supabase's pooler it is postgres.<project-ref>.",
        ),
        ("57P03", r"", "The server is just starting, or shutting down: try again in a minute."),
        (
            None,
            r"sorry, too many clients|remaining connection slots",
            "The server has no connection left: close some, or put a transaction pooler in front of it.",
        ),
    )
)


def for_failure(failure: CheckFailure, target: Target) -> str:
    """What to do; empty if nobody knows."""
    if isinstance(failure, Refused):
        return _for_refusal(failure, target)
    if failure.fix:
        return failure.fix
    if isinstance(failure, PasswordNeeded):
        return (
            "Put it in PGPASSWORD or in ~/.pgpass (HOST:PORT:DATABASE:USER:PASSWORD, chmod 600), or in the URL behind"
            " the user, percent-encoded; on a terminal it is asked for."
        )
    if isinstance(failure, NoAnswer):
        return (
            "It may hang or be overloaded, or wait for a server that is free: its log may say why, the server's, or the"
            " pooler's."
        )
    if isinstance(failure, Lost):
        return "Its log says why: the server's, or the pooler's, or that of a proxy or firewall in between."
    if isinstance(failure, NotPostgres):
        return "Check host and port: a web server, or another protocol's, may be listening there."
    return ""


def for_first_words(failure: CheckFailure, target: Target) -> str:
    """What to do where a connection is made, and then already the first exchange on it fails."""
    if isinstance(failure, NoAnswer):
        return (
            "Whatever listens there may hang or be overloaded, or speak another protocol: look at its log, or start"
            " it anew; check host and port."
        )
    if isinstance(failure, Lost):
        return "Check host and port: whatever listens there may speak another protocol, or forbid this address."
    return for_failure(failure, target)


def _for_refusal(refused: Refused, target: Target) -> str:
    text = refused.message
    if _TENANT.search(text):
        return _for_tenant(target)
    if refused.sqlstate == "28P01" or _PASSWORD.search(text):
        source = f"it came from {target.password_source}" if target.password_source else "there was none"
        encoding = " In a URL, characters such as @ : / ? # % have to be percent-encoded."
        return (
            f"Check the user, and the password ({source}).{encoding if target.password_source == THE_URL else ''}"
            " Poolers block an address that goes on trying: this was one attempt."
        )
    for sqlstate, pattern, fix in _REFUSALS:
        if sqlstate in (None, refused.sqlstate) and pattern.search(text):
            return fix
    hinted = with_hint(refused.error.encode())
    return hot.read_fields(hinted, 0, len(hinted)).get(ord("H"), b"").decode("utf-8", "replace")


def _for_tenant(target: Target) -> str:
    if "." not in target.user:
        return (
            f"The user is '{target.user}', and Supabase's pooler finds a project by the user's name: write"
            f" {target.user}.<project-ref>, as in the project's own connection string."
        )
    return (
        f"No project '{target.user.rpartition('.')[2]}' is known at {target.addresses[0].host}: index and region"
        " (aws-<index>-<region>.pooler.supabase.com) have to be those of the project's connection string (Supabase:"
        " Connect), letter for letter; a project that is paused is not found either."
    )


def for_name(error: OSError, address: Address) -> str:
    """What to do about a name that cannot be resolved."""
    if is_under(address.host, SUPABASE_POOLER):
        return (
            "There is no such pooler: copy the host from the project's connection string (Supabase: Connect);"
            " it is aws-<index>-<region>.pooler.supabase.com."
        )
    if is_under(address.host, SUPABASE_DIRECT):
        return "There is no such project, or it is paused or deleted: copy the host from its connection string."
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return "This machine cannot ask for names just now: check its network and resolver (/etc/resolv.conf)."
    return "Check the host's spelling, and that this machine can resolve it (VPN, private DNS)."


def for_no_connection(attempts: list[Attempt], target: Target) -> str:
    """What to do where no address answers."""
    first = attempts[0].address
    if all(attempt.is_ipv6 and attempt.has_no_route for attempt in attempts):
        what = "is an IPv6 address" if ":" in first.host else "has IPv6 addresses only"
        text = f"{first.host} {what}, to which this machine has no way."
        if is_under(first.host, SUPABASE_DIRECT):
            pooler = "aws-<index>-<region>.pooler.supabase.com:6543, user postgres.<project-ref>"
            return f"{text} Use the pooler, which has IPv4: {pooler}."
        return f"{text} Use a host with IPv4, or give this machine (or container) IPv6."
    if first.is_unix:
        return "Check that the server runs, and the directory of its socket (unix_socket_directories) and its port."
    error = next((attempt.error for attempt in attempts if not attempt.has_no_route), attempts[0].error)
    if isinstance(error, ConnectionRefusedError):
        ports = _usual_ports(target)
        return f"Nothing listens on port {first.port} there: check the port{ports}, and that the server runs."
    if isinstance(error, TimeoutError):
        return (
            f"Something on the way drops the packets: check host and port{_usual_ports(target)}, the firewall or"
            " security group, and whether a VPN is needed."
        )
    return f"Check host and port{_usual_ports(target)}, and the network between."


def _usual_ports(target: Target) -> str:
    if target.is_at(SUPABASE_POOLER):
        return " (6543 is the transaction pooler, 5432 the session pooler)"
    return " (PostgreSQL's is 5432, PgBouncer's 6432)"
