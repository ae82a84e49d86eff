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
            rb"Tenant or user not found|\(ENOTFOUND\)|\(ENOIDENTIFIER\)",
            "Supabase's pooler finds a project by the user name and the host: the user must be postgres.<project-ref>, "
            "and the host's index and region (aws-<index>-<region>.pooler.supabase.com) must be those of the project's "
            "connection string. A paused project is not found either.",
        ),
        (
            rb"\(EMAXCONN|max client connections|MaxClientsInSessionMode|no more connections allowed|"
            rb"client connections exceeded|too many connections|remaining connection slots",
            "The pooler has no room for another client: let the app's pool open fewer connections, or raise the "
            "pooler's limit (PgBouncer: max_client_conn; Supabase: Database settings, Connection pooling).",
        ),
        (
            rb"\(ECHECKOUTTIMEOUT\)|query_wait_timeout",
            "All of the pooler's server connections were busy for too long: look for long transactions, or raise "
            "the pool size.",
        ),
        (
            rb"unsupported startup parameter",
            "The pooler takes no such setting at connect: leave it out of server_settings or options, or add it to "
            "PgBouncer's ignore_startup_parameters (which drops it).",
        ),
        (
            rb"\(ECIRCUITBREAKER\)|too many authentication failures|too many failed attempts",
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
