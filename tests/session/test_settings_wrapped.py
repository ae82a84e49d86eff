"""What is carried out in a block of pgshim's own: CALL and DO, and Queries that are read in another way than usual."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import BindComplete, ParseComplete
from pgshim.protocol.frontend import Flush, Query, Sync
from tests.session.in_force import (
    INJECTED,
    NOTICE,
    SAID,
    TEXT,
    WORK_MEM,
    begins,
    carried_out,
    has_in_force,
    local,
    own,
    said,
    select,
    setting,
    show,
    told,
)
from tests.session.messages import FAILED, IDLE, IN_BLOCK, columns, done, error, parse, row, server_error
from tests.session.script import SessionScript, Start

ESCAPING = {b"standard_conforming_strings": b"off"}
#: The answers to BEGIN and one SET LOCAL.
OPENED = carried_out(b"BEGIN", b"SET")
A_ROW = columns(TEXT), row(b"1"), done()


# CALL and DO in the extended-query protocol.


@pytest.mark.parametrize("sql", [b"call p()", b"do $$begin end$$"])
def test_with_settings_in_force_it_goes_up_in_a_block(start: Start, sql: bytes) -> None:
    # A COMMIT inside would end the settings; in a block it is an error.
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(sql), Sync())
    script.upstream_receives(
        *own(select(WORK_MEM)), parse(b"", sql), *own(b"BEGIN"), *said(sql), *own(b"COMMIT"), Sync()
    )
    script.upstream_sends(*INJECTED, ParseComplete(), *carried_out(b"BEGIN"), *SAID, NOTICE, done(b"CALL"))
    script.frontend_receives(ParseComplete(), BindComplete(), NOTICE, done(b"CALL"))
    script.upstream_sends(*carried_out(b"COMMIT"), IDLE).frontend_receives(IDLE)


def test_what_follows_it_in_the_batch_is_in_the_block(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"call p()"), *said(b"select 1"), *said(b"call p()"), Sync())
    script.upstream_receives(
        *own(select(WORK_MEM)),
        parse(b"", b"call p()"),
        *own(b"BEGIN", b"call p()", b"select 1", b"call p()", b"COMMIT"),
        Sync(),
    )
    script.forgets()


def test_transaction_control_behind_it_in_the_batch_is_refused(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"call p()"), *said(b"commit"), Sync()).forgets()
    script.upstream_sends(*INJECTED, ParseComplete(), *carried_out(b"BEGIN"), *SAID, done(b"CALL"), *SAID)
    script.frontend_receives(ParseComplete(), BindComplete(), done(b"CALL"), *SAID)
    script.upstream_sends(server_error(b"42601"), FAILED)
    script.frontend_receives(
        error(b"0A000", b"transaction control and COPY in one batch with CALL or DO are not supported by pgshim")
    )
    script.upstream_receives(Query(b"ROLLBACK")).upstream_sends(done(b"ROLLBACK"), IDLE).frontend_receives(IDLE)


def test_a_copy_before_it_in_the_batch_is_refused(start: Start) -> None:
    # In COPY-in mode the server would take the COMMIT for an error.
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"copy t from stdin"), *said(b"call p()"), Sync()).gone_up()
    script.upstream_sends(*INJECTED, *SAID, done(b"COPY 0"), *SAID[:1], server_error(b"42601"), IDLE)
    script.frontend_receives(*SAID, done(b"COPY 0"), *SAID[:1], error(b"0A000", hint=b""), IDLE)


def test_the_block_is_rolled_back_before_the_client_hears_of_its_failure(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"call p()"), Sync()).forgets()
    script.upstream_sends(*INJECTED, ParseComplete(), *carried_out(b"BEGIN"), *SAID, server_error(b"P0001"))
    script.frontend_receives(ParseComplete(), BindComplete(), server_error(b"P0001"))
    script.upstream_sends(FAILED).upstream_receives(Query(b"ROLLBACK"))
    script.upstream_sends(NOTICE, done(b"ROLLBACK"), IDLE).frontend_receives(IDLE)
    has_in_force(script, WORK_MEM)


def test_the_error_of_its_commit_is_the_batchs(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"call p()"), Sync()).forgets()
    script.upstream_sends(*INJECTED, ParseComplete(), *carried_out(b"BEGIN"), *SAID, done(b"CALL")).forgets()
    script.upstream_sends(*SAID, server_error(b"23503"), IDLE).frontend_receives(server_error(b"23503"), IDLE)


def test_a_procedure_that_ends_its_transaction_is_told_why_it_cannot(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"call p()"), Sync()).forgets()
    script.upstream_sends(*INJECTED, ParseComplete(), *carried_out(b"BEGIN"), *SAID, server_error(b"2D000"))
    script.frontend_receives(ParseComplete(), BindComplete(), error(b"2D000", hint=b"RESET"))
    script.upstream_sends(FAILED).upstream_receives(Query(b"ROLLBACK"))
    script.upstream_sends(done(b"ROLLBACK"), IDLE).frontend_receives(IDLE)


def test_in_a_query_too(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"call p()")).upstream_receives(Query(select(WORK_MEM) + b";call p()"))
    script.upstream_sends(columns(TEXT), row(b"8MB"), done(), server_error(b"2D000"), IDLE)
    script.frontend_receives(error(b"2D000", hint=b"RESET"), IDLE)


@pytest.mark.parametrize("startup", [{}, WORK_MEM])
def test_without_settings_or_in_a_block_it_goes_up_as_it_is(start: Start, startup: dict[bytes, bytes]) -> None:
    script = start(startup=startup)
    if startup:
        begins(script, local(b"work_mem", b"8MB"))
    status = IN_BLOCK if startup else IDLE
    script.frontend_sends(*said(b"call p()"), Sync()).upstream_receives(*own(b"call p()"), Sync())
    script.upstream_answers(*SAID, server_error(b"2D000") if not startup else done(b"CALL"), status)


# Queries that are read in another way than the server reads them by itself.


def wraps(script: SessionScript, sql: bytes, upstream: bytes = b"", *ahead: bytes) -> None:
    script.frontend_sends(Query(sql))
    script.upstream_receives(
        *own(b"BEGIN", *(ahead or map(local, *zip(*ESCAPING.items(), strict=True)))),
        Query(upstream or sql),
        *own(b"COMMIT"),
        Sync(),
    )
    script.upstream_sends(*OPENED)


def test_such_a_query_goes_up_in_a_block_that_has_them_in_force(start: Start) -> None:
    script = start(startup=ESCAPING)
    sql = b"select 'it\\'s; set work_mem = 5'"
    wraps(script, sql)
    script.upstream_answers(columns(TEXT), row(b"it's; set work_mem = 5"))
    # Its end waits for the COMMIT.
    script.upstream_sends(done(), IN_BLOCK, *carried_out(b"COMMIT")).expects_nothing()
    script.upstream_sends(IDLE).frontend_receives(done(), IDLE)


def test_of_several_statements_the_last_one_waits_for_the_commit(start: Start) -> None:
    script = start(startup=ESCAPING)
    wraps(script, b"insert; select 1")
    script.upstream_answers(done(b"INSERT 0 1"))
    script.upstream_sends(*A_ROW, IN_BLOCK, *carried_out(b"COMMIT"), IDLE).frontend_receives(*A_ROW, IDLE)


def test_a_commit_that_fails_is_what_the_client_gets_for_it(start: Start) -> None:
    script = start(startup=ESCAPING)
    wraps(script, b"insert")
    script.upstream_sends(done(b"INSERT 0 1"), IN_BLOCK, *SAID, server_error(b"23503"), IDLE)
    script.frontend_receives(server_error(b"23503"), IDLE)


def test_a_query_that_fails_ends_the_block(start: Start) -> None:
    script = start(startup=ESCAPING)
    wraps(script, b"insert; select 1/0")
    script.upstream_answers(done(b"INSERT 0 1"))
    script.upstream_sends(server_error(b"22012", P=b"9"), FAILED, *carried_out(b"ROLLBACK"), IDLE)
    script.frontend_receives(server_error(b"22012", P=b"9"), IDLE)


def test_an_error_ahead_of_it_is_the_querys(start: Start) -> None:
    script = start(startup=ESCAPING)
    script.frontend_sends(Query(b"select 1")).forgets()
    script.upstream_sends(*carried_out(b"BEGIN"), server_error(b"53200", P=b"3"), FAILED)
    script.frontend_receives(server_error(b"53200"))
    script.upstream_receives(Query(b"ROLLBACK")).upstream_sends(done(b"ROLLBACK"), IDLE).frontend_receives(IDLE)


def test_a_set_in_such_a_query_is_kept(script: SessionScript) -> None:
    name = b"standard_conforming_strings"
    script.frontend_sends(Query(b"set %b = off" % name)).forgets()
    script.upstream_sends(done(b"SET"), *told(b"off"), IDLE)
    script.frontend_receives(done(b"SET"), setting(name, b"off"), IDLE)
    wraps(script, b"set %b = on" % name, b"SET LOCAL %b = on;%b" % (name, show(name)))
    script.upstream_sends(done(b"SET"), *told(b"on"), IN_BLOCK).expects_nothing()
    script.upstream_sends(*carried_out(b"COMMIT"), IDLE).frontend_receives(done(b"SET"), setting(name, b"on"), IDLE)
    has_in_force(script, {})


def test_a_set_in_one_that_fails_at_commit_is_not(start: Start) -> None:
    script = start(startup=ESCAPING)
    wraps(script, b"set work_mem = 5", b'SET LOCAL work_mem = 5;SHOW "work_mem"')
    script.upstream_sends(done(b"SET"), *told(b"5kB"), IN_BLOCK, *SAID, server_error(b"23503"), IDLE)
    script.frontend_receives(server_error(b"23503"), IDLE)
    wraps(script, b"select 1")
    script.forgets()


@pytest.mark.parametrize("sql", [b"", b"lock t", b"commit"])
def test_what_needs_nothing_in_force_goes_up_as_it_is(start: Start, sql: bytes) -> None:
    start(startup=ESCAPING).queries(sql, server_error(b"25P01"), IDLE)


def test_in_a_block_texts_are_read_in_that_way_already(start: Start) -> None:
    script = begins(start(startup=ESCAPING), local(b"standard_conforming_strings", b"off"))
    script.queries(b"select 1", *A_ROW, IN_BLOCK)


def test_a_batch_has_it_in_force_by_itself(start: Start) -> None:
    script = start(startup=ESCAPING)
    script.frontend_sends(*said(b"select 'it\\'s'"), Sync())
    script.upstream_receives(*own(select(ESCAPING), b"select 'it\\'s'"), Sync()).forgets()


def test_a_query_amid_a_batch_too(start: Start) -> None:
    script = start(startup=ESCAPING)
    script.frontend_sends(*said(b"select 1"), Query(b"select 2"))
    script.upstream_receives(*own(select(ESCAPING), b"select 1"), Query(b"select 2")).forgets()


def test_transaction_control_in_such_a_query_is_refused(start: Start) -> None:
    script = start(startup=ESCAPING)
    script.frontend_sends(Query(b"begin; select 1")).frontend_receives(
        error(b"0A000", hint=b"Queries of their own"), IDLE
    )


def test_a_copy_in_such_a_query_is_refused(start: Start) -> None:
    # The COMMIT behind it would go up while the server waits for data.
    script = start(startup=ESCAPING)
    script.frontend_sends(Query(b"select 1; copy t from stdin")).frontend_receives(error(b"0A000"), IDLE)


def test_a_query_that_is_one_copy_has_it_in_force(start: Start) -> None:
    script = start(startup=ESCAPING)
    script.frontend_sends(Query(b"copy t from stdin"))
    script.upstream_receives(*own(select(ESCAPING)), *script.copy_in(), Flush()).forgets()
