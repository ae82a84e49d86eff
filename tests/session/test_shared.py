"""Descriptions that one client was told and another is: when they are answered here, and when a server is asked."""

from __future__ import annotations

from typing import Any

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    NoData,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
)
from pgshim.protocol.frontend import CopyData, CopyDone, Flush, Query, Sync, Terminate
from pgshim.session.session import Policy
from tests.session.in_force import WORK_MEM, carried_out, own, select
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
from tests.session.script import SessionScript, Start
from tests.session.sharing import A_COLUMN, INT4, INT8, QUERY, TEXT, Process, asks, description, is_told


@pytest.fixture
def process(start: Start) -> Process:
    return Process(start)


ASKED = parse(b"s", QUERY), describe(b"s")
GOES_UP = parse(b"", QUERY), describe(b"")


# What is answered here.

#: The first type of a user's, and the last that can only be PostgreSQL's.
A_USERS, LAST_BUILT_IN = 16384, 16383


@pytest.mark.parametrize(
    ("parameter", "column", "hits"),
    [
        (LAST_BUILT_IN, LAST_BUILT_IN, 1),
        (A_USERS, INT4, 0),
        (INT4, A_USERS, 0),
    ],
)
def test_types_of_users_are_asked_for_each_time(process: Process, parameter: int, column: int, hits: int) -> None:
    result = columns(INT4, column)
    process.knows(QUERY, parameter, result=result)
    (is_told if hits else asks)(process.client(), QUERY, parameter, result=result)
    assert process.hits == hits


def test_what_another_client_was_told_needs_no_server(process: Process) -> None:
    process.knows()
    is_told(process.client())
    assert process.hits == 1


def test_a_sync_is_answered_with_it(process: Process) -> None:
    process.knows()
    process.client().frontend_sends(*ASKED, Sync()).frontend_receives(*description(), IDLE)


def test_a_client_may_be_told_what_it_has_asked_itself(process: Process) -> None:
    script = process.knows()
    is_told(script, name=b"again")
    is_told(script, name=b"")


def test_the_description_is_given_as_it_came(process: Process) -> None:
    told = columns(INT4, TEXT, typmod=12, table=77, names="xy")
    process.knows(b"select x, y from t", INT8, TEXT, result=told)
    is_told(process.client(), b"select x, y from t", INT8, TEXT, result=told)


@pytest.mark.parametrize(
    ("sql", "result"),
    [
        (b"values ($1)", A_COLUMN),
        (b"table t", A_COLUMN),
        (b"with x as (select 1) select * from x", A_COLUMN),
        (b"insert into t values ($1)", None),
        (b"update t set a = f($1)", None),
        (b"update t set a = $1", None),
        (b"delete from t where a = $1", None),
    ],
)
def test_queries_are_shared_and_changes_that_return_nothing(process: Process, sql: bytes, result: Any) -> None:
    process.knows(sql, result=result)
    is_told(process.client(), sql, result=result)


@pytest.mark.parametrize(
    ("sql", "result"),
    [
        (b"insert into t values ($1) returning a", A_COLUMN),
        (b"with x as (delete from t returning a) select * from x", A_COLUMN),
        (b"select f($1)", A_COLUMN),
        (b"select a into u from t", None),
        (b"select set_config('work_mem', $1, true)", A_COLUMN),
        (b"show work_mem", A_COLUMN),
        (b"explain select 1", A_COLUMN),
        (b"call p()", None),
        (b"create table u(a int)", None),
        (b"", None),
    ],
)
def test_nothing_else_is(process: Process, sql: bytes, result: Any) -> None:
    process.knows(sql, result=result)
    assert len(process.descriptions) == 0


def test_what_is_answered_here_may_be_bound_in_the_same_batch(process: Process) -> None:
    process.knows()
    script = process.client()
    is_told(script)
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(*GOES_UP, parse(b"", QUERY, INT4), describe(b""), bind(b"", b"1"), execute(), Sync())
    script.upstream_sends(*description() * 2, BindComplete(), row(b"1"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"1"), done(), IDLE)


def test_behind_another_exchange_of_descriptions_it_is_answered_here(process: Process) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(parse(b"x", b"select 1"), describe(b"x"), Flush())
    script.upstream_receives(parse(b"", b"select 1"), describe(b""), Flush())
    script.upstream_answers(ParseComplete(), ParameterDescription(()), A_COLUMN)
    is_told(script)
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)


def test_a_setting_that_is_in_news_is_told_with_it(process: Process) -> None:
    process.knows()
    script = process.client()
    script.upstream_answers(ParameterStatus(b"DateStyle", b"German"))
    is_told(script)


# Where a server has to be asked.


@pytest.mark.parametrize(
    ("name", "sql", "declared"),
    [(b"s", b"select a from t where b =  $1", ()), (b"s", QUERY, (INT4,)), (b"s", QUERY, (0,))],
)
def test_another_text_or_other_types_are_another_question(
    process: Process, name: bytes, sql: bytes, declared: tuple[int, ...]
) -> None:
    process.knows()
    asks(process.client(), sql, name=name, declared=declared)


def test_another_user_is_told_by_a_server(process: Process) -> None:
    process.knows(identity=b"one")
    asks(process.client(identity=b"two"))
    assert len(process.descriptions) == 2


SEARCH_PATH = {b"search_path": b"x"}


def asks_with(script: SessionScript, settings: dict[bytes, bytes]) -> None:
    script.frontend_sends(*ASKED, Sync()).upstream_receives(*own(select(settings)), *GOES_UP, Sync())
    script.upstream_sends(*carried_out(b"SELECT 1"), *description(), IDLE).frontend_receives(*description(), IDLE)


def test_other_settings_are_another_question(process: Process) -> None:
    process.knows()
    asks_with(process.client(startup=SEARCH_PATH), SEARCH_PATH)
    is_told(process.client(startup=SEARCH_PATH))
    is_told(process.client())


def test_settings_by_which_no_text_means_something_else_are_not(process: Process) -> None:
    process.knows()
    is_told(process.client(startup={b"jit": b"off"}))


def test_with_settings_of_some_size_nothing_is_shared(process: Process) -> None:
    large = {b"app.x": b"v" * 5000}
    asks_with(process.client(startup=large), large)
    asks_with(process.client(startup=large), large)
    assert len(process.descriptions) == 0


def test_a_setting_that_is_not_answered_yet_is_waited_for(process: Process) -> None:
    process.knows()
    script = process.client(startup=WORK_MEM)
    script.frontend_sends(Query(b"set search_path = x"), *ASKED, Sync())
    assert process.hits == 0
    script.forgets()


def test_what_may_be_left_on_a_server_unseen_ends_the_sharing(process: Process) -> None:
    process.knows()
    asks(process.client(policy=Policy("refuse", frozenset({"temp-tables"}))))
    asks(process.client(policy=Policy("warn")))
    is_told(process.client(policy=Policy("refuse", frozenset({"listen"}))))


@pytest.mark.parametrize("status", [IN_BLOCK, FAILED])
def test_in_a_block_a_server_is_asked(process: Process, status: Message) -> None:
    process.knows()
    script = process.client().queries(b"begin", done(b"BEGIN"), status)
    script.frontend_sends(*ASKED, Sync()).upstream_receives(*GOES_UP, Sync())
    script.upstream_answers(*description(INT8), status)
    is_told(process.client())


def test_what_was_said_in_a_block_is_nobody_elses(process: Process) -> None:
    script = process.client().begins()
    script.frontend_sends(*ASKED, Sync()).upstream_receives(*GOES_UP, Sync())
    script.upstream_answers(*description(), IN_BLOCK)
    assert len(process.descriptions) == 0


def test_behind_what_is_owed_a_server_is_asked(process: Process) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(Query(b"select 1"), *ASKED, Sync())
    script.upstream_receives(Query(b"select 1"), *GOES_UP, Sync())
    script.upstream_answers(A_COLUMN, row(b"1"), done(), IDLE, *description(), IDLE)
    assert process.hits == 0


def test_what_may_have_been_said_in_a_block_is_not_kept(process: Process) -> None:
    script = process.client()
    script.frontend_sends(Query(b"begin"), *ASKED, Sync()).upstream_receives(Query(b"begin"), *GOES_UP, Sync())
    script.upstream_answers(done(b"BEGIN"), IN_BLOCK, *description(), IN_BLOCK)
    assert len(process.descriptions) == 0


def test_behind_an_execute_nothing_is_kept(process: Process) -> None:
    script = process.client()
    sql = b"create table u(a int)"
    script.frontend_sends(parse(b"", sql), bind(b""), execute(), *ASKED, Sync())
    script.upstream_receives(parse(b"", sql), bind(b""), execute(), *GOES_UP, Sync())
    script.upstream_answers(ParseComplete(), BindComplete(), done(), *description(), IDLE)
    assert len(process.descriptions) == 0


def test_what_was_said_of_a_statement_with_its_types_pinned_is_not_kept(process: Process) -> None:
    script = process.client().describes(b"s", b"call p($1)", INT4)
    script.prepares(b"q", QUERY)
    script.frontend_sends(describe(b"q"), Sync()).upstream_receives(*GOES_UP, Sync())
    script.upstream_sends(*description(), IDLE).frontend_receives(*description()[1:], IDLE)
    assert len(process.descriptions) == 0


def test_a_parse_and_its_describe_with_something_between_them_are_not_kept(process: Process) -> None:
    script = process.client()
    script.frontend_sends(parse(b"s", QUERY), parse(b"t", b"select 2"), describe(b"s"), describe(b"t"), Sync())
    other = parse(b"", b"select 2")
    script.upstream_receives(parse(b"", QUERY), other, *GOES_UP, other, describe(b""), Sync())
    script.upstream_sends(*(ParseComplete(),) * 2, *description(), *description(), IDLE)
    script.frontend_receives(*(ParseComplete(),) * 2, *description()[1:] * 2, IDLE)
    assert len(process.descriptions) == 0


def test_one_that_is_asked_in_a_pipeline_is_not_kept(process: Process) -> None:
    script = process.client()
    script.frontend_sends(Query(b"select 1"), *ASKED, Sync())
    script.upstream_receives(Query(b"select 1"), *GOES_UP, Sync())
    script.upstream_answers(A_COLUMN, done(), IDLE, *description(), IDLE)
    assert len(process.descriptions) == 0


def test_a_long_description_is_not_kept(process: Process) -> None:
    wide = columns(*(INT4,) * 1000, names="x" * 1000)
    process.knows(b"select * from wide", result=wide)
    assert len(process.descriptions) == 0


# What is held back, until it is clear whether that is all.


def test_bytes_may_come_one_by_one(process: Process) -> None:
    process.knows()
    script = process.client()
    stream = b"".join(message.encode() for message in (*ASKED, Sync()))
    for at in range(len(stream) - 1):
        script.frontend_sends(stream[at : at + 1])
    script.frontend_sends(stream[-1:]).frontend_receives(*description(), IDLE)


BINDS = bind(b"s", b"1"), execute(), Sync()


@pytest.mark.parametrize("is_cut", [False, True])
def test_with_a_bind_behind_it_the_batch_goes_up(process: Process, is_cut: bool) -> None:
    process.knows()
    script = process.client()
    if is_cut:
        script.frontend_sends(*ASKED).frontend_sends(*BINDS)
    else:
        script.frontend_sends(*ASKED, *BINDS)
    script.upstream_receives(*GOES_UP, bind(b"", b"1"), execute(), Sync())
    script.upstream_answers(*description(), BindComplete(), row(b"1"), done(), IDLE)


FOLLOWING: list[tuple[tuple[Message, ...], tuple[Message, ...]]] = [
    ((Sync(),), (Sync(),)),
    ((Flush(),), (Flush(),)),
    ((bind(b"s", b"1"), execute(), Sync()), (bind(b"", b"1"), execute(), Sync())),
    ((describe(b"other"), Sync()), (A_PARSE_THAT_FAILS, Sync())),
    ((parse(b"t", b"select 1"), Sync()), (parse(b"", b"select 1"), Sync())),
    ((describe_portal(b"s"), Sync()), (describe_portal(b"s"), Sync())),
    ((Query(b"select 1"),), (Query(b"select 1"),)),
]


@pytest.mark.parametrize(("follows", "goes_up"), FOLLOWING)
def test_a_parse_alone_goes_up(process: Process, follows: tuple[Message, ...], goes_up: tuple[Message, ...]) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(parse(b"s", QUERY)).frontend_sends(*follows)
    script.upstream_receives(parse(b"", QUERY), *goes_up)
    script.upstream_answers(ParseComplete())


@pytest.mark.parametrize(("follows", "goes_up"), FOLLOWING[2:])
def test_with_anything_but_flush_or_sync_behind_it_a_describe_goes_up(
    process: Process, follows: tuple[Message, ...], goes_up: tuple[Message, ...]
) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(*ASKED).frontend_sends(*follows)
    script.upstream_receives(*GOES_UP, *goes_up).upstream_answers(*description())


def test_a_second_describe_is_the_servers(process: Process) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(*ASKED, describe(b"s"), Sync()).upstream_receives(*GOES_UP, describe(b""), Sync())
    script.upstream_answers(*description(), *description()[1:], IDLE)


def test_what_was_closed_behind_it_is_gone(process: Process) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(*ASKED, close(b"s"), Sync()).upstream_receives(*GOES_UP, Sync())
    script.upstream_sends(*description(), IDLE).frontend_receives(*description(), CloseComplete(), IDLE)
    script.does_not_know(b"s")


def test_stray_copy_data_goes_nowhere(process: Process) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(parse(b"s", QUERY), CopyData(b"x"), describe(b"s"), CopyData(b"x"), Flush())
    script.frontend_receives(*description())
    script.frontend_sends(parse(b"t", QUERY), CopyDone(), Sync())
    script.upstream_receives(parse(b"", QUERY), Sync()).upstream_answers(ParseComplete(), IDLE)


def test_a_client_that_leaves_is_owed_nothing(process: Process) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(*ASKED)
    assert not script.session.is_idle
    script.frontend_sends(Terminate())
    assert script.session.is_terminated
    assert not script.session.is_answering
    script.session.abandon()
    assert script.collects().session.is_at_rest


def test_one_that_was_forgotten_meanwhile_is_asked(process: Process) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(*ASKED)
    process.forget()
    script.frontend_sends(Flush()).upstream_receives(*GOES_UP, Flush()).upstream_answers(*description())


# Names.


def test_a_name_that_is_taken_is_an_error(process: Process) -> None:
    script = process.knows()
    script.frontend_sends(*ASKED, Sync()).upstream_receives(parse(b"", QUERY), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"42P05", b'prepared statement "s" already exists'), IDLE)


def test_names_are_as_long_as_a_servers(process: Process) -> None:
    process.knows()
    script = process.client()
    script.frontend_sends(parse(b"n" * 70, QUERY), describe(b"n" * 80), Flush()).frontend_receives(*description())
    script.frontend_sends(close(b"n" * 63), Sync()).frontend_receives(CloseComplete(), IDLE)
    script.does_not_know(b"n" * 63)


def test_the_unnamed_statement_is_replaced_again_and_again(process: Process) -> None:
    process.knows()
    script = process.client()
    for _ in range(3):
        is_told(script, name=b"")
    script.queries(b"select 1", done(), IDLE).does_not_know(b"")


@pytest.mark.parametrize("limits", [{"max_statements": 1}, {"max_statement_bytes": 40}])
def test_limits_hold(process: Process, limits: dict[str, int]) -> None:
    process.knows()
    script = process.client(**limits)
    is_told(script)
    script.frontend_sends(parse(b"t", QUERY), describe(b"t"), Sync())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync()).upstream_sends(server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"53400"), IDLE)


# How long they are known.


def test_they_are_too_old_after_half_a_minute(process: Process) -> None:
    process.knows()
    process.clock.now = 29.9
    is_told(process.client())
    process.clock.now = 30.0
    asks(process.client())
    process.clock.now = 59.9
    is_told(process.client())


def test_the_one_not_used_for_longest_goes_first(start: Start) -> None:
    process = Process(start, most=2)
    process.knows(b"select 1", result=A_COLUMN)
    process.knows(b"select 2", result=A_COLUMN)
    is_told(process.client(), b"select 1")
    process.knows(b"select 3", result=A_COLUMN)
    is_told(process.client(), b"select 1")
    is_told(process.client(), b"select 3")
    asks(process.client(), b"select 2")


DEFINES = [
    b"alter table t add b int",
    b"/* why */ drop table t",
    b"select 1; drop table t",
    b"grant select on t to public",
    b"do $$ begin end $$",
    b"call p()",
    b"select 1; select a into u from t; drop table t",
    b"explain analyze create table u as select 1",
    b"refresh materialized view m",
    b"select 'unfinished; drop table t",
    b"commit prepared 'x'",
    b"create unique index on t(a)",
]


@pytest.mark.parametrize("sql", DEFINES)
def test_a_schema_change_makes_all_forgotten(process: Process, sql: bytes) -> None:
    process.knows()
    process.client().queries(sql, done(), IDLE)
    asks(process.client())


@pytest.mark.parametrize("sql", [b"alter table t add b int", b"select a into u from t", b"do 'x'", b"call p()"])
def test_a_prepared_one_does_each_time_that_it_runs(process: Process, sql: bytes) -> None:
    script = process.client().prepares(b"d", sql)
    for _ in range(2):
        process.knows()
        script.frontend_sends(bind(b"d"), execute(), Sync())
        script.upstream_receives(parse(b"", sql), bind(b""), execute(), Sync())
        assert len(process.descriptions) == 0
        script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE)
        script.frontend_receives(BindComplete(), done(), IDLE)


def test_an_execute_of_what_is_not_known_may_be_one(process: Process) -> None:
    process.knows()
    script = process.client().begins()
    script.frontend_sends(execute(b"p"), Sync()).upstream_receives(execute(b"p"), Sync())
    assert len(process.descriptions) == 0
    script.upstream_answers(done(), IN_BLOCK)


@pytest.mark.parametrize(
    "sql",
    [
        b"select 1;",
        b"insert into t values (1)",
        b"begin; select 1; commit",
        b"truncate t",
        b"create temp table x(a int) on commit drop",
        b"explain select 1",
        b"-- why\nselect 'into'",
        b"vacuum t",
        b"select ';'",
        b"select (",
        b"commit;",
        b"commit work",
        b"",
    ],
)
def test_what_changes_no_schema_leaves_them(process: Process, sql: bytes) -> None:
    process.knows()
    process.client().begins().queries(sql, done(), IDLE)
    is_told(process.client())


def test_what_was_told_before_a_change_was_committed_is_forgotten_then(process: Process) -> None:
    script = process.client().begins().queries(b"drop table t", done(), IN_BLOCK)
    process.knows()
    script.queries(b"select 1", done(), IN_BLOCK)
    is_told(process.client())
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    asks(process.client())
    script.queries(b"select 1", done(), IDLE)
    is_told(process.client())


def test_what_was_asked_before_a_change_is_not_kept(process: Process) -> None:
    asking = process.client()
    asking.frontend_sends(*ASKED, Sync()).upstream_receives(*GOES_UP, Sync())
    process.client().queries(b"drop table t", done(), IDLE)
    asking.upstream_answers(*description(), IDLE)
    assert len(process.descriptions) == 0


def test_a_change_in_a_pipeline_is_awaited(process: Process) -> None:
    script = process.client()
    script.frontend_sends(Query(b"drop table t"), Query(b"drop table u"))
    script.upstream_receives(Query(b"drop table t"), Query(b"drop table u"))
    script.upstream_answers(done(), IDLE)
    process.knows()
    script.upstream_answers(done(), IDLE)
    assert len(process.descriptions) == 0


def test_a_description_without_parameters_is_one_too(process: Process) -> None:
    script = process.client().describes(b"s", b"select 1", result=A_COLUMN)
    script.frontend_sends(parse(b"t", b"select 1"), describe(b"t"), Flush())
    script.frontend_receives(ParseComplete(), ParameterDescription(()), A_COLUMN)
    script.describes(b"u", b"delete from t")
    script.frontend_sends(parse(b"v", b"delete from t"), describe(b"v"), Flush())
    script.frontend_receives(ParseComplete(), ParameterDescription(()), NoData())
