"""What a server may say at any time, what is large, and what a session says of itself."""

from __future__ import annotations

import pytest

from pgshim.errors import UpstreamViolation
from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    NoData,
    NoticeResponse,
    NotificationResponse,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
)
from pgshim.protocol.frontend import Flush, Query, Sync, Terminate
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    columns,
    describe,
    done,
    error,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript

INT4 = 23


# What may come at any time.

ASIDES = [
    NoticeResponse(((b"S", b"NOTICE"), (b"M", b"hi"))),
    NotificationResponse(7, b"channel", b"payload"),
]


@pytest.mark.parametrize("aside", ASIDES)
def test_asides_pass_wherever_they_come(script: SessionScript, aside: Message) -> None:
    script.upstream_answers(aside)
    script.prepares(b"s", b"call p()")
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"call p()"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), aside).frontend_receives(aside)
    script.upstream_answers(BindComplete(), aside, row(b"1"), aside, done(), aside, IDLE, aside)


def test_a_notice_of_a_text_that_is_parsed_again_is_not_given_again(script: SessionScript) -> None:
    notice, notification = ASIDES
    script.frontend_sends(parse(b"s", b"select 1"), Sync()).upstream_receives(parse(b"", b"select 1"), Sync())
    script.upstream_answers(notice, ParseComplete(), IDLE)
    for _ in range(2):
        script.frontend_sends(bind(b"s"), execute(), Sync())
        script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
        script.upstream_sends(notice, notification, ParseComplete(), BindComplete(), done(), IDLE)
        script.frontend_receives(notification, BindComplete(), done(), IDLE)


def test_a_parameter_status_is_told_at_once_while_nothing_is_owed(script: SessionScript) -> None:
    script.upstream_answers(ParameterStatus(b"TimeZone", b"Asia/Tokyo"))
    script.upstream_sends(ParameterStatus(b"TimeZone", b"Asia/Tokyo")).expects_nothing()


def test_a_parameter_status_is_told_with_the_ready_for_query(script: SessionScript) -> None:
    status = ParameterStatus(b"TimeZone", b"Asia/Tokyo")
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    script.upstream_sends(status, done(), IDLE).frontend_receives(done(), status, IDLE)


def test_the_heartbeat_of_supavisor_is_not_the_clients(script: SessionScript) -> None:
    script.upstream_sends(ParameterStatus(b"application_name", b"Supavisor")).expects_nothing()
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    status = ParameterStatus(b"application_name", b"mine")
    script.upstream_sends(status, done(), IDLE).frontend_receives(done(), status, IDLE)


def test_standard_conforming_strings_is_followed(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    escaped = rb"select 'it\'s; deallocate a"
    status = ParameterStatus(b"standard_conforming_strings", b"off")
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    script.upstream_sends(done(), status, IDLE).frontend_receives(done(), status, IDLE)
    script.queries(escaped, server_error(b"42601"), IDLE)


def test_large_replies_are_not_held_back(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 1")).upstream_receives(Query(b"select 1"))
    data = row(b"v" * 1_000_000).encode()
    script.upstream_answers(columns(INT4), data[:500_000]).upstream_answers(data[500_000:], row(b"1"))
    notice = NoticeResponse(((b"S", b"NOTICE"), (b"M", b"x" * 1_000_000))).encode()
    script.upstream_answers(notice[:500_000]).upstream_answers(notice[500_000:])
    script.upstream_answers(done(), IDLE)


def test_the_largest_description_there_may_be_comes_in_pieces(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"x"), describe(b"s"), Sync())
    script.upstream_receives(parse(b"", b"x"), describe(b""), Sync())
    described = ParameterDescription((INT4,) * 65_535).encode()
    script.upstream_sends(ParseComplete(), described[:200_000]).frontend_receives(ParseComplete())
    script.upstream_sends(described[200_000:], NoData(), IDLE).frontend_receives(described, NoData(), IDLE)
    script.knows(b"s", b"x", *(INT4,) * 65_535)


def test_a_session_says_whether_the_client_is_inside_a_reply(script: SessionScript) -> None:
    session = script.session
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    data = row(b"v" * 1000).encode()
    assert not session.is_inside_reply
    script.upstream_answers(columns(INT4), data[:500])
    assert session.is_inside_reply
    script.upstream_answers(data[500:])
    assert not session.is_inside_reply
    notice = NoticeResponse(((b"S", b"NOTICE"), (b"M", b"x" * 1_000_000))).encode()
    script.upstream_answers(notice[:500_000])
    assert session.is_inside_reply
    script.upstream_answers(notice[500_000:], done(), IDLE)
    assert not session.is_inside_reply


def test_the_client_is_inside_a_row_also_behind_replies_that_are_not_its_own(script: SessionScript) -> None:
    script.frontend_sends(Query(b"copy t from stdin")).gone_up()
    script.upstream_sends(ParseComplete(), BindComplete()).expects_nothing()
    script.upstream_answers(row(b"1").encode()[:-1])
    assert script.session.is_inside_reply


def test_the_client_is_not_inside_a_row_that_comes_behind_a_break(script: SessionScript) -> None:
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(row(b"1"), ParseComplete(), row(b"2").encode()[:-1])
    assert not script.session.is_inside_reply
    script.frontend_receives(row(b"1"))


def test_what_comes_ahead_of_rows_that_nobody_asked_for_is_not_lost(script: SessionScript) -> None:
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    script.upstream_answers(columns(INT4), row(b"1").encode()[:-1])
    assert script.session.is_inside_reply
    with pytest.raises(UpstreamViolation, match="rows that nothing asked for"):
        script.upstream_sends(row(b"1").encode()[-1:], done(), IDLE, row(b"2").encode()[:-1])
    script.frontend_receives(row(b"1").encode()[-1:], done(), IDLE)
    assert not script.session.is_inside_reply


def test_the_client_is_not_inside_a_reply_that_it_does_not_get(script: SessionScript) -> None:
    script.frontend_sends(bind(b"nosuch"), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    large = server_error(b"42601", b"x" * 1_000_000).encode()
    script.upstream_sends(large[:500_000]).frontend_receives(error(b"26000"))
    assert not script.session.is_inside_reply
    script.upstream_sends(large[500_000:], IDLE).frontend_receives(IDLE)


def test_a_large_error_passes_as_it_comes(script: SessionScript) -> None:
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    large = server_error(b"XX000", b"x" * 1_000_000).encode()
    script.upstream_answers(large[:500_000]).upstream_answers(large[500_000:], IDLE)


def test_a_large_error_that_is_replaced_is_dropped_whole(script: SessionScript) -> None:
    script.frontend_sends(bind(b"nosuch"), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    large = server_error(b"42601", b"x" * 1_000_000).encode()
    script.upstream_sends(large[:500_000]).frontend_receives(error(b"26000"))
    script.upstream_sends(large[500_000:], IDLE).frontend_receives(IDLE)


# States.


def test_a_session_says_whether_it_is_busy_and_whether_it_is_idle(script: SessionScript) -> None:
    session = script.session
    assert (session.is_busy, session.is_idle) == (False, True)
    script.frontend_sends(Query(b"begin")).upstream_receives(Query(b"begin"))
    assert (session.is_busy, session.is_idle) == (True, False)
    script.upstream_answers(done(b"BEGIN"), IN_BLOCK)
    assert (session.is_busy, session.is_idle) == (False, False)
    script.queries(b"x", server_error(b"42601"), FAILED)
    assert (session.is_busy, session.is_idle) == (False, False)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE)
    assert (session.is_busy, session.is_idle) == (False, True)
    script.frontend_sends(parse(b"s", b"select 1"), Flush()).upstream_receives(parse(b"", b"select 1"), Flush())
    script.upstream_answers(ParseComplete())
    assert (session.is_busy, session.is_idle) == (False, False)
    script.frontend_sends(Sync(), Terminate()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)
    assert session.is_terminated
