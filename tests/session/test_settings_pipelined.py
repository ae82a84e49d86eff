"""Settings and messages in flight: what waits for replies because it hangs on them, and what does not."""

from __future__ import annotations

from pgshim.protocol.backend import BindComplete, FunctionCallResponse, ParseComplete
from pgshim.protocol.frontend import Flush, FunctionCall, Parse, Query, Sync
from tests.session.in_force import (
    INJECTED,
    SAID,
    SELECTED,
    WORK_MEM,
    begins,
    carried_out,
    has_in_force,
    local,
    own,
    said,
    select,
    show,
    shown,
    told,
)
from tests.session.messages import (
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close_portal,
    describe,
    describe_portal,
    done,
    execute,
    parse,
    server_error,
)
from tests.session.script import SessionScript, Start

FIVE = {b"work_mem": b"5kB"}
A_SET = said(b"set work_mem = 5")
SET_UP = own(b"SET LOCAL work_mem = 5", show(b"work_mem"))
SET_DONE = (*SAID, done(b"SET"), *shown(b"5kB"))
QUERY_UP = Query(b'SET LOCAL work_mem = 5;SHOW "work_mem"')
AGAIN = local(b"work_mem", b"8MB")


def test_a_batch_behind_an_unanswered_set_waits(script: SessionScript) -> None:
    script.frontend_sends(*A_SET, Sync(), *said(b"select 1"), Sync()).upstream_receives(*SET_UP, Sync())
    script.upstream_sends(*SET_DONE).frontend_receives(*SAID, done(b"SET"))
    script.upstream_sends(IDLE).frontend_receives(IDLE)
    script.upstream_receives(*own(select(FIVE), b"select 1"), Sync())
    script.upstream_sends(*INJECTED, *SAID, done(), IDLE).frontend_receives(*SAID, done(), IDLE)


def test_so_does_a_query_behind_one(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set work_mem = 5"), Query(b"select 1")).upstream_receives(QUERY_UP)
    script.upstream_sends(done(b"SET"), *told(b"5kB")).frontend_receives(done(b"SET")).upstream_sends(IDLE)
    script.frontend_receives(IDLE).upstream_receives(Query(select(FIVE) + b";select 1"))
    script.upstream_sends(*SELECTED, done(), IDLE).frontend_receives(done(), IDLE)


def test_one_that_waits_for_a_set_that_fails_has_what_was_in_force_before(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*A_SET, Sync(), Query(b"select 1")).upstream_receives(*own(select(WORK_MEM)), *SET_UP, Sync())
    script.upstream_sends(*INJECTED, *SAID, server_error(b"22023"), IDLE)
    script.frontend_receives(*SAID, server_error(b"22023"), IDLE)
    script.upstream_receives(Query(select(WORK_MEM) + b";select 1"))
    script.upstream_sends(*SELECTED, done(), IDLE).frontend_receives(done(), IDLE)


def test_a_set_behind_another_batch_waits_for_that(script: SessionScript) -> None:
    script.frontend_sends(*said(b"select 1"), Sync(), *A_SET, Sync()).upstream_receives(*own(b"select 1"), Sync())
    script.upstream_answers(*SAID, done())
    script.upstream_sends(IDLE).frontend_receives(IDLE).upstream_receives(*SET_UP, Sync())
    script.upstream_sends(*SET_DONE, IDLE).frontend_receives(*SAID, done(b"SET"), IDLE)


def test_with_settings_in_force_and_settled_nothing_waits(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"select 1"), Sync(), Query(b"select 2"), *said(b"select 3"), Sync())
    script.upstream_receives(
        *(*own(select(WORK_MEM), b"select 1"), Sync()),
        Query(select(WORK_MEM) + b";select 2"),
        *(*own(select(WORK_MEM), b"select 3"), Sync()),
    )
    script.upstream_sends(*INJECTED, *SAID, done(), IDLE, *SELECTED, done(), IDLE, *INJECTED, *SAID, done(), IDLE)
    script.frontend_receives(*SAID, done(), IDLE, done(), IDLE, *SAID, done(), IDLE)


def test_a_batch_behind_a_begin_waits_for_its_outcome(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"begin"), Sync(), *said(b"select 1"), Sync())
    script.upstream_receives(*own(b"begin", AGAIN), Sync())
    script.upstream_sends(*SAID, done(b"BEGIN"), *carried_out(b"SET")).frontend_receives(*SAID, done(b"BEGIN"))
    script.upstream_sends(IN_BLOCK).frontend_receives(IN_BLOCK).upstream_receives(*own(b"select 1"), Sync())
    script.upstream_answers(*SAID, done(), IN_BLOCK)


def test_a_batch_behind_a_query_that_begins_waits_for_its_outcome(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"begin"), Query(b"select 1")).upstream_receives(Query(b"begin;" + AGAIN))
    script.upstream_sends(done(b"BEGIN"), done(b"SET"), IN_BLOCK).frontend_receives(done(b"BEGIN"), IN_BLOCK)
    script.upstream_receives(Query(b"select 1")).upstream_answers(done(), IN_BLOCK)


def test_without_settings_nothing_waits_for_a_begin(script: SessionScript) -> None:
    script.frontend_sends(*said(b"begin"), Sync(), *said(b"select 1"), Sync(), *said(b"commit"), Sync())
    script.upstream_receives(*own(b"begin"), Sync(), *own(b"select 1"), Sync(), *own(b"commit"), Sync())
    script.upstream_answers(*SAID, done(b"BEGIN"), IN_BLOCK, *SAID, done(), IN_BLOCK, *SAID, done(b"COMMIT"), IDLE)


def test_what_follows_a_commit_with_a_set_before_it_waits(start: Start) -> None:
    script = begins(start(startup=WORK_MEM), AGAIN)
    script.frontend_sends(*A_SET, *said(b"commit"), *said(b"select 1"), Sync())
    script.upstream_receives(*SET_UP, *own(b"commit"), Flush())
    script.upstream_sends(*SET_DONE, *SAID, done(b"COMMIT")).frontend_receives(
        *SAID, done(b"SET"), *SAID, done(b"COMMIT")
    )
    script.upstream_receives(*own(select(FIVE), b"select 1"), Sync())
    script.upstream_sends(*INJECTED, *SAID, done(), IDLE).frontend_receives(*SAID, done(), IDLE)


def test_what_follows_a_rollback_has_what_was_in_force_before(start: Start) -> None:
    script = begins(start(startup=WORK_MEM), AGAIN)
    script.frontend_sends(*A_SET, *said(b"rollback"), *said(b"begin"), Sync())
    script.upstream_receives(*SET_UP, *own(b"rollback"), Flush())
    script.upstream_sends(*SET_DONE, *SAID, done(b"ROLLBACK")).forgets()


def test_what_is_committed_in_a_batch_stays_if_the_rest_of_it_fails(start: Start) -> None:
    script = begins(start(startup=WORK_MEM), AGAIN)
    script.frontend_sends(*A_SET, *said(b"commit"), *said(b"select 1/0"), Sync()).forgets()
    script.upstream_sends(*SET_DONE, *SAID, done(b"COMMIT")).forgets()
    script.upstream_sends(*INJECTED, *SAID, server_error(b"22012"), IDLE)
    script.frontend_receives(*SAID, server_error(b"22012"), IDLE)
    has_in_force(script, FIVE)


def test_what_a_batch_sets_behind_a_commit_is_undone_if_it_fails(start: Start) -> None:
    script = begins(start(startup=WORK_MEM), AGAIN)
    script.frontend_sends(*said(b"commit"), *A_SET, *said(b"select 1/0"), Sync())
    script.upstream_receives(*own(b"commit", select(WORK_MEM)), *SET_UP, *own(b"select 1/0"), Sync())
    script.upstream_sends(*SAID, done(b"COMMIT"), *INJECTED, *SET_DONE, *SAID, server_error(b"22012"), IDLE).forgets()
    has_in_force(script, WORK_MEM)


def test_a_function_call_behind_an_unanswered_set_waits(script: SessionScript) -> None:
    call = FunctionCall(1598, (), (), 0)
    script.begins().frontend_sends(*A_SET, Sync(), call).upstream_receives(*SET_UP, Sync())
    script.upstream_sends(*SET_DONE, IN_BLOCK).frontend_receives(*SAID, done(b"SET"), IN_BLOCK)
    script.upstream_receives(call).upstream_answers(FunctionCallResponse(b"1"), IN_BLOCK)


def test_a_savepoint_behind_an_unanswered_set_waits_for_it(script: SessionScript) -> None:
    script.begins().frontend_sends(*A_SET, Sync(), *said(b"savepoint a"), Sync()).upstream_receives(*SET_UP, Sync())
    script.upstream_sends(*SET_DONE, IN_BLOCK).frontend_receives(*SAID, done(b"SET"), IN_BLOCK)
    script.upstream_receives(*own(b"savepoint a"), Sync()).upstream_answers(*SAID, done(b"SAVEPOINT"), IN_BLOCK)


def test_within_a_batch_a_savepoint_waits_for_nothing(script: SessionScript) -> None:
    script.begins().frontend_sends(*A_SET, *said(b"savepoint a"), *said(b"set work_mem = 6"), Sync())
    script.upstream_receives(*SET_UP, *own(b"savepoint a", b"SET LOCAL work_mem = 6", show(b"work_mem")), Sync())
    script.upstream_sends(*SET_DONE, *SAID, done(b"SAVEPOINT"), *SAID, done(b"SET"), *shown(b"6kB"), IN_BLOCK)
    script.forgets()
    script.frontend_sends(*said(b"rollback to a"), *said(b"commit"), Sync())
    script.upstream_receives(*own(b"rollback to a", b"commit"), Sync())
    script.upstream_answers(*SAID, done(b"ROLLBACK"), *SAID, done(b"COMMIT"), IDLE)
    has_in_force(script, FIVE)


def test_an_error_in_a_pipeline_leaves_what_waits_behind_it(start: Start) -> None:
    script = begins(start(startup=WORK_MEM), AGAIN)
    script.frontend_sends(Query(b"x"), *said(b"rollback"), Sync(), Query(b"select 1")).upstream_receives(Query(b"x"))
    script.upstream_sends(server_error(b"42601"), FAILED).frontend_receives(server_error(b"42601"), FAILED)
    script.upstream_receives(*own(b"rollback"), Sync())
    script.upstream_sends(*SAID, done(b"ROLLBACK"), IDLE).frontend_receives(*SAID, done(b"ROLLBACK"), IDLE)
    script.upstream_receives(Query(select(WORK_MEM) + b";select 1")).forgets()


def test_a_parse_in_a_pipeline_does_not_wait_for_what_it_is_not_executed_with(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(parse(b"a", b"select 1"), Sync(), parse(b"b", b"select 2"), Sync())
    script.upstream_receives(
        *(*own(select(WORK_MEM)), parse(b"", b"select 1"), Sync()),
        *(*own(select(WORK_MEM)), parse(b"", b"select 2"), Sync()),
    )
    script.upstream_sends(*INJECTED, ParseComplete(), IDLE, *INJECTED, ParseComplete(), IDLE)
    script.frontend_receives(ParseComplete(), IDLE, ParseComplete(), IDLE)


def test_a_set_executed_from_a_portal_of_an_earlier_batch(script: SessionScript) -> None:
    script.begins().frontend_sends(*A_SET[:2], Sync()).upstream_receives(*own(b"SET LOCAL work_mem = 5")[:2], Sync())
    script.upstream_answers(*SAID, IN_BLOCK)
    script.frontend_sends(execute(), Sync()).upstream_receives(execute(), *SET_UP[3:], Sync())
    script.upstream_sends(done(b"SET"), *shown(b"5kB"), IN_BLOCK).frontend_receives(done(b"SET"), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, FIVE)


def test_a_description_behind_an_unanswered_set_waits(script: SessionScript) -> None:
    script.prepares(b"s", b"call p()").frontend_sends(*A_SET, Sync(), describe(b"s"), Sync())
    script.upstream_receives(*SET_UP, Sync()).upstream_sends(*SET_DONE, IDLE).forgets()


def test_the_execute_of_an_earlier_portal_behind_an_unanswered_set_waits(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").begins().frontend_sends(bind(b"s", portal=b"p"), Sync()).forgets()
    script.upstream_sends(ParseComplete(), BindComplete(), IN_BLOCK).frontend_receives(BindComplete(), IN_BLOCK)
    script.frontend_sends(*A_SET, Sync(), execute(b"p"), Sync()).upstream_receives(*SET_UP, Sync())
    script.upstream_sends(*SET_DONE, IN_BLOCK).frontend_receives(*SAID, done(b"SET"), IN_BLOCK)
    script.upstream_receives(execute(b"p"), Sync()).upstream_answers(done(), IN_BLOCK)


def test_what_follows_a_close_of_a_portal_waits_as_without_it(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"begin"), Sync(), close_portal(b"p"), *said(b"select 1"), Sync())
    went_up = script.gone_up()
    assert bind(b"") in went_up
    script.upstream_sends(*SAID, done(b"BEGIN"), *carried_out(b"SET"), IN_BLOCK)
    script.frontend_receives(*SAID, done(b"BEGIN"), IN_BLOCK)
    went_up += script.gone_up()
    assert [message.query for message in went_up if isinstance(message, Parse)] == [b"begin", AGAIN, b"select 1"]
    script.forgets()


def test_the_execute_of_a_portal_that_is_not_known_waits(script: SessionScript) -> None:
    script.frontend_sends(*A_SET, Sync(), execute(b"p"), Sync()).upstream_receives(*SET_UP, Sync())
    script.upstream_sends(*SET_DONE, IDLE).frontend_receives(*SAID, done(b"SET"), IDLE)
    script.upstream_receives(execute(b"p"), Sync()).upstream_answers(server_error(b"34000"), IDLE)


def test_the_description_of_a_portal_waits(script: SessionScript) -> None:
    script.frontend_sends(*A_SET, Sync(), describe_portal(b"p"), Sync()).upstream_receives(*SET_UP, Sync())
    script.upstream_sends(*SET_DONE, IDLE).frontend_receives(*SAID, done(b"SET"), IDLE)
    script.upstream_receives(describe_portal(b"p"), Sync()).upstream_answers(server_error(b"34000"), IDLE)
