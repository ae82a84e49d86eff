"""Errors: those of the server pass untouched; a peer that breaks the protocol ends the connection."""

from __future__ import annotations

import pytest

from pgshim.errors import (
    InvalidLength,
    MalformedMessage,
    PgshimError,
    ProtocolViolation,
    UnknownMessageType,
    UpstreamViolation,
)
from pgshim.protocol import Message
from pgshim.protocol.backend import (
    AuthenticationOk,
    BackendKeyData,
    BindComplete,
    CloseComplete,
    CopyDone,
    CopyInResponse,
    FunctionCallResponse,
    NoData,
    ParameterDescription,
    ParseComplete,
    PortalSuspended,
)
from pgshim.protocol.frontend import CopyData, FunctionCall, Query, Sync, Terminate
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    IDLE,
    IN_BLOCK,
    Pattern,
    bind,
    columns,
    describe,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript

INT4 = 23
EVERY_FIELD = server_error(
    b"23505", b"duplicate", D=b"detail", P=b"7", p=b"3", q=b"q", W=b"w", s=b"s", t=b"t", n=b"n", F=b"f", L=b"1", R=b"r"
)


# Errors of the server.


def test_an_error_passes_as_the_bytes_that_came(script: SessionScript) -> None:
    script.queries(b"x", EVERY_FIELD, IDLE)
    script.frontend_sends(parse(b"s", b"x"), Sync()).upstream_receives(parse(b"", b"x"), Sync())
    script.upstream_answers(EVERY_FIELD, IDLE)


@pytest.mark.parametrize("severity", [b"FATAL", b"PANIC"])
def test_the_reason_for_which_the_upstream_ends_the_connection_passes(script: SessionScript, severity: bytes) -> None:
    assert not script.session.has_said_fatal
    script.frontend_sends(Query(b"x"), Query(b"y")).upstream_receives(Query(b"x"), Query(b"y"))
    script.upstream_answers(server_error(b"57P01", b"terminating", severity))
    assert script.session.has_said_fatal


def test_so_does_one_that_nothing_was_asked_for(script: SessionScript) -> None:
    script.upstream_answers(server_error(b"57P01", b"terminating", b"FATAL"))
    assert script.session.has_said_fatal


def test_a_fatal_error_takes_the_place_of_no_error_of_pgshims_own(script: SessionScript) -> None:
    script.frontend_sends(bind(b"nosuch"), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_answers(server_error(b"57P01", b"terminating", b"FATAL"))


def test_a_fatal_error_in_an_older_servers_form_is_one(script: SessionScript) -> None:
    fatal = b"E\0\0\0\x1aSFATAL\0C57P01\0Mbye\0\0"
    script.upstream_answers(fatal[:1] + (len(fatal) - 1).to_bytes(4, "big") + fatal[5:])
    assert script.session.has_said_fatal


def test_what_a_pooler_says_behind_the_last_words_of_a_server_is_not_passed_on(script: SessionScript) -> None:
    # libpq takes a second error for another result: psycopg then says "received 2 results from command 'COMMIT'".
    last_words = server_error(b"57P01", b"terminating", b"FATAL")
    script.frontend_sends(Query(b"COMMIT")).upstream_receives(Query(b"COMMIT"))
    script.upstream_sends(last_words, server_error(b"08P01", b"server conn crashed?", b"FATAL"))
    script.frontend_receives(last_words)


def test_a_text_that_speaks_of_fatal_is_not(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"x"), Sync()).upstream_receives(parse(b"", b"x"), Sync())
    script.upstream_answers(server_error(b"P0001", b"VFATAL SFATAL"), IDLE)
    assert not script.session.has_said_fatal


def test_a_known_refusal_gets_a_hint(script: SessionScript) -> None:
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    refusal = server_error(b"08P01", b"query_wait_timeout", b"FATAL")
    script.upstream_sends(refusal)
    script.frontend_receives(
        Pattern("FATAL with a hint", lambda message: getattr(message, "hint", b"").startswith(b"All of the pooler's"))
    )


# A client that breaks the protocol.


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"S\0\0\0\3", InvalidLength),
        (b"Q\x7f\xff\xff\xff", InvalidLength),
        (b"d\0\0\0\0", InvalidLength),
        (b"!\0\0\0\4", UnknownMessageType),
        (b"\0", UnknownMessageType),
        (b"p\0\0\0\5\0", UnknownMessageType),
        (b"P\0\0\0\x05x", MalformedMessage),
        (b"P\0\0\0\x08a\0b\0", MalformedMessage),
        (b"B\0\0\0\x06a\0", MalformedMessage),
        (b"D\0\0\0\x06Xa", MalformedMessage),
        (b"D\0\0\0\x06X\0", MalformedMessage),
        (b"C\0\0\0\x06X\0", MalformedMessage),
        (b"C\0\0\0\4", MalformedMessage),
        (b"E\0\0\0\x05x", MalformedMessage),
        (b"E\0\0\0\x06x\0", MalformedMessage),
        (b"Q\0\0\0\x05x", MalformedMessage),
        (b"Q\0\0\0\x07x\0y", MalformedMessage),
        (b"Q\0\0\0\x07x\0\0", MalformedMessage),
    ],
)
def test_bad_bytes_end_the_connection_with_nothing_forwarded(
    script: SessionScript, data: bytes, kind: type[ProtocolViolation]
) -> None:
    with pytest.raises(kind) as caught:
        script.frontend_sends(data)
    assert caught.value.sqlstate == b"08P01"
    script.collects().expects_nothing()


@pytest.mark.parametrize("data", [b"!\0\0\0\4", b"S\0\0\0\3"])
def test_what_came_before_bad_bytes_is_dealt_with(script: SessionScript, data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        script.frontend_sends(parse(b"s", b"select 1"), Sync(), data)
    script.collects().upstream_receives(parse(b"", b"select 1"), Sync())
    with pytest.raises(ProtocolViolation):
        script.frontend_sends(Sync())


def test_bad_bytes_behind_what_waits_are_seen_when_their_turn_comes(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select 1"), Sync(), bind(b"s"), b"!\0\0\0\4")
    script.upstream_receives(parse(b"", b"select 1"), Sync())
    with pytest.raises(UnknownMessageType):
        script.upstream_sends(ParseComplete(), IDLE)
    script.frontend_receives(ParseComplete(), IDLE).upstream_receives(parse(b"", b"select 1"), bind(b""))


@pytest.mark.parametrize("more", [Sync(), Query(b"x"), CopyData(b"x"), Terminate()])
def test_bytes_after_terminate_are_a_violation(script: SessionScript, more: Message) -> None:
    script.frontend_sends(Terminate())
    assert script.session.is_terminated
    with pytest.raises(ProtocolViolation):
        script.frontend_sends(more)
    script.collects().expects_nothing()


def test_terminate_is_not_forwarded_and_waits_its_turn(script: SessionScript) -> None:
    script.frontend_sends(Query(b"x"), Terminate()).upstream_receives(Query(b"x"))
    assert script.session.is_terminated
    script.upstream_answers(server_error(b"42601"), IDLE)


# An upstream that breaks the protocol.


@pytest.mark.parametrize(
    "reply",
    [
        *(ParseComplete(), BindComplete(), CloseComplete(), NoData(), PortalSuspended(), ParameterDescription(())),
        *(row(b"1"), done(), columns(INT4), IDLE, CopyDone(), CopyInResponse(0, ()), FunctionCallResponse(None)),
        *(AuthenticationOk(), BackendKeyData(1, b"keys"), CopyData(b"x"), EVERY_FIELD),
    ],
)
def test_a_reply_that_nothing_asked_for_is_given_to_nobody(script: SessionScript, reply: Message) -> None:
    if reply == EVERY_FIELD:
        script.upstream_answers(reply)  # A server may say at any time why it will close the connection.
        return
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(reply)
    script.expects_nothing()


@pytest.mark.parametrize(
    ("request_message", "reply"),
    [
        (parse(b"s", b"x"), BindComplete()),
        (parse(b"s", b"x"), row(b"1")),
        (parse(b"s", b"x"), IDLE),
        (parse(b"s", b"x"), CopyInResponse(0, ())),
        (Query(b"x"), ParseComplete()),
        (Query(b"x"), PortalSuspended()),
        (Query(b"x"), IDLE),
        (FunctionCall(1, (), (), 0), done()),
        (Sync(), done()),
        (execute(), NoData()),
        (execute(), IDLE),
    ],
)
def test_a_reply_out_of_order_is_given_to_nobody(
    script: SessionScript, request_message: Message, reply: Message
) -> None:
    sent = parse(b"", b"x") if request_message == parse(b"s", b"x") else request_message
    if request_message == Sync():
        script.frontend_sends(parse(b"", b"x"), Sync()).upstream_receives(parse(b"", b"x"), Sync())
        script.upstream_answers(ParseComplete())
    else:
        script.frontend_sends(request_message).upstream_receives(sent)
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(reply)
    script.expects_nothing()


@pytest.mark.parametrize(
    "data",
    [
        *(b"!\0\0\0\4", b"Z\0\0\0\3", b"D\x7f\xff\xff\xff", b"Z\0\0\0\4", b"Z\0\0\0\x05X", b"Z\0\0\0\x06II"),
        *(b"1\0\0\0\x05", b"I\0\0\0\x06", b"Z\0\0\0\x09", b"Z\x3f\0\0\0"),
        *(b"S\0\0\0\x05x", b"S\0\0\0\x07x\0y", b"p\0\0\0\4"),
    ],
)
def test_bad_bytes_from_upstream_are_the_upstreams_fault(script: SessionScript, data: bytes) -> None:
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    with pytest.raises(UpstreamViolation) as caught:
        script.upstream_sends(done(), data)
    assert caught.value.sqlstate == b"08P01"
    script.forgets()


@pytest.mark.parametrize("data", [b"t\0\0\0\x05x", b"t\0\0\0\x06\0\1", b"T\0\0\0\x05x", b"T\0\0\0\x06\0\1"])
def test_a_malformed_description_is_the_upstreams_fault(script: SessionScript, data: bytes) -> None:
    script.frontend_sends(parse(b"s", b"x"), describe(b"s"), Sync())
    script.upstream_receives(parse(b"", b"x"), describe(b""), Sync())
    script.upstream_answers(ParseComplete())
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(data)
    script.expects_nothing()


def test_a_ready_for_query_that_comes_before_the_end_of_a_query_answers_none(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 1"), Query(b"select 2"))
    script.upstream_receives(Query(b"select 1"), Query(b"select 2"))
    script.upstream_answers(done(b"SELECT 0"), columns(INT4), row(b"1"))
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(IDLE, done())
    script.expects_nothing()


def test_a_ready_for_query_that_comes_twice_is_not_the_next_querys(script: SessionScript) -> None:
    script.frontend_sends(Query(b"a"), Query(b"b")).upstream_receives(Query(b"a"), Query(b"b"))
    script.upstream_answers(done(), IDLE)
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(IDLE)
    script.expects_nothing()


def test_every_error_has_a_sqlstate_of_five_characters() -> None:
    def all_of(kind: type[PgshimError]) -> list[type[PgshimError]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in all_of(sub))]

    for kind in all_of(PgshimError):
        raised = kind("what went wrong", hint="what to do")
        assert (len(raised.sqlstate), raised.message, raised.hint, str(raised)) == (
            *(5, "what went wrong", "what to do", "what went wrong"),
        )
    assert PgshimError("x").hint == ""
    assert "--pipeline=serial" in UpstreamViolation("x").hint


def test_rows_in_a_block_pass_with_their_status(script: SessionScript) -> None:
    script.begins().queries(b"select 1", columns(INT4), row(b"1"), row(None), done(b"SELECT 2"), IN_BLOCK)
