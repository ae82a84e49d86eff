"""Pipelines: several batches in flight, simple and extended mixed; portals; and what may come at any time."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    NoData,
    NoticeResponse,
    ParameterDescription,
    ParseComplete,
)
from pgshim.protocol.frontend import Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
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


# Several batches in flight.


def test_each_batch_of_a_pipeline_brings_its_statement(script: SessionScript) -> None:
    script.prepares(b"s", b"call p()")
    script.frontend_sends(*(bind(b"s"), execute(), Sync()) * 3)
    script.upstream_receives(*(parse(b"", b"call p()"), bind(b""), execute(), Sync()) * 3)
    for _ in range(3):
        script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE)
        script.frontend_receives(BindComplete(), done(), IDLE)


def test_node_postgres_sends_a_transaction_in_one_burst(script: SessionScript) -> None:
    script.prepares(b"s", b"call p()")
    script.frontend_sends(
        *(Query(b"BEGIN"), bind(b"s"), execute(), Sync(), Query(b"select 5")),
        *(parse(b"", b"select 6"), bind(b""), execute(), Sync(), Query(b"COMMIT")),
    )
    script.upstream_receives(
        *(Query(b"BEGIN"), parse(b"", b"call p()"), bind(b""), execute(), Sync(), Query(b"select 5")),
        *(parse(b"", b"select 6"), bind(b""), execute(), Sync(), Query(b"COMMIT")),
    )
    script.upstream_answers(done(b"BEGIN"), IN_BLOCK)
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(BindComplete(), done(), IN_BLOCK)
    script.upstream_answers(columns(INT4), row(b"5"), done(), IN_BLOCK)
    script.upstream_answers(ParseComplete(), BindComplete(), row(b"6"), done(), IN_BLOCK)
    script.upstream_answers(done(b"COMMIT"), IDLE)


def test_an_error_skips_to_its_own_sync_only(script: SessionScript) -> None:
    script.prepares(b"bad", b"call no()").prepares(b"good", b"call p()")
    script.frontend_sends(bind(b"bad"), execute(), bind(b"good"), execute(), Sync(), bind(b"good"), execute(), Sync())
    script.upstream_receives(
        *(parse(b"", b"call no()"), bind(b""), execute()),
        *(parse(b"", b"call p()"), bind(b""), execute(), Sync()),
        *(parse(b"", b"call p()"), bind(b""), execute(), Sync()),
    )
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"22012"), IDLE)
    script.frontend_receives(BindComplete(), server_error(b"22012"), IDLE)
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE)
    script.frontend_receives(BindComplete(), done(), IDLE)


def test_an_error_of_a_query_skips_nothing(script: SessionScript) -> None:
    script.frontend_sends(Query(b"selec"), parse(b"s", b"select 1"), Sync())
    script.upstream_receives(Query(b"selec"), parse(b"", b"select 1"), Sync())
    script.upstream_answers(server_error(b"42601"), IDLE, ParseComplete(), IDLE)
    script.knows(b"s", b"select 1")


def test_two_unknown_names_in_flight_give_an_error_each(script: SessionScript) -> None:
    script.frontend_sends(*(bind(b"nosuch"), execute(), Sync()) * 2)
    script.upstream_receives(*(A_PARSE_THAT_FAILS, Sync()) * 2)
    script.upstream_sends(server_error(b"42601"), IDLE, server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"26000"), IDLE, error(b"26000"), IDLE)


def test_a_name_that_a_later_batch_counts_on_waits_for_its_parse_complete(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"call p()"), describe(b"s"), Sync(), bind(b"s"), execute(), Sync(), Query(b"x"))
    script.upstream_receives(parse(b"", b"call p()"), describe(b""), Sync())
    assert script.session.backlog_size > 0
    script.upstream_sends(ParseComplete()).frontend_receives(ParseComplete())
    script.upstream_receives(parse(b"", b"call p()"), bind(b""), execute(), Sync(), Query(b"x"))
    assert script.session.backlog_size == 0
    script.upstream_answers(ParameterDescription(()), NoData(), IDLE)
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE)
    script.frontend_receives(BindComplete(), done(), IDLE)
    script.upstream_answers(server_error(b"42601"), IDLE)


@pytest.mark.parametrize("message", [describe(b"s"), parse(b"s", b"select 2")])
def test_describe_and_parse_of_such_a_name_wait_too(script: SessionScript, message: Message) -> None:
    script.frontend_sends(parse(b"s", b"select 1"), Sync(), message, Sync())
    script.upstream_receives(parse(b"", b"select 1"), Sync())
    script.upstream_sends(server_error(b"42601")).frontend_receives(server_error(b"42601"))
    if message == describe(b"s"):
        script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
        script.upstream_sends(IDLE, server_error(b"42601"), IDLE).frontend_receives(IDLE, error(b"26000"), IDLE)
    else:
        script.upstream_receives(parse(b"", b"select 2"), Sync()).upstream_answers(IDLE, ParseComplete(), IDLE)
        script.knows(b"s", b"select 2")


def test_what_waits_asks_for_the_answer_it_waits_for(script: SessionScript) -> None:
    # Nothing behind the Parse would make the server answer it: the client's own Sync waits with the rest.
    script.frontend_sends(Query(b"select 1"), parse(b"s", b"select 1"), Sync(), bind(b"s"), Sync())
    script.upstream_receives(Query(b"select 1"), parse(b"", b"select 1"), Sync())
    script.upstream_answers(done(), IDLE)
    script.upstream_sends(ParseComplete()).frontend_receives(ParseComplete())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), Sync()).upstream_answers(IDLE)
    script.upstream_sends(ParseComplete(), BindComplete(), IDLE).frontend_receives(BindComplete(), IDLE)


def test_more_that_comes_while_something_waits_waits_behind_it(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"call p()"), Sync(), bind(b"s"))
    script.upstream_receives(parse(b"", b"call p()"), Sync())
    script.frontend_sends(execute(), Sync()).frontend_sends(Query(b"x")).expects_nothing()
    script.upstream_sends(ParseComplete(), IDLE).frontend_receives(ParseComplete(), IDLE)
    script.upstream_receives(parse(b"", b"call p()"), bind(b""), execute(), Sync(), Query(b"x"))
    script.upstream_sends(ParseComplete()).upstream_answers(BindComplete(), done(), IDLE, server_error(b"42601"), IDLE)


def test_executemany_is_streamed_in_several_writes(script: SessionScript) -> None:
    script.describes(b"s", b"call p($1)", INT4)
    script.frontend_sends(*(bind(b"s", b"1"), execute()) * 50)
    script.upstream_receives(parse(b"", b"call p($1)", INT4), *(bind(b"", b"1"), execute()) * 50)
    script.frontend_sends(*(bind(b"s", b"2"), execute()) * 50, Sync())
    script.upstream_receives(*(bind(b"", b"2"), execute()) * 50, Sync())
    script.upstream_sends(ParseComplete()).upstream_answers(*(BindComplete(), done()) * 100, IDLE)


def test_a_bad_row_in_executemany_is_ended_by_a_rollback_in_the_batch(script: SessionScript) -> None:
    script.prepares(b"s", b"call p()")
    script.frontend_sends(bind(b"s"), execute()).upstream_receives(parse(b"", b"call p()"), bind(b""), execute())
    script.frontend_sends(parse(b"", b"ROLLBACK"), bind(b""), execute(), Sync())
    script.upstream_receives(parse(b"", b"ROLLBACK"), bind(b""), execute(), Sync())
    notice = NoticeResponse(((b"S", b"WARNING"), (b"C", b"25P01")))
    script.upstream_sends(ParseComplete())
    script.upstream_answers(BindComplete(), done(), ParseComplete(), BindComplete(), notice, done(b"ROLLBACK"), IDLE)
