"""--upstream-mode=session: nothing is rewritten, nothing refused; only what a connection must know is followed."""

from __future__ import annotations

import pytest

from pgshim.errors import InvalidLength, UnknownMessageType, UpstreamViolation
from pgshim.protocol.backend import BindComplete, NotificationResponse, ParseComplete
from pgshim.protocol.frontend import CopyData, Flush, FunctionCall, Query, Sync, Terminate
from pgshim.session.session import Counts, PlainSession
from tests.session.messages import (
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close,
    columns,
    describe,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import Script
from tests.session.twin_stages import TwinPlainSession


class PlainScript(Script):
    def __init__(self) -> None:
        self.session = TwinPlainSession()
        super().__init__(self.session)


@pytest.fixture
def script() -> PlainScript:
    return PlainScript()


def state(script: PlainScript) -> tuple[bool, bool]:
    assert not script.session.is_answering or script.session.is_busy
    return script.session.is_busy, script.session.is_idle


def test_everything_passes_as_it_came(script: PlainScript) -> None:
    sent = parse(b"s", b"listen x"), bind(b"s"), describe(b"s"), execute(), close(b"s"), CopyData(b"stray"), Sync()
    script.frontend_sends(*sent).upstream_receives(*sent)
    script.upstream_answers(ParseComplete(), BindComplete(), columns(23), row(b"1"), done(), IDLE)
    script.upstream_answers(NotificationResponse(1, b"x", b""))
    query = Query(b"select 1").encode()
    assert script.session.pass_from_client(query) is script.session.pass_from_upstream(query) is None


def test_messages_pass_in_any_pieces(script: PlainScript) -> None:
    data = Query(b"select 1").encode()
    script.frontend_sends(data[:3]).frontend_sends(data[3:7]).expects_nothing()
    script.frontend_sends(data[7:]).upstream_receives(data)
    large = Query(b"x" * 1_000_000).encode()
    script.frontend_sends(large[:500_000]).upstream_receives(large[:500_000])
    script.frontend_sends(large[500_000:]).upstream_receives(large[500_000:])
    script.frontend_sends(Sync()).upstream_receives(Sync())
    assert state(script) == (True, False)
    script.upstream_answers(server_error(b"42601"), IDLE, server_error(b"42601"), IDLE)
    assert state(script) == (True, False)
    script.upstream_answers(IDLE)
    assert state(script) == (False, True)
    script.queries(b"select 1", columns(23))
    reply = row(b"x" * 1000).encode()
    script.upstream_answers(reply[:500])
    assert script.session.is_inside_reply
    script.upstream_answers(reply[500:])
    assert not script.session.is_inside_reply
    script.upstream_sends(IDLE.encode()[:3]).expects_nothing()
    script.upstream_sends(IDLE.encode()[3:]).frontend_receives(IDLE)


@pytest.mark.parametrize("message", [Query(b"x"), Sync(), FunctionCall(1, (), (), 0)])
def test_it_is_busy_until_ready_for_query(script: PlainScript, message: Query) -> None:
    assert state(script) == (False, True)
    script.frontend_sends(message, message).upstream_receives(message, message)
    assert state(script) == (True, False)
    script.upstream_answers(server_error(b"42601"), IDLE)
    assert state(script) == (True, False)
    script.upstream_answers(IDLE)
    assert state(script) == (False, True)


def test_it_is_not_idle_in_a_block(script: PlainScript) -> None:
    script.queries(b"begin", done(b"BEGIN"), IN_BLOCK)
    assert state(script) == (False, False)
    script.queries(b"x", server_error(b"42601"), FAILED)
    assert state(script) == (False, False)


def test_upstream_goes_on_answering_what_was_ended(script: PlainScript) -> None:
    script.frontend_sends(parse(b"s", b"x"), Flush()).upstream_receives(parse(b"s", b"x"), Flush())
    assert not script.session.is_answering
    script.frontend_sends(Sync()).upstream_receives(Sync())
    assert script.session.is_answering


def test_it_is_busy_while_a_batch_is_open(script: PlainScript) -> None:
    script.frontend_sends(parse(b"s", b"x"), Flush()).upstream_receives(parse(b"s", b"x"), Flush())
    script.upstream_answers(ParseComplete())
    assert state(script) == (True, False)
    script.frontend_sends(bind(b"s"), Sync(), bind(b"s")).upstream_receives(bind(b"s"), Sync(), bind(b"s"))
    script.upstream_answers(BindComplete(), IDLE)
    assert state(script) == (True, False)


def test_terminate_is_seen_and_not_forwarded(script: PlainScript) -> None:
    script.frontend_sends(Query(b"x"), Terminate(), Query(b"y")).upstream_receives(Query(b"x"))
    assert script.session.is_terminated


def test_the_servers_last_word_is_noted(script: PlainScript) -> None:
    script.upstream_answers(server_error(b"57P01", b"VFATAL"))
    assert not script.session.has_said_fatal
    script.upstream_answers(server_error(b"57P01", b"bye", b"FATAL"))
    assert script.session.has_said_fatal


def test_an_error_of_any_size_is_counted_once() -> None:
    error = server_error(b"22P02", b"x" * 20_000).encode()
    counts = Counts()
    session = PlainSession(counts)
    for start in range(0, len(error), 3000):
        session.receive_from_upstream(error[start : start + 3000])
    session.receive_from_upstream(IN_BLOCK.encode() + IDLE.encode())
    assert session.take_client_output() == error + IN_BLOCK.encode() + IDLE.encode()
    assert {name: number for name, number in counts.errors.items() if number} == {"22P02": 1}
    assert (counts.in_block, counts.transactions) == (1, 1)


def test_a_client_that_is_gone_hears_no_more(script: PlainScript) -> None:
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    script.session.abandon()
    script.upstream_sends(done(), IN_BLOCK).expects_nothing()
    assert script.session.is_at_rest


def test_it_never_keeps_anything(script: PlainScript) -> None:
    session = script.frontend_sends(parse(b"s", b"x"), Flush()).forgets().stage
    assert session is script.session
    assert (script.session.is_pinning, script.session.is_serial, script.session.is_broken) == (False, False, False)
    assert script.session.backlog_size == 0
    script.session.end_idle_exchange()
    script.collects().expects_nothing()


@pytest.mark.parametrize(("data", "kind"), [(b"!\0\0\0\4", UnknownMessageType), (b"S\0\0\0\3", InvalidLength)])
def test_bad_bytes_of_the_client_are_not_forwarded(script: PlainScript, data: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        script.frontend_sends(Query(b"x"), data)
    script.collects().upstream_receives(Query(b"x"))


@pytest.mark.parametrize("data", [b"!\0\0\0\4", b"Z\0\0\0\3"])
def test_bad_bytes_of_the_upstream_are_not_forwarded(script: PlainScript, data: bytes) -> None:
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(done(), data)
    script.frontend_receives(done())
