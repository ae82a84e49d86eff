"""Settings in Queries, outside of transaction blocks."""

from __future__ import annotations

import pytest

from pgshim.errors import UpstreamViolation
from pgshim.protocol import Message
from pgshim.protocol.backend import BindComplete, CopyInResponse, ParseComplete
from pgshim.protocol.frontend import CopyData, CopyDone, Flush, Query, Sync
from pgshim.session.statements import SUBSTITUTE
from tests.session.in_force import (
    INJECTED,
    NOTICE,
    ONE_OF_ALL,
    SAID,
    SELECTED,
    TEXT,
    WORK_MEM,
    has_in_force,
    local,
    notice,
    own,
    said,
    select,
    sets,
    setting,
    show,
    told,
)
from tests.session.messages import IDLE, columns, done, parse, row, server_error
from tests.session.script import SessionScript, Start
from tests.session.test_settings_extended import BARE

AHEAD = select(WORK_MEM) + b";"
GERMAN = setting(b"DateStyle", b"German, DMY")
SAID_AGAIN = b"SET LOCAL work_mem TO '8MB';"
A_ROW: tuple[Message, ...] = (columns(TEXT), row(b"1"), done())


# A SET.


def test_a_set_goes_up_as_set_local_and_what_it_has_come_to_is_asked_for(script: SessionScript) -> None:
    script.frontend_sends(Query(b" set session work_mem = '8192kB' ; "))
    script.upstream_receives(Query(b" SET LOCAL work_mem = '8192kB';SHOW \"work_mem\" ; "))
    # A server says that the last statement has been carried out only when it has committed.
    script.upstream_sends(done(b"SET")).expects_nothing()
    script.upstream_sends(*told(b"8MB")).frontend_receives(done(b"SET")).upstream_answers(IDLE)
    has_in_force(script, WORK_MEM)


def test_a_set_that_fails_sets_nothing(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set work_mem = '\xc3\xa4'")).gone_up()
    script.upstream_answers(server_error(b"22023"), IDLE)
    has_in_force(script, {})


def test_a_ready_for_query_ahead_of_what_the_set_has_come_to_is_no_answer(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set work_mem = 5")).gone_up()
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(done(b"SET"), IDLE)
    script.expects_nothing()


def test_a_set_in_a_text_that_fails_later_is_not_kept(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set work_mem = 5; select 1/0"))
    script.upstream_receives(Query(b'SET LOCAL work_mem = 5;SHOW "work_mem"; select 1/0'))
    script.upstream_sends(done(b"SET"), *told(b"5kB"), server_error(b"22012"), IDLE)
    script.frontend_receives(done(b"SET"), server_error(b"22012"), IDLE)
    has_in_force(script, {})


def test_a_later_set_counts(script: SessionScript) -> None:
    sets(script, b"work_mem", b"8MB")
    script.frontend_sends(Query(b"set work_mem = 5; set work_mem = 6"))
    script.upstream_receives(
        Query(SAID_AGAIN + b'SET LOCAL work_mem = 5;SHOW "work_mem"; SET LOCAL work_mem = 6;SHOW "work_mem"')
    )
    script.upstream_sends(done(b"SET"), done(b"SET"), *told(b"5kB"), done(b"SET"), *told(b"6kB"), IDLE)
    script.frontend_receives(done(b"SET"), done(b"SET"), IDLE)
    has_in_force(script, {b"work_mem": b"6kB"})


def test_the_order_of_settings_is_that_in_which_they_were_last_set(start: Start) -> None:
    script = start(startup={b"role": b"bob", b"work_mem": b"8MB"})
    has_in_force(script, {b"role": b"bob", b"work_mem": b"8MB"})
    script.frontend_sends(Query(b"set role carl")).forgets()
    script.upstream_sends(*SELECTED, done(b"SET"), *told(b"off", b"carl"), IDLE).forgets()
    has_in_force(script, WORK_MEM | {b"role": b"carl"})


def test_several_modes_are_set_one_by_one(script: SessionScript) -> None:
    sql = b"set session characteristics as transaction isolation level serializable, read only"
    script.frontend_sends(Query(sql))
    names = b"default_transaction_isolation", b"default_transaction_read_only"
    went_up = (b"SET LOCAL %b TO 'serializable'" % names[0]).ljust(len(sql)), b"SET LOCAL %b TO on" % names[1]
    script.upstream_receives(Query(b";".join((*went_up, *map(show, names)))))
    script.upstream_sends(done(b"SET"), done(b"SET"), *told(b"serializable", b"on"), IDLE)
    script.frontend_receives(done(b"SET"), IDLE)
    script.frontend_sends(Query(b"select 1"))
    early = b"SET transaction_isolation TO 'serializable';SET transaction_read_only TO 'on';"
    values = dict(zip(names, (b"serializable", b"on"), strict=True))
    script.upstream_receives(Query(early + select(values) + b";select 1"))
    script.upstream_sends(done(b"SET"), done(b"SET"), *SELECTED, *A_ROW, IDLE).frontend_receives(*A_ROW, IDLE)


def test_a_session_authorization_takes_the_role_with_it(start: Start) -> None:
    script = start(startup={b"role": b"bob"})
    script.frontend_sends(Query(b"set session authorization carl"))
    script.upstream_receives(
        Query(
            select({b"role": b"bob"})
            + b';SET LOCAL session authorization carl;SHOW is_superuser;SHOW "session_authorization"'
        )
    )
    script.upstream_sends(*SELECTED, done(b"SET"), *told(b"off", b"carl"), IDLE)
    script.frontend_receives(done(b"SET"), setting(b"session_authorization", b"carl"), IDLE)
    has_in_force(script, {b"session_authorization": b"carl"})


def test_a_setting_that_the_server_has_already_is_not_brought_to_it(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set client_encoding to 'utf-8'"))
    script.upstream_receives(Query(b"SET LOCAL client_encoding to 'utf-8';SHOW \"client_encoding\""))
    script.upstream_sends(done(b"SET"), *told(b"UTF8"), IDLE).frontend_receives(done(b"SET"), IDLE)
    has_in_force(script, {})


def test_a_setting_that_drivers_change_and_change_back(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set jit = off"))
    script.upstream_receives(Query(b'SHOW "jit";SET LOCAL jit = off;SHOW "jit"'))
    script.upstream_sends(*told(b"on"), done(b"SET"), *told(b"off"), IDLE).frontend_receives(done(b"SET"), IDLE)
    has_in_force(script, {b"jit": b"off"})
    script.frontend_sends(Query(b"set jit = on"))
    script.upstream_receives(Query(select({b"jit": b"off"}) + b';SET LOCAL jit = on;SHOW "jit"'))
    script.upstream_sends(*SELECTED, done(b"SET"), *told(b"on"), IDLE).frontend_receives(done(b"SET"), IDLE)
    has_in_force(script, {})


# What is in force.


@pytest.mark.parametrize("sql", BARE)
def test_nothing_goes_ahead_of_what_has_no_effect_or_fails_outside_of_a_block(start: Start, sql: bytes) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(sql)).upstream_receives(Query(sql)).upstream_answers(server_error(b"25P01"), IDLE)
    has_in_force(script, WORK_MEM)


def test_of_what_goes_ahead_the_client_sees_nothing(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"select 1")).upstream_receives(Query(AHEAD + b"select 1"))
    for message in (NOTICE, *SELECTED):
        script.upstream_sends(message).expects_nothing()
    script.upstream_answers(*A_ROW, IDLE)


def test_its_error_answers_the_query_and_has_no_position(start: Start) -> None:
    script = start(startup={b"role": b"gone"})
    script.frontend_sends(Query(b"select 1")).forgets()
    script.upstream_sends(server_error(b"22023", P=b"8"), IDLE).frontend_receives(server_error(b"22023"), IDLE)


@pytest.mark.parametrize("position", [1, 10, 11])
def test_positions_are_those_in_the_clients_text(start: Start, position: int) -> None:
    script = start(startup=WORK_MEM)
    sql = "select '\N{LATIN SMALL LETTER A WITH DIAERESIS}' x"
    script.frontend_sends(Query(sql.encode())).upstream_receives(Query(AHEAD + sql.encode())).upstream_sends(*SELECTED)
    there, here = b"%d" % (len(AHEAD) + position), b"%d" % position
    script.upstream_sends(notice(there), server_error(b"42601", P=there), IDLE)
    script.frontend_receives(notice(here), server_error(b"42601", P=here), IDLE)


def test_the_end_of_the_text_is_a_position_too(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"select (")).forgets()
    script.upstream_sends(server_error(b"42601", P=b"%d" % (len(AHEAD) + 9)), IDLE)
    script.frontend_receives(server_error(b"42601", P=b"9"), IDLE)


def test_behind_a_set_positions_are_those_in_the_clients_text(script: SessionScript) -> None:
    sql = b"set work_mem = 5; select x"
    upstream = b'SET LOCAL work_mem = 5;SHOW "work_mem"; select x'
    script.frontend_sends(Query(sql)).upstream_receives(Query(upstream))
    script.upstream_sends(server_error(b"42703", P=b"%d" % (upstream.index(b"x") + 1)), IDLE)
    script.frontend_receives(server_error(b"42703", P=b"%d" % (sql.index(b"x") + 1)), IDLE)


def test_several_statements_have_it_in_force_without_a_select(start: Start) -> None:
    # A SELECT would take the snapshot ahead of a SET TRANSACTION.
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"set transaction read only; select 1"))
    script.upstream_receives(Query(SAID_AGAIN + b"set transaction read only; select 1"))
    script.upstream_sends(done(b"SET")).upstream_answers(done(b"SET"), *A_ROW, IDLE)


def test_of_several_statements_the_modes_come_first(start: Start) -> None:
    mode = {b"default_transaction_read_only": b"on"}
    script = start(startup=mode)
    script.frontend_sends(Query(b"select 1; select 2"))
    ahead = local(b"transaction_read_only", b"on"), local(b"default_transaction_read_only", b"on")
    script.upstream_receives(Query(b"%b;%b;" % ahead + b"select 1; select 2"))
    script.upstream_sends(done(b"SET"), done(b"SET")).upstream_answers(*A_ROW, *A_ROW, IDLE)


def test_a_deallocate_among_them_is_carried_out_with_it(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(parse(b"a", b"select 1"), Sync()).forgets()
    script.upstream_sends(*INJECTED, ParseComplete(), IDLE).frontend_receives(ParseComplete(), IDLE)
    script.frontend_sends(Query(b"deallocate a; select 1"))
    script.upstream_receives(Query(SAID_AGAIN + SUBSTITUTE.ljust(12) + b"; select 1"))
    script.upstream_sends(done(b"SET"), columns(), row(), done()).frontend_receives(done(b"DEALLOCATE"))
    script.upstream_answers(*A_ROW, IDLE)


def test_a_copy_has_it_in_force(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"copy t from stdin"))
    script.upstream_receives(*own(select(WORK_MEM)), *script.copy_in(), Flush())
    script.upstream_sends(*INJECTED, ParseComplete(), BindComplete(), CopyInResponse(0, ()))
    script.frontend_receives(CopyInResponse(0, ()))
    script.frontend_sends(CopyData(b"1\n"), CopyDone()).upstream_receives(CopyData(b"1\n"), CopyDone(), Sync())
    script.upstream_answers(done(b"COPY 1"), IDLE)


def test_behind_an_idle_exchange_it_goes_ahead_again(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(parse(b"s", b"select 1"), Flush()).forgets()
    script.upstream_sends(*INJECTED, ParseComplete()).frontend_receives(ParseComplete())
    script.frontend_sends(Query(b"select 1")).upstream_receives(Flush(), Sync(), Query(AHEAD + b"select 1"))
    script.upstream_sends(IDLE, *SELECTED).upstream_answers(*A_ROW, IDLE)


def test_amid_a_batch_it_is_in_force_already(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"select 1"), Query(b"select 2"), Query(b"set work_mem = 5"))
    script.upstream_receives(*own(select(WORK_MEM), b"select 1"), Query(b"select 2"))
    script.upstream_sends(*INJECTED, *SAID, done(), *A_ROW, IDLE).frontend_receives(*SAID, done(), *A_ROW, IDLE)
    script.upstream_receives(Query(AHEAD + b'SET LOCAL work_mem = 5;SHOW "work_mem"'))
    script.upstream_sends(*SELECTED, done(b"SET"), *told(b"5kB"), IDLE).frontend_receives(done(b"SET"), IDLE)


# Back to the default.


def test_reset_leaves_a_setting_to_the_server(script: SessionScript) -> None:
    sets(script, b"work_mem", b"8MB")
    script.frontend_sends(Query(b"reset work_mem"))
    script.upstream_receives(Query(b"SET LOCAL work_mem TO DEFAULT"))
    script.upstream_sends(done(b"SET"), IDLE).frontend_receives(done(b"RESET"), IDLE)
    has_in_force(script, {})


@pytest.mark.parametrize(("sql", "tag"), [(b"reset work_mem", b"RESET"), (b"set work_mem to default", b"SET")])
def test_what_means_the_default_goes_back_to_what_the_client_gave_at_connect(
    start: Start, sql: bytes, tag: bytes
) -> None:
    others = {b"app.x": b"1"}
    script = start(startup=WORK_MEM | others)
    script.frontend_sends(Query(b"set work_mem = 5")).forgets()
    script.upstream_sends(*SELECTED, done(b"SET"), *told(b"5kB"), IDLE).forgets()
    script.frontend_sends(Query(sql))
    script.upstream_receives(
        Query(b"%b;SET LOCAL work_mem TO DEFAULT;%b" % (select(others), local(b"work_mem", b"8MB")))
    )
    script.upstream_sends(*SELECTED, done(b"SET"), done(b"SET"), IDLE).frontend_receives(done(tag), IDLE)
    has_in_force(script, others | WORK_MEM)


def test_a_local_one_too(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"set local work_mem to default; select 1"))
    script.upstream_receives(Query(SAID_AGAIN + b"set local work_mem to default;SET LOCAL work_mem TO '8MB'; select 1"))
    script.upstream_sends(done(b"SET"), done(b"SET"), done(b"SET")).frontend_receives(done(b"SET"))
    script.upstream_answers(*A_ROW, IDLE)


def test_reset_all_among_others_sets_back_each_setting(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"set datestyle = german")).forgets()
    script.upstream_sends(*SELECTED, done(b"SET"), *told(b"German, DMY"), IDLE)
    script.frontend_receives(done(b"SET"), GERMAN, IDLE)
    script.frontend_sends(Query(b"reset all; select 1"))
    script.upstream_receives(
        Query(
            SAID_AGAIN
            + b"SET LOCAL datestyle TO 'German, DMY';"
            + ONE_OF_ALL
            + b";SET LOCAL work_mem TO '8MB';SET LOCAL \"datestyle\" TO DEFAULT; select 1"
        )
    )
    script.upstream_sends(done(b"SET"), done(b"SET"), done(b"SET"), done(b"SET"), done(b"SET"))
    script.frontend_receives(done(b"RESET")).upstream_sends(*A_ROW, IDLE)
    script.frontend_receives(*A_ROW, setting(b"DateStyle", b"ISO, MDY"), IDLE)
    has_in_force(script, WORK_MEM)


def test_reset_all_sets_back_what_the_same_text_has_set(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set work_mem = 5; reset all; show work_mem"))
    script.upstream_receives(
        Query(
            b'SET LOCAL work_mem = 5;SHOW "work_mem"; %b;SET LOCAL "work_mem" TO DEFAULT; show work_mem' % ONE_OF_ALL
        )
    )
    script.upstream_sends(done(b"SET"), *told(b"5kB"), done(b"SET"), done(b"SET"))
    script.frontend_receives(done(b"SET"), done(b"RESET"))
    script.upstream_answers(*told(b"4MB"), IDLE)
    has_in_force(script, {})
