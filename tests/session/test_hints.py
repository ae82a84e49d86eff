"""Known refusals get a HINT that tells the fix; all else, and what brings its own, passes as it came."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import ErrorResponse
from pgshim.session.hints import with_hint
from tests.session.messages import server_error

REFUSALS = [
    (b"Tenant or user not found", b"postgres.<project-ref>"),
    (b"(ENOTFOUND) tenant/user postgres.x not found", b"postgres.<project-ref>"),
    (b"no such user (ENOIDENTIFIER)", b"region"),
    (b"(ENOTFOUND) tenant/user x.y not found", b"--tenant=<project-ref>"),
    (b"(EMAXCONN) max client connections reached, limit: 200", b"max_client_conn"),
    (b"(EMAXCONNSESSION) max clients reached in session mode", b"pool size"),
    (b"MaxClientsInSessionMode: max clients reached - in Session mode", b"session endpoint"),
    (b"(EMAXPOOLSREACHED) max pools count reached", b"share"),
    (b"no more connections allowed (max_client_conn)", b"max_client_conn"),
    (b"sorry, too many clients already: too many connections for role", b"fewer connections"),
    (b"remaining connection slots are reserved for roles with SUPERUSER", b"fewer connections"),
    (b"(ECHECKOUTTIMEOUT) unable to check out connection from the pool", b"pool size"),
    (b"query_wait_timeout", b"pool size"),
    (b"unsupported startup parameter: jit", b"--upstream-mode=session"),
    (b"unsupported startup parameter in options: statement_timeout", b"--upstream-mode=session"),
    (b"unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed", b"takes such"),
    (b'parameter "log_connections" cannot be set after connection start', b"ALTER ROLE"),
    (b"(ECIRCUITBREAKER) too many authentication errors", b"wait"),
    (b"(ECIRCUITBREAKER) failed to retrieve database credentials", b"wait"),
    (b"(EBANNED) address is banned", b"wait"),
    (b'password authentication failed for user "x"', b"password"),
    (b"SASL authentication failed", b"password"),
    (b"channel binding required but not offered", b"channel_binding=disable"),
    (b"(ESSLREQUIRED) SSL connection is required", b"--upstream-tls=require"),
    (b"(EADDRNOTALLOWED) address not in tenant allow_list", b"Network restrictions"),
    (b'no pg_hba.conf entry for host "192.0.2.1", user "x", database "x", no encryption', b"pg_hba.conf"),
    (b"bouncer config error", b"auth_query"),
    (b"server login has been failing, cached error: no (server_login_retry)", b"pooler's log"),
]


@pytest.mark.parametrize(("text", "part"), REFUSALS)
def test_a_known_refusal_gets_a_hint_and_keeps_the_rest(text: bytes, part: bytes) -> None:
    refusal = server_error(b"XX000", text, b"FATAL", L=b"7")
    hinted = ErrorResponse.decode(with_hint(refusal.encode())[5:])
    assert part in (hinted.hint or b"")
    assert hinted.fields == (*refusal.fields, (b"H", hinted.hint))


def test_an_unknown_one_passes_as_it_came() -> None:
    refusal = server_error(b"3D000", b'database "x" does not exist', b"FATAL").encode()
    assert with_hint(refusal) is refusal


def test_one_that_brings_its_own_hint_passes_as_it_came() -> None:
    refusal = server_error(b"XX000", b"Tenant or user not found", b"FATAL", H=b"its own").encode()
    assert with_hint(refusal) is refusal


def test_one_without_a_text_passes_as_it_came() -> None:
    refusal = ErrorResponse(()).encode()
    assert with_hint(refusal) is refusal


def test_only_the_message_is_looked_at() -> None:
    refusal = server_error(b"XX000", b"no", b"FATAL", D=b"Tenant or user not found").encode()
    assert with_hint(refusal) is refusal
