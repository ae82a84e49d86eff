"""DEALLOCATE and DISCARD: of the names that pgshim keeps, as a Query, prepared, and in mid-pipeline."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import (
    BindComplete,
    ParseComplete,
)
from pgshim.protocol.frontend import Query, Sync
from pgshim.session.session import Policy
from pgshim.session.statements import SUBSTITUTE
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    columns,
    done,
    error,
    execute,
    harmless_query,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start

INT4 = 23
UNKNOWN = error(b"26000", b'prepared statement "nosuch" does not exist', routine=b"FetchPreparedStatement")


# At rest: answered at once.


@pytest.mark.parametrize(
    ("sql", "tag"),
    [
        (b"DEALLOCATE a", b"DEALLOCATE"),
        (b"deallocate prepare a;", b"DEALLOCATE"),
        (b'/* x */ DeAllocate "a" -- y', b"DEALLOCATE"),
        (b"DEALLOCATE ALL", b"DEALLOCATE ALL"),
        (b"deallocate prepare all", b"DEALLOCATE ALL"),
        (b"DISCARD ALL", b"DISCARD ALL"),
    ],
)
def test_it_is_answered_without_a_trip_and_ends_the_name(script: SessionScript, sql: bytes, tag: bytes) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(Query(sql)).frontend_receives(done(tag), IDLE)
    script.does_not_know(b"a")


def test_deallocate_ends_only_that_name(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").prepares(b"b", b"select 2")
    script.frontend_sends(Query(b"deallocate a")).frontend_receives(done(b"DEALLOCATE"), IDLE)
    script.knows(b"b", b"select 2")


def test_deallocate_all_ends_all_names(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").prepares(b"b", b"select 2")
    script.frontend_sends(Query(b"deallocate all")).frontend_receives(done(b"DEALLOCATE ALL"), IDLE)
    script.does_not_know(b"a").does_not_know(b"b")


def test_deallocate_all_is_answered_where_nothing_is_prepared(script: SessionScript) -> None:
    script.frontend_sends(Query(b"deallocate all")).frontend_receives(done(b"DEALLOCATE ALL"), IDLE)


def test_discard_plans_leaves_the_names(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(Query(b"discard plans")).frontend_receives(done(b"DISCARD PLANS"), IDLE)
    script.knows(b"a", b"select 1")


def test_like_any_query_it_drops_the_unnamed_statement(script: SessionScript) -> None:
    script.prepares(b"", b"select 1").prepares(b"a", b"select 2")
    script.frontend_sends(Query(b"deallocate a")).frontend_receives(done(b"DEALLOCATE"), IDLE)
    script.does_not_know(b"")


def test_a_name_can_be_taken_again(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(Query(b"deallocate a")).frontend_receives(done(b"DEALLOCATE"), IDLE)
    script.prepares(b"a", b"select 2").knows(b"a", b"select 2")


def test_only_63_bytes_of_a_name_count(script: SessionScript) -> None:
    script.prepares(b"n" * 70, b"select 1")
    script.frontend_sends(Query(b"deallocate " + b"n" * 66)).frontend_receives(done(b"DEALLOCATE"), IDLE)
    script.does_not_know(b"n" * 63)


def test_an_unquoted_name_is_folded(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").prepares(b"A", b"select 2")
    script.frontend_sends(Query(b"deallocate A")).frontend_receives(done(b"DEALLOCATE"), IDLE)
    script.does_not_know(b"a").knows(b"A", b"select 2")


def test_an_unknown_name_is_refused(script: SessionScript) -> None:
    script.frontend_sends(Query(b"deallocate nosuch"))
    script.upstream_receives(harmless_query())
    script.upstream_sends(server_error(b"22012"), IDLE).frontend_receives(UNKNOWN, IDLE)


def test_the_names_of_sqls_own_prepare_are_the_servers(start: Start) -> None:
    script = start(policy=Policy("allow"))
    script.queries(b"prepare x as select 1", done(b"PREPARE"), IDLE)
    script.queries(b"deallocate x", done(b"DEALLOCATE"), IDLE)


def test_the_names_of_sqls_own_prepare_in_an_extended_message_are_the_servers(start: Start) -> None:
    script = start(policy=Policy("allow"))
    script.frontend_sends(parse(b"", b"prepare x as select 1"), bind(b""), execute(), Sync())
    script.upstream_receives(parse(b"", b"prepare x as select 1"), bind(b""), execute(), Sync())
    script.upstream_answers(ParseComplete(), BindComplete(), done(b"PREPARE"), IDLE)
    script.queries(b"deallocate x", done(b"DEALLOCATE"), IDLE)


@pytest.mark.parametrize("sql", [b"deallocate", b"deallocate a, b", b"discard everything", b"discard temp"])
def test_what_is_not_one_of_them_is_the_servers(script: SessionScript, sql: bytes) -> None:
    script.prepares(b"a", b"select 1").queries(sql, server_error(b"42601"), IDLE).knows(b"a", b"select 1")


# In a block.


def test_deallocate_in_a_block_is_not_undone_by_rollback(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").begins()
    script.frontend_sends(Query(b"deallocate a")).frontend_receives(done(b"DEALLOCATE"), IN_BLOCK)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE).does_not_know(b"a")


def test_an_unknown_name_fails_the_block(script: SessionScript) -> None:
    script.begins().frontend_sends(Query(b"deallocate nosuch")).upstream_receives(harmless_query())
    script.upstream_sends(server_error(b"22012"), FAILED).frontend_receives(UNKNOWN, FAILED)


@pytest.mark.parametrize("sql", [b"deallocate a", b"deallocate all"])
def test_in_a_failed_block_the_server_refuses_it(script: SessionScript, sql: bytes) -> None:
    script.prepares(b"a", b"select 1").begins().queries(b"x", server_error(b"42601"), FAILED)
    script.queries(sql, server_error(b"25P02"), FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE).knows(b"a", b"select 1")


def test_discard_all_in_a_block_is_the_servers_25001(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").begins()
    script.queries(b"discard all", server_error(b"25001"), FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE).knows(b"a", b"select 1")


def test_discard_plans_in_a_block_is_the_servers(script: SessionScript) -> None:
    script.begins().queries(b"discard plans", done(b"DISCARD PLANS"), IN_BLOCK)


@pytest.mark.parametrize("sql", [b"select 1; discard all", b"discard all; select 1"])
def test_discard_all_among_other_statements_is_the_servers_25001(script: SessionScript, sql: bytes) -> None:
    script.prepares(b"a", b"select 1").queries(sql, server_error(b"25001"), IDLE).knows(b"a", b"select 1")


def test_discard_all_behind_an_unnamed_parse_drops_that(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"select 1"), Query(b"discard all"))
    script.upstream_receives(parse(b"", b"select 1"), harmless_query())
    script.upstream_answers(ParseComplete())
    script.upstream_sends(columns(), done(b"SELECT 1"), IDLE).frontend_receives(done(b"DISCARD ALL"), IDLE)
    script.does_not_know(b"")


# While replies are owed.


def test_behind_replies_that_are_owed_it_keeps_its_place(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(Query(b"select 2"), Query(b"deallocate a"), bind(b"a"), execute(), Sync())
    script.upstream_receives(Query(b"select 2"), harmless_query())
    script.upstream_answers(columns(INT4), row(b"2"), done(), IDLE)
    script.upstream_sends(columns(), row(), done()).frontend_receives(done(b"DEALLOCATE"))
    script.upstream_sends(IDLE).frontend_receives(IDLE).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"26000"), IDLE)


def test_behind_a_batch_that_prepares_it_waits(script: SessionScript) -> None:
    script.frontend_sends(parse(b"a", b"select 1"), Sync(), Query(b"deallocate a"))
    script.upstream_receives(parse(b"", b"select 1"), Sync())
    script.upstream_sends(ParseComplete(), IDLE)
    script.frontend_receives(ParseComplete(), IDLE, done(b"DEALLOCATE"), IDLE)
    script.does_not_know(b"a")


def test_discard_all_behind_replies_that_are_owed_waits(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(Query(b"select 2"), Query(b"discard all"), Query(b"select 3"))
    script.upstream_receives(Query(b"select 2"))
    script.upstream_sends(columns(INT4), done(), IDLE)
    script.frontend_receives(columns(INT4), done(), IDLE, done(b"DISCARD ALL"), IDLE)
    script.upstream_receives(Query(b"select 3")).upstream_answers(columns(INT4), done(), IDLE)
    script.does_not_know(b"a")


# In a Query with other statements.


def test_in_a_query_of_several_statements_it_is_carried_out_in_its_place(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").prepares(b"b", b"select 2")
    sql = b"select 10; deallocate a; select 11"
    script.frontend_sends(Query(sql)).upstream_receives(harmless_query())
    script.upstream_answers(columns(INT4), row(b"10"), done())
    script.upstream_sends(columns(), row(), done()).frontend_receives(done(b"DEALLOCATE"))
    script.upstream_answers(columns(INT4), row(b"11"), done(), IDLE)
    script.does_not_know(b"a").knows(b"b", b"select 2")


def test_the_rows_of_a_substitute_are_dropped_in_any_number(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(Query(b"deallocate a; select 11")).upstream_receives(harmless_query())
    script.upstream_sends(columns()).upstream_sends(row()).upstream_sends(row(), row())
    script.upstream_sends(done()).frontend_receives(done(b"DEALLOCATE"))
    script.upstream_answers(columns(INT4), row(b"11"), row(b"12"), done(), IDLE)


def test_statements_behind_one_that_fails_are_not_carried_out(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").prepares(b"b", b"select 2")
    script.frontend_sends(Query(b"deallocate a; select 1/0; deallocate b")).upstream_receives(harmless_query())
    script.upstream_sends(columns(), row(), done()).frontend_receives(done(b"DEALLOCATE"))
    script.upstream_answers(server_error(b"22012"), IDLE)
    script.does_not_know(b"a").knows(b"b", b"select 2")


def test_a_syntax_error_anywhere_carries_out_nothing(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1").prepares(b"b", b"select 2")
    sql = b"deallocate a; select '\xc3\xa4', selec x; deallocate all"
    script.frontend_sends(Query(sql)).upstream_receives(harmless_query())
    # In the text that went up, what stands for `deallocate a` is one character longer.
    script.upstream_sends(server_error(b"42601", P=b"28"), IDLE)
    script.frontend_receives(server_error(b"42601", P=b"27"), IDLE).knows(b"a", b"select 1").knows(b"b", b"select 2")


def test_the_second_of_two_for_one_name_fails(script: SessionScript) -> None:
    script.prepares(b"a", b"select 1")
    script.frontend_sends(Query(b"deallocate a; deallocate a")).upstream_receives(harmless_query())
    script.upstream_sends(columns(), row(), done()).frontend_receives(done(b"DEALLOCATE"))
    script.upstream_sends(server_error(b"22012"), IDLE)
    script.frontend_receives(error(b"26000", b'prepared statement "a" does not exist'), IDLE)
    script.does_not_know(b"a")


@pytest.mark.parametrize(
    "sql", [b"deallocate all; select 1/0; deallocate a", b"deallocate a; select 1/0; deallocate all"]
)
def test_what_was_carried_out_before_the_failure_stays_done(script: SessionScript, sql: bytes) -> None:
    script.prepares(b"a", b"select 1")
    tag = done(b"DEALLOCATE ALL" if sql.startswith(b"deallocate all") else b"DEALLOCATE")
    script.frontend_sends(Query(sql)).upstream_receives(harmless_query())
    script.upstream_sends(columns(), row(), done()).frontend_receives(tag)
    script.upstream_answers(server_error(b"22012"), IDLE)
    script.does_not_know(b"a")


def test_an_unknown_name_among_others_fails_the_text_in_its_place(script: SessionScript) -> None:
    script.queries(b"select 1", columns(INT4), done(), IDLE)
    sql = b"insert into t values (1); deallocate nosuch"
    script.frontend_sends(Query(sql)).upstream_receives(harmless_query())
    script.upstream_answers(done(b"INSERT 0 1"))
    script.upstream_sends(server_error(b"22012"), IDLE).frontend_receives(UNKNOWN, IDLE)


def test_the_servers_positions_stay_true_behind_a_substitute(script: SessionScript) -> None:
    name = "\N{LATIN SMALL LETTER A WITH DIAERESIS}" * 5
    script.prepares(name.encode(), b"select 1")
    sql = f'deallocate "{name}"; select x'
    sent = Query(SUBSTITUTE.ljust(len(f'deallocate "{name}"')) + b"; select x")
    script.frontend_sends(Query(sql.encode())).upstream_receives(sent)
    script.upstream_sends(columns(), row(), done()).frontend_receives(done(b"DEALLOCATE"))
    script.upstream_answers(server_error(b"42703", P=b"28"), IDLE)


def test_a_text_with_one_drops_the_unnamed_statement(script: SessionScript) -> None:
    script.prepares(b"", b"select 1").prepares(b"a", b"select 2")
    script.frontend_sends(Query(b"select 1; deallocate a")).upstream_receives(harmless_query())
    script.upstream_answers(columns(INT4), done())
    script.upstream_sends(columns(), row(), done(), IDLE).frontend_receives(done(b"DEALLOCATE"), IDLE)
    script.does_not_know(b"").does_not_know(b"a")
