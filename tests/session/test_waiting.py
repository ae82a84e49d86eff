"""What waits for replies: a batch behind a ReadyForQuery goes up only whole, and nothing piles up unanswered."""

from __future__ import annotations

from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    CopyInResponse,
    NoData,
    ParseComplete,
)
from pgshim.protocol.frontend import CopyData, CopyDone, Flush, Query, Sync
from tests.session.messages import (
    A_HARMLESS_PARSE,
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close_portal,
    columns,
    describe_portal,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript
from tests.session.shapes import ABORTED, CHANGED, PURE, replay, verified

INT4, TEXT = 23, 25


def test_the_beginning_of_a_batch_waits_for_the_rest_or_the_ready_for_query(script: SessionScript) -> None:
    # PgBouncer might give the server away between the two.
    script.frontend_sends(Query(b"a")).upstream_receives(Query(b"a"))
    script.frontend_sends(parse(b"", b"select 1")).frontend_sends(bind(b"")).expects_nothing()
    script.upstream_sends(done(), IDLE).frontend_receives(done(), IDLE)
    script.upstream_receives(parse(b"", b"select 1"), bind(b""))
    script.frontend_sends(execute(), Sync()).upstream_receives(execute(), Sync())
    script.upstream_answers(ParseComplete(), BindComplete(), row(b"1"), done(), IDLE)


def test_a_whole_batch_does_not_wait(script: SessionScript) -> None:
    batch = parse(b"", b"select 1"), bind(b""), describe_portal(), execute(), close_portal(b""), Sync()
    script.frontend_sends(Query(b"a"), *batch).upstream_receives(Query(b"a"), *batch).forgets()


def test_a_batch_with_a_flush_waits(script: SessionScript) -> None:
    script.frontend_sends(Query(b"a"), parse(b"", b"select 1"), Flush(), Sync()).upstream_receives(Query(b"a"))
    script.upstream_sends(done(), IDLE).frontend_receives(done(), IDLE)
    script.upstream_receives(parse(b"", b"select 1"), Flush(), Sync())
    script.upstream_answers(ParseComplete(), IDLE)


def test_a_batch_whose_last_message_is_cut_off_waits(script: SessionScript) -> None:
    large = bind(b"", b"v" * 100_000).encode()
    script.frontend_sends(Query(b"a"), parse(b"", b"call p($1)"), large[:80_000]).upstream_receives(Query(b"a"))
    script.upstream_sends(done(), IDLE).frontend_receives(done(), IDLE)
    script.upstream_receives(parse(b"", b"call p($1)"), large[:80_000])
    script.frontend_sends(large[80_000:]).upstream_receives(large[80_000:])


def test_a_close_of_a_portal_waits_for_the_rest_of_its_batch(script: SessionScript) -> None:
    script.frontend_sends(Query(b"a")).upstream_receives(Query(b"a"))
    script.frontend_sends(close_portal(b"p")).expects_nothing()
    script.upstream_sends(done(), IDLE).frontend_receives(done(), IDLE).upstream_receives(close_portal(b"p"))
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(CloseComplete(), IDLE)


def test_a_flush_behind_a_copy_that_has_ended_stays_here(script: SessionScript) -> None:
    script.frontend_sends(parse(b"a", b"x"), Query(b"insert; copy t from stdin"))
    script.upstream_receives(parse(b"", b"x"), Query(b"insert; copy t from stdin"))
    script.upstream_answers(ParseComplete(), done(b"INSERT 0 1"), CopyInResponse(0, ()))
    script.frontend_sends(CopyDone()).upstream_receives(CopyDone())
    script.upstream_answers(done(b"COPY 1"), IDLE)
    script.frontend_sends(Flush()).expects_nothing()


def test_a_query_amid_a_batch_ends_it_for_what_comes_behind(script: SessionScript) -> None:
    script.frontend_sends(parse(b"a", b"call p()"), Query(b"x"), bind(b"a"), execute(), Sync())
    script.upstream_receives(parse(b"", b"call p()"), Query(b"x"))
    script.upstream_sends(ParseComplete(), done(), IDLE).frontend_receives(ParseComplete(), done(), IDLE)
    script.upstream_receives(parse(b"", b"call p()"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE).frontend_receives(BindComplete(), done(), IDLE)


def test_the_sync_behind_a_query_amid_a_batch_follows_it(script: SessionScript) -> None:
    # From PostgreSQL 18 on it is what ends the transaction.
    script.frontend_sends(parse(b"a", b"call p()"), Query(b"x"), Sync())
    script.upstream_receives(parse(b"", b"call p()"), Query(b"x"), Sync())
    script.upstream_answers(ParseComplete(), done(), IN_BLOCK, IDLE)
    script.knows(b"a", b"call p()")


def test_a_lone_sync_behind_a_batch_that_fails_tells_the_failed_block(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(bind(b"s"), execute(), Sync(), Sync(), Query(b"select 4"), Sync())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync(), Query(b"select 4"))
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(CHANGED, FAILED, FAILED).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(columns(INT4), done(), IN_BLOCK).frontend_receives(ABORTED, FAILED, FAILED)
    script.upstream_sends(server_error(b"42601"), FAILED).expects_nothing()


def test_an_execute_of_a_portal_that_deallocates_waits_for_what_may_end_the_portal(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").begins()
    script.frontend_sends(parse(b"", b"deallocate a"), bind(b"", portal=b"p"), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b"", portal=b"p"), Sync())
    script.upstream_answers(ParseComplete(), BindComplete(), IN_BLOCK)
    script.frontend_sends(Query(b"commit"), execute(b"p"), Sync())
    script.upstream_receives(Query(b"commit"))
    script.upstream_sends(done(b"COMMIT"), IDLE).frontend_receives(done(b"COMMIT"), IDLE)
    script.upstream_receives(execute(b"p"), Sync()).upstream_answers(server_error(b"34000"), IDLE)
    script.knows(b"a", b"select 1")


def test_a_batch_that_is_open_when_a_block_is_made_to_fail_fails_with_it(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").describes(b"s", PURE, result=columns(INT4)).begins()
    script.frontend_sends(parse(b"", b"deallocate a"), bind(b"", portal=b"p"), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b"", portal=b"p"), Sync())
    script.upstream_answers(ParseComplete(), BindComplete(), IN_BLOCK)
    script.frontend_sends(bind(b"s"), execute(), Sync(), parse(b"n", b"select 5"), execute(b"p"), Sync())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync(), parse(b"", b"select 5"), Flush())
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(CHANGED, FAILED).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), FAILED).frontend_receives(ABORTED, FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE).does_not_know(b"n").knows(b"a", b"select 1")


def test_what_is_known_of_portals_is_bounded(script: SessionScript) -> None:
    script.prepares(b"s", b"call p()").begins()
    for number in range(0, 20_000, 200):
        script.frontend_sends(*(bind(b"s", portal=b"p%d" % (number + each)) for each in range(200))).forgets()
        script.upstream_sends(*[ParseComplete()] * (number == 0), *[BindComplete()] * 200).forgets()
    script.frontend_sends(execute(b"p5"), execute(b"p19999"), Sync())
    script.upstream_receives(execute(b"p5"), execute(b"p19999"), Sync()).upstream_answers(done(), done(), IN_BLOCK)


def test_replies_that_are_owed_are_bounded(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"call p()")).upstream_receives(parse(b"", b"call p()"))
    script.frontend_sends(*[bind(b"s")] * 20_000)
    sent = len(script.gone_up())
    assert 1000 < sent < 20_000
    assert script.session.backlog_size > 0
    script.upstream_sends(ParseComplete(), *[BindComplete()] * (sent // 2)).forgets()
    script.frontend_sends(Sync())
    while script.session.is_busy:
        script.upstream_sends(*[BindComplete()] * 1000)
        script.forgets()
        if not script.session.backlog_size:
            break
    assert not script.session.backlog_size


# What the connection asks.


def test_a_session_says_whether_upstream_goes_on_answering(script: SessionScript) -> None:
    session = script.session
    assert not session.is_answering
    script.frontend_sends(parse(b"s", b"select 1"), Flush()).upstream_receives(parse(b"", b"select 1"), Flush())
    assert not session.is_answering
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync())
    assert session.is_answering
    script.upstream_answers(ParseComplete(), IDLE)
    assert not session.is_answering
    script.queries(b"select 1; copy t from stdin", columns(INT4), row(b"1"), done(), CopyInResponse(0, ()))
    assert not session.is_answering
    script.frontend_sends(CopyData(b"1\n"), CopyDone()).upstream_receives(CopyData(b"1\n"), CopyDone())
    assert session.is_answering
    script.upstream_answers(done(b"COPY 1"), IDLE)
    assert not session.is_answering


def test_a_copy_that_a_server_ends_by_itself_is_ended(script: SessionScript) -> None:
    script.frontend_sends(Query(b"copy t from stdin")).upstream_receives(*script.copy_in(), Flush())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"COPY 0")).frontend_receives(done(b"COPY 0"))
    script.upstream_receives(Flush(), Sync()).upstream_answers(IDLE)


def test_a_description_in_a_whole_batch_does_not_depend_on_others(script: SessionScript) -> None:
    script.frontend_sends(parse(b"a", b"x"), Sync(), describe_portal(b"c"), Sync())
    script.upstream_receives(parse(b"", b"x"), Sync(), describe_portal(b"c"), Sync())
    script.upstream_answers(ParseComplete(), IDLE)
    script.upstream_answers(NoData(), IDLE)
