"""DEALLOCATE and DISCARD ALL as extended messages: prepared, executed, and in mid-pipeline."""

from __future__ import annotations

from pgshim.protocol.backend import (
    BindComplete,
    NoData,
    ParameterDescription,
    ParseComplete,
)
from pgshim.protocol.frontend import Query, Sync
from tests.session.messages import (
    A_HARMLESS_PARSE,
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    columns,
    describe,
    describe_portal,
    done,
    error,
    execute,
    harmless_query,
    parse,
    server_error,
)
from tests.session.script import SessionScript

# Prepared, and in mid-pipeline.


def test_psycopg_deallocates_in_mid_pipeline(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(
        *(parse(b"", b"rollback"), bind(b""), describe_portal(), execute()),
        *(parse(b"", b"DEALLOCATE ALL"), bind(b""), describe_portal(), execute(), Sync()),
    )
    script.upstream_receives(
        *(parse(b"", b"rollback"), bind(b""), describe_portal(), execute()),
        *(A_HARMLESS_PARSE, bind(b""), describe_portal(), execute(), Sync()),
    )
    script.upstream_answers(ParseComplete(), BindComplete(), NoData(), done(b"ROLLBACK"))
    script.upstream_sends(ParseComplete(), BindComplete(), columns(), done(b"SELECT 0"), IDLE)
    script.frontend_receives(ParseComplete(), BindComplete(), NoData(), done(b"DEALLOCATE ALL"), IDLE)
    script.does_not_know(b"a")


def test_a_prepared_deallocate_is_described_as_one(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(parse(b"d", b"deallocate a"), describe(b"d"), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, describe(b""), Sync())
    script.upstream_sends(ParseComplete(), ParameterDescription(()), columns(), IDLE)
    script.frontend_receives(ParseComplete(), ParameterDescription(()), NoData(), IDLE)
    script.knows(b"a", b"select 1")


def test_a_prepared_deallocate_goes_by_the_names_there_are_when_it_is_executed(script: SessionScript) -> None:
    script.frontend_sends(parse(b"d", b"deallocate a"), Sync()).upstream_receives(A_HARMLESS_PARSE, Sync())
    script.upstream_answers(ParseComplete(), IDLE).prepares(b"a", b"select 1")
    script.frontend_sends(bind(b"d"), execute(), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"SELECT 0"), IDLE)
    script.frontend_receives(BindComplete(), done(b"DEALLOCATE"), IDLE)
    script.does_not_know(b"a")
    script.frontend_sends(bind(b"d"), execute(), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(BindComplete(), error(b"26000", b'prepared statement "a" does not exist'), IDLE)


def test_one_that_is_skipped_leaves_the_name(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(
        *(parse(b"", b"select 1/0"), bind(b""), execute()),
        *(parse(b"", b"deallocate a"), bind(b""), execute(), Sync()),
    )
    script.upstream_receives(
        *(parse(b"", b"select 1/0"), bind(b""), execute()),
        *(A_HARMLESS_PARSE, bind(b""), execute(), Sync()),
    )
    script.upstream_answers(ParseComplete(), BindComplete(), server_error(b"22012"), IDLE)
    script.knows(b"a", b"select 1")


def test_one_that_ends_itself(script: SessionScript) -> None:
    script.frontend_sends(parse(b"d", b"deallocate d"), bind(b"d"), execute(), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"SELECT 0"), IDLE)
    script.frontend_receives(ParseComplete(), BindComplete(), done(b"DEALLOCATE"), IDLE)
    script.does_not_know(b"d")


def test_a_statement_that_it_ended_is_unknown_in_the_same_batch(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(parse(b"", b"deallocate a"), bind(b""), execute(), bind(b"a"), execute(), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), execute(), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"SELECT 0"), server_error(b"42601"), IDLE)
    script.frontend_receives(ParseComplete(), BindComplete(), done(b"DEALLOCATE"), error(b"26000"), IDLE)


def test_in_a_failed_block_a_prepared_one_is_refused_by_the_server(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").begins().queries(b"x", server_error(b"42601"), FAILED)
    script.frontend_sends(parse(b"", b"deallocate a"), bind(b""), execute(), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), execute(), Sync())
    script.upstream_answers(server_error(b"25P02"), FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE).knows(b"a", b"select 1")


def test_one_for_a_name_whose_parse_is_on_its_way_waits(script: SessionScript) -> None:
    script.frontend_sends(parse(b"a", b"select 1"), Sync(), parse(b"", b"deallocate a"), bind(b""), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), Sync())
    script.upstream_answers(ParseComplete(), IDLE)
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), execute(), Sync())
    script.upstream_answers(ParseComplete(), BindComplete())
    script.upstream_sends(done(b"SELECT 0"), IDLE).frontend_receives(done(b"DEALLOCATE"), IDLE)
    script.does_not_know(b"a")


# DISCARD ALL, prepared.


def test_a_prepared_discard_all_ends_all_names(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(parse(b"", b"discard all"), bind(b""), execute(), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"SELECT 0"), IDLE)
    script.frontend_receives(ParseComplete(), BindComplete(), done(b"DISCARD ALL"), IDLE)
    script.does_not_know(b"a")


def test_a_prepared_discard_all_in_a_block_is_refused(script: SessionScript) -> None:
    script.begins()
    script.frontend_sends(parse(b"", b"discard all"), bind(b""), execute(), Sync())
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"42601"), FAILED)
    script.frontend_receives(ParseComplete(), BindComplete(), error(b"25001"), FAILED)


def test_a_prepared_discard_all_behind_another_execute_is_refused(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(bind(b"a"), execute(), parse(b"", b"discard all"), bind(b""), execute(), Sync())
    script.upstream_receives(
        *(parse(b"", b"select 1"), bind(b""), execute()),
        *(A_HARMLESS_PARSE, bind(b""), A_PARSE_THAT_FAILS, Sync()),
    )
    script.upstream_sends(ParseComplete(), BindComplete(), done(), ParseComplete(), BindComplete())
    script.frontend_receives(BindComplete(), done(), ParseComplete(), BindComplete())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"25001"), IDLE)
    script.knows(b"a", b"select 1")


def test_a_prepared_discard_all_waits_for_replies_that_are_owed(script: SessionScript) -> None:
    script.frontend_sends(Query(b"begin"), parse(b"", b"discard all"), bind(b""), execute(), Sync())
    script.upstream_receives(Query(b"begin"))
    script.upstream_answers(done(b"BEGIN"), IN_BLOCK)
    script.upstream_receives(A_HARMLESS_PARSE, bind(b""), A_PARSE_THAT_FAILS, Sync())
    script.upstream_answers(ParseComplete(), BindComplete())
    script.upstream_sends(server_error(b"42601"), FAILED).frontend_receives(error(b"25001"), FAILED)


def test_discard_all_as_a_query_behind_a_parse_that_is_not_synced(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(parse(b"b", b"select 2"), Query(b"discard all"))
    script.upstream_receives(parse(b"", b"select 2"), harmless_query())
    script.upstream_answers(ParseComplete())
    script.upstream_sends(columns(), done(b"SELECT 1"), IDLE).frontend_receives(done(b"DISCARD ALL"), IDLE)
    script.does_not_know(b"a").does_not_know(b"b")


def test_discard_all_as_a_query_behind_an_execute_that_is_not_synced_is_the_servers(script: SessionScript) -> None:
    script.frontend_sends(parse(b"b", b"select 2"), bind(b"b"), execute(), Query(b"discard all"))
    script.upstream_receives(parse(b"", b"select 2"), bind(b""), execute(), Query(b"discard all"))
    script.upstream_answers(ParseComplete(), BindComplete(), done(), server_error(b"25001"), IDLE)


def test_deallocate_as_a_query_in_a_batch_of_parses_that_are_all_answered(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(parse(b"b", b"select 2"), Sync(), Query(b"select 1"))
    script.upstream_receives(parse(b"", b"select 2"), Sync(), Query(b"select 1"))
    script.upstream_answers(ParseComplete(), IDLE, columns(23), done(), IDLE)
    script.frontend_sends(Query(b"deallocate a")).frontend_receives(done(b"DEALLOCATE"), IDLE)
    script.knows(b"b", b"select 2").does_not_know(b"a")


def test_an_answer_behind_an_answer_of_pgshims_own(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(Query(b"deallocate a"), Query(b"deallocate all"), Sync())
    script.frontend_receives(done(b"DEALLOCATE"), IDLE, done(b"DEALLOCATE ALL"), IDLE, IDLE)
