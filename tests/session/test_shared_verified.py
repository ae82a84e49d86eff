"""The first use of a statement of which a client was told what another one had been: a server confirms it, or not."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    NoData,
    NoticeResponse,
    ParameterDescription,
    ParseComplete,
    RowDescription,
)
from pgshim.protocol.frontend import Flush, Query, Sync
from pgshim.session.session import Policy
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
from tests.session.script import SessionScript, Start
from tests.session.shapes import ABORTED, CHANGED, COMMITTED
from tests.session.sharing import A_COLUMN, INT4, INT8, QUERY, TEXT, UPDATE, Process, asks, description, is_told


@pytest.fixture
def process(start: Start) -> Process:
    return Process(start)


def told(
    process: Process, sql: bytes = QUERY, *found: int, result: RowDescription | None = A_COLUMN, **options: bool
) -> SessionScript:
    """A client that was told what another one was."""
    process.knows(sql, *found, result=result)
    script = process.client(**options)
    is_told(script, sql, *found, result=result)
    return script


def verifying(sql: bytes = QUERY, types: tuple[int, ...] = (INT4,), *, has_result: bool = True) -> tuple[Message, ...]:
    """What goes ahead of the Bind: with the client's own types, and with those it was told."""
    pinned = parse(b"", sql, *types), describe(b"")
    return parse(b"", sql), describe(b""), *(pinned if has_result else pinned[:1])


def executes(
    script: SessionScript, sql: bytes = QUERY, *, results: tuple[int, ...] = (), has_result: bool = True
) -> None:
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(
        *verifying(sql, has_result=has_result), bind(b"", b"1", results=results), execute(), Sync()
    )


def executes_again(script: SessionScript, sql: bytes = QUERY) -> None:
    """It has been verified."""
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(parse(b"", sql, INT4), describe(b""), bind(b"", b"1"), execute(), Sync())
    script.upstream_sends(*description(), BindComplete(), row(b"1"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"1"), done(), IDLE)


ROWS = BindComplete(), row(b"1"), done()


# It is right.


def test_the_first_execution_is_verified_and_no_other(process: Process) -> None:
    script = told(process)
    executes(script)
    script.upstream_sends(*description() * 2, *ROWS, IDLE).frontend_receives(*ROWS, IDLE)
    executes_again(script)


def test_notices_of_its_text_come_with_the_first_execution(process: Process) -> None:
    notice = NoticeResponse(((b"S", b"NOTICE"), (b"C", b"42622")))
    script = told(process)
    executes(script)
    script.upstream_sends(notice, *description(), notice, *description(), *ROWS, IDLE)
    script.frontend_receives(notice, *ROWS, IDLE)
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync()).gone_up()
    script.upstream_sends(notice, *description(), *ROWS, IDLE).frontend_receives(*ROWS, IDLE)


def test_with_types_that_the_client_has_declared_it_is_described_once(process: Process) -> None:
    script = process.client()
    asks(script, declared=(INT4,))
    script = process.client()
    is_told(script, declared=(INT4,))
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(parse(b"", QUERY, INT4), describe(b""), bind(b"", b"1"), execute(), Sync())
    script.upstream_sends(*description(), *ROWS, IDLE).frontend_receives(*ROWS, IDLE)


def test_of_what_returns_nothing_the_parameters_are_verified(process: Process) -> None:
    script = told(process, UPDATE, result=None)
    executes(script, UPDATE, has_result=False)
    answers = BindComplete(), done(b"UPDATE 1"), IDLE
    script.upstream_sends(*description(result=None), ParseComplete(), *answers).frontend_receives(*answers)
    script.knows(b"s", UPDATE, INT4)


def test_executions_of_one_batch_are_verified_together(process: Process) -> None:
    script = told(process)
    script.frontend_sends(*(bind(b"s", b"1"), execute()) * 3, Sync())
    script.upstream_receives(*verifying(), *(bind(b"", b"1"), execute()) * 3, Sync())
    script.upstream_sends(*description() * 2, *ROWS * 3, IDLE).frontend_receives(*ROWS * 3, IDLE)
    executes_again(script)


def test_batches_in_flight_are_verified_each(process: Process) -> None:
    script = told(process)
    script.frontend_sends(*(bind(b"s", b"1"), execute(), Sync()) * 2)
    script.upstream_receives(*(*verifying(), bind(b"", b"1"), execute(), Sync()) * 2)
    script.upstream_sends(*(*description() * 2, *ROWS, IDLE) * 2).frontend_receives(*(*ROWS, IDLE) * 2)
    executes_again(script)


def test_what_could_end_the_transaction_waits_for_it(process: Process) -> None:
    script = told(process, UPDATE, result=None).begins()
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync(), Query(b"commit"))
    script.upstream_receives(*verifying(UPDATE, has_result=False), bind(b"", b"1"), execute(), Sync())
    answers = BindComplete(), done(b"UPDATE 1"), IN_BLOCK
    script.upstream_sends(*description(result=None), ParseComplete(), *answers).frontend_receives(*answers)
    script.upstream_receives(Query(b"commit")).upstream_answers(done(b"COMMIT"), IDLE)


def test_a_batch_of_a_pipeline_waits_that_could_end_the_transaction(process: Process) -> None:
    script = told(process, UPDATE, result=None)
    commit = parse(b"", b"commit"), bind(b""), execute(), Sync()
    script.frontend_sends(Query(b"begin"), bind(b"s", b"1"), execute(), *commit)
    script.upstream_receives(Query(b"begin"))
    script.upstream_answers(done(b"BEGIN"), IN_BLOCK)
    script.upstream_receives(*verifying(UPDATE, has_result=False), bind(b"", b"1"), execute(), Flush())
    script.upstream_sends(*description(result=None), ParseComplete(), BindComplete(), done(b"UPDATE 1"))
    script.frontend_receives(BindComplete(), done(b"UPDATE 1"))
    script.upstream_receives(*commit)
    script.upstream_answers(ParseComplete(), BindComplete(), done(b"COMMIT"), IDLE)


def test_a_lazy_begin_goes_ahead_of_it(process: Process) -> None:
    script = told(process, begins_lazily=True)
    script.frontend_sends(Query(b"begin")).frontend_receives(done(b"BEGIN"), IN_BLOCK)
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    begin = parse(b"", b"begin"), bind(b""), execute()
    script.upstream_receives(*begin, *verifying(), bind(b"", b"1"), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"BEGIN"), *description() * 2, *ROWS, IN_BLOCK)
    script.frontend_receives(*ROWS, IN_BLOCK)


def test_a_second_describe_is_answered_when_it_is_verified(process: Process) -> None:
    script = told(process)
    script.frontend_sends(describe(b"s"), Sync())
    script.upstream_receives(*verifying(), describe(b""), Sync())
    script.upstream_sends(*description() * 2, *description()[1:], IDLE)
    script.frontend_receives(*description()[1:], IDLE)
    executes_again(script)


def test_a_statement_that_was_verified_is_described_as_any(process: Process) -> None:
    script = told(process)
    executes(script)
    script.upstream_sends(*description() * 2, *ROWS, IDLE).frontend_receives(*ROWS, IDLE)
    script.frontend_sends(describe(b"s"), Sync()).upstream_receives(parse(b"", QUERY, INT4), describe(b""), Sync())
    script.upstream_sends(*description(), IDLE).frontend_receives(*description()[1:], IDLE)


def test_with_that_it_is_as_good_as_new(process: Process) -> None:
    script = told(process)
    process.clock.now = 25
    executes(script)
    script.upstream_sends(*description() * 2, *ROWS, IDLE).frontend_receives(*ROWS, IDLE)
    process.clock.now = 50
    is_told(process.client())


def test_in_a_block_it_is_not(process: Process) -> None:
    script = told(process).begins()
    process.clock.now = 25
    executes(script)
    script.upstream_sends(*description() * 2, *ROWS, IN_BLOCK).frontend_receives(*ROWS, IN_BLOCK)
    process.clock.now = 30
    asks(process.client())


def test_what_was_forgotten_in_the_meantime_is_not_made_new(process: Process) -> None:
    script = told(process)
    process.forget()
    executes(script)
    script.upstream_sends(*description() * 2, *ROWS, IDLE).frontend_receives(*ROWS, IDLE)
    asks(process.client())


# It is wrong.

OTHER = [
    pytest.param((INT4,), columns(TEXT), id="type of a column"),
    pytest.param((INT4,), columns(INT4, INT4), id="columns"),
    pytest.param((INT4,), None, id="no result"),
    pytest.param((TEXT,), A_COLUMN, id="type of a parameter"),
    pytest.param((TEXT,), columns(TEXT), id="both"),
    pytest.param((INT4, INT4), A_COLUMN, id="parameters"),
]


@pytest.mark.parametrize(("types", "result"), OTHER)
def test_a_query_without_effect_fails_as_on_a_server(
    process: Process, types: tuple[int, ...], result: RowDescription | None
) -> None:
    script = told(process)
    executes(script)
    now = ParseComplete(), ParameterDescription(types), NoData() if result is None else result
    script.upstream_sends(*now, ParseComplete(), ParameterDescription((INT4,)), now[2], *ROWS, IDLE)
    script.frontend_receives(CHANGED, IDLE)
    asks(process.client(), QUERY, *types, result=result)


def test_nothing_else_that_is_known_is_told_then(process: Process) -> None:
    process.knows(b"select 2")
    test_a_query_without_effect_fails_as_on_a_server(process, (TEXT,), A_COLUMN)
    asks(process.client(), b"select 2")


def test_a_client_that_has_asked_itself_finds_out_for_all(process: Process) -> None:
    script = process.knows()
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(parse(b"", QUERY, INT4), describe(b""), bind(b"", b"1"), execute(), Sync())
    script.upstream_sends(*description(result=columns(TEXT)), *ROWS, IDLE).frontend_receives(CHANGED, IDLE)
    asks(script, result=columns(TEXT), name=b"new")


def test_one_that_shares_nothing_finds_out_for_itself(process: Process) -> None:
    script = process.client(policy=Policy("warn"))
    asks(script)
    process.knows()
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(parse(b"", QUERY, INT4), describe(b""), bind(b"", b"1"), execute(), Sync())
    script.upstream_sends(*description(result=columns(TEXT)), *ROWS, IDLE).frontend_receives(CHANGED, IDLE)
    is_told(process.client())


def test_it_goes_on_failing_until_it_is_prepared_anew(process: Process) -> None:
    script = told(process)
    for _ in range(2):
        executes(script)
        script.upstream_sends(*description(TEXT), *description(), *ROWS, IDLE).frontend_receives(CHANGED, IDLE)
    asks(script, QUERY, TEXT, name=b"new")


def test_what_was_asked_before_it_was_found_is_not_kept(process: Process) -> None:
    script = told(process)
    executes(script)
    asking = process.client()
    asking.frontend_sends(parse(b"s", b"select 2"), describe(b"s"), Sync())
    asking.upstream_receives(parse(b"", b"select 2"), describe(b""), Sync())
    script.upstream_sends(*description(TEXT), *description(), *ROWS, IDLE).frontend_receives(CHANGED, IDLE)
    asking.upstream_answers(*description(), IDLE)
    assert len(process.descriptions) == 0


def test_types_that_fit_no_longer_are_no_error_of_their_own(process: Process) -> None:
    script = told(process)
    executes(script)
    script.upstream_sends(*description(TEXT), server_error(b"42883"), IDLE).frontend_receives(CHANGED, IDLE)


def test_not_even_if_it_writes(process: Process) -> None:
    script = told(process, UPDATE, result=None)
    executes(script, UPDATE, has_result=False)
    script.upstream_sends(*description(TEXT, result=None), server_error(b"42804"), IDLE)
    script.frontend_receives(CHANGED, IDLE)


def test_what_has_written_fails_with_the_truth_and_not_twice(process: Process) -> None:
    script = told(process, UPDATE, result=None)
    executes(script, UPDATE, has_result=False)
    script.upstream_sends(*description(INT8, result=None), ParseComplete(), BindComplete(), done(b"UPDATE 1"), IDLE)
    script.frontend_receives(COMMITTED, IDLE)
    for _ in range(2):
        script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
        script.upstream_receives(A_PARSE_THAT_FAILS, bind(b"", b"1"), execute(), Sync())
        script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(CHANGED, IDLE)
    script.frontend_sends(describe(b"s"), Sync()).upstream_receives(A_PARSE_THAT_FAILS, describe(b""), Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(CHANGED, IDLE)


def test_in_a_failed_block_that_fails_as_anything(process: Process) -> None:
    script = told(process, UPDATE, result=None)
    executes(script, UPDATE, has_result=False)
    script.upstream_sends(*description(INT8, result=None), ParseComplete(), BindComplete(), done(b"UPDATE 1"), IDLE)
    script.frontend_receives(COMMITTED, IDLE)
    script.queries(b"begin; select 1/0", server_error(b"22012"), FAILED)
    executes(script, UPDATE, has_result=False)
    script.upstream_answers(server_error(b"25P02"), FAILED)


def test_batches_in_flight_that_have_written_fail_each(process: Process) -> None:
    script = told(process, UPDATE, result=None)
    script.frontend_sends(*(bind(b"s", b"1"), execute(), Sync()) * 2)
    script.upstream_receives(*(*verifying(UPDATE, has_result=False), bind(b"", b"1"), execute(), Sync()) * 2)
    for _ in range(2):
        script.upstream_sends(*description(INT8, result=None), ParseComplete(), BindComplete(), done(b"UPDATE 1"), IDLE)
        script.frontend_receives(COMMITTED, IDLE)


@pytest.mark.parametrize(("sql", "result"), [(QUERY, A_COLUMN), (UPDATE, None)])
def test_in_a_block_the_block_fails(process: Process, sql: bytes, result: RowDescription | None) -> None:
    script = told(process, sql, result=result).begins()
    executes(script, sql, has_result=result is not None)
    pinned = description(result=result)[: None if result else 1]
    script.upstream_sends(*description(TEXT, result=result), *pinned, BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(CHANGED, FAILED)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync()).upstream_sends(server_error(b"42601"), FAILED)
    script.queries(b"select 1", ABORTED_BY_SERVER, FAILED).queries(b"rollback", done(b"ROLLBACK"), IDLE)


ABORTED_BY_SERVER = server_error(b"25P02")


def test_a_batch_without_its_sync_fails_on_the_server(process: Process) -> None:
    script = told(process)
    script.frontend_sends(bind(b"s", b"1"), execute(), Flush())
    script.upstream_receives(*verifying(), bind(b"", b"1"), execute(), Flush())
    script.upstream_sends(*description(TEXT)).upstream_receives(A_PARSE_THAT_FAILS)
    script.upstream_sends(*description(), *ROWS, server_error(b"42601")).frontend_receives(CHANGED)
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)


# The statement is refused.


def test_an_error_is_that_of_the_execution(process: Process) -> None:
    script = told(process)
    executes(script)
    script.upstream_answers(server_error(b"42P01", P=b"15"), IDLE)
    assert len(process.descriptions) == 0
    executes(script)
    script.upstream_sends(*description() * 2, *ROWS, IDLE).frontend_receives(*ROWS, IDLE)


def test_one_of_a_failed_block_says_nothing_of_it(process: Process) -> None:
    script = told(process).queries(b"begin; select 1/0", server_error(b"22012"), FAILED)
    executes(script)
    script.upstream_answers(server_error(b"25P02"), FAILED)
    is_told(process.client())


def test_one_that_comes_late_drops_nothing_newer(process: Process) -> None:
    script = told(process)
    executes(script)
    process.forget()
    process.knows()
    script.upstream_answers(server_error(b"42P01"), IDLE)
    is_told(process.client())


def test_a_notice_is_the_clients(process: Process) -> None:
    script = told(process)
    executes(script)
    notice = NoticeResponse(((b"S", b"NOTICE"), (b"M", b"well")))
    script.upstream_answers(notice)
    script.upstream_sends(*description() * 2, *ROWS, IDLE).frontend_receives(*ROWS, IDLE)


def test_a_failed_verification_is_not_the_last_word(process: Process) -> None:
    script = told(process).begins()
    executes(script)
    script.upstream_sends(*description(TEXT), *description(), *ROWS, IN_BLOCK).frontend_receives(CHANGED, FAILED)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync()).upstream_sends(server_error(b"42601"), FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE)
    executes(script)
    script.upstream_sends(*description() * 2, *ROWS, IDLE).frontend_receives(*ROWS, IDLE)


def test_what_was_sent_behind_a_block_that_fails_fails_too(process: Process) -> None:
    script = told(process).begins()
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync(), Query(b"select 1"))
    script.upstream_receives(*verifying(), bind(b"", b"1"), execute(), Sync(), Query(b"select 1"))
    script.upstream_sends(*description(TEXT), *description(), *ROWS, IN_BLOCK).frontend_receives(CHANGED, FAILED)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(A_COLUMN, done(), IN_BLOCK).frontend_receives(ABORTED, FAILED)
    script.upstream_sends(server_error(b"42601"), FAILED)
    script.frontend_sends(Sync()).frontend_receives(FAILED)


def test_a_name_that_nobody_has_is_unknown(process: Process) -> None:
    script = told(process)
    script.frontend_sends(bind(b"t"), execute(), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"26000"), IDLE)
