"""set_config(name, value, is_local) in the client's own statements."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import CloseComplete, ParseComplete
from pgshim.protocol.frontend import Query, Sync
from pgshim.session.features import assigning
from pgshim.session.session import Policy
from tests.session.in_force import (
    INJECTED,
    SAID,
    SELECTED,
    TEXT,
    WORK_MEM,
    carried_out,
    has_in_force,
    local,
    own,
    own_beside,
    said,
    select,
    setting,
    shown,
    shown_beside,
    told,
)
from tests.session.messages import (
    IDLE,
    IN_BLOCK,
    columns,
    done,
    error,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start

ALL_PARAMETERS = b"select set_config($1, $2, $3)"
GLOBAL, LOCAL = b"select set_config('work_mem', '8MB', false)", b"select set_config('work_mem', '8MB', true )"
COMPUTED = b"select set_config('work_' || 'mem', '8MB', false)"


def current(name: bytes) -> bytes:
    return assigning.current_setting(name)


# Constants.


def test_a_session_wide_call_goes_up_as_a_local_one(script: SessionScript) -> None:
    script.frontend_sends(*said(GLOBAL), Sync())
    script.upstream_receives(*own(LOCAL), *own_beside(current(b"work_mem")), Sync())
    script.upstream_sends(*SAID, row(b"8MB"), done(), *shown_beside(b"8MB"), IDLE)
    script.frontend_receives(*SAID, row(b"8MB"), done(), IDLE)
    has_in_force(script, WORK_MEM)


def test_the_same_in_a_query(script: SessionScript) -> None:
    script.frontend_sends(Query(b"/* \xc3\xa4 */ " + GLOBAL + b"; select 2"))
    went_up = b"/* \xc3\xa4 */ " + LOCAL + b";" + current(b"work_mem")
    script.upstream_receives(Query(went_up + b"; select 2"))
    script.upstream_answers(columns(TEXT), row(b"8MB"), done())
    script.upstream_sends(columns(TEXT), row(b"8MB"), done()).upstream_answers(columns(TEXT), row(b"2"), done(), IDLE)
    has_in_force(script, WORK_MEM)


def test_a_local_call_is_the_transactions(script: SessionScript) -> None:
    sql = b"select set_config('work_mem', '8MB', true)"
    script.queries(sql, columns(TEXT), row(b"8MB"), done(), IDLE)
    script.frontend_sends(*said(sql), Sync()).upstream_receives(*own(sql), Sync())
    script.upstream_answers(*SAID, row(b"8MB"), done(), IDLE)
    has_in_force(script, {})


def test_a_call_for_the_session_in_a_block_is_undone_by_rollback(script: SessionScript) -> None:
    script.begins().frontend_sends(Query(GLOBAL)).upstream_receives(Query(LOCAL + b";" + current(b"work_mem")))
    script.upstream_answers(columns(TEXT), row(b"8MB"))
    script.upstream_sends(done(), *told(b"8MB"), IN_BLOCK).frontend_receives(done(), IN_BLOCK)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE)
    has_in_force(script, {})


def test_null_means_what_the_client_gave_at_connect(start: Start) -> None:
    sql = b"select set_config('work_mem', null, false)"
    went_up = sql.replace(b"false", b"true ")
    for is_query in (True, False):
        script = start(startup=WORK_MEM)
        if is_query:
            script.frontend_sends(Query(sql))
            back = local(b"work_mem", b"8MB")
            script.upstream_receives(Query(b";".join((select(WORK_MEM), went_up, back, current(b"work_mem")))))
            script.upstream_sends(*SELECTED).upstream_answers(columns(TEXT), row(b"8MB"))
            script.upstream_sends(done(), done(b"SET"), *told(b"8MB"), IDLE).frontend_receives(done(), IDLE)
        else:
            script.frontend_sends(*said(sql), Sync())
            script.upstream_receives(
                *own(select(WORK_MEM), went_up),
                *own_beside(local(b"work_mem", b"8MB"), current(b"work_mem")),
                Sync(),
            )
            answers = *carried_out(b"SET"), CloseComplete(), *shown_beside(b"8MB")
            script.upstream_sends(*INJECTED, *SAID, row(b"8MB"), done(), *answers, IDLE)
            script.frontend_receives(*SAID, row(b"8MB"), done(), IDLE)
        has_in_force(script, WORK_MEM)


def test_two_calls_in_one_statement(script: SessionScript) -> None:
    sql = b"select set_config('work_mem', '5', false), set_config('datestyle', 'german', true)"
    script.frontend_sends(*said(sql), Sync())
    script.upstream_receives(*own(sql.replace(b"false", b"true ")), *own_beside(current(b"work_mem")), Sync()).forgets()


def test_a_reported_one_is_reported(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select set_config('TimeZone', 'Asia/Tokyo', false)")).forgets()
    script.upstream_sends(columns(TEXT), row(b"Asia/Tokyo"), done(), *told(b"Asia/Tokyo"), IDLE)
    zone = setting(b"TimeZone", b"Asia/Tokyo")
    script.frontend_receives(columns(TEXT), row(b"Asia/Tokyo"), done(), zone, IDLE)
    has_in_force(script, {b"timezone": b"Asia/Tokyo"})


def test_one_that_drivers_change_and_change_back(script: SessionScript) -> None:
    # asyncpg's introspection.
    off, on = (b"select set_config('jit', '%b', false)" % value for value in (b"off", b"on"))
    script.frontend_sends(Query(off))
    script.upstream_receives(Query(b'SHOW "jit";' + off.replace(b"false", b"true ") + b";" + current(b"jit")))
    script.upstream_sends(*told(b"on")).upstream_answers(columns(TEXT), row(b"off"))
    script.upstream_sends(done(), *told(b"off"), IDLE).frontend_receives(done(), IDLE)
    script.frontend_sends(*said(on), Sync())
    went_up = own(select({b"jit": b"off"}), on.replace(b"false", b"true "))
    script.upstream_receives(*went_up, *own_beside(current(b"jit")), Sync())
    script.upstream_sends(*INJECTED, *SAID, row(b"on"), done(), *shown_beside(b"on"), IDLE)
    script.frontend_receives(*SAID, row(b"on"), done(), IDLE)
    has_in_force(script, {})


def test_an_extended_one_asks_for_the_servers_value_first(script: SessionScript) -> None:
    off = b"select set_config('jit', 'off', false)"
    went_up = off.replace(b"false", b"true ")
    script.frontend_sends(*said(off), Sync())
    script.upstream_receives(parse(b"", went_up), *own(b'SHOW "jit"', went_up), *own_beside(current(b"jit")), Sync())
    script.upstream_sends(ParseComplete(), *shown(b"on"), *SAID, row(b"off"), done(), *shown_beside(b"off"), IDLE)
    script.frontend_receives(*SAID, row(b"off"), done(), IDLE)


@pytest.mark.parametrize("name", [b"transaction_read_only", b"TRANSACTION_ISOLATION", b"transaction_deferrable"])
def test_settings_of_one_transaction_end_with_it_however_they_are_set(script: SessionScript, name: bytes) -> None:
    sql = b"select set_config('%b', 'on', false)" % name
    script.queries(sql, columns(TEXT), row(b"on"), done(), IDLE)
    has_in_force(script, {})


# What cannot be followed.


def test_a_computed_name_is_refused(script: SessionScript) -> None:
    refusal = error(b"0A000", hint=b"--allow computed-settings")
    script.frontend_sends(Query(COMPUTED)).frontend_receives(refusal, IDLE)
    script.frontend_sends(Query(COMPUTED + b"; select 1"))
    script.upstream_receives(Query(b"SELECT 1/0".ljust(len(COMPUTED)) + b"; select 1"))
    script.upstream_sends(server_error(b"22012"), IDLE).frontend_receives(refusal, IDLE)
    script.frontend_sends(*said(COMPUTED), Sync()).gone_up()
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(refusal, IDLE)


def test_it_is_let_through_where_that_is_wanted(start: Start) -> None:
    script = start(policy=Policy(allowed=frozenset({"computed-settings"})))
    script.frontend_sends(Query(COMPUTED)).upstream_receives(Query(COMPUTED))
    script.upstream_answers(columns(TEXT), row(b"8MB"), done(), IDLE)


def test_in_one_text_with_the_end_of_its_transaction_it_is_refused(script: SessionScript) -> None:
    sql = GLOBAL + b"; commit; select 2"
    script.frontend_sends(Query(sql))
    script.upstream_receives(Query(LOCAL + b";" + current(b"work_mem") + b"; commit; SELECT 1/0;select 2"))
    script.upstream_sends(
        columns(TEXT), row(b"8MB"), done(), *told(b"8MB"), done(b"COMMIT"), server_error(b"22012"), IDLE
    )
    script.frontend_receives(
        *(columns(TEXT), row(b"8MB"), done(), done(b"COMMIT")), error(b"0A000", hint=b"a Query of its own"), IDLE
    )


def test_behind_one_the_end_of_the_transaction_is_no_place_for_a_set_either(script: SessionScript) -> None:
    script.frontend_sends(Query(GLOBAL + b"; set datestyle = german; commit; select 2"))
    a_set = b'SET LOCAL datestyle = german;SHOW "datestyle"'
    script.upstream_receives(
        Query(b"; ".join((LOCAL + b";" + current(b"work_mem"), a_set, b"commit; SELECT 1/0;select 2")))
    )
    script.forgets()


def test_a_value_beyond_the_limit_fails_where_it_is_asked_for(script: SessionScript) -> None:
    sql = b"select set_config('app.x', repeat('x', 400000), false)"
    script.frontend_sends(Query(sql)).gone_up()
    script.upstream_answers(columns(TEXT), row(b"x" * 400_000)).upstream_sends(done())
    script.upstream_sends(server_error(b"22012"), IDLE).frontend_receives(error(b"53400"), IDLE)
    script.frontend_sends(*said(sql), Sync()).gone_up()
    script.upstream_answers(*SAID, row(b"x" * 400_000), done())
    script.upstream_sends(*SAID, server_error(b"22012"), IDLE).frontend_receives(error(b"53400"), IDLE)
    has_in_force(script, {})
