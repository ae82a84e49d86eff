"""currval() and lastval(): they work in the transaction that called nextval(), and are refused in any other."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import CopyInResponse, FunctionCallResponse
from pgshim.protocol.frontend import CopyDone, FunctionCall, Query, Sync
from tests.session.in_force import SAID, said, select
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    Pattern,
    bind,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start
from tests.session.test_refusals import A_FAILING_QUERY, A_ROW, DIVISION, USES, refusal

CURRVAL, LASTVAL = (next(use for use in USES if use.what == what) for what in (b"currval() ", b"lastval() "))
REFUSED: tuple[Message | Pattern, ...] = (parse(b"", CURRVAL.sql), bind(b""), A_PARSE_THAT_FAILS)
SYNTAX = server_error(b"42601")
INSERTED = done(b"INSERT 0 1")
ROW = row(b"1"), done()

#: What may have called nextval().
DRAWING = [
    b"insert into t values (default)",
    b"with i as (insert into t values (default) returning a) table i",
    b"update t set a = default",
    b"merge into t using u on t.a = u.a when not matched then insert values (default)",
    b"select nextval('s')",
    b"select my.f(1)",
    b"copy t from '/x'",
    b"call p()",
    b"do $$begin insert into t values (default); end$$",
    b"create table u as select nextval('s') as a",
]
#: What has not.
IDLING = [
    b"select 1",
    b"table t",
    b"show a",
    b"set local work_mem = 5",
    b"savepoint a",
    b"fetch 1 from c",
    b"select count(*) from t",
    b"lock table t",
    b"declare c cursor for select 1",
]
#: What asks for a value that the statement itself need not have drawn: the idiom of parent and child among them.
ASKING = [
    b"insert into child (parent) values (currval('parent_id_seq'))",
    b"insert into child select lastval(), a from t",
]

each_drawing = pytest.mark.parametrize("sql", DRAWING, ids=bytes.decode)
each_idling = pytest.mark.parametrize("sql", IDLING, ids=bytes.decode)


def is_given(script: SessionScript) -> None:
    """In a block, in both protocols."""
    script.queries(CURRVAL.sql, *A_ROW, IN_BLOCK).queries(LASTVAL.sql, *A_ROW, IN_BLOCK)
    script.frontend_sends(*said(LASTVAL.sql), Sync()).upstream_receives(*said(LASTVAL.sql), Sync())
    script.upstream_answers(*SAID, *ROW, IN_BLOCK)


def is_refused(script: SessionScript) -> None:
    """In autocommit, in both protocols."""
    script.frontend_sends(Query(LASTVAL.sql)).frontend_receives(refusal(LASTVAL), IDLE)
    script.frontend_sends(*said(CURRVAL.sql), Sync()).upstream_receives(*REFUSED, Sync())
    script.upstream_sends(*SAID, SYNTAX, IDLE).frontend_receives(*SAID, refusal(CURRVAL), IDLE)


# In a block.


@each_drawing
def test_they_work_behind_a_query_that_may_have_called_nextval(script: SessionScript, sql: bytes) -> None:
    is_given(script.begins().queries(sql, done(), IN_BLOCK))


@each_drawing
def test_they_work_behind_an_extended_query_that_may_have_called_nextval(script: SessionScript, sql: bytes) -> None:
    script.begins().frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
    script.upstream_answers(*SAID, done(), IN_BLOCK)
    is_given(script)


@each_idling
def test_they_are_refused_behind_a_query_that_has_not(script: SessionScript, sql: bytes) -> None:
    script.begins().queries(sql, done(), IN_BLOCK).frontend_sends(Query(CURRVAL.sql))
    script.upstream_receives(A_FAILING_QUERY)
    script.upstream_sends(DIVISION, FAILED).frontend_receives(refusal(CURRVAL), FAILED)


@each_idling
def test_they_are_refused_behind_an_extended_query_that_has_not(script: SessionScript, sql: bytes) -> None:
    script.begins().frontend_sends(*said(sql), Sync()).forgets().upstream_answers(*SAID, done(), IN_BLOCK)
    script.frontend_sends(*said(CURRVAL.sql), Sync()).upstream_receives(*REFUSED, Sync())
    script.upstream_sends(*SAID, SYNTAX, FAILED).frontend_receives(*SAID, refusal(CURRVAL), FAILED)


def test_they_work_with_settings_in_force(start: Start) -> None:
    script = start(startup={b"search_path": b"app"}).frontend_sends(Query(b"begin"))
    script.forgets().upstream_sends(done(b"BEGIN"), done(b"SET"), IN_BLOCK).forgets()
    is_given(script.queries(DRAWING[0], INSERTED, IN_BLOCK))


def test_they_work_behind_a_copy(script: SessionScript) -> None:
    script.begins().copies_in().frontend_sends(CopyDone()).forgets().upstream_sends(done(b"COPY 1"))
    script.forgets().upstream_sends(IN_BLOCK).forgets()
    is_given(script)


def test_they_work_behind_an_extended_copy(script: SessionScript) -> None:
    script.begins().frontend_sends(*said(b"copy t from stdin"), Sync()).forgets()
    script.upstream_sends(*SAID, CopyInResponse(0, ())).forgets().frontend_sends(CopyDone(), Sync()).forgets()
    script.upstream_sends(done(b"COPY 1"), IN_BLOCK).forgets()
    is_given(script)


def test_they_work_behind_a_function_call(script: SessionScript) -> None:
    script.begins().frontend_sends(FunctionCall(1574, (), (b"16384",), 0)).forgets()
    script.upstream_answers(FunctionCallResponse(b"1"), IN_BLOCK)
    is_given(script)


def test_they_work_behind_a_savepoint_and_what_is_rolled_back_to_it(script: SessionScript) -> None:
    script.begins().queries(b"savepoint a", done(b"SAVEPOINT"), IN_BLOCK).queries(DRAWING[0], INSERTED, IN_BLOCK)
    is_given(script.queries(b"rollback to a", done(b"ROLLBACK"), IN_BLOCK))


@pytest.mark.parametrize("end", [b"commit", b"rollback", b"prepare transaction 'a'"], ids=bytes.decode)
def test_they_are_refused_after_the_transaction(script: SessionScript, end: bytes) -> None:
    script.begins().queries(DRAWING[0], INSERTED, IN_BLOCK).queries(end, done(end.upper()), IDLE)
    is_refused(script)
    script.begins().frontend_sends(Query(LASTVAL.sql)).upstream_receives(A_FAILING_QUERY)
    script.upstream_sends(DIVISION, FAILED).frontend_receives(refusal(LASTVAL), FAILED)


@pytest.mark.parametrize("end", [b"commit", b"rollback"], ids=bytes.decode)
def test_they_are_refused_after_the_transaction_of_an_extended_block(script: SessionScript, end: bytes) -> None:
    for sql, status in ((b"begin", IN_BLOCK), (DRAWING[0], IN_BLOCK), (end, IDLE)):
        script.frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
        script.upstream_answers(*SAID, done(sql.upper()), status)
    is_refused(script)


# In autocommit.


@each_drawing
def test_in_autocommit_they_are_refused_behind_anything(script: SessionScript, sql: bytes) -> None:
    is_refused(script.queries(sql, done(), IDLE))
    script.frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
    script.upstream_answers(*SAID, done(), IDLE)
    is_refused(script)


@each_drawing
def test_they_work_in_the_same_query(script: SessionScript, sql: bytes) -> None:
    script.queries(sql + b"; " + CURRVAL.sql + b"; " + LASTVAL.sql, done(), *A_ROW, *A_ROW, IDLE)
    is_refused(script)


@each_idling
def test_they_are_refused_in_the_same_query_behind_what_has_not(script: SessionScript, sql: bytes) -> None:
    script.frontend_sends(Query(sql + b"; " + LASTVAL.sql)).forgets()
    script.upstream_sends(done(), DIVISION, IDLE).frontend_receives(done(), refusal(LASTVAL), IDLE)


@each_drawing
def test_they_work_in_the_same_batch(script: SessionScript, sql: bytes) -> None:
    batch = *said(sql), *said(LASTVAL.sql)
    script.frontend_sends(*batch, Sync()).upstream_receives(*batch, Sync())
    script.upstream_answers(*SAID, done(), *SAID, *ROW, IDLE)
    is_refused(script)


def test_they_work_in_the_same_batch_and_are_refused_in_the_next_one_of_a_pipeline(script: SessionScript) -> None:
    batch = *said(DRAWING[0]), *said(CURRVAL.sql), Sync()
    script.frontend_sends(*batch, *said(CURRVAL.sql), Sync()).upstream_receives(*batch, *REFUSED, Sync())
    script.upstream_answers(*SAID, INSERTED, *SAID, *ROW, IDLE)
    script.upstream_sends(*SAID, SYNTAX, IDLE).frontend_receives(*SAID, refusal(CURRVAL), IDLE)


def test_ahead_of_what_calls_nextval_they_are_refused(script: SessionScript) -> None:
    script.frontend_sends(*said(CURRVAL.sql), *said(DRAWING[0]), Sync()).upstream_receives(*REFUSED, Sync())
    script.upstream_sends(*SAID, SYNTAX, IDLE).frontend_receives(*SAID, refusal(CURRVAL), IDLE)


def test_settings_that_go_ahead_of_them_call_nothing(start: Start) -> None:
    script = start(startup={b"search_path": b"app"}).frontend_sends(*said(CURRVAL.sql), Sync())
    script.upstream_receives(*said(select({b"search_path": b"app"})), *REFUSED, Sync())
    script.upstream_sends(*SAID, *ROW).upstream_sends(*SAID, SYNTAX, IDLE)
    script.frontend_receives(*SAID, refusal(CURRVAL), IDLE)


# Prepared before, pipelined.


def test_a_prepared_one_works_where_it_may(script: SessionScript) -> None:
    script.prepares(b"s", LASTVAL.sql).begins().queries(DRAWING[0], INSERTED, IN_BLOCK)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(*said(LASTVAL.sql), Sync()).upstream_sends(*SAID, *ROW, IN_BLOCK)
    script.frontend_receives(*SAID[1:], *ROW, IN_BLOCK)


def test_a_driver_that_pipelines_a_block_with_several_syncs_gets_its_value(script: SessionScript) -> None:
    script.frontend_sends(*said(b"begin"), Sync(), *said(DRAWING[0]), Sync(), *said(LASTVAL.sql), Sync()).forgets()
    script.upstream_sends(*SAID, done(b"BEGIN"), IN_BLOCK).forgets()
    script.upstream_sends(*SAID, INSERTED, IN_BLOCK).forgets().upstream_sends(*SAID, *ROW, IN_BLOCK)
    script.frontend_receives(*SAID, *ROW, IN_BLOCK)


def test_queries_that_are_pipelined_as_a_block_get_their_value(script: SessionScript) -> None:
    script.frontend_sends(Query(b"begin"), Query(DRAWING[0]), Query(LASTVAL.sql)).forgets()
    script.upstream_sends(done(b"BEGIN"), IN_BLOCK).forgets().upstream_sends(INSERTED, IN_BLOCK).forgets()
    script.upstream_sends(*A_ROW, IN_BLOCK).frontend_receives(*A_ROW, IN_BLOCK)


@pytest.mark.parametrize("is_query", [True, False])
def test_they_are_refused_behind_a_commit_that_is_not_answered_yet(script: SessionScript, is_query: bool) -> None:
    script.begins().queries(DRAWING[0], INSERTED, IN_BLOCK)
    if is_query:
        script.frontend_sends(Query(b"commit"), Query(LASTVAL.sql)).forgets()
    else:
        script.frontend_sends(*said(b"commit"), Sync(), *said(LASTVAL.sql), Sync()).forgets()
    ahead = () if is_query else SAID
    script.upstream_sends(*ahead, done(b"COMMIT"), IDLE).forgets()
    script.upstream_sends(*ahead, DIVISION if is_query else SYNTAX, IDLE)
    script.frontend_receives(*ahead, refusal(LASTVAL), IDLE)


@pytest.mark.parametrize("oid", [1575, 2559])
def test_a_function_call_is_given_its_value_in_the_transaction_that_called_nextval(
    script: SessionScript, oid: int
) -> None:
    script.begins().queries(DRAWING[0], INSERTED, IN_BLOCK).frontend_sends(FunctionCall(oid, (), (), 0))
    script.upstream_receives(FunctionCall(oid, (), (), 0)).upstream_answers(FunctionCallResponse(b"1"), IN_BLOCK)
    is_given(script)


@pytest.mark.parametrize("sql", ASKING, ids=bytes.decode)
def test_in_autocommit_what_asks_for_the_value_of_another_transaction_is_refused(
    script: SessionScript, sql: bytes
) -> None:
    use = LASTVAL if b"lastval" in sql else CURRVAL
    script.frontend_sends(Query(sql)).frontend_receives(refusal(use), IDLE)
    script.frontend_sends(*said(sql), Sync())
    script.upstream_receives(parse(b"", sql), bind(b""), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(*SAID, SYNTAX, IDLE).frontend_receives(*SAID, refusal(use), IDLE)


@pytest.mark.parametrize("sql", ASKING, ids=bytes.decode)
def test_in_the_transaction_it_works(script: SessionScript, sql: bytes) -> None:
    script.begins().queries(DRAWING[0], INSERTED, IN_BLOCK).queries(sql, INSERTED, IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE).queries(DRAWING[0] + b"; " + sql, INSERTED, INSERTED, IDLE)
