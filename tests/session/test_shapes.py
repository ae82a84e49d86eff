"""Result shapes: what a client decodes by an earlier Describe is held against what the server would return now."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    ParameterDescription,
    ParseComplete,
    RowDescription,
)
from pgshim.protocol.frontend import Query, Sync
from pgshim.session.session import Policy
from tests.session.messages import (
    IDLE,
    IN_BLOCK,
    bind,
    close,
    columns,
    describe,
    describe_portal,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start
from tests.session.shapes import CHANGED, COMMITTED, PURE, WRITING, replay, sends_verified, verified

INT4, TEXT = 23, 25


# What is verified.


@pytest.mark.parametrize(
    "sql",
    [
        b"select a from t",
        b"values (1)",
        b"table t",
        b"with x as (select 1) select * from x",
        b"update t set a = 1 returning a",
        b"delete from t returning a",
        b"merge into t using s on true when matched then delete",
    ],
)
def test_a_replayed_query_is_described_and_its_description_is_not_for_the_client(
    script: SessionScript, sql: bytes
) -> None:
    script.describes(b"s", sql, result=columns(INT4))
    is_pure = sql.startswith((b"select", b"values", b"table", b"with"))
    sends_verified(script, sql, results=() if is_pure else (0,))
    script.upstream_sends(*verified(columns(INT4)), BindComplete(), row(b"1"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"1"), done(), IDLE)


@pytest.mark.parametrize("sql", [b"show x", b"explain select 1", b"fetch all from c", b"call p()", b"execute e"])
def test_a_utility_statement_is_not_verified(start: Start, sql: bytes) -> None:
    script = start(policy=Policy("allow"))
    script.describes(b"s", sql, result=columns(INT4)).knows(b"s", sql)


def test_a_statement_that_returned_nothing_is_not_verified(script: SessionScript) -> None:
    script.describes(b"s", b"delete from t").knows(b"s", b"delete from t")


def test_a_statement_that_was_not_described_is_not_verified(script: SessionScript) -> None:
    script.prepares(b"s", PURE)
    script.frontend_sends(bind(b"s"), describe_portal(), execute(), Sync())
    script.upstream_receives(parse(b"", PURE), bind(b""), describe_portal(), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), columns(TEXT), row(b"x"), done(), IDLE)
    script.frontend_receives(BindComplete(), columns(TEXT), row(b"x"), done(), IDLE)


def test_a_statement_that_the_server_still_has_is_not_verified(script: SessionScript) -> None:
    script.begins()
    script.frontend_sends(parse(b"s", PURE), describe(b"s"), Sync())
    script.upstream_receives(parse(b"", PURE), describe(b""), Sync())
    script.upstream_answers(ParseComplete(), ParameterDescription(()), columns(INT4), IN_BLOCK)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(bind(b""), execute(), Sync())
    script.upstream_answers(BindComplete(), row(b"1"), done(), IN_BLOCK)


def test_statements_of_the_same_text_are_verified_each_by_what_it_was_told(script: SessionScript) -> None:
    for name, result in ((b"s", columns(INT4)), (b"t", columns(TEXT)), (b"u", columns(INT4))):
        script.describes(name, PURE, result=result)
    for name, is_right in ((b"s", True), (b"t", False), (b"u", True)):
        script.frontend_sends(bind(name), execute(), Sync())
        script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync())
        script.upstream_sends(*verified(columns(INT4)), BindComplete(), done(), IDLE)
        script.frontend_receives(*((BindComplete(), done(), IDLE) if is_right else (CHANGED, IDLE)))


def test_a_client_that_asks_anew_is_told_the_new_shape(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    script.frontend_sends(describe(b"s"), Sync())
    script.upstream_receives(parse(b"", PURE), describe(b""), Sync())
    script.upstream_sends(ParseComplete(), ParameterDescription(()), columns(TEXT), IDLE)
    script.frontend_receives(ParameterDescription(()), columns(TEXT), IDLE)
    sends_verified(script, PURE)
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"x"), done(), IDLE)


@pytest.mark.parametrize("now", [columns(INT4, table=77), columns(INT4, form=1)])
def test_the_table_and_the_format_of_a_column_may_change(script: SessionScript, now: RowDescription) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    sends_verified(script, PURE)
    script.upstream_sends(*verified(now), BindComplete(), done(), IDLE)
    script.frontend_receives(BindComplete(), done(), IDLE)


CHANGES = [
    pytest.param(columns(TEXT), id="type"),
    pytest.param(columns(INT4, names="z"), id="name"),
    pytest.param(columns(INT4, typmod=8), id="typmod"),
    pytest.param(columns(INT4, TEXT), id="more columns"),
    pytest.param(columns(), id="no columns"),
    pytest.param(None, id="no result"),
]
changed = pytest.mark.parametrize("now", CHANGES)


# In autocommit.


@changed
def test_a_query_without_effect_fails_as_on_a_server(script: SessionScript, now: RowDescription | None) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    sends_verified(script, PURE)
    script.upstream_sends(*verified(now), BindComplete(), row(b"x"), done(), IDLE)
    script.frontend_receives(CHANGED, IDLE)


def test_after_that_the_client_prepares_anew_and_goes_on(script: SessionScript) -> None:
    test_a_query_without_effect_fails_as_on_a_server(script, columns(TEXT))
    script.describes(b"s2", PURE, result=columns(TEXT))
    script.frontend_sends(close(b"s"), bind(b"s2"), execute(), Sync())
    script.frontend_receives(CloseComplete())
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync())
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"x"), done(), IDLE)


def test_one_that_is_not_prepared_anew_goes_on_failing(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    for _ in range(2):
        sends_verified(script, PURE)
        script.upstream_sends(*verified(columns(TEXT)), BindComplete(), done(), IDLE)
        script.frontend_receives(CHANGED, IDLE)


def test_the_rest_of_a_batch_that_failed_so_is_not_for_the_client(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    script.frontend_sends(bind(b"s"), execute(), close(b"s"), parse(b"n", b"select 2"), describe(b"n"), Sync())
    script.upstream_receives(
        *replay(PURE),
        *(bind(b""), execute(), parse(b"", b"select 2"), describe(b""), Sync()),
    )
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done())
    script.upstream_sends(ParseComplete(), ParameterDescription(()), columns(INT4), IDLE)
    script.frontend_receives(CHANGED, IDLE)
    script.does_not_know(b"n")
    script.describes(b"n", PURE, result=columns(TEXT))


def test_what_the_batch_was_answered_before_it_failed_the_client_has(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    script.frontend_sends(parse(b"", b"select 2"), bind(b""), execute(), bind(b"s"), execute(), Sync())
    script.upstream_receives(
        *(parse(b"", b"select 2"), bind(b""), execute()),
        *(*replay(PURE), bind(b""), execute(), Sync()),
    )
    script.upstream_answers(ParseComplete(), BindComplete(), row(b"2"), done())
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done(), IDLE)
    script.frontend_receives(CHANGED, IDLE)


def test_batches_behind_one_that_failed_so_are_their_own(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    script.frontend_sends(bind(b"s"), execute(), Sync(), Query(b"select 2"))
    script.upstream_receives(*replay(PURE), bind(b""), execute(), Sync(), Query(b"select 2"))
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done(), IDLE)
    script.frontend_receives(CHANGED, IDLE)
    script.upstream_answers(columns(INT4), row(b"2"), done(), IDLE)


def test_an_error_of_the_server_itself_comes_first(script: SessionScript) -> None:
    script.describes(b"s", b"select a / 0 from t", result=columns(INT4))
    sends_verified(script, b"select a / 0 from t")
    script.upstream_sends(*verified(columns(INT4)), BindComplete(), server_error(b"22012"), IDLE)
    script.frontend_receives(BindComplete(), server_error(b"22012"), IDLE)


def test_a_table_that_is_gone_is_the_servers_error(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    sends_verified(script, PURE)
    script.upstream_answers(server_error(b"42P01"), IDLE)


# In autocommit, where it may have written.


@pytest.mark.parametrize("sql", [WRITING, b"select f()", b"with w as (delete from t returning a) select * from w"])
def test_what_may_have_written_is_never_reported_as_not_done(script: SessionScript, sql: bytes) -> None:
    script.describes(b"s", sql, result=columns(INT4))
    sends_verified(script, sql, results=(0,))
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done(), IDLE)
    script.frontend_receives(COMMITTED, IDLE)


def test_a_write_ahead_of_a_query_without_effect_counts_too(script: SessionScript) -> None:
    script.describes(b"s", PURE, result=columns(INT4))
    script.frontend_sends(parse(b"", b"delete from t"), bind(b""), execute(), bind(b"s"), execute(), Sync())
    script.upstream_receives(
        *(parse(b"", b"delete from t"), bind(b""), execute()),
        *(*replay(PURE), bind(b""), execute(), Sync()),
    )
    script.upstream_answers(ParseComplete(), BindComplete(), done(b"DELETE 1"))
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), row(b"x"), done(), IDLE)
    script.frontend_receives(COMMITTED, IDLE)


@pytest.mark.parametrize(("formats", "expanded"), [((), (0, 0)), ((1,), (1, 1)), ((0, 1), (0, 1))])
def test_result_formats_of_a_write_are_one_for_each_column(
    script: SessionScript, formats: tuple[int, ...], expanded: tuple[int, ...]
) -> None:
    script.describes(b"s", WRITING, result=columns(INT4, TEXT))
    script.frontend_sends(bind(b"s", b"v", results=formats), execute(), Sync())
    script.upstream_receives(*replay(WRITING), bind(b"", b"v", results=expanded), execute(), Sync())
    script.upstream_sends(*verified(columns(INT4, TEXT)), BindComplete(), row(b"1", b"x"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"1", b"x"), done(), IDLE)


def test_the_server_refuses_another_number_of_columns_before_it_writes(script: SessionScript) -> None:
    script.describes(b"s", WRITING, result=columns(INT4, TEXT))
    sends_verified(script, WRITING, results=(0, 0))
    refusal = server_error(b"08P01", b"bind message has 2 result formats but query has 1 columns")
    script.upstream_sends(*verified(columns(INT4)), refusal, IDLE)
    script.frontend_receives(CHANGED, IDLE)


def test_an_08p01_of_a_bind_that_is_as_the_client_sent_it_is_the_clients(script: SessionScript) -> None:
    script.prepares(b"s", WRITING)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", WRITING), bind(b""), execute(), Sync())
    refusal = server_error(b"08P01", b"bind message supplies 0 parameters, but ... requires 1")
    script.upstream_sends(ParseComplete(), refusal, IDLE)
    script.frontend_receives(refusal, IDLE)


def test_an_08p01_of_an_expanded_bind_of_the_same_shape_is_the_clients(script: SessionScript) -> None:
    script.describes(b"s", WRITING, result=columns(INT4))
    sends_verified(script, WRITING, results=(0,))
    refusal = server_error(b"08P01", b"bind message supplies 0 parameters, but ... requires 1")
    script.upstream_sends(*verified(columns(INT4)), refusal, IDLE)
    script.frontend_receives(refusal, IDLE)


def test_a_write_that_the_server_failed_for_itself_is_its_own_error(script: SessionScript) -> None:
    script.describes(b"s", WRITING, result=columns(INT4))
    sends_verified(script, WRITING, results=(0,))
    script.upstream_sends(*verified(columns(TEXT)), BindComplete(), server_error(b"23505"), IDLE)
    script.frontend_receives(server_error(b"23505"), IDLE)


def test_a_bind_that_is_too_large_to_hold_is_not_expanded(script: SessionScript) -> None:
    script.describes(b"s", WRITING, result=columns(INT4))
    large = bind(b"s", b"v" * 100_000).encode()
    script.frontend_sends(large[:70_000], large[70_000:], execute(), Sync())
    sent = bind(b"", b"v" * 100_000)
    script.upstream_receives(*replay(WRITING), sent, execute(), Sync())
    script.upstream_sends(*verified(columns(INT4)), BindComplete(), row(b"1"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"1"), done(), IDLE)


def test_a_bind_that_is_malformed_goes_up_as_it_is_for_the_server_to_refuse(script: SessionScript) -> None:
    script.describes(b"s", WRITING, result=columns(INT4))
    script.frontend_sends(b"B\0\0\0\x0b\0s\0\0\7\0\0", execute(), Sync())
    script.upstream_receives(*replay(WRITING), b"B\0\0\0\x0a\0\0\0\7\0\0", execute(), Sync())
    script.upstream_sends(*verified(columns(INT4)), server_error(b"08P01"), IDLE)
    script.frontend_receives(server_error(b"08P01"), IDLE)
