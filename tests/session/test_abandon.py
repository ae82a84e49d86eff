"""A client that is gone: what it left is rolled back, so that the pooler keeps its server."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import BindComplete, CopyInResponse, ParameterDescription, ParseComplete
from pgshim.protocol.frontend import CopyData, CopyDone, CopyFail, Flush, Parse, Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
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
from tests.session.script import SessionScript, Start

A_COPY_FAIL = Pattern("CopyFail", lambda message: isinstance(message, CopyFail))
ROLLBACK = Query(b"ROLLBACK")


def is_left(script: SessionScript) -> SessionScript:
    """The client goes."""
    script.expects_nothing()
    script.session.abandon()
    return script.collects()


def copying_is_given_up(script: SessionScript) -> None:
    """CopyFail first and a Sync last; what may be between, the server skips."""
    first, *between, last = script.gone_up()
    assert isinstance(first, CopyFail)
    assert all(isinstance(message, Parse) for message in between)
    assert last == Sync()


def test_one_that_was_idle_is_at_rest_at_once(script: SessionScript) -> None:
    is_left(script).expects_nothing()
    assert script.session.is_at_rest


def test_one_in_a_block_is_rolled_back(script: SessionScript) -> None:
    is_left(script.begins()).upstream_receives(ROLLBACK)
    assert not script.session.is_at_rest
    script.upstream_sends(done(b"ROLLBACK"), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_one_in_a_failed_block_is_rolled_back(script: SessionScript) -> None:
    is_left(script.begins().queries(b"x", server_error(b"42601"), FAILED)).upstream_receives(ROLLBACK)
    script.upstream_sends(done(b"ROLLBACK"), IDLE)
    assert script.session.is_at_rest


def test_replies_that_are_owed_are_taken_and_dropped(script: SessionScript) -> None:
    script.frontend_sends(Query(b"begin"), Query(b"select 1")).upstream_receives(Query(b"begin"), Query(b"select 1"))
    is_left(script).expects_nothing()
    script.upstream_sends(done(b"BEGIN"), IN_BLOCK, columns(23), row(b"1")).expects_nothing()
    assert not script.session.is_at_rest
    script.upstream_sends(done(), IN_BLOCK).upstream_receives(ROLLBACK)
    script.upstream_sends(done(b"ROLLBACK"), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_query_that_ends_in_autocommit_needs_no_rollback(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 1")).upstream_receives(Query(b"select 1"))
    is_left(script).upstream_sends(columns(23), row(b"1"), done(), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_batch_without_its_sync_is_undone(script: SessionScript) -> None:
    # Its Sync alone would commit it.
    script.prepares(b"s", b"insert into t values (1)")
    script.frontend_sends(bind(b"s"), execute(), Flush())
    script.upstream_receives(parse(b"", b"insert into t values (1)"), bind(b""), execute(), Flush())
    is_left(script).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), server_error(b"42601"), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_batch_without_its_sync_in_a_block_is_undone_with_the_block(script: SessionScript) -> None:
    script.begins().frontend_sends(parse(b"s", b"select 1")).upstream_receives(parse(b"", b"select 1"))
    is_left(script).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), FAILED).upstream_receives(ROLLBACK)
    script.upstream_sends(done(b"ROLLBACK"), IDLE)
    assert script.session.is_at_rest


def test_a_batch_that_failed_already_is_ended(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"selec"), Flush()).upstream_receives(parse(b"", b"selec"), Flush())
    script.upstream_answers(server_error(b"42601"))
    is_left(script).upstream_receives(Flush(), Sync()).upstream_sends(IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_copy_in_progress_is_made_to_fail(script: SessionScript) -> None:
    script.copies_in().frontend_sends(CopyData(b"1\n")).upstream_receives(CopyData(b"1\n"))
    is_left(script)
    copying_is_given_up(script)
    script.upstream_sends(server_error(b"57014"), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_copy_in_progress_in_a_block_is_made_to_fail_and_rolled_back(script: SessionScript) -> None:
    is_left(script.begins().copies_in())
    copying_is_given_up(script)
    script.upstream_sends(server_error(b"57014"), FAILED).upstream_receives(ROLLBACK)
    script.upstream_sends(done(b"ROLLBACK"), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_copy_that_has_not_begun_is_made_to_fail(script: SessionScript) -> None:
    script.frontend_sends(Query(b"copy t from stdin")).upstream_receives(*script.copy_in(), Flush())
    is_left(script)
    copying_is_given_up(script)
    script.upstream_sends(ParseComplete(), BindComplete(), CopyInResponse(0, ()), server_error(b"57014"), IDLE)
    assert script.session.is_at_rest


def test_a_copy_whose_data_was_complete_is_left_to_end(script: SessionScript) -> None:
    script.copies_in().frontend_sends(CopyData(b"1\n"), CopyDone())
    script.upstream_receives(CopyData(b"1\n"), CopyDone(), Sync())
    is_left(script).expects_nothing()
    script.upstream_sends(done(b"COPY 1"), IDLE)
    assert script.session.is_at_rest


def test_the_second_copy_of_a_query_is_made_to_fail(script: SessionScript) -> None:
    script.queries(b"copy t from stdin; copy t from stdin", CopyInResponse(0, ()))
    script.frontend_sends(CopyDone()).upstream_receives(CopyDone())
    script.upstream_answers(done(b"COPY 0"), CopyInResponse(0, ()))
    is_left(script).upstream_receives(A_COPY_FAIL)
    script.upstream_sends(server_error(b"57014"), IDLE)
    assert script.session.is_at_rest


def test_the_second_copy_of_a_query_is_made_to_fail_when_it_begins_after_the_client_is_gone(
    script: SessionScript,
) -> None:
    text = b"copy t from stdin; copy t from stdin"
    script.frontend_sends(Query(text), CopyDone()).upstream_receives(Query(text), CopyDone())
    is_left(script).expects_nothing()
    script.upstream_sends(CopyInResponse(0, ()), done(b"COPY 0")).expects_nothing()
    script.upstream_sends(CopyInResponse(0, ())).upstream_receives(A_COPY_FAIL)
    script.upstream_sends(server_error(b"57014"), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_copy_by_execute_is_made_to_fail(script: SessionScript) -> None:
    script.prepares(b"c", b"copy t from stdin").begins()
    script.frontend_sends(bind(b"c"), execute(), Flush())
    script.upstream_receives(parse(b"", b"copy t from stdin"), bind(b""), execute(), Flush())
    script.upstream_sends(ParseComplete(), BindComplete(), CopyInResponse(0, ()))
    script.frontend_receives(BindComplete(), CopyInResponse(0, ()))
    is_left(script)
    copying_is_given_up(script)
    script.upstream_sends(server_error(b"57014"), FAILED).upstream_receives(ROLLBACK)
    script.upstream_sends(done(b"ROLLBACK"), IDLE)
    assert script.session.is_at_rest


@pytest.mark.parametrize("syncs", [1, 2])
def test_a_copy_by_execute_whose_sync_the_server_has_swallowed_is_made_to_fail(
    script: SessionScript, syncs: int
) -> None:
    script.prepares(b"c", b"copy t from stdin")
    script.frontend_sends(bind(b"c"), execute(), Sync())
    script.upstream_receives(parse(b"", b"copy t from stdin"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), CopyInResponse(0, ()))
    script.frontend_receives(BindComplete(), CopyInResponse(0, ()))
    if syncs == 2:
        script.frontend_sends(CopyData(b"1\n"), Sync())
        assert script.gone_up()[0] == CopyData(b"1\n")
    is_left(script)
    copying_is_given_up(script)
    script.upstream_sends(server_error(b"57014"), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_message_cut_off_in_the_middle_breaks_the_connection(script: SessionScript) -> None:
    script.copies_in()
    data = CopyData(b"x" * 1000).encode()
    script.frontend_sends(data[:500]).upstream_receives(data[:500])
    assert not script.session.is_broken
    is_left(script).expects_nothing()
    assert script.session.is_broken


def test_a_message_of_which_nothing_went_up_does_not(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 1").encode()[:8])
    is_left(script).expects_nothing()
    assert not script.session.is_broken
    assert script.session.is_at_rest


def test_what_was_held_back_is_dropped(start: Start) -> None:
    script = start(is_serial=True)
    script.frontend_sends(Query(b"a"), Query(b"b")).upstream_receives(Query(b"a"))
    is_left(script).expects_nothing()
    assert script.session.backlog_size == 0
    script.upstream_sends(done(), IDLE).expects_nothing()
    assert script.session.is_at_rest


def test_a_shape_that_changed_after_the_client_left_harms_nobody(script: SessionScript) -> None:
    script.describes(b"s", b"select a from t", result=columns(23)).begins()
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select a from t"), describe(b""), bind(b""), execute(), Sync())
    is_left(script).expects_nothing()
    script.upstream_sends(ParseComplete(), ParameterDescription(()), columns(25), BindComplete(), done(), IN_BLOCK)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), FAILED).upstream_receives(ROLLBACK)
    script.upstream_sends(done(b"ROLLBACK"), IDLE)
    assert script.session.is_at_rest
