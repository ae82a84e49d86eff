"""Prepared statements: every name lives at pgshim, every text goes up as the unnamed statement."""

from __future__ import annotations

import gc

import pytest

from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    NoData,
    ParameterDescription,
    ParseComplete,
)
from pgshim.protocol.frontend import Close, Flush, Sync, Target
from pgshim.session.session import SharedTexts
from tests.session.messages import (
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close,
    columns,
    describe,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start

INT4, TEXT = 23, 25


# Rewriting, and when a statement is parsed again.


def test_a_named_statement_goes_up_unnamed(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select $1", TEXT), describe(b"s"), bind(b"s", b"x"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select $1", TEXT), describe(b""), bind(b"", b"x"), execute(), Sync())
    script.upstream_answers(
        ParseComplete(),
        ParameterDescription((TEXT,)),
        columns(TEXT),
        BindComplete(),
        row(b"x"),
        done(),
        IDLE,
    )


def test_a_statement_is_replayed_in_the_same_write_and_its_answer_is_dropped(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), row(b"1"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"1"), done(), IDLE)


def test_a_describe_is_preceded_by_a_replay_too(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(describe(b"s"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), describe(b""), Sync())
    script.upstream_sends(ParseComplete(), ParameterDescription(()), columns(INT4), IDLE)
    script.frontend_receives(ParameterDescription(()), columns(INT4), IDLE)


def test_within_a_batch_a_statement_is_parsed_once(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(bind(b"s"), execute(), bind(b"s"), execute(), describe(b"s"), bind(b"s"), Sync())
    script.upstream_receives(
        *(parse(b"", b"select 1"), bind(b""), execute(), bind(b""), execute(), describe(b""), bind(b""), Sync())
    )
    script.upstream_sends(ParseComplete())
    script.upstream_answers(BindComplete(), done(), BindComplete(), done())
    script.upstream_answers(ParameterDescription(()), columns(INT4), BindComplete(), IDLE)


def test_statements_that_take_turns_in_a_batch_are_parsed_in_turn(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").prepares(b"b", b"select 2")
    script.frontend_sends(bind(b"a"), execute(), bind(b"b"), execute(), bind(b"a"), execute(), Sync())
    script.upstream_receives(
        *(parse(b"", b"select 1"), bind(b""), execute()),
        *(parse(b"", b"select 2"), bind(b""), execute()),
        *(parse(b"", b"select 1"), bind(b""), execute()),
        Sync(),
    )
    script.upstream_sends(*(ParseComplete(), BindComplete(), done()) * 3, IDLE)
    script.frontend_receives(*(BindComplete(), done()) * 3, IDLE)


def test_ten_executions_in_a_block_cost_one_parse(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").begins()
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(BindComplete(), done(), IN_BLOCK)
    for _ in range(9):
        script.frontend_sends(bind(b"s"), execute(), Sync())
        script.upstream_receives(bind(b""), execute(), Sync())
        script.upstream_answers(BindComplete(), done(), IN_BLOCK)


def test_a_statement_parsed_in_a_block_is_known_there(script: SessionScript) -> None:
    script.begins()
    script.frontend_sends(parse(b"s", b"select 1"), describe(b"s"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), describe(b""), Sync())
    script.upstream_answers(ParseComplete(), ParameterDescription(()), columns(INT4), IN_BLOCK)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(bind(b""), execute(), Sync())
    script.upstream_answers(BindComplete(), row(b"1"), done(), IN_BLOCK)


def test_in_a_block_whose_ready_for_query_has_not_come_nothing_is_known(script: SessionScript) -> None:
    script.begins()
    script.frontend_sends(parse(b"s", b"select 1"), Sync(), bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), Sync())
    script.upstream_sends(ParseComplete())
    script.frontend_receives(ParseComplete())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_answers(IN_BLOCK)
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(BindComplete(), done(), IN_BLOCK)


@pytest.mark.parametrize("ending", [b"commit", b"rollback", b"select 2", b""])
def test_a_query_in_a_block_makes_the_slot_unknown(script: SessionScript, ending: bytes) -> None:
    script.begins()
    script.frontend_sends(parse(b"s", b"select 1"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), Sync())
    script.upstream_answers(ParseComplete(), IN_BLOCK)
    script.queries(ending, done(ending.upper()), IN_BLOCK)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(BindComplete(), done(), IN_BLOCK)


def test_another_statement_in_a_block_takes_the_slot(script: SessionScript) -> None:
    script.prepares(b"b", b"select 2").begins()
    for name, sql in ((b"a", b"select 1"), (b"c", b"select 3")):
        script.frontend_sends(parse(name, sql), Sync())
        script.upstream_receives(parse(b"", sql), Sync())
        script.upstream_answers(ParseComplete(), IN_BLOCK)
    script.frontend_sends(bind(b"a"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(BindComplete(), done(), IN_BLOCK)


def test_an_error_in_a_block_makes_the_slot_unknown(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").begins()
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"22012"), FAILED)
    script.frontend_receives(BindComplete(), server_error(b"22012"), FAILED)
    script.queries(b"rollback to x", done(b"ROLLBACK"), IN_BLOCK)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IN_BLOCK)
    script.frontend_receives(BindComplete(), done(), IN_BLOCK)


def test_in_a_failed_block_the_server_refuses_the_replay_as_it_would_the_bind(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").begins().queries(b"x", server_error(b"42601"), FAILED)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_answers(server_error(b"25P02"), FAILED)


def test_a_prepared_rollback_runs_in_a_failed_block(script: SessionScript) -> None:
    script.prepares(b"r", b"rollback").begins().queries(b"x", server_error(b"42601"), FAILED)
    script.frontend_sends(bind(b"r"), execute(), Sync())
    script.upstream_receives(parse(b"", b"rollback"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"ROLLBACK"), IDLE)
    script.frontend_receives(BindComplete(), done(b"ROLLBACK"), IDLE)


# Parameter types.


def test_a_replay_carries_the_parameter_types_that_the_client_was_told(script: SessionScript) -> None:
    script.describes(b"s", b"delete from t where a = $1 and b = $2", INT4, TEXT)
    script.knows(b"s", b"delete from t where a = $1 and b = $2", INT4, TEXT)


def test_statements_of_the_same_text_are_pinned_each_to_what_it_was_told(script: SessionScript) -> None:
    sql = b"delete from t where a = $1"
    script.describes(b"s", sql, INT4).describes(b"t", sql, TEXT).describes(b"u", sql, INT4).prepares(b"v", sql)
    script.knows(b"s", sql, INT4).knows(b"t", sql, TEXT).knows(b"u", sql, INT4).knows(b"v", sql)


def test_types_that_were_declared_in_part_are_pinned_whole(script: SessionScript) -> None:
    script.describes(b"s", b"call f($1, $2)", INT4, TEXT, declared=(INT4, 0))
    script.knows(b"s", b"call f($1, $2)", INT4, TEXT)


def test_types_that_were_declared_are_kept(script: SessionScript) -> None:
    script.describes(b"s", b"call f($1)", INT4, declared=(INT4,)).knows(b"s", b"call f($1)", INT4)
    script.prepares(b"u", b"call f($1)", TEXT).knows(b"u", b"call f($1)", TEXT)


def test_what_was_never_described_is_not_pinned(script: SessionScript) -> None:
    script.prepares(b"s", b"call f($1)").knows(b"s", b"call f($1)")


def test_a_later_description_pins_the_types_that_it_found(script: SessionScript) -> None:
    script.prepares(b"s", b"call f($1)")
    script.frontend_sends(describe(b"s"), Sync())
    script.upstream_receives(parse(b"", b"call f($1)"), describe(b""), Sync())
    script.upstream_sends(ParseComplete(), ParameterDescription((INT4,)), NoData(), IDLE)
    script.frontend_receives(ParameterDescription((INT4,)), NoData(), IDLE)
    script.knows(b"s", b"call f($1)", INT4)


# Close.


def test_close_is_answered_without_a_trip(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(Close(Target.STATEMENT, b"s"), Sync())
    script.frontend_receives(CloseComplete(), IDLE)


def test_close_is_answered_in_its_place_in_the_pipeline(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(bind(b"s"), execute(), close(b"s"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), row(b"1"), done(), IDLE)
    script.frontend_receives(BindComplete(), row(b"1"), done(), CloseComplete(), IDLE)


def test_close_behind_a_batch_is_answered_when_that_is(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").prepares(b"t", b"select 2")
    script.frontend_sends(bind(b"s"), execute(), Sync(), close(b"s"), close(b"t"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done())
    script.frontend_receives(BindComplete(), done())
    script.upstream_sends(IDLE)
    script.frontend_receives(IDLE, CloseComplete(), CloseComplete(), IDLE)


def test_asyncpg_closes_old_statements_between_parse_and_bind(script: SessionScript) -> None:
    script.prepares(b"old", b"select 1")
    script.frontend_sends(parse(b"n", b"select 2"), describe(b"n"), Flush())
    script.upstream_receives(parse(b"", b"select 2"), describe(b""), Flush())
    script.upstream_answers(ParseComplete(), ParameterDescription(()), columns(INT4))
    script.frontend_sends(close(b"old"), Sync())
    script.frontend_receives(CloseComplete())
    script.upstream_receives(Flush(), Sync())
    script.upstream_answers(IDLE)
    script.frontend_sends(bind(b"n"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 2"), describe(b""), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), ParameterDescription(()), columns(INT4), BindComplete(), done(), IDLE)
    script.frontend_receives(BindComplete(), done(), IDLE)


# Texts are shared.


def test_connections_share_the_texts_of_their_statements(start: Start) -> None:
    texts = SharedTexts()
    scripts = [start(texts=texts) for _ in range(3)]
    for script in scripts:
        for number in range(5):
            script.prepares(b"s%d" % number, b"select %d" % number)
        script.prepares(b"again", b"select 1")
    assert len(texts) == 5
    scripts[0].knows(b"again", b"select 1")


def test_the_same_text_with_other_types_is_another(start: Start) -> None:
    texts = SharedTexts()
    start(texts=texts).prepares(b"a", b"select $1", INT4).prepares(b"b", b"select $1", TEXT)
    assert len(texts) == 2


def test_a_text_is_let_go_with_its_last_statement() -> None:
    texts = SharedTexts()
    script = SessionScript(texts=texts).prepares(b"s", b"select 1").describes(b"t", b"call f($1)", INT4)
    script.frontend_sends(close(b"s"), Sync()).frontend_receives(CloseComplete(), IDLE)
    gc.collect()
    assert len(texts) == 1
    del script
    gc.collect()
    assert len(texts) == 0
