"""Limits: a message or a number of statements that is too large fails as a statement does; the connection lives."""

from __future__ import annotations

import pytest

from pgshim.errors import InvalidLength
from pgshim.protocol.backend import BindComplete, CloseComplete, ParseComplete
from pgshim.protocol.frontend import Flush, Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    Pattern,
    bind,
    close,
    columns,
    done,
    error,
    execute,
    is_refused_by_every_server,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start

A_QUERY_THAT_FAILS = Pattern(
    "Query with a syntax error",
    lambda message: isinstance(message, Query) and is_refused_by_every_server(message.query),
)
TOO_LARGE = error(b"54000", hint=b"--max-message")


def test_a_parse_over_the_limit_fails_and_the_connection_lives(start: Start) -> None:
    script = start(max_message=1000)
    script.frontend_sends(parse(b"s", b"x" * 1000), bind(b"s"), execute(), Sync())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(TOO_LARGE, IDLE)
    script.does_not_know(b"s")
    script.prepares(b"s", b"x" * 500)


def test_a_parse_over_the_limit_is_not_held(start: Start) -> None:
    script = start(max_message=10_000)
    data = parse(b"s", b"x" * 1_000_000).encode()
    script.frontend_sends(data[:6000]).upstream_receives(A_PARSE_THAT_FAILS)
    script.upstream_sends(server_error(b"42601")).frontend_receives(TOO_LARGE)
    script.frontend_sends(data[6000:500_000]).expects_nothing()
    script.frontend_sends(data[500_000:], Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)


def test_a_parse_over_the_limit_in_a_block_fails_the_block(start: Start) -> None:
    script = start(max_message=1000).begins()
    script.frontend_sends(parse(b"s", b"x" * 1000), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), FAILED).frontend_receives(TOO_LARGE, FAILED)


def test_a_parse_of_just_the_limit_passes(start: Start) -> None:
    size = len(parse(b"s", b"x" * 100).encode()) - 1
    start(max_message=size).prepares(b"s", b"x" * 100)
    script = start(max_message=size - 1)
    script.frontend_sends(parse(b"s", b"x" * 100), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(TOO_LARGE, IDLE)


def test_a_query_over_the_limit_fails_and_the_connection_lives(start: Start) -> None:
    script = start(max_message=1000)
    script.frontend_sends(Query(b"x" * 1000), Query(b"select 1"))
    script.upstream_receives(A_QUERY_THAT_FAILS, Query(b"select 1"))
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(TOO_LARGE, IDLE)
    script.upstream_answers(columns(23), row(b"1"), done(), IDLE)


def test_a_query_over_the_limit_is_not_held(start: Start) -> None:
    script = start(max_message=10_000).prepares(b"", b"select 1")
    data = Query(b"x" * 1_000_000).encode()
    script.frontend_sends(data[:6000]).upstream_receives(A_QUERY_THAT_FAILS)
    script.frontend_sends(data[6000:500_000]).expects_nothing()
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(TOO_LARGE, IDLE)
    script.frontend_sends(data[500_000:]).expects_nothing()
    script.does_not_know(b"")


def test_while_skipping_a_parse_and_a_query_over_the_limit_are_skipped(start: Start) -> None:
    script = start(max_message=1000)
    script.frontend_sends(bind(b"nosuch"), parse(b"s", b"x" * 1000), Query(b"x" * 1000), Sync())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"26000"), IDLE)


def test_one_statement_too_many_is_refused(start: Start) -> None:
    script = start(max_statements=2).prepares(b"a", b"select 1").prepares(b"b", b"select 2")
    script.frontend_sends(parse(b"c", b"select 3"), bind(b"c"), execute(), Sync())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"53400", hint=b"--max-statements"), IDLE)
    script.does_not_know(b"c").knows(b"a", b"select 1")
    script.frontend_sends(close(b"a"), Sync()).frontend_receives(CloseComplete(), IDLE)
    script.prepares(b"c", b"select 3").knows(b"c", b"select 3")


def test_statements_on_their_way_count_too(start: Start) -> None:
    script = start(max_statements=2)
    script.frontend_sends(parse(b"a", b"select 1"), parse(b"b", b"select 2"), parse(b"c", b"select 3"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), parse(b"", b"select 2"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(ParseComplete(), ParseComplete(), error(b"53400", hint=b"--max-statements"), IDLE)


def test_a_statement_too_many_bytes_is_refused(start: Start) -> None:
    script = start(max_statement_bytes=100).prepares(b"a", b"x" * 60)
    script.frontend_sends(parse(b"b", b"x" * 60), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"53400", hint=b"--max-statement-bytes"), IDLE)
    script.frontend_sends(close(b"a"), Sync()).frontend_receives(CloseComplete(), IDLE)
    script.prepares(b"b", b"x" * 60)


def test_bytes_of_statements_on_their_way_count_too(start: Start) -> None:
    script = start(max_statement_bytes=100)
    script.frontend_sends(parse(b"a", b"x" * 60), parse(b"b", b"x" * 60), Sync())
    script.upstream_receives(parse(b"", b"x" * 60), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(ParseComplete(), error(b"53400", hint=b"--max-statement-bytes"), IDLE)


def test_the_unnamed_statement_is_never_one_too_many(start: Start) -> None:
    script = start(max_statements=1).prepares(b"a", b"select 1").prepares(b"", b"select 2")
    script.knows(b"", b"select 2")


def test_a_taken_name_is_refused_as_such_though_there_is_no_room(start: Start) -> None:
    script = start(max_statements=1).prepares(b"a", b"select 1")
    script.frontend_sends(parse(b"a", b"select 2"), Sync())
    script.upstream_receives(parse(b"", b"select 2"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), IDLE).frontend_receives(error(b"42P05"), IDLE)


@pytest.mark.parametrize("type_code", b"EDCHSXcf")
def test_a_small_message_that_says_it_is_large_ends_the_connection(script: SessionScript, type_code: int) -> None:
    with pytest.raises(InvalidLength):
        script.frontend_sends(bytes((type_code,)) + b"\0\0\x27\x11")
    script.expects_nothing()


@pytest.mark.parametrize("type_code", b"HS")
def test_a_body_in_a_message_that_has_none_ends_the_connection(script: SessionScript, type_code: int) -> None:
    with pytest.raises(InvalidLength, match="invalid message length 5"):
        script.frontend_sends(bytes((type_code,)) + b"\0\0\0\x05x")
    script.expects_nothing()


def test_values_are_not_limited(start: Start) -> None:
    script = start(max_message=1000).prepares(b"s", b"call p($1)")
    script.frontend_sends(bind(b"s", b"v" * 50_000), execute(), Sync())
    script.upstream_receives(parse(b"", b"call p($1)"), bind(b"", b"v" * 50_000), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE).frontend_receives(BindComplete(), done(), IDLE)
