"""`--unsafe=warn`, `--unsafe=allow` and `--allow`: what needs a session runs, and the client is told so or not."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import BindComplete, ParseComplete
from pgshim.protocol.frontend import Query, Sync
from pgshim.session.refusal import Policy
from tests.session.in_force import SAID, said
from tests.session.messages import FAILED, IDLE, IN_BLOCK, bind, done, execute, parse, server_error
from tests.session.script import Start
from tests.session.test_refusals import (
    A_PARSE_THAT_FAILS,
    A_ROW,
    ABORTED,
    FEATURES,
    USES,
    Use,
    each_feature,
    each_use,
    goes_on,
    is_refused,
    refusal,
    refused,
    warning,
)

WARN = Policy(unsafe="warn")
ALLOW = Policy(unsafe="allow")


def only(use: Use, unsafe: str = "refuse") -> Policy:
    """`--allow` of its feature."""
    return Policy(unsafe=unsafe, allowed=frozenset({use.feature.decode()}))


# warn.


@each_use
def test_with_warn_a_query_runs_behind_a_warning(start: Start, use: Use) -> None:
    script = start(policy=WARN).frontend_sends(Query(use.sql)).upstream_receives(Query(use.sql))
    script.frontend_receives(warning(use)).upstream_answers(*A_ROW, IDLE)
    goes_on(script)


@each_use
def test_with_warn_an_extended_query_runs_behind_a_warning(start: Start, use: Use) -> None:
    script = start(policy=WARN).frontend_sends(*said(use.sql), Sync()).upstream_receives(*said(use.sql), Sync())
    if use.at_execute:
        script.upstream_sends(*SAID).frontend_receives(*SAID, warning(use)).upstream_answers(done(), IDLE)
    else:
        script.frontend_receives(warning(use)).upstream_answers(*SAID, done(), IDLE)
    goes_on(script)


@each_use
def test_with_warn_it_runs_in_a_block(start: Start, use: Use) -> None:
    script = start(policy=WARN).begins().frontend_sends(Query(use.sql)).upstream_receives(Query(use.sql))
    script.frontend_receives(warning(use)).upstream_answers(*A_ROW, IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)


@each_feature
def test_with_warn_the_warning_is_in_its_place_in_a_pipeline(start: Start, use: Use) -> None:
    script = start(policy=WARN).frontend_sends(*said(b"show a"), Sync(), *said(use.sql), Sync())
    script.upstream_receives(*said(b"show a"), Sync(), *said(use.sql), Sync())
    script.upstream_answers(*SAID, done(b"SHOW"))
    script.upstream_sends(IDLE)
    if use.at_execute:
        script.frontend_receives(IDLE).upstream_sends(*SAID).frontend_receives(*SAID, warning(use))
    else:
        script.frontend_receives(IDLE, warning(use)).upstream_answers(*SAID)
    script.upstream_answers(done(), IDLE)


@each_feature
def test_with_warn_queries_in_one_write_have_it_in_its_place(start: Start, use: Use) -> None:
    script = start(policy=WARN).frontend_sends(Query(b"show a"), Query(use.sql))
    script.upstream_receives(Query(b"show a"), Query(use.sql)).upstream_answers(*A_ROW)
    script.upstream_sends(IDLE).frontend_receives(IDLE, warning(use)).upstream_answers(*A_ROW, IDLE)


@each_feature
def test_with_warn_the_text_goes_up_as_it_is(start: Start, use: Use) -> None:
    sql = b"/* a */ show a ; " + use.sql + b" ; show b -- b"
    script = start(policy=WARN).frontend_sends(Query(sql)).upstream_receives(Query(sql))
    script.frontend_receives(warning(use)).upstream_answers(*A_ROW, done(), *A_ROW, IDLE)


@each_feature
def test_with_warn_what_the_server_refuses_is_refused(start: Start, use: Use) -> None:
    script = start(policy=WARN).frontend_sends(Query(use.sql)).forgets()
    script.upstream_answers(server_error(b"42883", P=b"8"), IDLE)


@each_feature
def test_with_warn_there_is_none_in_a_failed_block(start: Start, use: Use) -> None:
    script = start(policy=WARN).begins().queries(b"selec", server_error(b"42601"), FAILED)
    script.queries(use.sql, ABORTED, FAILED)


@each_feature
def test_with_warn_there_is_one_each_time(start: Start, use: Use) -> None:
    script = start(policy=WARN)
    for _ in range(2):
        script.frontend_sends(Query(use.sql)).upstream_receives(Query(use.sql))
        script.frontend_receives(warning(use)).upstream_answers(*A_ROW, IDLE)


# allow.


@each_use
def test_with_allow_a_query_runs(start: Start, use: Use) -> None:
    goes_on(start(policy=ALLOW).queries(use.sql, *A_ROW, IDLE))


@each_use
def test_with_allow_an_extended_query_runs(start: Start, use: Use) -> None:
    script = start(policy=ALLOW).frontend_sends(*said(use.sql), Sync()).upstream_receives(*said(use.sql), Sync())
    goes_on(script.upstream_answers(*SAID, done(), IDLE))  # type: ignore[arg-type]


@each_use
def test_with_allow_it_runs_in_a_block(start: Start, use: Use) -> None:
    script = start(policy=ALLOW).begins().queries(use.sql, *A_ROW, IN_BLOCK)
    script.frontend_sends(*said(use.sql), Sync()).upstream_receives(*said(use.sql), Sync())
    script.upstream_answers(*SAID, done(), IN_BLOCK)


@each_use
def test_with_allow_a_prepared_statement_runs_again_and_again(start: Start, use: Use) -> None:
    start(policy=ALLOW).prepares(b"s", use.sql).knows(b"s", use.sql).knows(b"s", use.sql)


# One feature.


@each_use
def test_a_feature_that_is_allowed_runs(start: Start, use: Use) -> None:
    script = start(policy=only(use)).queries(use.sql, *A_ROW, IDLE)
    script.frontend_sends(*said(use.sql), Sync()).upstream_receives(*said(use.sql), Sync())
    script.upstream_answers(*SAID, done(), IDLE)


@each_feature
def test_where_one_is_allowed_all_others_are_refused(start: Start, use: Use) -> None:
    script = start(policy=only(use))
    for other in FEATURES:
        if other is not use:
            is_refused(script, other)


@each_feature
def test_where_one_is_allowed_the_others_of_a_text_are_refused(start: Start, use: Use) -> None:
    other = FEATURES[FEATURES.index(use) - 1]
    script = start(policy=only(use)).begins().frontend_sends(*said(use.sql), Sync()).forgets()
    script.upstream_answers(*SAID, done(), IN_BLOCK)
    script.frontend_sends(*said(other.sql), Sync()).forgets()
    script.upstream_sends(*SAID[: 2 * other.at_execute], server_error(b"42601"), FAILED)
    script.frontend_receives(*SAID[: 2 * other.at_execute], refusal(other), FAILED)


@each_feature
def test_with_warn_there_is_none_for_what_is_allowed(start: Start, use: Use) -> None:
    start(policy=only(use, "warn")).queries(use.sql, *A_ROW, IDLE)


# What comes of it.


def test_two_features_in_one_statement_have_a_warning_each(start: Start) -> None:
    sql = b"select pg_advisory_lock(1), setseed(0.5)"
    lock = next(use for use in USES if use.what == b"pg_advisory_lock() ")
    seed = next(use for use in USES if use.what == b"setseed() ")
    script = start(policy=WARN).frontend_sends(Query(sql)).upstream_receives(Query(sql))
    script.frontend_receives(warning(lock), warning(seed)).upstream_answers(*A_ROW, IDLE)
    script = start(policy=only(lock)).frontend_sends(Query(sql)).frontend_receives(refusal(seed), IDLE)
    script.frontend_sends(parse(b"", sql), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(refusal(seed), IDLE)


def test_a_statement_that_is_prepared_by_sql_can_be_deallocated(start: Start) -> None:
    script = start(policy=ALLOW).queries(b"prepare p as select 1", done(b"PREPARE"), IDLE)
    script.queries(b"deallocate p", done(b"DEALLOCATE"), IDLE)


def test_what_listens_can_stop(start: Start) -> None:
    script = start(policy=ALLOW).queries(b"listen x", done(b"LISTEN"), IDLE)
    script.queries(b"unlisten x", done(b"UNLISTEN"), IDLE)


@pytest.mark.parametrize("unsafe", ["warn", "allow"])
def test_a_setting_that_is_computed_goes_up_with_its_values(start: Start, unsafe: str) -> None:
    sql = b"select set_config(name, $1, $2) from t"
    script = start(policy=Policy(unsafe=unsafe))
    script.frontend_sends(parse(b"", sql), bind(b"", b"5", b"f"), execute(), Sync())
    script.upstream_receives(parse(b"", sql), bind(b"", b"5", b"f"), execute(), Sync())
    script.forgets().upstream_answers(ParseComplete(), BindComplete(), done(), IDLE)


def test_a_seed_that_is_let_through_is_no_setting_to_bring_to_every_server(start: Start) -> None:
    sql = b"select set_config('seed', '0.5', false)"
    script = start(policy=ALLOW).frontend_sends(Query(sql)).forgets()
    script.upstream_sends(*A_ROW, *A_ROW[:2], done(), IDLE).forgets()
    goes_on(script)


def test_the_refused_and_the_allowed_in_one_batch(start: Start) -> None:
    listen, lock = FEATURES[0], FEATURES[1]
    script = start(policy=only(listen)).frontend_sends(*said(listen.sql), *said(lock.sql), Sync())
    script.upstream_receives(*said(listen.sql), *refused(lock), Sync()).upstream_answers(*SAID, done(b"LISTEN"))
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(refusal(lock), IDLE)
