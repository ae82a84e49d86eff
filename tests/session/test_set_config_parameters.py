"""set_config(name, value, is_local) whose arguments are parameters: what the Bind says of them."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import BindComplete, CloseComplete, NoData, ParameterDescription, ParseComplete
from pgshim.protocol.frontend import Bind, Sync
from pgshim.session.features import assigning
from tests.session.in_force import (
    INJECTED,
    SAID,
    TEXT,
    WORK_MEM,
    carried_out,
    has_in_force,
    local,
    own,
    own_beside,
    select,
    shown,
    shown_beside,
)
from tests.session.messages import (
    IDLE,
    IN_BLOCK,
    bind,
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


def current(name: bytes) -> bytes:
    return assigning.current_setting(name)


def parameters(*values: bytes | None, formats: tuple[int, ...] = ()) -> Bind:
    return Bind(b"", b"s", formats, values, ())


def gone_up(bound: Bind) -> Bind:
    return Bind(b"", b"", bound.parameter_formats, bound.parameter_values, bound.result_formats)


def parses(script: SessionScript, sql: bytes = ALL_PARAMETERS) -> SessionScript:
    script.frontend_sends(parse(b"s", sql), Sync()).upstream_receives(parse(b"", sql), Sync())
    return script.upstream_answers(ParseComplete(), IDLE)


def binds(script: SessionScript, sent: Bind, went_up: Bind, *names: bytes, sql: bytes = ALL_PARAMETERS) -> None:
    """In autocommit, with nothing in force: the settings that are asked for behind it."""
    script.frontend_sends(sent, execute(), Sync())
    script.upstream_receives(parse(b"", sql), gone_up(went_up), execute(), *own_beside(*map(current, names)), Sync())
    script.upstream_sends(*SAID, row(b"8MB"), done(), *shown_beside(*[b"8MB"] * len(names)), IDLE)
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


def test_settings_of_one_transaction_end_with_it(script: SessionScript) -> None:
    sent = parameters(b"transaction_read_only", b"on", b"f")
    parses(script).frontend_sends(sent, execute(), Sync())
    went_up = parameters(b"transaction_read_only", b"on", b"true")
    script.upstream_receives(parse(b"", ALL_PARAMETERS), gone_up(went_up), execute(), Sync())
    script.upstream_sends(*SAID, row(b"on"), done(), IDLE).frontend_receives(BindComplete(), row(b"on"), done(), IDLE)


def test_a_value_that_is_null_means_what_the_client_gave_at_connect(start: Start) -> None:
    script = start(startup=WORK_MEM)
    sql = b"select set_config('work_mem', $1, false)"
    script.frontend_sends(parse(b"", sql), bind(b"", None), execute(), Sync())
    script.upstream_receives(
        *own(select(WORK_MEM)),
        parse(b"", sql.replace(b"false", b"true ")),
        bind(b"", b"8MB"),
        execute(),
        *own_beside(local(b"work_mem", b"8MB"), current(b"work_mem")),
        Sync(),
    )
    answers = *carried_out(b"SET"), CloseComplete(), *shown_beside(b"8MB")
    script.upstream_sends(*INJECTED, *SAID, row(b"8MB"), done(), *answers, IDLE)
    script.frontend_receives(*SAID, row(b"8MB"), done(), IDLE)


def test_its_parameter_types_are_pinned_with_the_local_call(script: SessionScript) -> None:
    sql = b"select set_config('work_mem', $1, false)"
    went_up = sql.replace(b"false", b"true ")
    script.frontend_sends(parse(b"s", sql), describe(b"s"), Sync())
    script.upstream_receives(parse(b"", went_up), describe(b""), Sync())
    script.upstream_answers(ParseComplete(), ParameterDescription((TEXT,)), NoData(), IDLE)
    script.frontend_sends(bind(b"s", b"5"), execute(), Sync()).upstream_receives(
        *(parse(b"", went_up, TEXT), bind(b"", b"5"), execute(), *own_beside(current(b"work_mem")), Sync())
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


def test_a_bind_that_is_too_large_to_be_read_is_refused(script: SessionScript) -> None:
    parses(script).frontend_sends(parameters(b"app.x", b"v" * 100_000, b"f"), execute(), Sync()).gone_up()
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"0A000", hint=b"--allow"), IDLE)
