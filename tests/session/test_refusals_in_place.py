"""A refusal among other statements: what is ahead of it is undone with it, what is behind it is not run."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import EmptyQueryResponse
from pgshim.protocol.frontend import Query, Sync
from tests.session.in_force import SAID, said
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    Pattern,
    done,
    parse,
    server_error,
)
from tests.session.script import SessionScript, Start
from tests.session.test_refusals import (
    A_FAILING_QUERY,
    A_ROW,
    DIVISION,
    Use,
    answered,
    each_feature,
    each_use,
    goes_on,
    is_in_failed_block,
    refusal,
    refused,
)

DELETE = b"delete from t"
DELETED = done(b"DELETE 1")
SYNTAX = server_error(b"42601")


def text_of(sql: bytes, use: Use) -> Pattern:
    """A Query with a division by zero where the use was."""
    ahead, _, behind = sql.partition(use.sql)
    return Pattern(
        f"Query {ahead!r} SELECT 1/0 {behind!r}",
        lambda message: (
            isinstance(message, Query)
            and message.query.startswith(ahead)
            and message.query.endswith(behind)
            and message.query[len(ahead) : len(message.query) - len(behind)].strip() == b"SELECT 1/0"
        ),
    )


# In one Query.


@each_use
def test_what_is_ahead_of_it_in_a_query_is_undone_and_what_is_behind_is_not_run(
    script: SessionScript, use: Use
) -> None:
    sql = b" delete from a ;" + use.sql + b"; select 2; " if not use.at_execute else b"show x;" + use.sql + b";table t"
    script.frontend_sends(Query(sql)).upstream_receives(text_of(sql, use)).upstream_answers(DELETED)
    script.upstream_sends(DIVISION, IDLE).frontend_receives(refusal(use), IDLE)
    goes_on(script)


@each_feature
def test_in_a_block_such_a_query_fails_it(script: SessionScript, use: Use) -> None:
    sql = b"show x; " + use.sql + b"; commit"
    script.begins().frontend_sends(Query(sql)).upstream_receives(text_of(sql, use))
    script.upstream_sends(*A_ROW, DIVISION, FAILED).frontend_receives(*A_ROW, refusal(use), FAILED)
    is_in_failed_block(script)


@each_feature
def test_in_a_block_that_a_query_begins_it_fails_that(script: SessionScript, use: Use) -> None:
    sql = b"begin;" + use.sql + b";commit"
    script.frontend_sends(Query(sql)).upstream_receives(text_of(sql, use))
    script.upstream_sends(done(b"BEGIN"), DIVISION, FAILED).frontend_receives(done(b"BEGIN"), refusal(use), FAILED)
    is_in_failed_block(script)


@each_feature
def test_what_a_query_has_committed_ahead_of_it_stays(script: SessionScript, use: Use) -> None:
    sql = b"commit;" + use.sql
    script.begins().frontend_sends(Query(sql)).upstream_receives(text_of(sql, use))
    script.upstream_sends(done(b"COMMIT"), DIVISION, IDLE).frontend_receives(done(b"COMMIT"), refusal(use), IDLE)
    goes_on(script)


@each_feature
def test_a_query_that_leaves_a_failed_block_is_refused_behind_that(script: SessionScript, use: Use) -> None:
    script.begins().queries(b"selec", SYNTAX, FAILED)
    sql = b"rollback;" + use.sql
    script.frontend_sends(Query(sql)).upstream_receives(text_of(sql, use))
    script.upstream_sends(done(b"ROLLBACK"), DIVISION, IDLE).frontend_receives(done(b"ROLLBACK"), refusal(use), IDLE)


@each_feature
def test_an_error_ahead_of_it_is_the_clients_own(script: SessionScript, use: Use) -> None:
    sql = b"select 1/0;" + use.sql
    script.frontend_sends(Query(sql)).gone_up()
    script.upstream_answers(DIVISION, IDLE)
    goes_on(script)


@each_feature
def test_a_query_that_is_no_sql_is_the_servers_to_refuse(script: SessionScript, use: Use) -> None:
    sql = use.sql + b"; 'no end"
    script.queries(sql, SYNTAX, IDLE)


# In one batch.


@each_use
def test_what_is_ahead_of_it_in_a_batch_is_undone_and_what_is_behind_is_not_sent(
    script: SessionScript, use: Use
) -> None:
    ahead = said(b"show x" if use.at_execute else DELETE)
    script.frontend_sends(*ahead, *said(use.sql), *said(DELETE), *said(use.sql), Sync())
    script.upstream_receives(*ahead, *refused(use), Sync()).upstream_answers(*SAID, DELETED)
    script.upstream_sends(*answered(use), SYNTAX, IDLE).frontend_receives(*answered(use), refusal(use), IDLE)
    goes_on(script)


@each_feature
def test_a_batch_that_fails_ahead_of_it_has_that_error(script: SessionScript, use: Use) -> None:
    script.frontend_sends(*said(DELETE), *said(use.sql), Sync()).forgets()
    script.upstream_answers(*SAID, server_error(b"23503"), IDLE)
    goes_on(script)


@each_feature
def test_in_a_batch_that_begins_a_block_it_fails_that(script: SessionScript, use: Use) -> None:
    script.frontend_sends(*said(b"begin"), *said(use.sql), *said(b"commit"), Sync())
    script.upstream_receives(*said(b"begin"), *refused(use), Sync()).upstream_answers(*SAID, done(b"BEGIN"))
    script.upstream_sends(*answered(use), SYNTAX, FAILED).frontend_receives(*answered(use), refusal(use), FAILED)
    is_in_failed_block(script)


@each_feature
def test_in_a_batch_behind_the_rollback_of_a_failed_block(script: SessionScript, use: Use) -> None:
    script.begins().queries(b"selec", SYNTAX, FAILED)
    script.frontend_sends(*said(b"rollback"), *said(use.sql), Sync())
    script.upstream_receives(*said(b"rollback"), *refused(use), Sync()).upstream_answers(*SAID, done(b"ROLLBACK"))
    script.upstream_sends(*answered(use), SYNTAX, IDLE).frontend_receives(*answered(use), refusal(use), IDLE)
    goes_on(script)


# Among several batches.


@each_feature
def test_a_pipeline_keeps_its_order(script: SessionScript, use: Use) -> None:
    script.frontend_sends(
        *(*said(b"show a"), Sync()),
        *(*said(use.sql), *said(DELETE), Sync()),
        *(*said(b"show b"), Sync()),
    )
    script.upstream_receives(*said(b"show a"), Sync(), *refused(use), Sync(), *said(b"show b"), Sync())
    script.upstream_answers(*SAID, done(b"SHOW"), IDLE)
    script.upstream_sends(*answered(use), SYNTAX, IDLE).frontend_receives(*answered(use), refusal(use), IDLE)
    script.upstream_answers(*SAID, done(b"SHOW"), IDLE)
    goes_on(script)


@each_feature
def test_a_pipeline_is_sent_batch_by_batch_to_who_wants_it_so(start: Start, use: Use) -> None:
    script = start(is_serial=True)
    script.frontend_sends(*said(b"show a"), Sync(), *said(use.sql), Sync(), *said(b"show b"), Sync())
    script.upstream_receives(*said(b"show a"), Sync()).upstream_sends(*SAID, done(b"SHOW"), IDLE)
    script.frontend_receives(*SAID, done(b"SHOW"), IDLE).upstream_receives(*refused(use), Sync())
    script.upstream_sends(*answered(use), SYNTAX, IDLE).frontend_receives(*answered(use), refusal(use), IDLE)
    script.upstream_receives(*said(b"show b"), Sync()).upstream_answers(*SAID, done(b"SHOW"), IDLE)


@each_feature
def test_queries_in_one_write_keep_their_order(script: SessionScript, use: Use) -> None:
    script.frontend_sends(Query(b"show a"), Query(use.sql), Query(b"show b"))
    script.upstream_receives(Query(b"show a"), A_FAILING_QUERY, Query(b"show b")).upstream_answers(*A_ROW, IDLE)
    script.upstream_sends(DIVISION, IDLE).frontend_receives(refusal(use), IDLE)
    script.upstream_answers(*A_ROW, IDLE)
    goes_on(script)


@each_feature
def test_in_a_block_a_pipeline_fails_from_there_on(script: SessionScript, use: Use) -> None:
    aborted = server_error(b"25P02")
    script.begins().frontend_sends(*said(b"show a"), Sync(), *said(use.sql), Sync(), *said(b"show b"), Sync())
    script.upstream_receives(*said(b"show a"), Sync(), *refused(use), Sync(), *said(b"show b"), Sync())
    script.upstream_answers(*SAID, done(b"SHOW"), IN_BLOCK)
    script.upstream_sends(*answered(use), SYNTAX, FAILED).frontend_receives(*answered(use), refusal(use), FAILED)
    script.upstream_answers(aborted, FAILED)
    is_in_failed_block(script)


@each_feature
def test_a_query_behind_a_parse_that_was_flushed_is_refused_in_its_place(script: SessionScript, use: Use) -> None:
    script.frontend_sends(*said(b"show a")).forgets().frontend_sends(Query(use.sql))
    script.upstream_receives(A_FAILING_QUERY)
    script.upstream_answers(*SAID, done(b"SHOW")).upstream_sends(DIVISION, IDLE).frontend_receives(refusal(use), IDLE)
    goes_on(script)


def test_the_unnamed_statement_is_dropped_by_a_query_that_is_refused(script: SessionScript) -> None:
    script.prepares(b"", b"select 1").frontend_sends(Query(b"listen x"))
    script.forgets().does_not_know(b"")


def test_a_named_statement_is_there_after_a_query_that_is_refused(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").frontend_sends(Query(b"listen x")).forgets().knows(b"s", b"select 1")


def test_the_name_of_a_refused_parse_is_free(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"listen x"), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(SYNTAX, IDLE).forgets().prepares(b"s", b"select 1").knows(b"s", b"select 1")


def test_a_statement_of_the_same_name_is_still_there_after_a_refused_parse(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").frontend_sends(parse(b"s", b"listen x"), Sync()).forgets()
    script.upstream_sends(SYNTAX, IDLE).forgets().knows(b"s", b"select 1")


@pytest.mark.parametrize("sql", [b"", b";", b"-- listen x"])
def test_an_empty_query_is_none(script: SessionScript, sql: bytes) -> None:
    script.queries(sql, EmptyQueryResponse(), IDLE)
