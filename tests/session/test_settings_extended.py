"""Settings in the extended-query protocol, outside of transaction blocks."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import BindComplete, NoData, ParameterDescription, ParseComplete
from pgshim.protocol.frontend import Flush, Sync
from tests.session.in_force import (
    INJECTED,
    LOCAL_WARNING,
    NOTICE,
    SAID,
    WORK_MEM,
    carried_out,
    has_in_force,
    own,
    said,
    select,
    sets,
    show,
    shown,
)
from tests.session.messages import (
    IDLE,
    bind,
    describe,
    describe_portal,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start

# A SET.


def test_a_set_goes_up_as_set_local_and_what_it_has_come_to_is_asked_for(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set work_mem = '8192kB'"), Sync())
    script.upstream_receives(*own(b"SET LOCAL work_mem = '8192kB'", show(b"work_mem")), Sync())
    script.upstream_sends(*SAID, LOCAL_WARNING, done(b"SET"), *shown(b"8MB"), IDLE)
    script.frontend_receives(*SAID, done(b"SET"), IDLE)
    script.frontend_sends(*said(b"select 1"), Sync())
    script.upstream_receives(*own(select(WORK_MEM), b"select 1"), Sync())
    script.upstream_sends(*INJECTED, *SAID, row(b"1"), done(), IDLE)
    script.frontend_receives(*SAID, row(b"1"), done(), IDLE)


def test_a_set_is_described_as_it_is(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"set work_mem = 5"), describe(b""), bind(b""), describe_portal(), Sync())
    script.upstream_receives(parse(b"", b"SET LOCAL work_mem = 5"), describe(b""), bind(b""), describe_portal(), Sync())
    script.upstream_answers(ParseComplete(), ParameterDescription(()), NoData(), BindComplete(), NoData(), IDLE)
    has_in_force(script, {})


def test_other_notices_of_a_set_are_the_clients(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set work_mem = 5"), Sync())
    script.upstream_receives(*own(b"SET LOCAL work_mem = 5", show(b"work_mem")), Sync())
    script.upstream_answers(*SAID, NOTICE, done(b"SET"))
    script.upstream_sends(*SAID, NOTICE, row(b"5kB"), done(b"SHOW"), IDLE).frontend_receives(IDLE)


@pytest.mark.parametrize("before", ["", " ", "/* \N{LATIN SMALL LETTER A WITH DIAERESIS} */"])
def test_the_position_of_its_error_is_that_in_the_clients_text(script: SessionScript, before: str) -> None:
    sql, upstream = before + "set work_mem = abc ", "SET LOCAL work_mem = abc"
    script.frontend_sends(parse(b"", sql.encode()), Sync())
    script.upstream_receives(parse(b"", upstream.encode()), Sync())
    there, here = (b"%d" % (text.index("abc") + 1) for text in (upstream, sql))
    script.upstream_sends(server_error(b"42601", P=there), IDLE).frontend_receives(server_error(b"42601", P=here), IDLE)


def test_a_set_that_fails_sets_nothing(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set work_mem = 'x'"), Sync())
    script.upstream_receives(*own(b"SET LOCAL work_mem = 'x'", show(b"work_mem")), Sync())
    script.upstream_answers(*SAID, server_error(b"22023"), IDLE)
    has_in_force(script, {})


def test_a_set_whose_batch_fails_later_is_not_kept(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set work_mem = 5"), *said(b"select 1/0"), Sync())
    script.upstream_receives(*own(b"SET LOCAL work_mem = 5", show(b"work_mem"), b"select 1/0"), Sync())
    script.upstream_sends(*SAID, done(b"SET"), *shown(b"5kB"), *SAID, server_error(b"22012"), IDLE)
    script.frontend_receives(*SAID, done(b"SET"), *SAID, server_error(b"22012"), IDLE)
    has_in_force(script, {})


def test_a_set_and_what_follows_it_in_the_batch(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set work_mem = 5"), *said(b"select 1"), Sync())
    script.upstream_receives(*own(b"SET LOCAL work_mem = 5", show(b"work_mem"), b"select 1"), Sync())
    script.upstream_sends(*SAID, done(b"SET"), *shown(b"5kB"), *SAID, row(b"1"), done(), IDLE)
    script.frontend_receives(*SAID, done(b"SET"), *SAID, row(b"1"), done(), IDLE)
    has_in_force(script, {b"work_mem": b"5kB"})


def test_a_prepared_set_sets_each_time_that_it_is_executed(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"set work_mem = 5"), Sync())
    script.upstream_receives(parse(b"", b"SET LOCAL work_mem = 5"), Sync()).upstream_answers(ParseComplete(), IDLE)
    for ahead in ((), own(select({b"work_mem": b"5kB"}))):
        script.frontend_sends(bind(b"s"), execute(), Sync())
        script.upstream_receives(*ahead, *own(b"SET LOCAL work_mem = 5", show(b"work_mem")), Sync())
        script.upstream_sends(*INJECTED[: 2 * len(ahead)], *SAID, done(b"SET"), *shown(b"5kB"), IDLE)
        script.frontend_receives(BindComplete(), done(b"SET"), IDLE)


def test_several_modes_are_set_one_by_one(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set session characteristics as transaction read only, deferrable"), Sync())
    names = b"default_transaction_read_only", b"default_transaction_deferrable"
    script.upstream_receives(*own(*(b"SET LOCAL %b TO on" % name for name in names), *map(show, names)), Sync())
    script.upstream_sends(*SAID, done(b"SET"), *carried_out(b"SET"), *shown(b"on", b"on"), IDLE)
    script.frontend_receives(*SAID, done(b"SET"), IDLE)
    script.frontend_sends(*said(b"select 1"), Sync())
    script.upstream_receives(
        *own(b"SET transaction_read_only TO 'on'", b"SET transaction_deferrable TO 'on'"),
        *own(select(dict.fromkeys(names, b"on")), b"select 1"),
        Sync(),
    )
    script.upstream_sends(*carried_out(b"SET", b"SET"), *INJECTED, *SAID, done(), IDLE)
    script.frontend_receives(*SAID, done(), IDLE)


def test_a_role_is_brought_behind_what_was_set_before_it(script: SessionScript) -> None:
    sets(script, b"work_mem", b"8MB")
    script.frontend_sends(*said(b"set role bob"), Sync())
    ahead = own(select(WORK_MEM))
    script.upstream_receives(*ahead, *own(b"SET LOCAL role bob", b"SHOW is_superuser", show(b"role")), Sync())
    script.upstream_sends(*INJECTED, *SAID, done(b"SET"), *shown(b"off", b"bob"), IDLE)
    script.frontend_receives(*SAID, done(b"SET"), IDLE)
    has_in_force(script, WORK_MEM | {b"role": b"bob"})


# What is in force.


def test_what_is_in_force_goes_ahead_once_in_a_batch(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"select 1"), *said(b"select 2"), Sync())
    script.upstream_receives(*own(select(WORK_MEM), b"select 1", b"select 2"), Sync())
    script.upstream_sends(*INJECTED, *SAID, done(), *SAID, done(), IDLE)
    script.frontend_receives(*SAID, done(), *SAID, done(), IDLE)


def test_it_goes_ahead_of_the_replay_of_a_statement(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(parse(b"s", b"call p()"), Sync())
    script.upstream_receives(*own(select(WORK_MEM)), parse(b"", b"call p()"), Sync())
    script.upstream_sends(*INJECTED, ParseComplete(), IDLE).frontend_receives(ParseComplete(), IDLE)
    script.frontend_sends(describe(b"s"), Sync())
    script.upstream_receives(*own(select(WORK_MEM)), parse(b"", b"call p()"), describe(b""), Sync())
    script.upstream_sends(*INJECTED, ParseComplete(), ParameterDescription(()), NoData(), IDLE)
    script.frontend_receives(ParameterDescription(()), NoData(), IDLE)


def test_a_description_alone_needs_it_too_and_lets_go_of_its_server(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(parse(b"s", b"select 1"), Flush())
    script.upstream_receives(*own(select(WORK_MEM)), parse(b"", b"select 1"), Flush())
    script.upstream_sends(*INJECTED, ParseComplete()).frontend_receives(ParseComplete())
    assert script.session.is_pinning
    script.session.end_idle_exchange()
    script.collects().upstream_receives(Flush(), Sync()).upstream_sends(IDLE)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(*own(select(WORK_MEM), b"select 1"), Sync())
    script.upstream_sends(*INJECTED, *SAID, done(), IDLE).frontend_receives(BindComplete(), done(), IDLE)


def test_the_error_of_what_goes_ahead_answers_the_clients_first_message(start: Start) -> None:
    script = start(startup={b"role": b"gone"})
    script.frontend_sends(*said(b"select 1"), Sync()).forgets()
    script.upstream_sends(*SAID, NOTICE, server_error(b"22023", b"no such role", P=b"8"), IDLE)
    script.frontend_receives(server_error(b"22023", b"no such role"), IDLE)


BARE = [
    b"",
    b"rollback",
    b"commit",
    b"savepoint a",
    b"release a",
    b"rollback to a",
    b"prepare transaction 'x'",
    b"commit prepared 'x'",
    b"rollback prepared 'x'",
    b"lock t",
    b"declare c cursor for select 1",
    b"set local work_mem = 5",
    b"set transaction read only",
    b"set constraints all deferred",
    b"set transaction_isolation = 'serializable'",
]


@pytest.mark.parametrize("sql", BARE)
def test_nothing_goes_ahead_of_what_has_no_effect_or_fails_outside_of_a_block(start: Start, sql: bytes) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(sql), Sync()).upstream_receives(*own(sql), Sync())
    script.upstream_answers(*SAID, server_error(b"25P01"), IDLE)


def test_a_local_set_ahead_of_another_statement_stays_in_force_for_it(start: Start) -> None:
    script = start(startup=WORK_MEM | {b"datestyle": b"ISO, MDY"})
    script.frontend_sends(*said(b"set local work_mem = 5"), *said(b"show work_mem"), Sync())
    rest = select({b"datestyle": b"ISO, MDY"})
    script.upstream_receives(*own(b"set local work_mem = 5", rest, b"show work_mem"), Sync())
    script.upstream_sends(*SAID, done(b"SET"), *INJECTED, *SAID, row(b"5kB"), done(b"SHOW"), IDLE)
    script.frontend_receives(*SAID, done(b"SET"), *SAID, row(b"5kB"), done(b"SHOW"), IDLE)
    has_in_force(script, WORK_MEM | {b"datestyle": b"ISO, MDY"})


def test_behind_a_local_set_of_all_that_is_in_force_nothing_is_brought(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"set local work_mem = 5"), *said(b"show work_mem"), Sync())
    script.upstream_receives(*own(b"set local work_mem = 5", b"show work_mem"), Sync()).forgets()


def test_a_local_set_keeps_its_warning(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set local work_mem = 5"), Sync()).upstream_receives(
        *own(b"set local work_mem = 5"), Sync()
    )
    script.upstream_answers(*SAID, LOCAL_WARNING, done(b"SET"), IDLE)


def test_behind_a_commit_in_the_batch_it_is_brought_again(start: Start) -> None:
    script = start(startup=WORK_MEM).forgets()
    script.frontend_sends(*said(b"select 1"), *said(b"commit"), *said(b"select 2"), Sync())
    script.upstream_receives(*own(select(WORK_MEM), b"select 1", b"commit", select(WORK_MEM), b"select 2"), Sync())
    script.upstream_sends(*INJECTED, *SAID, done(), *SAID, done(b"COMMIT"), *INJECTED, *SAID, done(), IDLE)
    script.frontend_receives(*SAID, done(), *SAID, done(b"COMMIT"), *SAID, done(), IDLE)


# Settings that a driver changes and changes back.


def toggles(script: SessionScript, value: bytes, *ahead: bytes, answers: tuple[Message, ...] = ()) -> None:
    """SET jit, one that no statement means something else for."""
    sql = b"jit = %b" % value
    script.frontend_sends(*said(b"set " + sql), Sync())
    is_asked = ahead == (show(b"jit"),)
    if is_asked:
        # The question stands between the Parse and the Bind, and takes the unnamed statement.
        script.upstream_receives(
            parse(b"", b"SET LOCAL " + sql), *own(*ahead, b"SET LOCAL " + sql, show(b"jit")), Sync()
        )
        script.upstream_sends(ParseComplete(), *answers, *SAID, done(b"SET"), *shown(value), IDLE)
    else:
        script.upstream_receives(*own(*ahead, b"SET LOCAL " + sql, show(b"jit")), Sync())
        script.upstream_sends(*answers, *SAID, done(b"SET"), *shown(value), IDLE)
    script.frontend_receives(*SAID, done(b"SET"), IDLE)


def test_one_that_is_set_back_to_what_the_server_has_is_in_force_no_more(script: SessionScript) -> None:
    toggles(script, b"off", show(b"jit"), answers=shown(b"on"))
    toggles(script, b"on", select({b"jit": b"off"}), answers=INJECTED)
    has_in_force(script, {})
    toggles(script, b"off")
    has_in_force(script, {b"jit": b"off"})


def test_one_that_the_client_gave_at_connect_stays_in_force(start: Start) -> None:
    script = start(startup={b"jit": b"off"})
    toggles(script, b"on", select({b"jit": b"off"}), answers=INJECTED)
    has_in_force(script, {b"jit": b"on"})
