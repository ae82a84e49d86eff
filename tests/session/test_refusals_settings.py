"""What is refused because of settings: where they are in force and cannot be given, or cannot be followed."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import ErrorResponse, FunctionCallResponse, NoticeResponse
from pgshim.protocol.frontend import FunctionCall, Query, Sync
from pgshim.session.refusal import Policy
from tests.session.in_force import SAID, has_in_force, said, select, sets
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
from tests.session.test_refusals import A_FAILING_QUERY, A_ROW, ABORTED, DIVISION, goes_on, is_in_failed_block

WORK_MEM = {b"work_mem": b"8MB"}
SYNTAX = server_error(b"42601")

#: What cannot run in a block, and what its refusal begins with.
BLOCKLESS = {
    b"vacuum": b"VACUUM ",
    b"vacuum (analyze) t": b"VACUUM ",
    b"create index concurrently i on t (a)": b"CREATE INDEX CONCURRENTLY ",
    b"create unique index concurrently i on t (a)": b"CREATE UNIQUE INDEX CONCURRENTLY ",
    b"drop index concurrently i": b"DROP INDEX CONCURRENTLY ",
    b"reindex table concurrently t": b"REINDEX ",
    b"create database d": b"CREATE DATABASE ",
    b"drop database d": b"DROP DATABASE ",
    b"alter system set work_mem = 5": b"ALTER SYSTEM ",
    b"cluster": b"CLUSTER ",
    b"do $$begin insert into t values (1); commit; end$$": b"DO with COMMIT or ROLLBACK ",
    b"do $$begin rollback; end$$": b"DO with COMMIT or ROLLBACK ",
}
each_blockless = pytest.mark.parametrize(("sql", "what"), BLOCKLESS.items(), ids=lambda value: value.decode())


def feature_of(sql: bytes) -> str:
    return "do-commit" if sql.startswith(b"do ") else "no-block"


def refusal(what: bytes, feature: str, *named: bytes) -> Pattern:
    """An ErrorResponse that begins so, has these in its text, and names the option and the session endpoint."""

    def fits(message: Message) -> bool:
        text, hint = getattr(message, "message", None) or b"", getattr(message, "hint", None) or b""
        return (
            isinstance(message, ErrorResponse)
            and (message.severity, message.sqlstate, message.get(b"P")) == (b"ERROR", b"0A000", None)
            and text.startswith(what)
            and all(name in text for name in named)
            and b"pgshim.session=on" in hint
            and hint.endswith(b"--allow %b." % feature.encode())
        )

    return Pattern(f"ERROR 0A000 {what!r} {named!r} --allow {feature}", fits)


def warning(what: bytes) -> Pattern:
    return Pattern(
        f"WARNING {what!r}",
        lambda message: (
            isinstance(message, NoticeResponse)
            and message.get(b"S") == b"WARNING"
            and (message.get(b"M") or b"").startswith(what)
        ),
    )


# What refuses a block.


@each_blockless
def test_without_settings_it_runs_as_it_is(script: SessionScript, sql: bytes, what: bytes) -> None:
    script.queries(sql, done(b"X"), IDLE).frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
    script.upstream_answers(*SAID, done(b"X"), IDLE)


@each_blockless
def test_with_settings_a_query_is_refused(script: SessionScript, sql: bytes, what: bytes) -> None:
    sets(script, b"work_mem", b"8MB").frontend_sends(Query(sql))
    if script.gone_up():
        script.upstream_sends(DIVISION, IDLE)
    script.frontend_receives(refusal(what, feature_of(sql), b"work_mem"), IDLE)
    has_in_force(script, WORK_MEM)


@each_blockless
def test_with_settings_an_extended_query_is_refused(script: SessionScript, sql: bytes, what: bytes) -> None:
    sets(script, b"work_mem", b"8MB").frontend_sends(*said(sql), Sync())
    went_up = script.gone_up()
    assert bind(b"") not in went_up[went_up.index(parse(b"", sql)) :]
    assert A_PARSE_THAT_FAILS.fits(went_up[-2])  # type: ignore[arg-type]
    if parse(b"", select(WORK_MEM)) in went_up:
        script.upstream_sends(*SAID, row(b"8MB"), done()).expects_nothing()
    script.upstream_sends(SAID[0], SYNTAX, IDLE)
    script.frontend_receives(SAID[0], refusal(what, feature_of(sql), b"work_mem"), IDLE)
    has_in_force(script, WORK_MEM)


@each_blockless
def test_with_settings_of_the_startup_message_too(start: Start, sql: bytes, what: bytes) -> None:
    script = start(startup={b"search_path": b"app"}).frontend_sends(Query(sql))
    if script.gone_up():
        script.upstream_sends(DIVISION, IDLE)
    script.frontend_receives(refusal(what, feature_of(sql), b"search_path"), IDLE)


@each_blockless
def test_in_a_block_it_is_the_server_that_refuses(script: SessionScript, sql: bytes, what: bytes) -> None:
    sets(script, b"work_mem", b"8MB").frontend_sends(Query(b"begin")).forgets()
    script.upstream_sends(done(b"BEGIN"), done(b"SET"), IN_BLOCK).frontend_receives(done(b"BEGIN"), IN_BLOCK)
    script.queries(sql, server_error(b"25001"), FAILED)


@each_blockless
def test_after_a_reset_it_runs(script: SessionScript, sql: bytes, what: bytes) -> None:
    sets(script, b"work_mem", b"8MB").frontend_sends(Query(b"reset work_mem")).forgets()
    script.upstream_sends(*A_ROW[:2], done(), done(b"RESET"), IDLE).forgets()
    script.queries(sql, done(b"X"), IDLE)


@each_blockless
def test_with_settings_that_change_no_result_it_runs_as_it_is(start: Start, sql: bytes, what: bytes) -> None:
    script = start(startup={b"jit": b"off", b"application_name": b"me", b"enable_seqscan": b"off"})
    script.queries(sql, done(b"X"), IDLE).frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
    script.upstream_answers(*SAID, done(b"X"), IDLE)


@each_blockless
@pytest.mark.parametrize("way", ["warn", "allow", "feature"])
def test_let_through_it_runs_without_the_settings(start: Start, sql: bytes, what: bytes, way: str) -> None:
    policy = Policy(allowed=frozenset({feature_of(sql)})) if way == "feature" else Policy(unsafe=way)
    script = sets(start(policy=policy), b"work_mem", b"8MB")
    told = (warning(what),) if way == "warn" else ()
    script.frontend_sends(Query(sql)).upstream_receives(Query(sql)).frontend_receives(*told)
    script.upstream_answers(done(b"X"), IDLE)
    script.frontend_sends(*said(sql), Sync()).upstream_receives(*said(sql), Sync())
    script.upstream_sends(*SAID, done(b"X"), IDLE).frontend_receives(SAID[0], *told, SAID[1], done(b"X"), IDLE)
    has_in_force(script, WORK_MEM)


def test_the_message_names_the_first_few_of_many_settings(start: Start) -> None:
    names = [b"work_mem", b"timezone", b"search_path", b"lock_timeout", b"statement_timeout", b"row_security"]
    script = start(startup={b"jit": b"off"} | dict.fromkeys(names, b"1")).frontend_sends(Query(b"vacuum"))
    if script.gone_up():
        script.upstream_sends(DIVISION, IDLE)
    named = b"VACUUM with work_mem, timezone, search_path, lock_timeout, ... "
    script.frontend_receives(refusal(named, "no-block"), IDLE)


def test_a_pipeline_in_which_it_is_refused_keeps_its_order(script: SessionScript) -> None:
    sets(script, b"work_mem", b"8MB")
    script.frontend_sends(Query(b"show a"), Query(b"vacuum"), Query(b"show b"))
    ahead = select(WORK_MEM) + b";"
    script.upstream_receives(Query(ahead + b"show a"), A_FAILING_QUERY, Query(ahead + b"show b"))
    chosen = (*A_ROW[:2], done())
    script.upstream_sends(*chosen).upstream_answers(*A_ROW, IDLE).upstream_sends(DIVISION, IDLE)
    script.frontend_receives(refusal(b"VACUUM ", "no-block"), IDLE)
    script.upstream_sends(*chosen).upstream_answers(*A_ROW, IDLE)


# FunctionCall.


#: OIDs of pg_proc.
FUNCTIONS = {
    2880: (b"pg_advisory_lock() ", "advisory-locks"),
    2891: (b"pg_advisory_unlock_shared() ", "advisory-locks"),
    1575: (b"currval() ", "currval"),
    2559: (b"lastval() ", "currval"),
    1599: (b"setseed() ", "setseed"),
    6006: (b"pg_replication_origin_session_setup() ", "replication-origin"),
    2078: (b"set_config() ", "computed-settings"),
}
each_function = pytest.mark.parametrize("oid", FUNCTIONS)


def call(oid: int) -> FunctionCall:
    return FunctionCall(oid, (), (b"1",), 0)


@each_function
def test_a_function_call_is_refused(script: SessionScript, oid: int) -> None:
    script.frontend_sends(call(oid)).frontend_receives(refusal(*FUNCTIONS[oid]), IDLE)
    goes_on(script)


@each_function
def test_in_a_block_a_function_call_fails_it(script: SessionScript, oid: int) -> None:
    script.begins().frontend_sends(call(oid)).upstream_receives(A_FAILING_QUERY)
    script.upstream_sends(DIVISION, FAILED).frontend_receives(refusal(*FUNCTIONS[oid]), FAILED)
    is_in_failed_block(script)


@each_function
def test_in_a_failed_block_a_function_call_is_the_servers_to_refuse(script: SessionScript, oid: int) -> None:
    script.begins().queries(b"selec", SYNTAX, FAILED).frontend_sends(call(oid))
    assert script.gone_up()
    script.upstream_answers(ABORTED, FAILED)
    is_in_failed_block(script)


@each_function
@pytest.mark.parametrize("way", ["warn", "allow", "feature"])
def test_a_function_call_is_let_through(start: Start, oid: int, way: str) -> None:
    what, feature = FUNCTIONS[oid]
    script = start(policy=Policy(allowed=frozenset({feature})) if way == "feature" else Policy(unsafe=way))
    script.frontend_sends(call(oid)).upstream_receives(call(oid))
    script.frontend_receives(*((warning(what),) if way == "warn" else ()))
    script.upstream_answers(FunctionCallResponse(b"1"), IDLE)
    goes_on(script)


def test_a_function_call_of_anything_else_passes(script: SessionScript) -> None:
    script.frontend_sends(call(1598)).upstream_receives(call(1598))
    script.upstream_answers(FunctionCallResponse(b"1"), IDLE)


def test_a_refused_function_call_keeps_its_place(script: SessionScript) -> None:
    script.frontend_sends(Query(b"show a"), call(2880), Query(b"show b"))
    script.upstream_receives(Query(b"show a"), A_FAILING_QUERY, Query(b"show b")).upstream_answers(*A_ROW, IDLE)
    script.upstream_sends(DIVISION, IDLE).frontend_receives(refusal(*FUNCTIONS[2880]), IDLE)
    script.upstream_answers(*A_ROW, IDLE)


def test_the_rest_of_a_large_function_call_does_not_go_up(script: SessionScript) -> None:
    data = FunctionCall(2880, (), (bytes(200_000),), 0).encode()
    script.frontend_sends(data[:100_000]).frontend_receives(refusal(*FUNCTIONS[2880]), IDLE)
    script.frontend_sends(data[100_000:])
    goes_on(script)


def test_with_settings_any_function_call_is_refused_outside_a_block(start: Start) -> None:
    script = start(startup={b"search_path": b"app"}).frontend_sends(call(1598))
    script.frontend_receives(refusal(b"FunctionCall ", "function-call"), IDLE)
    script.frontend_sends(Query(b"begin")).forgets().upstream_sends(done(b"BEGIN"), done(b"SET"), IN_BLOCK).forgets()
    script.frontend_sends(call(1598)).upstream_receives(call(1598))
    script.upstream_answers(FunctionCallResponse(b"1"), IN_BLOCK)


@pytest.mark.parametrize("way", ["warn", "allow", "feature"])
def test_with_settings_any_function_call_is_let_through(start: Start, way: str) -> None:
    policy = Policy(allowed=frozenset({"function-call"})) if way == "feature" else Policy(unsafe=way)
    script = start(startup={b"search_path": b"app"}, policy=policy)
    script.frontend_sends(call(1598)).upstream_receives(call(1598))
    script.frontend_receives(*((warning(b"FunctionCall "),) if way == "warn" else ()))
    script.upstream_answers(FunctionCallResponse(b"1"), IDLE)


# Settings that cannot be followed, with the Bind.


def test_a_name_and_a_scope_that_the_bind_gives_are_no_computed_ones(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"select set_config($1, $2, true)"), bind(b"", b"a.b", b"c"), execute(), Sync())
    script.forgets().upstream_answers(*SAID, row(b"c"), done(), IDLE)


def test_a_setting_for_the_transaction_may_be_computed(script: SessionScript) -> None:
    script.queries(b"select set_config(name, setting, true) from t", *A_ROW, IDLE)


# --strict-custom-settings.


CUSTOM = [b"set app.tenant = 7", b"select set_config('app.tenant', '7', false)", b"set local app.tenant to '7'"]


@pytest.mark.parametrize("sql", CUSTOM, ids=bytes.decode)
def test_custom_settings_are_refused_where_that_is_asked_for(start: Start, sql: bytes) -> None:
    script = start(policy=Policy(is_strict=True)).frontend_sends(Query(sql))
    named = refusal(b"app.tenant ", "custom-settings")
    script.frontend_receives(named, IDLE).frontend_sends(*said(sql), Sync())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync()).upstream_sends(SYNTAX, IDLE).frontend_receives(named, IDLE)
    sets(script, b"work_mem", b"8MB")


@pytest.mark.parametrize("policy", [Policy(unsafe="allow", is_strict=True), Policy()], ids=["allow", "not strict"])
def test_custom_settings_work_elsewhere(start: Start, policy: Policy) -> None:
    script = start(policy=policy).frontend_sends(Query(CUSTOM[0]))
    script.upstream_receives(Query(b'SET LOCAL app.tenant = 7;SHOW "app"."tenant"'))
    script.upstream_sends(done(b"SET"), *A_ROW, IDLE).frontend_receives(done(b"SET"), IDLE)
    has_in_force(script, {b"app.tenant": b"1"})
