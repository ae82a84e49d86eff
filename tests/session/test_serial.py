"""Towards an upstream that mishandles pipelines: one Query or Sync is outstanding, the next batch is held back."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    CopyInResponse,
    ParameterDescription,
    ParseComplete,
)
from pgshim.protocol.frontend import CopyData, CopyDone, Flush, Query, Sync, Terminate
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
from tests.session.script import SessionScript, Start


@pytest.fixture
def script(start: Start) -> SessionScript:
    return start(is_serial=True)


def test_the_next_batch_is_held_back_until_ready_for_query(script: SessionScript) -> None:
    script.prepares(b"s", b"call p()")
    script.frontend_sends(*(bind(b"s"), execute(), Sync()) * 2, Query(b"x"))
    script.upstream_receives(parse(b"", b"call p()"), bind(b""), execute(), Sync())
    assert script.session.backlog_size > 0
    script.upstream_sends(ParseComplete()).upstream_answers(BindComplete(), done())
    script.upstream_sends(IDLE).frontend_receives(IDLE)
    script.upstream_receives(parse(b"", b"call p()"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete()).upstream_answers(BindComplete(), done())
    script.upstream_sends(IDLE).frontend_receives(IDLE).upstream_receives(Query(b"x"))
    script.upstream_answers(server_error(b"42601"), IDLE)
    assert script.session.backlog_size == 0


def test_a_batch_itself_is_still_sent_as_one(script: SessionScript) -> None:
    script.frontend_sends(parse(b"a", b"select 1"), describe(b"a"), bind(b"a"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), describe(b""), bind(b""), execute(), Sync())
    script.upstream_answers(
        *(ParseComplete(), ParameterDescription(()), columns(23), BindComplete(), row(b"1"), done(), IDLE)
    )


def test_queries_go_one_by_one(script: SessionScript) -> None:
    script.frontend_sends(Query(b"begin"), Query(b"a"), Query(b"b"), Sync()).upstream_receives(Query(b"begin"))
    script.upstream_sends(done(b"BEGIN"), IN_BLOCK).frontend_receives(done(b"BEGIN"), IN_BLOCK)
    script.upstream_receives(Query(b"a"))
    script.upstream_sends(done(), IN_BLOCK).frontend_receives(done(), IN_BLOCK).upstream_receives(Query(b"b"))
    script.upstream_sends(server_error(b"42601"), FAILED)
    script.frontend_receives(server_error(b"42601"), FAILED, FAILED)


def test_what_is_held_back_is_taken_up_by_what_is_known_then(script: SessionScript) -> None:
    script.begins()
    script.frontend_sends(parse(b"s", b"call p()"), Sync(), bind(b"s"), execute(), Sync(), close(b"s"), Sync())
    script.upstream_receives(parse(b"", b"call p()"), Sync())
    script.upstream_sends(ParseComplete(), IN_BLOCK).frontend_receives(ParseComplete(), IN_BLOCK)
    script.upstream_receives(bind(b""), execute(), Sync())
    script.upstream_sends(BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(BindComplete(), done(), IN_BLOCK, CloseComplete(), IN_BLOCK)


def test_what_comes_in_pieces_is_held_back_too(script: SessionScript) -> None:
    script.frontend_sends(Query(b"a")).upstream_receives(Query(b"a"))
    data = Query(b"b").encode() + bind(b"", b"v" * 100_000).encode()
    script.frontend_sends(data[:7]).frontend_sends(data[7:90_000]).frontend_sends(data[90_000:]).expects_nothing()
    script.upstream_sends(done(), IDLE).frontend_receives(done(), IDLE).upstream_receives(Query(b"b")).forgets()


def test_copy_data_is_not_held_back(script: SessionScript) -> None:
    script.copies_in()
    script.frontend_sends(CopyData(b"1\n"), CopyDone(), Query(b"x"))
    script.upstream_receives(CopyData(b"1\n"), CopyDone(), Sync())
    script.upstream_sends(done(b"COPY 1"), IDLE).frontend_receives(done(b"COPY 1"), IDLE)
    script.upstream_receives(Query(b"x")).upstream_answers(server_error(b"42601"), IDLE)


def test_copy_data_ahead_of_the_servers_answer_is_not_held_back(script: SessionScript) -> None:
    script.frontend_sends(Query(b"copy t from stdin"), CopyData(b"1\n"), CopyDone())
    script.upstream_receives(*script.copy_in(), Flush(), CopyData(b"1\n"), CopyDone(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete())
    script.upstream_answers(CopyInResponse(0, ()), done(b"COPY 1"), IDLE)


def test_copy_data_behind_something_that_is_held_back_waits_behind_it(script: SessionScript) -> None:
    script.frontend_sends(Query(b"x"), Query(b"copy t from stdin"), CopyData(b"1\n"), CopyData(b"2\n"))
    script.upstream_receives(Query(b"x"))
    large = CopyData(b"v" * 1000).encode()
    script.frontend_sends(large[:500]).frontend_sends(large[500:], CopyDone()).expects_nothing()
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(server_error(b"42601"), IDLE)
    script.upstream_receives(
        *script.copy_in(),
        *(Flush(), CopyData(b"1\n"), CopyData(b"2\n")),
        *(large, CopyDone(), Sync()),
    )
    script.upstream_sends(ParseComplete(), BindComplete())
    script.upstream_answers(CopyInResponse(0, ()), done(b"COPY 3"), IDLE)


def test_a_sync_of_a_copy_in_progress_is_not_held_back(script: SessionScript) -> None:
    script.prepares(b"c", b"copy t from stdin")
    script.frontend_sends(bind(b"c"), execute(), Sync())
    script.upstream_receives(parse(b"", b"copy t from stdin"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), CopyInResponse(0, ()))
    script.frontend_receives(BindComplete(), CopyInResponse(0, ()))
    script.frontend_sends(CopyData(b"1\n"), CopyDone(), Sync()).upstream_receives(CopyData(b"1\n"), CopyDone(), Sync())
    script.upstream_answers(done(b"COPY 1"), IDLE)


def test_what_comes_behind_a_copy_by_execute_is_held_back(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"copy t from stdin"), bind(b""), execute(), Flush())
    script.upstream_receives(parse(b"", b"copy t from stdin"), bind(b""), execute(), Flush())
    script.upstream_answers(ParseComplete(), BindComplete(), CopyInResponse(0, ()))
    script.frontend_sends(CopyData(b"1\n"), CopyDone(), Sync(), Query(b"x"))
    script.upstream_receives(CopyData(b"1\n"), CopyDone(), Sync())
    script.upstream_sends(done(b"COPY 1"), IDLE).frontend_receives(done(b"COPY 1"), IDLE)
    script.upstream_receives(Query(b"x")).upstream_answers(server_error(b"42601"), IDLE)


def test_terminate_behind_what_is_held_back_waits_behind_it(script: SessionScript) -> None:
    script.frontend_sends(Query(b"a"), Query(b"b"), Terminate()).upstream_receives(Query(b"a"))
    assert not script.session.is_terminated
    script.upstream_sends(done(), IDLE).frontend_receives(done(), IDLE).upstream_receives(Query(b"b"))
    assert script.session.is_terminated
    script.upstream_answers(done(), IDLE)


def test_an_exchange_without_a_sync_holds_nothing_back(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select 1"), Flush()).upstream_receives(parse(b"", b"select 1"), Flush())
    script.frontend_sends(bind(b"s"), Flush()).upstream_receives(bind(b""), Flush())
    script.upstream_answers(ParseComplete(), BindComplete())
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)
