"""Known refusals of poolers and servers, and the HINT that says the fix.

The error itself reaches the client as it came; a hint is added where it brings none of its own.
"""

from __future__ import annotations

import re

from pgshim.protocol import hot

_HINTS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (
            rb"Tenant or user not found|\(ENOTFOUND\)|\(ENOIDENTIFIER\)|\(EINVALIDUSERINFO\)",
            "Supabase's pooler finds a project by the user name and the host: the user must be postgres.<project-ref> "
            "(or start pgshim with --tenant=<project-ref>), and the host's index and region "
            "(aws-<index>-<region>.pooler.supabase.com) must be those of the project's connection string. A paused "
            "project is not found either.",
        ),
        (
            rb"\(EMAXCONNSESSION\)|MaxClientsInSessionMode",
            "In session mode every client holds a server, up to the pool size: send fewer clients to the session "
            "endpoint, or raise the pool size (Supabase: Database settings, Connection pooling).",
        ),
        (
            rb"\(EMAXCONN|max client connections|no more connections allowed|client connections exceeded|"
            rb"too many connections|too many clients|remaining connection slots",
            "The pooler has no room for another client: let the app's pool open fewer connections, or raise the "
            "pooler's limit (PgBouncer: max_client_conn; Supabase: Database settings, Connection pooling).",
        ),
        (
            rb"\(EMAXPOOLSREACHED\)",
            "Supavisor keeps a pool for each user, database and mode: let the clients of a project share them.",
        ),
        (
            rb"\(ECHECKOUTTIMEOUT\)|query_wait_timeout",
            "All of the pooler's server connections were busy for too long: look for long transactions, or raise "
            "the pool size.",
        ),
        (
            rb"unsupported (?:options )?startup parameter",
            "With --upstream-mode=session everything goes up as it came: leave that mode out, and pgshim takes such "
            "parameters itself.",
        ),
        (
            rb"cannot be set after connection start",
            "It acts when a server starts, and a pooler's serve other clients as well: leave it out, or set it with "
            "ALTER ROLE or ALTER DATABASE.",
        ),
        (
            rb"\(ECIRCUITBREAKER\)|too many authentication failures|too many failed attempts|"
            rb"failed to retrieve database credentials|\(EBANNED\)",
            "The pooler blocks new logins for a while after wrong passwords: stop the clients that retry, wait two "
            "minutes, and correct the password.",
        ),
        (
            rb"password authentication failed|Authentication credentials are invalid|SASL authentication failed",
            "The pooler or server refused the password; pgshim passes it on unchanged. A password in a URL must be "
            "percent-encoded.",
        ),
        (
            rb"channel binding",
            "TLS ends at pgshim, so a login cannot be bound to it: set channel_binding=disable, or connect to pgshim "
            "without TLS on loopback.",
        ),
        (
            rb"\(ESSLREQUIRED\)|SSL required",
            "The pooler takes encrypted connections only: start pgshim with --upstream-tls=require, or verify-full.",
        ),
        (
            rb"\(EADDRNOTALLOWED\)|no pg_hba\.conf entry",
            "The pooler or server does not take connections from this machine, or not like this: check its list of "
            "addresses (pg_hba.conf; Supabase: Network restrictions), and whether it wants TLS (--upstream-tls).",
        ),
        (
            rb"bouncer config error|\(EAUTHQUERY\)|\(EAUTHSECRETS\)|\(EPOOLCONFIGNOTFOUND\)",
            "The pooler cannot find the user's credentials, or make the pool: its own configuration has to be mended "
            "(PgBouncer: auth_file or auth_query).",
        ),
        (
            rb"server login has been failing|Failed to connect to database|server conn crashed",
            "The pooler is there, and its database server is not, or does not let it in: the pooler's log says why.",
        ),
    )
)


def with_hint(error: bytes) -> bytes:
    """A whole ErrorResponse, with a hint if its text is known and it has none."""
    fields = hot.read_fields(error, 0, len(error))
    if ord("H") in fields:
        return error
    text = fields.get(ord("M"), b"")
    for pattern, hint in _HINTS:
        if pattern.search(text):
            return hot.message(error[0], error[5:-1] + b"H" + hint.encode() + b"\0\0")
    return error
