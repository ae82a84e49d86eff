"""How a block of pgshim's own ends: nothing goes past it, and one that the client began is never taken for it."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import CloseComplete, ParseComplete
from pgshim.protocol.frontend import Flush, Query, Sync
from tests.session.in_force import INJECTED, SAID, WORK_MEM, carried_out, has_in_force, local, own, said, select
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close,
    done,
    error,
    execute,
    parse,
    server_error,
)
from tests.session.script import Start

DO = b"do $$begin end$$"


def test_what_comes_behind_one_that_fails_waits_for_its_rollback(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(DO), Sync(), close(b"s"), Sync(), bind(b"nosuch"), Sync())
    script.upstream_receives(
        *own(select(WORK_MEM)), parse(b"", DO), *own(b"BEGIN"), *said(DO), *own(b"COMMIT"), Sync()
    )
    script.upstream_sends(*INJECTED, ParseComplete(), *carried_out(b"BEGIN"), *SAID, server_error(b"P0001"), FAILED)
    script.frontend_receives(ParseComplete(), SAID[1], server_error(b"P0001")).upstream_receives(Query(b"ROLLBACK"))
    script.upstream_sends(done(b"ROLLBACK"), IDLE).frontend_receives(IDLE, CloseComplete(), IDLE)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"26000"), IDLE)


def test_one_that_failed_before_its_end_was_sent_needs_no_commit(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(parse(b"", DO), bind(b"")).forgets()
    script.upstream_sends(*INJECTED, server_error(b"42601")).frontend_receives(server_error(b"42601"))
    script.frontend_sends(execute(), Sync()).upstream_receives(Flush(), Sync())
    script.upstream_sends(IDLE).frontend_receives(IDLE)
    has_in_force(script, WORK_MEM)


@pytest.mark.parametrize("first", [b"begin", b"commit and chain"])
def test_in_a_block_of_the_clients_own_there_is_none(start: Start, first: bytes) -> None:
    script = start(startup=WORK_MEM)
    if first != b"begin":
        script.frontend_sends(Query(b"begin")).forgets()
        script.upstream_sends(done(b"BEGIN"), done(b"SET"), IN_BLOCK).forgets()
    script.frontend_sends(*said(first), *said(DO), Sync())
    script.upstream_receives(*own(first, local(b"work_mem", b"8MB"), DO), Sync())
    script.upstream_sends(*SAID, done(first.upper()), *carried_out(b"SET"), *SAID, done(b"DO"), IN_BLOCK)
    script.frontend_receives(*SAID, done(first.upper()), *SAID, done(b"DO"), IN_BLOCK)


def test_behind_a_copy_in_its_batch_it_is_refused(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"copy t to stdout"), *said(DO), Sync())
    script.upstream_receives(
        *own(select(WORK_MEM), b"copy t to stdout"), parse(b"", DO), A_PARSE_THAT_FAILS, Sync()
    )
    script.upstream_sends(*INJECTED, *SAID, done(b"COPY 0"), ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(*SAID, done(b"COPY 0"), ParseComplete(), error(b"0A000"), IDLE)


@pytest.mark.parametrize("sql", [b"commit prepared 'x'", b"rollback prepared 'x'"])
def test_a_prepared_transaction_is_not_finished_in_another_role(start: Start, sql: bytes) -> None:
    script = start(startup=WORK_MEM | {b"role": b"bob"})
    script.frontend_sends(*said(sql), Sync())
    script.upstream_receives(parse(b"", sql), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(ParseComplete(), error(b"0A000"), IDLE)
