"""A login in which a peer says what it may not say there."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgshim.errors import PgshimError, ProtocolViolation, UpstreamViolation
from pgshim.protocol import Message
from pgshim.protocol.backend import (
    AuthenticationCleartextPassword,
    AuthenticationOk,
    AuthenticationSASL,
)
from pgshim.protocol.frontend import Query
from pgshim.protocol.startup import StartupMessage
from tests.session.messages import FAILED
from tests.session.script import LoginScript
from tests.session.twin_stages import TwinLogin

USER = (b"user", b"alice"), (b"database", b"shop")


@pytest.fixture
def script() -> LoginScript:
    script = LoginScript(*USER)
    script.upstream_receives(StartupMessage(0, (*USER, (b"application_name", b" "))))
    return script


@pytest.mark.parametrize(
    "data", [b"Q\0\0\0\x05\0", b"S\0\0\0\4", b"p\0\0\0\3", b"p\0\1\0\0", b"p\xff\xff\xff\xff", b"!\0\0\0\4"]
)
def test_a_client_that_answers_with_anything_else_is_disconnected(script: LoginScript, data: bytes) -> None:
    script.upstream_answers(AuthenticationCleartextPassword())
    with pytest.raises(ProtocolViolation):
        script.frontend_sends(data)
    script.collects().expects_nothing()


@pytest.mark.parametrize(
    "request_message", [AuthenticationCleartextPassword(), AuthenticationSASL((b"SCRAM-SHA-256",))]
)
def test_so_is_one_that_sent_it_before_it_was_asked(script: LoginScript, request_message: Message) -> None:
    script.frontend_sends(Query(b"select 1")).expects_nothing()
    with pytest.raises(ProtocolViolation):
        script.upstream_sends(request_message)


def test_what_a_client_sends_early_is_bounded(script: LoginScript) -> None:
    script.frontend_sends(Query(b"x" * 1_000_000).encode()[:1000])
    with pytest.raises(ProtocolViolation):
        script.frontend_sends(b"x" * 10_000_000)


@pytest.mark.parametrize(
    "data",
    [
        *(b"R\0\0\0\4", b"R\0\0\0\3", b"R\0\0\0\7\0\0\0", b"Z\0\0\0\x05I", b"D\0\0\0\6\0\0", b"R\xff\xff\xff\xff"),
        *(b"\0\0\0\0\0", b"S\0\0\0\x05x", b"C\0\0\0\5\0", b"HTTP/1.1 400", b"!\0\0\0\4"),
    ],
)
def test_an_upstream_that_says_anything_else_is_at_fault(script: LoginScript, data: bytes) -> None:
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(data)
    script.expects_nothing()


@pytest.mark.parametrize("ready", [FAILED.encode(), b"Z\0\0\0\4", b"Z\0\0\0\6II"])
def test_a_ready_for_query_that_is_not_idle_is_at_fault(script: LoginScript, ready: bytes) -> None:
    script.upstream_answers(AuthenticationOk())
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(ready)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40), st.booleans())
def test_random_bytes_never_break_anything_but_the_login(first: bytes, second: bytes, is_client: bool) -> None:
    login = TwinLogin(StartupMessage(0, USER).encode())
    receive = login.receive_from_client if is_client else login.receive_from_upstream
    with suppress(PgshimError):
        receive(first)
        receive(second)
    assert len(login.take_client_output()) <= len(first + second) + 2000


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_a_startup_packet_of_random_bytes_is_refused_or_taken(body: bytes) -> None:
    data = b"\0\3\0\0" + body
    with suppress(PgshimError):
        TwinLogin((len(data) + 4).to_bytes(4, "big") + data)
