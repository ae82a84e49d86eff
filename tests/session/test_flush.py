"""Flush: replies come as they are ready; an exchange of nothing but Parse and Describe does not keep a server."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    NoData,
    ParameterDescription,
    ParseComplete,
    PortalSuspended,
)
from pgshim.protocol.frontend import Flush, Query, Sync
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
from tests.session.script import SessionScript

INT4 = 23
PREPARED = ParseComplete(), ParameterDescription(()), columns(INT4)


def prepares_with_flush(script: SessionScript, name: bytes = b"s", sql: bytes = b"call p()") -> SessionScript:
    script.frontend_sends(parse(name, sql), describe(name), Flush())
    script.upstream_receives(parse(b"", sql), describe(b""), Flush())
    return script.upstream_answers(*PREPARED)


def ends_the_exchange(script: SessionScript) -> None:
    """What the connection does once the client is silent."""
    assert script.session.is_pinning
    script.session.end_idle_exchange()
    script.collects().upstream_receives(Flush(), Sync())
    assert not script.session.is_pinning
    script.upstream_sends(IDLE).expects_nothing()


def test_asyncpg_goes_on_without_a_sync(script: SessionScript) -> None:
    prepares_with_flush(script).frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(bind(b""), execute(), Sync())
    script.upstream_answers(BindComplete(), row(b"1"), done(), IDLE)


def test_replies_are_given_as_they_come(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select 1")).upstream_receives(parse(b"", b"select 1"))
    script.frontend_sends(Flush()).upstream_receives(Flush()).upstream_answers(ParseComplete())
    script.frontend_sends(bind(b"s"), Flush()).upstream_receives(bind(b""), Flush()).upstream_answers(BindComplete())
    script.frontend_sends(execute(limit=1), Flush()).upstream_receives(execute(limit=1), Flush())
    script.upstream_answers(row(b"1")).upstream_answers(PortalSuspended())
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)


def test_a_flush_with_nothing_to_flush_stays_here(script: SessionScript) -> None:
    # libpq sends one behind a Sync, in a write of its own: a pooler would take it for the start of a transaction.
    script.frontend_sends(Flush(), Flush()).expects_nothing()
    script.frontend_sends(parse(b"s", b"select 1"), Sync()).upstream_receives(parse(b"", b"select 1"), Sync())
    script.frontend_sends(Flush()).expects_nothing()
    script.upstream_answers(ParseComplete(), IDLE).frontend_sends(Flush()).expects_nothing()
    script.queries(b"select 1", done(), IDLE).frontend_sends(Flush()).expects_nothing()


def test_a_sync_alone_does_not_start_a_write(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select 1")).upstream_receives(parse(b"", b"select 1"))
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(ParseComplete(), IDLE)


def test_a_sync_with_nothing_open_is_answered_here(script: SessionScript) -> None:
    script.frontend_sends(Sync(), Sync()).frontend_receives(IDLE, IDLE)
    script.begins().frontend_sends(Sync()).frontend_receives(IN_BLOCK)
    script.queries(b"x", server_error(b"42601"), FAILED).frontend_sends(Sync()).frontend_receives(FAILED)


def test_a_sync_with_nothing_open_keeps_its_place(script: SessionScript) -> None:
    script.frontend_sends(Query(b"begin"), Sync(), Query(b"x"), Sync())
    script.upstream_receives(Query(b"begin"), Query(b"x"))
    script.upstream_sends(done(b"BEGIN")).frontend_receives(done(b"BEGIN"))
    script.upstream_sends(IN_BLOCK).frontend_receives(IN_BLOCK, IN_BLOCK)
    script.upstream_sends(server_error(b"42601"), FAILED).frontend_receives(server_error(b"42601"), FAILED, FAILED)


# An exchange that holds a server for nothing.


def test_an_idle_exchange_is_ended_and_replayed_when_the_client_goes_on(script: SessionScript) -> None:
    ends_the_exchange(prepares_with_flush(script))
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"call p()"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE)
    script.frontend_receives(BindComplete(), done(), IDLE)


def test_the_clients_own_sync_still_gets_its_one_ready_for_query(script: SessionScript) -> None:
    ends_the_exchange(prepares_with_flush(script))
    script.frontend_sends(Sync()).frontend_receives(IDLE)


def test_the_clients_sync_may_come_before_that_of_pgshim_is_answered(script: SessionScript) -> None:
    prepares_with_flush(script).session.end_idle_exchange()
    script.collects().upstream_receives(Flush(), Sync())
    script.frontend_sends(Sync(), Query(b"select 1")).upstream_receives(Query(b"select 1"))
    script.upstream_sends(IDLE).frontend_receives(IDLE)
    script.upstream_answers(columns(INT4), done(), IDLE)


def test_the_client_may_go_on_before_the_sync_of_pgshim_is_answered(script: SessionScript) -> None:
    prepares_with_flush(script).session.end_idle_exchange()
    script.collects().upstream_receives(Flush(), Sync())
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"call p()"), bind(b""), execute(), Sync())
    script.upstream_sends(IDLE, ParseComplete(), BindComplete(), done(), IDLE)
    script.frontend_receives(BindComplete(), done(), IDLE)


def test_a_close_does_not_keep_it(script: SessionScript) -> None:
    prepares_with_flush(script).frontend_sends(close(b"s"), Flush()).frontend_receives(CloseComplete())
    ends_the_exchange(script)
    script.does_not_know(b"s")


def test_a_parse_that_failed_and_waits_for_its_sync_is_ended_too(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"selec"), describe(b"s"), Flush())
    script.upstream_receives(parse(b"", b"selec"), describe(b""), Flush())
    script.upstream_answers(server_error(b"42601"))
    ends_the_exchange(script)
    script.frontend_sends(parse(b"t", b"select 1")).expects_nothing()
    script.frontend_sends(Sync()).frontend_receives(IDLE)
    script.does_not_know(b"t")


def test_an_error_of_pgshims_own_that_waits_for_its_sync_is_ended_too(script: SessionScript) -> None:
    script.frontend_sends(describe(b"nosuch"), Flush()).upstream_receives(A_PARSE_THAT_FAILS)
    script.upstream_sends(server_error(b"42601")).frontend_receives(error(b"26000"))
    ends_the_exchange(script)
    script.frontend_sends(describe(b"nosuch")).expects_nothing()
    script.frontend_sends(Sync()).frontend_receives(IDLE)


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        (bind(b"s"), BindComplete()),
        (describe_portal(), NoData()),
        (execute(), done()),
    ],
)
def test_what_may_have_done_something_is_kept(script: SessionScript, more: Message, answer: Message) -> None:
    prepares_with_flush(script).frontend_sends(more, Flush())
    script.upstream_receives(bind(b"") if more == bind(b"s") else more, Flush())
    script.upstream_answers(answer)
    assert not script.session.is_pinning
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)


def test_an_exchange_in_a_block_is_kept(script: SessionScript) -> None:
    prepares_with_flush(script.begins())
    assert not script.session.is_pinning
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IN_BLOCK)
    assert not script.session.is_pinning


def test_an_exchange_that_is_not_answered_is_kept(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select 1"), Flush()).upstream_receives(parse(b"", b"select 1"), Flush())
    assert not script.session.is_pinning
    script.upstream_answers(ParseComplete())
    assert script.session.is_pinning


def test_one_that_is_idle_is_no_exchange(script: SessionScript) -> None:
    assert not script.session.is_pinning
    script.prepares(b"s", b"select 1")
    assert not script.session.is_pinning


def test_asyncpg_copies_after_a_prepare_that_it_never_ends(script: SessionScript) -> None:
    # From PostgreSQL 18 on the Query would leave the transaction of the open exchange open.
    prepares_with_flush(script).frontend_sends(Query(b"select 1"))
    script.upstream_receives(Flush(), Sync(), Query(b"select 1"))
    script.upstream_sends(IDLE, columns(INT4), done(), IDLE).frontend_receives(columns(INT4), done(), IDLE)
    script.knows(b"s", b"call p()")


def test_a_query_behind_a_parse_that_is_not_answered_follows_it(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select 1"), Query(b"select 2"))
    script.upstream_receives(parse(b"", b"select 1"), Query(b"select 2"))
    script.upstream_answers(ParseComplete(), columns(INT4), done(), IDLE)
    script.knows(b"s", b"select 1")
