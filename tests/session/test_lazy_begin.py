"""A BEGIN that is answered at once, and goes up with what comes next."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    CopyInResponse,
    CopyOutResponse,
    FunctionCallResponse,
    NoData,
    NoticeResponse,
    ParameterDescription,
    ParseComplete,
)
from pgshim.protocol.frontend import CopyData, CopyDone, Flush, FunctionCall, Query, Sync
from tests.session.in_force import SAID, WORK_MEM, carried_out, local, own, said
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close,
    columns,
    describe,
    describe_portal,
    done,
    error,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start

INT4 = 23
A_ROW = columns(INT4), row(b"1"), done()
#: What stands for the block that a client is in whose BEGIN has failed.
A_FAILED_BLOCK = Query(b"ROLLBACK;BEGIN;COPY(SELECT 1/(i-1)FROM pg_catalog.generate_series(1,1)i)TO STDOUT")
#: What a server says to that, which is not the client's.
FAILING = done(b"ROLLBACK"), done(b"BEGIN"), CopyOutResponse(0, (0,)), server_error(b"22012"), FAILED


@pytest.fixture
def script(start: Start) -> SessionScript:
    return start(begins_lazily=True)


def begins(script: SessionScript, sql: bytes = b"BEGIN;", tag: bytes = b"BEGIN") -> SessionScript:
    """Nothing goes up."""
    return script.frontend_sends(Query(sql)).frontend_receives(done(tag), IN_BLOCK)


# What is answered here.


@pytest.mark.parametrize(
    ("sql", "tag"),
    [
        (b"begin", b"BEGIN"),
        (b" BEGIN ; ", b"BEGIN"),
        (b"begin work", b"BEGIN"),
        (b"BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ", b"BEGIN"),
        (b"begin isolation level serializable, read only, deferrable", b"BEGIN"),
        (b"begin read write not deferrable", b"BEGIN"),
        (b"START TRANSACTION ISOLATION LEVEL read uncommitted", b"START TRANSACTION"),
    ],
)
def test_it_goes_up_with_the_first_statement(script: SessionScript, sql: bytes, tag: bytes) -> None:
    begins(script, sql, tag)
    script.frontend_sends(Query(b"select 1")).upstream_receives(*own(sql), Query(b"select 1"))
    script.upstream_sends(*carried_out(tag)).upstream_answers(*A_ROW, IN_BLOCK)
    script.queries(b"select 1", *A_ROW, IN_BLOCK).queries(b"commit", done(b"COMMIT"), IDLE)


@pytest.mark.parametrize(
    "sql",
    [
        *(b"begin foo", b"begin isolation level", b"begin; select 1", b"start", b"beginning", b"begin /* why */"),
        *(b"begin,", b"begin\v", b"begin" + b" " * 300, b"begin" + b" " * 1_000_000 + b"x"),
    ],
)
def test_what_is_not_plainly_a_begin_goes_up(script: SessionScript, sql: bytes) -> None:
    script.queries(sql, server_error(b"42601"), IDLE)


@pytest.mark.parametrize(
    ("sql", "tag"),
    [
        (b"COMMIT;", b"COMMIT"),
        (b"end work", b"COMMIT"),
        (b"rollback", b"ROLLBACK"),
        (b"abort and no chain", b"ROLLBACK"),
    ],
)
def test_a_block_without_a_statement_costs_nothing(script: SessionScript, sql: bytes, tag: bytes) -> None:
    begins(script).frontend_sends(Query(sql)).frontend_receives(done(tag), IDLE)
    script.queries(b"select 1", *A_ROW, IDLE)


@pytest.mark.parametrize(
    "sql", [b"begin", b"savepoint a", b"prepare transaction 'x'", b"commit and chain", b"discard all"]
)
def test_what_a_server_has_to_judge_takes_it_along(script: SessionScript, sql: bytes) -> None:
    begins(script).frontend_sends(Query(sql)).upstream_receives(*own(b"BEGIN;"), Query(sql))
    script.upstream_sends(*carried_out(b"BEGIN")).upstream_answers(server_error(b"25001"), FAILED)


def test_outside_of_a_block_a_commit_is_the_servers(script: SessionScript) -> None:
    script.queries(b"commit", done(b"COMMIT"), IDLE)


def test_behind_what_is_owed_it_goes_up(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 1"), Query(b"begin"), Query(b"select 1"))
    script.upstream_receives(Query(b"select 1"), Query(b"begin"), Query(b"select 1"))
    script.upstream_answers(*A_ROW, IDLE, done(b"BEGIN"), IN_BLOCK, *A_ROW, IN_BLOCK)


def test_what_needs_no_server_leaves_it_where_it_is(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    begins(script).frontend_sends(close(b"s"), Sync()).frontend_receives(CloseComplete(), IN_BLOCK)
    script.frontend_sends(Query(b"commit")).frontend_receives(done(b"COMMIT"), IDLE)


def test_a_value_drawn_in_it_is_known_in_it(script: SessionScript) -> None:
    begins(script).frontend_sends(Query(b"select nextval('s')"))
    script.upstream_receives(*own(b"BEGIN;"), Query(b"select nextval('s')"))
    script.upstream_sends(*carried_out(b"BEGIN")).upstream_answers(*A_ROW, IN_BLOCK)
    script.queries(b"select currval('s')", *A_ROW, IN_BLOCK)


def test_a_block_without_a_statement_is_forgotten(script: SessionScript) -> None:
    begins(script).frontend_sends(Query(b"commit")).frontend_receives(done(b"COMMIT"), IDLE)
    script.frontend_sends(Query(b"select nextval('s'); select 1")).forgets()
    script.upstream_answers(*A_ROW, *A_ROW, IDLE).frontend_sends(Query(b"select currval('s')"))
    script.frontend_receives(error(b"0A000"), IDLE)


def test_without_the_option_it_goes_up(start: Start) -> None:
    start(begins_lazily=False).begins()


# With what it goes up.


def test_a_prepared_statement_takes_it_along(script: SessionScript) -> None:
    script.describes(b"s", b"select a from t", result=columns(INT4))
    begins(script).frontend_sends(bind(b"s"), execute(), Sync())
    brought = parse(b"", b"select a from t"), describe(b"")
    script.upstream_receives(*own(b"BEGIN;"), *brought, bind(b""), execute(), Sync())
    script.upstream_sends(*carried_out(b"BEGIN"), ParseComplete(), ParameterDescription(()), columns(INT4))
    script.upstream_answers(BindComplete(), row(b"1"), done(), IN_BLOCK)


def test_a_function_call_takes_it_along(script: SessionScript) -> None:
    call = FunctionCall(870, (), (b"a",), 0)
    begins(script).frontend_sends(call).upstream_receives(*own(b"BEGIN;"), call)
    script.upstream_sends(*carried_out(b"BEGIN")).upstream_answers(FunctionCallResponse(b"x"), IN_BLOCK)


def test_a_copy_takes_it_along(script: SessionScript) -> None:
    sql = b"copy t from stdin"
    begins(script).frontend_sends(Query(sql)).upstream_receives(*own(b"BEGIN;"), *script.copy_in(sql), Flush())
    script.upstream_sends(*carried_out(b"BEGIN"), *SAID).upstream_answers(CopyInResponse(0, ()))
    script.frontend_sends(CopyData(b"1\n"), CopyDone()).upstream_receives(CopyData(b"1\n"), CopyDone(), Sync())
    script.upstream_answers(done(b"COPY 1"), IN_BLOCK)


def test_settings_go_between_it_and_the_statement(start: Start) -> None:
    script = start(startup=WORK_MEM, begins_lazily=True)
    begins(script).frontend_sends(Query(b"select 1"))
    script.upstream_receives(*own(b"BEGIN;", local(b"work_mem", b"8MB")), Query(b"select 1"))
    script.upstream_sends(*carried_out(b"BEGIN", b"SET")).upstream_answers(*A_ROW, IN_BLOCK)


def test_an_error_of_pgshims_own_fails_the_block(script: SessionScript) -> None:
    begins(script).frontend_sends(bind(b"nosuch"), execute(), Sync())
    script.upstream_receives(*own(b"BEGIN;"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(*carried_out(b"BEGIN"), server_error(b"42601"), FAILED)
    script.frontend_receives(error(b"26000"), FAILED)


def test_what_comes_next_waits_until_it_is_carried_out(script: SessionScript) -> None:
    begins(script).frontend_sends(Query(b"insert"), Query(b"select 1"))
    script.upstream_receives(*own(b"BEGIN;"), Query(b"insert"))
    script.upstream_sends(*carried_out(b"BEGIN")).upstream_receives(Query(b"select 1"))
    script.upstream_answers(done(b"INSERT 0 1"), IN_BLOCK, *A_ROW, IN_BLOCK)


# When it fails.


def fails_begun(script: SessionScript) -> None:
    """The client is in a failed block, and leaves it."""
    script.upstream_receives(A_FAILED_BLOCK).upstream_sends(*FAILING)
    script.frontend_receives(FAILED)
    script.queries(b"select 1", server_error(b"25P02"), FAILED).queries(b"rollback", done(b"ROLLBACK"), IDLE)


REFUSED = server_error(b"0A000", b"cannot use serializable mode in a hot standby")


def test_a_query_with_a_begin_that_fails_gets_its_error(script: SessionScript) -> None:
    begins(script).frontend_sends(Query(b"insert")).upstream_receives(*own(b"BEGIN;"), Query(b"insert"))
    script.upstream_sends(*SAID, REFUSED).frontend_receives(REFUSED).upstream_receives(Flush(), Sync())
    script.upstream_sends(IDLE)
    fails_begun(script)


def test_a_batch_with_a_begin_that_fails_gets_its_error(script: SessionScript) -> None:
    begins(script).frontend_sends(*said(b"insert"), Sync()).upstream_receives(*own(b"BEGIN;", b"insert"), Sync())
    script.upstream_sends(*SAID, REFUSED, IDLE).frontend_receives(REFUSED)
    fails_begun(script)


def test_a_copy_with_a_begin_that_fails_gets_its_error(script: SessionScript) -> None:
    sql = b"copy t from stdin"
    begins(script).frontend_sends(Query(sql)).upstream_receives(*own(b"BEGIN;"), *script.copy_in(sql), Flush())
    script.upstream_sends(*SAID, REFUSED).frontend_receives(REFUSED).upstream_receives(Flush(), Sync())
    script.upstream_sends(IDLE)
    fails_begun(script)


def test_what_is_answered_here_behind_it_comes_behind_its_ready_for_query(script: SessionScript) -> None:
    begins(script).frontend_sends(Query(b"insert"), Sync()).upstream_receives(*own(b"BEGIN;"), Query(b"insert"))
    script.upstream_sends(*SAID, REFUSED).frontend_receives(REFUSED).upstream_receives(Flush(), Sync())
    script.upstream_sends(IDLE).upstream_receives(A_FAILED_BLOCK)
    script.upstream_sends(*FAILING).frontend_receives(FAILED, FAILED)


def test_a_setting_that_is_refused_fails_the_block(start: Start) -> None:
    script = start(startup=WORK_MEM, begins_lazily=True)
    begins(script).frontend_sends(Query(b"select 1")).forgets()
    script.upstream_sends(*carried_out(b"BEGIN"), *SAID, server_error(b"22023"))
    script.frontend_receives(server_error(b"22023")).upstream_receives(Flush(), Sync())
    script.upstream_sends(FAILED)
    fails_begun(script)


def test_a_setting_that_is_refused_fails_the_block_of_a_batch(start: Start) -> None:
    script = start(startup=WORK_MEM, begins_lazily=True)
    begins(script).frontend_sends(*said(b"insert"), Sync()).forgets()
    script.upstream_sends(*carried_out(b"BEGIN"), *SAID, server_error(b"22023"), FAILED)
    script.frontend_receives(server_error(b"22023"), FAILED)


def test_a_client_that_leaves_before_it_went_up_leaves_nothing(script: SessionScript) -> None:
    begins(script)
    script.session.abandon()
    script.collects().expects_nothing()
    assert script.session.is_at_rest


@pytest.mark.parametrize("answer", [(), (done(b"INSERT 0 1"), IN_BLOCK)])
def test_a_client_that_leaves_behind_it_is_rolled_back(script: SessionScript, answer: tuple[Message, ...]) -> None:
    begins(script).frontend_sends(Query(b"insert")).forgets()
    script.upstream_sends(*carried_out(b"BEGIN"), *answer).forgets()
    script.session.abandon()
    script.collects().forgets()


# By the extended-query protocol.


def batch(sql: bytes, *, is_described: bool = True, results: tuple[int, ...] = ()) -> tuple[Message, ...]:
    described = (describe_portal(),) if is_described else ()
    return parse(b"", sql), bind(b"", results=results), *described, execute(), Sync()


@pytest.mark.parametrize("is_described", [True, False])
@pytest.mark.parametrize("results", [(), (0,), (1,)])
def test_a_whole_batch_that_is_a_begin(script: SessionScript, is_described: bool, results: tuple[int, ...]) -> None:
    told = (NoData(),) if is_described else ()
    script.frontend_sends(*batch(b"BEGIN", is_described=is_described, results=results))
    script.frontend_receives(ParseComplete(), BindComplete(), *told, done(b"BEGIN"), IN_BLOCK)
    script.frontend_sends(Query(b"select 1")).upstream_receives(*own(b"BEGIN"), Query(b"select 1"))
    script.upstream_sends(*carried_out(b"BEGIN")).upstream_answers(*A_ROW, IN_BLOCK)


def begins_by_batch(script: SessionScript) -> SessionScript:
    script.frontend_sends(*batch(b"BEGIN"))
    return script.frontend_receives(ParseComplete(), BindComplete(), NoData(), done(b"BEGIN"), IN_BLOCK)


def test_a_whole_batch_that_is_the_end(script: SessionScript) -> None:
    begins_by_batch(script).frontend_sends(*batch(b"COMMIT"))
    script.frontend_receives(ParseComplete(), BindComplete(), NoData(), done(b"COMMIT"), IDLE)
    script.frontend_sends(bind(b""), execute(), Sync())
    script.upstream_receives(parse(b"", b"COMMIT"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"COMMIT"), IDLE)
    script.frontend_receives(BindComplete(), done(b"COMMIT"), IDLE)


def test_what_it_leaves_is_what_a_server_has(script: SessionScript) -> None:
    begins_by_batch(script).frontend_sends(describe_portal(), Sync()).frontend_receives(NoData(), IN_BLOCK)
    script.frontend_sends(execute(), Sync())
    script.upstream_receives(*own(b"BEGIN"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(*carried_out(b"BEGIN"), server_error(b"42601"), FAILED)
    script.frontend_receives(error(b"55000"), FAILED)


def test_the_unnamed_statement_is_the_begin(script: SessionScript) -> None:
    begins_by_batch(script).frontend_sends(bind(b""), execute(), Sync())
    script.upstream_receives(*own(b"BEGIN"), parse(b"", b"BEGIN"), bind(b""), execute(), Sync())
    warned = NoticeResponse(((b"S", b"WARNING"), (b"C", b"25001"), (b"M", b"there is")))
    script.upstream_sends(*carried_out(b"BEGIN"), ParseComplete(), BindComplete(), warned, done(b"BEGIN"), IN_BLOCK)
    script.frontend_receives(BindComplete(), warned, done(b"BEGIN"), IN_BLOCK)


def test_settings_come_with_it(start: Start) -> None:
    script = start(begins_lazily=True, startup={b"work_mem": b"1MB"})
    begins_by_batch(script).frontend_sends(Query(b"select 1"))
    script.upstream_receives(*own(b"BEGIN"), *own(local(b"work_mem", b"1MB")), Query(b"select 1"))
    script.upstream_sends(*carried_out(b"BEGIN"), *carried_out(b"SET")).upstream_answers(*A_ROW, IN_BLOCK)


@pytest.mark.parametrize(
    "sent",
    [
        (parse(b"", b"begin foo"), *batch(b"")[1:]),
        (parse(b"s", b"begin"), *batch(b"")[1:]),
        (parse(b"", b"begin", INT4), *batch(b"")[1:]),
        (parse(b"", b"begin"), bind(b"s"), *batch(b"")[2:]),
        (parse(b"", b"begin"), bind(b"", b"1"), *batch(b"")[2:]),
        (parse(b"", b"begin"), bind(b"", portal=b"p"), *batch(b"")[2:]),
        (parse(b"", b"begin"), bind(b""), describe_portal(), execute(limit=1), Sync()),
        (Sync(), parse(b"", b"begin"), bind(b""), execute(), Sync()),
        (CopyData(b"x"), parse(b"", b"begin"), bind(b""), execute(), Sync()),
        (parse(b"", b"commit"), *batch(b"")[1:]),
    ],
)
def test_any_other_batch_goes_up(script: SessionScript, sent: tuple[Message, ...]) -> None:
    script.frontend_sends(*sent)
    assert script.gone_up()
    assert script.session.status == ord("I")
    script.forgets()


def test_what_comes_behind_in_the_same_read_takes_it_up(script: SessionScript) -> None:
    behind = parse(b"", b"select 1"), bind(b""), execute(), Sync()
    script.frontend_sends(*batch(b"begin"), *behind).upstream_receives(*own(b"begin"), *behind)
    script.frontend_receives(ParseComplete(), BindComplete(), NoData(), done(b"BEGIN"), IN_BLOCK)
    answers = ParseComplete(), BindComplete(), row(b"1"), done(), IN_BLOCK
    script.upstream_sends(*carried_out(b"BEGIN"), *answers).frontend_receives(*answers)


@pytest.mark.parametrize("end", [(), (Flush(),)])
def test_its_sync_may_come_later(script: SessionScript, end: tuple[Message, ...]) -> None:
    script.frontend_sends(*batch(b"begin")[:-1], *end)
    script.frontend_receives(ParseComplete(), BindComplete(), NoData(), done(b"BEGIN"))
    script.frontend_sends(Sync()).frontend_receives(IN_BLOCK)
    begins_and_commits(script)


def test_more_of_its_batch_may_come(script: SessionScript) -> None:
    behind = parse(b"", b"select 1/0"), bind(b""), execute(), Sync()
    script.frontend_sends(*batch(b"begin")[:-1], *behind).upstream_receives(*own(b"begin"), *behind)
    script.frontend_receives(ParseComplete(), BindComplete(), NoData(), done(b"BEGIN"))
    answers = ParseComplete(), BindComplete(), server_error(b"22012"), FAILED
    script.upstream_sends(*carried_out(b"BEGIN"), *answers).frontend_receives(*answers)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE)


def begins_and_commits(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 1")).upstream_receives(*own(b"begin"), Query(b"select 1"))
    script.upstream_sends(*carried_out(b"BEGIN")).upstream_answers(*A_ROW, IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)


def test_a_batch_that_is_skipped_is_not_answered(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"selec"), Flush()).forgets()
    script.upstream_sends(server_error(b"42601")).forgets()
    script.frontend_sends(*batch(b"begin")).upstream_receives(Flush(), Sync())
    script.upstream_answers(IDLE)
