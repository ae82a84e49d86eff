"""Which errors a client can understand, and what they tell it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

import asyncpg
import psycopg

#: SQLSTATEs that a client may be given in this bank, and why.
UNDERSTOOD = {
    "08000": "connection lost",
    "08001": "pgshim cannot reach its upstream",
    "08003": "connection lost",
    "08006": "connection lost",
    "25P03": "idle in a transaction for too long",
    "40001": "serialization failure: retry",
    "40P01": "deadlock: retry",
    "53300": "too many connections for the moment",
    "57P01": "server or pgshim is being stopped, or the connection was terminated",
    "57P02": "PostgreSQL was restarted at once",
    "57P03": "PostgreSQL is starting or stopping",
    "58000": "system error outside of PostgreSQL",
}
CANCELLED = "57014"
#: PgBouncer gives all errors of its own as 08P01: these say that a connection was lost, or cannot be made.
_POOLER_SAYS = re.compile(
    "server conn crashed|server closed the connection|terminating connection|database removed|invalid server parameter|"
    "server login (failed|has been failing)|server_login_failed|pgbouncer cannot connect|query_wait_timeout|"
    "client_login_timeout|server_lifetime|shutting down|the database system is"
)
#: asyncpg has read a FATAL error and not yet the end of the connection. With PostgreSQL alone it says the same.
_ASYNCPG_SAYS = re.compile(r"cannot switch to state \d+; another operation \(2\) is in progress")
_INTERFACE_SAYS = re.compile("connection is closed|connection was closed|connection has been released")
#: What is said during the login reaches psycopg's users without its SQLSTATE: a server's, pgshim's or PgBouncer's.
_LOGIN_SAYS = re.compile(
    "connection failed: .* FATAL:  (the upstream .* closed the connection|could not connect to the upstream|"
    f".*({_POOLER_SAYS.pattern}))"
)
_LIBPQ_SAYS = re.compile(
    "server closed the connection|connection is closed|connection is lost|could not receive data|could not send data|"
    "no connection to the server|Connection refused|Connection reset|connection not open|connection socket closed|"
    "Broken pipe|SSL connection has been closed|SSL SYSCALL error|SSL error: unexpected eof"
)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that SQLAlchemy wrapped in it."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = getattr(found, "orig", None) or found.__cause__


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE of an error or of the one wrapped in it; None if a driver raised it by itself."""
    for found in chain(error):
        state = getattr(found, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None


def explain(error: BaseException) -> tuple[str, str | None]:
    """A label for the table of errors, and what the error tells a client; None if it tells it nothing."""
    state = sqlstate_of(error)
    innermost = list(chain(error))[-1]
    if state in UNDERSTOOD:
        return state, UNDERSTOOD[state]
    if state == CANCELLED:
        return state, "cancelled"
    if state == "08P01" and _POOLER_SAYS.search(str(error)):
        return "08P01 of PgBouncer", "PgBouncer lost its server, or cannot get one"
    if state is not None:
        return state, None
    label = type(innermost).__name__
    # What a driver says while it clears up after a loss counts as that loss.
    context: BaseException | None = error
    while context is not None:
        if _is_connection_loss(context):
            return label, "connection lost"
        context = context.__context__
    return label, None


def _is_connection_loss(error: BaseException) -> bool:
    for found in chain(error):
        if isinstance(found, OSError) and not isinstance(found, ssl.SSLError):
            return True
        if isinstance(found, asyncpg.InternalClientError) and _ASYNCPG_SAYS.match(str(found)):
            return True
        if isinstance(found, asyncpg.InterfaceError) and _INTERFACE_SAYS.search(str(found)):
            return True
        if isinstance(found, psycopg.OperationalError) and (
            _LIBPQ_SAYS.search(str(found)) or _LOGIN_SAYS.search(str(found))
        ):
            return True
    return False


def leaves_commit_open(error: BaseException) -> bool:
    """Whether a COMMIT that ended like this may have been done: no server said that it failed."""
    state = sqlstate_of(error)
    return state is None or state[:2] == "08" or state[:3] == "57P" or state == "40003"
