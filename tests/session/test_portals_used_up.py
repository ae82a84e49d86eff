"""Portals from which nothing more can come, and the unnamed portal that pgshim uses as well."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    CopyInResponse,
    NoData,
    ParameterDescription,
    ParseComplete,
    PortalSuspended,
)
from pgshim.protocol.frontend import CopyDone, Flush, FunctionCall, Query, Sync
from tests.session.in_force import (
    INJECTED,
    SAID,
    WORK_MEM,
    carried_out,
    own,
    own_beside,
    said,
    select,
    sets,
    show,
    shown,
    shown_beside,
)
from tests.session.messages import (
    A_HARMLESS_PARSE,
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
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
NO_PORTAL = error(b"34000", b'portal "" does not exist')


def test_a_deallocate_is_executed_once(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(
        parse(b"d", b"deallocate a"), bind(b"d", portal=b"p"), execute(b"p"), execute(b"p"), Sync()
    )
    script.upstream_receives(A_HARMLESS_PARSE, bind(b"", portal=b"p"), execute(b"p"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(*SAID, done(b"DISCARD PLANS"), server_error(b"42601"), IDLE)
    script.frontend_receives(*SAID, done(b"DEALLOCATE"), error(b"55000", b'portal "p" cannot be run'), IDLE)


def test_discard_all_ends_its_own_portal(script: SessionScript) -> None:
    script.frontend_sends(*said(b"discard all"), execute(), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), execute(), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(*SAID, done(b"DISCARD PLANS"), server_error(b"42601"), IDLE)
    script.frontend_receives(*SAID, done(b"DISCARD ALL"), NO_PORTAL, IDLE)


def test_a_set_is_executed_once_and_can_be_described(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set work_mem = 5"), describe_portal(), execute(), Sync())
    script.upstream_receives(*own(b"SET LOCAL work_mem = 5", show(b"work_mem")), Flush())
    script.upstream_sends(*SAID, done(b"SET"), *shown(b"5kB"))
    script.frontend_receives(*SAID, done(b"SET"), NoData()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"55000", b'portal "" cannot be run'), IDLE)


def test_behind_a_commit_of_the_batch_there_is_no_portal(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"begin")).forgets().upstream_sends(done(b"BEGIN"), done(b"SET"), IN_BLOCK).forgets()
    script.frontend_sends(*said(b"commit"), execute(), Sync())
    script.upstream_receives(*own(b"commit"), execute(), Sync())
    script.upstream_answers(*SAID, done(b"COMMIT"), server_error(b"34000"), IDLE)


@pytest.mark.parametrize("message", [execute(), describe_portal()])
def test_what_pgshim_has_bound_is_not_the_clients(start: Start, message: Message) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(parse(b"s", b"select 1"), message, Sync())
    script.upstream_receives(*own(select(WORK_MEM)), parse(b"", b"select 1"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(*INJECTED, ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(ParseComplete(), NO_PORTAL, IDLE)


def test_a_portal_bound_before_the_transaction_brings_nothing_into_force(script: SessionScript) -> None:
    sets(script, b"work_mem", b"3MB")
    script.frontend_sends(parse(b"", b"select 1"), bind(b""), Sync(), Sync())
    script.upstream_receives(*own(select({b"work_mem": b"3MB"})), parse(b"", b"select 1"), bind(b""), Sync())
    script.upstream_sends(*INJECTED, *SAID, IDLE).frontend_receives(*SAID, IDLE, IDLE)
    script.frontend_sends(execute(), Sync()).upstream_receives(execute(), Sync())
    script.upstream_answers(server_error(b"34000"), IDLE)


def test_the_clients_unnamed_portal_goes_on_beside_pgshims_own(script: SessionScript) -> None:
    script.begins().frontend_sends(parse(b"", b"select 1"), bind(b""), execute(b"", 1), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(b"", 1), Sync())
    script.upstream_answers(*SAID, row(b"1"), PortalSuspended(), IN_BLOCK)
    script.frontend_sends(parse(b"", b"set work_mem = 5"), bind(b"", portal=b"p"), execute(b"p"), execute(), Sync())
    went_up = parse(b"", b"SET LOCAL work_mem = 5"), bind(b"", portal=b"p"), execute(b"p")
    script.upstream_receives(*went_up, *own_beside(show(b"work_mem")), execute(), Sync())
    script.upstream_sends(*SAID, done(b"SET"), *shown_beside(b"5kB"), row(b"2"), done(b"SELECT 1"), IN_BLOCK)
    script.frontend_receives(*SAID, done(b"SET"), row(b"2"), done(b"SELECT 1"), IN_BLOCK)


# What waits amid a batch.


def test_a_query_behind_a_copy_of_its_batch_waits_for_its_end(script: SessionScript) -> None:
    copy = parse(b"", b"copy t to stdout"), bind(b""), execute()
    script.frontend_sends(*copy, Query(b"select 5")).upstream_receives(*copy, Flush())
    script.upstream_answers(*SAID, done(b"COPY 0")).upstream_receives(Query(b"select 5"))
    script.upstream_answers(columns(INT4), row(b"5"), done(), IDLE)


def test_a_function_call_behind_a_copy_of_its_batch_waits_for_its_end(script: SessionScript) -> None:
    call = FunctionCall(870, (), (b"a",), 0)
    copy = parse(b"", b"copy t to stdout"), bind(b""), execute()
    script.frontend_sends(*copy, call, Sync()).upstream_receives(*copy, Flush())
    script.upstream_answers(*SAID, done(b"COPY 0")).upstream_receives(call, Sync()).forgets()


def test_behind_a_copy_the_next_batch_waits_for_the_ready_for_query(script: SessionScript) -> None:
    copy = parse(b"", b"copy t to stdout"), bind(b""), execute(), Sync()
    script.frontend_sends(*copy, Query(b"select 5")).upstream_receives(*copy)
    script.upstream_answers(*SAID, done(b"COPY 0")).upstream_answers(IDLE).upstream_receives(Query(b"select 5"))
    script.upstream_answers(columns(INT4), row(b"5"), done(), IDLE)


def test_a_batch_that_verifies_and_may_end_the_transaction_waits_for_what_is_owed(script: SessionScript) -> None:
    script.describes(b"s", b"select a from t", result=columns(INT4)).prepares(b"e", b"rollback")
    script.frontend_sends(Query(b"select 5"), bind(b"s"), execute(), bind(b"e"), execute(), Sync())
    script.upstream_receives(Query(b"select 5")).upstream_answers(columns(INT4), row(b"5"), done(), IDLE)
    verified = parse(b"", b"select a from t"), describe(b""), bind(b""), execute()
    script.upstream_receives(*verified, Flush())
    script.upstream_sends(ParseComplete(), ParameterDescription(()), columns(INT4), BindComplete(), done())
    script.frontend_receives(BindComplete(), done())
    script.upstream_receives(parse(b"", b"rollback"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete()).upstream_answers(BindComplete(), done(b"ROLLBACK"), IDLE)


def changes_amid(script: SessionScript) -> tuple[list[Message], list[Message]]:
    """A statement that is described, one that changes it, and the first executed: (in front of it, it)."""
    sent = [parse(b"s", b"select a from t"), describe(b"s"), *said(b"alter table t"), bind(b"s"), execute(), Sync()]
    return sent[:5], sent[5:]


def test_a_bind_waits_for_the_description_that_a_change_has_overtaken(script: SessionScript) -> None:
    before, behind = changes_amid(script)
    script.frontend_sends(*before, *behind)
    script.upstream_receives(parse(b"", b"select a from t"), describe(b""), *own(b"alter table t"), Flush())
    script.upstream_answers(ParseComplete(), ParameterDescription(()), columns(INT4))
    script.upstream_receives(parse(b"", b"select a from t"), describe(b""), bind(b""), execute(), Sync()).forgets()
    script.upstream_sends(*SAID, done(b"ALTER TABLE")).forgets()


def test_such_a_batch_waits_for_what_is_owed(script: SessionScript) -> None:
    before, behind = changes_amid(script)
    script.frontend_sends(Query(b"select 5"), *before, *behind).upstream_receives(Query(b"select 5"))
    script.upstream_answers(columns(INT4), row(b"5"), done(), IDLE)
    script.upstream_receives(parse(b"", b"select a from t"), describe(b""), *own(b"alter table t"), Flush())


def test_a_query_amid_a_batch_makes_it_wait_for_what_is_owed(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 5"), parse(b"", b"select 1"), Query(b"select 6"))
    script.upstream_receives(Query(b"select 5")).upstream_answers(columns(INT4), row(b"5"), done(), IDLE)
    script.upstream_receives(parse(b"", b"select 1"), Query(b"select 6"))


def test_a_query_amid_a_block_of_pgshims_own_is_skipped_when_that_fails(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"call p()"), Query(b"select 5"), Sync())
    call = parse(b"", b"call p()")
    script.upstream_receives(*own(select(WORK_MEM)), call, *own(b"BEGIN"), call, bind(b""), execute(), Flush())
    script.upstream_sends(*INJECTED, ParseComplete(), *carried_out(b"BEGIN"), *SAID, server_error(b"22012"))
    script.frontend_receives(*SAID, server_error(b"22012"))
    script.upstream_receives(Flush(), Sync()).upstream_sends(FAILED).upstream_receives(Query(b"ROLLBACK"))
    script.upstream_sends(done(b"ROLLBACK"), IDLE).frontend_receives(IDLE)


def test_a_failure_behind_the_copy_of_a_query_brings_no_sync_back_that_it_swallowed(script: SessionScript) -> None:
    sql = b"copy t from stdin; insert into t values (1)"
    script.frontend_sends(Query(sql)).upstream_receives(Query(sql))
    script.upstream_answers(CopyInResponse(0, ()))
    script.frontend_sends(Sync(), CopyDone()).upstream_receives(CopyDone())
    script.upstream_answers(done(b"COPY 0"), server_error(b"23505"), IDLE)
    script.queries(b"select 5", columns(INT4), row(b"5"), done(), IDLE)

