"""Result shapes in a block and before the Sync: where the server can still be made to fail what has changed."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    ParseComplete,
    ReadyForQuery,
)
from pgshim.protocol.frontend import Execute, Flush, FunctionCall, Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close,
    columns,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript
from tests.session.shapes import ABORTED, CHANGED, PURE, WRITING, replay, sends_verified, verified

INT4, TEXT = 23, 25


# In a block.


@pytest.mark.parametrize("sql", [PURE, WRITING])
def test_in_a_block_the_block_is_really_failed(script: SessionScript, sql: bytes) -> None:
    script.describes(b"s", sql, result=columns(INT4)).begins()
    sends_verified(script, sql, results=() if sql is PURE else (0,))
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done(), IN_BLOCK)
    script.frontend_receives(CHANGED, FAILED)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), FAILED).expects_nothing()
    script.queries(b"select 1", server_error(b"25P02"), FAILED).queries(b"rollback", done(b"ROLLBACK"), IDLE)


def test_a_begin_in_the_same_burst_makes_it_a_block_too(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    script.frontend_sends(Query(b"begin"), bind(b"s"), execute(), Sync())
    script.upstream_receives(Query(b"begin"), *replay(PURE), bind(b""), execute(), Sync())
    script.upstream_answers(done(b"BEGIN"), IN_BLOCK)
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(CHANGED, FAILED)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), FAILED).expects_nothing()


def test_what_was_sent_behind_it_in_the_block_fails_for_the_client(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), Sync(), Query(b"select 4"), parse(b"n", b"select 5"), Sync())
    script.upstream_receives(
        *(*replay(PURE), bind(b""), execute(), Sync()),
        *(Query(b"select 4"), parse(b"", b"select 5"), Sync()),
    )
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(CHANGED, FAILED)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(columns(INT4), row(b"4"), done(), IN_BLOCK).frontend_receives(ABORTED, FAILED)
    script.upstream_sends(ParseComplete(), IN_BLOCK).frontend_receives(ABORTED, FAILED)
    script.upstream_sends(server_error(b"42601"), FAILED).expects_nothing()
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE).does_not_know(b"n")


def test_a_batch_that_waited_fails_in_the_failed_block(script: SessionScript) -> None:
    script.prepares(b"c", b"commit").describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), Sync(), parse(b"n", b"select 5"), bind(b"c"), execute(), Sync())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync())
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done(), IN_BLOCK).frontend_receives(CHANGED, FAILED)
    script.upstream_receives(
        *(A_PARSE_THAT_FAILS, Sync()),
        *(parse(b"", b"select 5"), parse(b"", b"commit"), bind(b""), execute(), Sync()),
    )
    script.upstream_sends(server_error(b"42601"), FAILED).expects_nothing()
    script.upstream_answers(server_error(b"25P02"), FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE).does_not_know(b"n")


@pytest.mark.parametrize(
    "ending", [b"commit", b"end", b"prepare transaction 'x'", b"rollback", b"select 1; select 2", b"call p()", b"do ''"]
)
def test_what_may_end_the_transaction_waits_for_the_verification(script: SessionScript, ending: bytes) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), Sync(), Query(ending))
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync())
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(CHANGED, FAILED)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync(), Query(ending))
    script.upstream_sends(server_error(b"42601"), FAILED).expects_nothing()
    script.upstream_answers(done(b"ROLLBACK"), IDLE)


def test_what_may_end_the_transaction_goes_on_once_it_is_verified(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), Sync(), Query(b"commit"), Query(b"select 1"))
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync())
    script.upstream_sends(*verified(columns(INT4))).frontend_receives()
    script.upstream_receives(Query(b"commit"), Query(b"select 1"))
    script.upstream_answers(BindComplete(), row(b"1"), done(), IN_BLOCK, done(b"COMMIT"), IDLE, done(), IDLE)


@pytest.mark.parametrize("ending", [b"commit", b"call p()"])
def test_an_execute_that_may_end_the_transaction_waits_in_its_own_batch(script: SessionScript, ending: bytes) -> None:
    script.prepares(b"c", ending).describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), bind(b"c"), execute(), Sync())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Flush())
    script.upstream_sends(*verified(columns(TEXT)))
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(BindComplete(), done(), server_error(b"42601"), FAILED)
    script.frontend_receives(CHANGED, FAILED)


def test_a_parse_of_what_may_end_the_transaction_waits_too(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), parse(b"", b"commit"), bind(b""), execute(), Sync())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Flush())
    script.upstream_sends(*verified(columns(INT4)))
    script.upstream_receives(parse(b"", b"commit"), bind(b""), execute(), Sync())
    script.upstream_answers(BindComplete(), done(), ParseComplete(), BindComplete(), done(b"COMMIT"), IDLE)


def test_an_execute_of_commit_goes_on_once_it_is_verified(script: SessionScript) -> None:
    script.prepares(b"c", b"commit").describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), bind(b"c"), execute(), Sync())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Flush())
    script.upstream_sends(*verified(columns(INT4)))
    script.upstream_receives(parse(b"", b"commit"), bind(b""), execute(), Sync())
    script.upstream_sends(BindComplete(), done(), ParseComplete(), BindComplete(), done(b"COMMIT"), IDLE)
    script.frontend_receives(BindComplete(), done(), BindComplete(), done(b"COMMIT"), IDLE)


def test_an_execute_of_a_portal_that_sql_has_made_waits_too(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), Execute(b"made by DECLARE", 0), Sync())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Flush())
    script.upstream_sends(*verified(columns(INT4)))
    script.upstream_receives(Execute(b"made by DECLARE", 0), Sync())
    script.upstream_answers(BindComplete(), done(), done(), IN_BLOCK)


def test_a_function_call_waits_too(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).begins()
    call = FunctionCall(1598, (), (), 0)
    script.frontend_sends(bind(b"s"), execute(), Sync(), call)
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync())
    script.upstream_sends(*verified(columns(INT4))).upstream_receives(call)
    script.upstream_answers(BindComplete(), done(), IN_BLOCK)
    script.upstream_answers(b"V\0\0\0\x08\xff\xff\xff\xff", IN_BLOCK)


def test_later_statements_of_the_block_are_verified_each(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).describes(b"u", b"select b from t", result=columns(TEXT))
    script.begins()
    script.frontend_sends(bind(b"s"), execute(), Sync(), bind(b"u"), execute(), Sync())
    script.upstream_receives(
        *(*replay(PURE), bind(b""), execute(), Sync()),
        *(*replay(b"select b from t"), bind(b""), execute(), Sync()),
    )
    script.upstream_sends(*verified(columns(INT4)), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(BindComplete(), done(), IN_BLOCK)
    script.upstream_sends(*verified(columns(INT4)), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(CHANGED, FAILED).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), FAILED).expects_nothing()


def test_two_changed_statements_in_a_batch_give_one_error(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).describes(b"u", b"select b from t", result=columns(TEXT))
    script.frontend_sends(bind(b"s"), execute(), bind(b"u"), execute(), Sync())
    script.upstream_receives(
        *(*replay(PURE), bind(b""), execute()),
        *(*replay(b"select b from t"), bind(b""), execute(), Sync()),
    )
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done())
    script.upstream_sends(*verified(columns(INT4)), BindComplete(), done(), IDLE)
    script.frontend_receives(CHANGED, IDLE)


# While the client has not sent its Sync.


@pytest.mark.parametrize(("status", "sql"), [(IDLE, PURE), (IDLE, WRITING), (FAILED, PURE), (FAILED, WRITING)])
def test_what_is_not_committed_yet_is_undone_by_the_server(
    script: SessionScript, status: ReadyForQuery, sql: bytes
) -> None:
    script.describes(b"s", sql, result=columns(INT4))
    if status is FAILED:
        script.begins()
    script.frontend_sends(bind(b"s"), execute(), Flush())
    formats = () if sql is PURE else (0,)
    script.upstream_receives(*replay(sql), bind(b"", results=formats), execute(), Flush())
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done())
    script.upstream_receives(A_PARSE_THAT_FAILS)
    script.upstream_sends(server_error(b"42601")).frontend_receives(CHANGED)
    script.frontend_sends(bind(b"s"), execute(), Sync()).upstream_receives(Flush(), Sync())
    script.upstream_answers(status)


def test_an_answer_of_pgshims_own_behind_a_failing_execute_is_not_for_the_client(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    script.frontend_sends(bind(b"s"), execute(), close(b"s"), Sync(), close(b"s"), Sync())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync())
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done(), IDLE)
    script.frontend_receives(CHANGED, IDLE, CloseComplete(), IDLE)
    script.does_not_know(b"s")


def test_a_notice_of_a_failing_execute_still_comes(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    sends_verified(script, PURE)
    notice = b"N\0\0\0\x0cMhi\0Hh\0\0"
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), notice, row(b"x"), notice, row(b"x"))
    script.frontend_receives(notice, notice)
    script.upstream_sends(notice, done(), IDLE).frontend_receives(notice, CHANGED, IDLE)
