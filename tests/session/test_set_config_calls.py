"""set_config(name, value, is_local) in the client's own statements."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import BindComplete, NoData, ParameterDescription, ParseComplete
from pgshim.protocol.frontend import Bind, Query, Sync
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
    said,
    select,
    setting,
    shown,
    told,
)
from tests.session.messages import (
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

ALL_PARAMETERS = b"select set_config($1, $2, $3)"
GLOBAL, LOCAL = b"select set_config('work_mem', '8MB', false)", b"select set_config('work_mem', '8MB', true )"
COMPUTED = b"select set_config('work_' || 'mem', '8MB', false)"


def current(name: bytes) -> bytes:
    return b"SELECT pg_catalog.current_setting('%b',true)" % name


# Constants.


def test_a_session_wide_call_goes_up_as_a_local_one(script: SessionScript) -> None:
    script.frontend_sends(*said(GLOBAL), Sync())
    script.upstream_receives(*own(LOCAL, current(b"work_mem")), Sync())
    script.upstream_sends(*SAID, row(b"8MB"), done(), *shown(b"8MB"), IDLE)
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
    script.upstream_answers(columns(TEXT), row(b"8MB"), done())
    script.upstream_sends(*told(b"8MB"), IN_BLOCK).frontend_receives(IN_BLOCK)
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
            script.upstream_sends(*SELECTED).upstream_answers(columns(TEXT), row(b"8MB"), done())
            script.upstream_sends(done(b"SET"), *told(b"8MB")).upstream_answers(IDLE)
        else:
            script.frontend_sends(*said(sql), Sync())
            script.upstream_receives(
                *own(select(WORK_MEM), went_up, local(b"work_mem", b"8MB"), current(b"work_mem")), Sync()
            )
            script.upstream_sends(*INJECTED, *SAID, row(b"8MB"), done(), *carried_out(b"SET"), *shown(b"8MB"), IDLE)
            script.frontend_receives(*SAID, row(b"8MB"), done(), IDLE)
        has_in_force(script, WORK_MEM)


def test_two_calls_in_one_statement(script: SessionScript) -> None:
    sql = b"select set_config('work_mem', '5', false), set_config('datestyle', 'german', true)"
    script.frontend_sends(*said(sql), Sync())
    script.upstream_receives(*own(sql.replace(b"false", b"true "), current(b"work_mem")), Sync()).forgets()


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
    script.upstream_sends(*told(b"on")).upstream_answers(columns(TEXT), row(b"off"), done())
    script.upstream_sends(columns(TEXT), row(b"off"), done(), IDLE).frontend_receives(IDLE)
    script.frontend_sends(*said(on), Sync())
    script.upstream_receives(*own(select({b"jit": b"off"}), on.replace(b"false", b"true "), current(b"jit")), Sync())
    script.upstream_sends(*INJECTED, *SAID, row(b"on"), done(), *shown(b"on"), IDLE)
    script.frontend_receives(*SAID, row(b"on"), done(), IDLE)
    has_in_force(script, {})


def test_an_extended_one_asks_for_the_servers_value_first(script: SessionScript) -> None:
    off = b"select set_config('jit', 'off', false)"
    went_up = off.replace(b"false", b"true ")
    script.frontend_sends(*said(off), Sync())
    script.upstream_receives(parse(b"", went_up), *own(b'SHOW "jit"', went_up, current(b"jit")), Sync())
    script.upstream_sends(ParseComplete(), *shown(b"on"), *SAID, row(b"off"), done(), *shown(b"off"), IDLE)
    script.frontend_receives(*SAID, row(b"off"), done(), IDLE)


# Parameters.


def parameters(*values: bytes | None, formats: tuple[int, ...] = ()) -> Bind:
    return Bind(b"", b"s", formats, values, ())


def gone_up(bound: Bind) -> Bind:
    return Bind(b"", b"", bound.parameter_formats, bound.parameter_values, bound.result_formats)


def parses(script: SessionScript, sql: bytes = ALL_PARAMETERS) -> SessionScript:
    script.frontend_sends(parse(b"s", sql), Sync()).upstream_receives(parse(b"", sql), Sync())
    return script.upstream_answers(ParseComplete(), IDLE)  # type: ignore[return-value]


def binds(script: SessionScript, sent: Bind, went_up: Bind, *names: bytes, sql: bytes = ALL_PARAMETERS) -> None:
    """In autocommit, with nothing in force: the settings that are asked for behind it."""
    script.frontend_sends(sent, execute(), Sync())
    script.upstream_receives(parse(b"", sql), gone_up(went_up), execute(), *own(*map(current, names)), Sync())
    script.upstream_sends(*SAID, row(b"8MB"), done(), *shown(*[b"8MB"] * len(names)), IDLE)
    script.frontend_receives(BindComplete(), row(b"8MB"), done(), IDLE)


@pytest.mark.parametrize("value", [b"f", b"F", b"fa", b"false", b" no ", b"n", b"of", b"OFF", b"0"])
def test_a_bind_that_says_false_goes_up_with_true(script: SessionScript, value: bytes) -> None:
    parses(script)
    binds(script, parameters(b"Work_Mem", b"8MB", value), parameters(b"Work_Mem", b"8MB", b"true"), b"work_mem")
    has_in_force(script, WORK_MEM)


def test_a_binary_false_goes_up_as_a_binary_true(script: SessionScript) -> None:
    parses(script)
    sent = parameters(b"work_mem", b"8MB", b"\0", formats=(0, 0, 1))
    binds(script, sent, parameters(b"work_mem", b"8MB", b"\1", formats=(0, 0, 1)), b"work_mem")
    has_in_force(script, WORK_MEM)


def test_null_is_taken_for_false(script: SessionScript) -> None:
    parses(script)
    binds(script, parameters(b"work_mem", b"8MB", None), parameters(b"work_mem", b"8MB", b"true"), b"work_mem")


@pytest.mark.parametrize(
    ("value", "formats"),
    [(b"t", ()), (b"yes", ()), (b"1", (0,)), (b"\1", (1,)), (b"o", ()), (b"", ()), (b"\0\0", (1,))],
)
def test_what_says_true_or_nothing_goes_up_as_it_is(
    script: SessionScript, value: bytes, formats: tuple[int, ...]
) -> None:
    sent = parameters(b"work_mem", b"8MB", value, formats=formats)
    binds(parses(script), sent, sent)
    has_in_force(script, {})


def test_a_name_that_is_null_sets_nothing(script: SessionScript) -> None:
    binds(parses(script), parameters(None, b"8MB", b"f"), parameters(None, b"8MB", b"true"))


def test_a_bind_with_too_few_values_is_the_servers_to_refuse(script: SessionScript) -> None:
    parses(script).frontend_sends(parameters(b"work_mem"), execute(), Sync())
    went_up, bound, *_ = script.gone_up()
    assert bound == gone_up(parameters(b"work_mem"))
    script.upstream_sends(ParseComplete(), server_error(b"08P01"), IDLE).frontend_receives(server_error(b"08P01"), IDLE)


def test_a_bind_that_is_no_bind_is_the_servers_to_refuse(script: SessionScript) -> None:
    broken = bind(b"s").encode()[:-2] + b"\0\7"
    parses(script).frontend_sends(broken, execute(), Sync())
    script.upstream_receives(parse(b"", ALL_PARAMETERS), bind(b"").encode()[:-2] + b"\0\7", execute(), Sync())
    script.upstream_sends(ParseComplete(), server_error(b"08P01"), IDLE).frontend_receives(server_error(b"08P01"), IDLE)


def test_a_value_that_is_null_means_what_the_client_gave_at_connect(start: Start) -> None:
    script = start(startup=WORK_MEM)
    sql = b"select set_config('work_mem', $1, false)"
    script.frontend_sends(parse(b"", sql), bind(b"", None), execute(), Sync())
    script.upstream_receives(
        *own(select(WORK_MEM)),
        parse(b"", sql.replace(b"false", b"true ")),
        bind(b"", None),
        execute(),
        *own(local(b"work_mem", b"8MB"), current(b"work_mem")),
        Sync(),
    )
    script.upstream_sends(*INJECTED, *SAID, row(b"8MB"), done(), *carried_out(b"SET"), *shown(b"8MB"), IDLE)
    script.frontend_receives(*SAID, row(b"8MB"), done(), IDLE)


def test_its_parameter_types_are_pinned_with_the_local_call(script: SessionScript) -> None:
    sql = b"select set_config('work_mem', $1, false)"
    went_up = sql.replace(b"false", b"true ")
    script.frontend_sends(parse(b"s", sql), describe(b"s"), Sync())
    script.upstream_receives(parse(b"", went_up), describe(b""), Sync())
    script.upstream_answers(ParseComplete(), ParameterDescription((TEXT,)), NoData(), IDLE)
    script.frontend_sends(bind(b"s", b"5"), execute(), Sync()).upstream_receives(
        *(parse(b"", went_up, TEXT), bind(b"", b"5"), execute(), *own(current(b"work_mem")), Sync())
    )
    script.forgets()


def test_each_portal_keeps_what_it_was_bound_to(script: SessionScript) -> None:
    parses(script).begins()
    first = Bind(b"a", b"s", (), (b"work_mem", b"5", b"f"), ())
    second = Bind(b"b", b"s", (), (b"datestyle", b"german", b"t"), ())
    script.frontend_sends(first, second, execute(b"b"), execute(b"a"), Sync())
    script.upstream_receives(
        parse(b"", ALL_PARAMETERS),
        Bind(b"a", b"", (), (b"work_mem", b"5", b"true"), ()),
        Bind(b"b", b"", (), (b"datestyle", b"german", b"t"), ()),
        execute(b"b"),
        execute(b"a"),
        *own(current(b"work_mem")),
        Sync(),
    )
    script.upstream_sends(*SAID, BindComplete(), done(), done(), *shown(b"5kB"), IN_BLOCK)
    script.frontend_receives(BindComplete(), BindComplete(), done(), done(), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, {b"work_mem": b"5kB"})


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


def test_a_bind_that_is_too_large_to_be_read_is_refused(script: SessionScript) -> None:
    parses(script).frontend_sends(parameters(b"app.x", b"v" * 100_000, b"f"), execute(), Sync()).gone_up()
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"0A000", hint=b"--allow"), IDLE)


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


@pytest.mark.parametrize("step", [50_000, 1_000_000])
def test_a_value_beyond_all_limits_is_not_kept_in_part(script: SessionScript, step: int) -> None:
    script.frontend_sends(Query(b"select set_config('app.x', repeat('x', 400000), false)")).forgets()
    script.upstream_sends(columns(TEXT), row(b""), done()).forgets()
    answer = columns(TEXT).encode() + row(b"x" * 400_000).encode() + done().encode() + IDLE.encode()
    for start in range(0, len(answer), step):
        script.upstream_sends(answer[start : start + step])
    script.forgets().frontend_sends(Query(b"select 1"))
    went_up = b"".join(message if isinstance(message, bytes) else message.encode() for message in script.gone_up())
    assert went_up.count(b"x" * 1000) in (0, 400)
