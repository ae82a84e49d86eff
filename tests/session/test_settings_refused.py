"""What a client cannot set, and what cannot be carried out with settings in force."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import FunctionCallResponse, NoticeResponse
from pgshim.protocol.frontend import Bind, FunctionCall, Query, Sync
from pgshim.session.session import Policy
from tests.session.in_force import (
    INJECTED,
    SAID,
    SELECTED,
    TEXT,
    WORK_MEM,
    begins,
    has_in_force,
    local,
    own,
    said,
    select,
    told,
)
from tests.session.messages import (
    FAILED,
    IDLE,
    IN_BLOCK,
    Pattern,
    columns,
    done,
    error,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start

TOO_MANY = error(b"53400", b"too many settings for one connection (limit 262144 bytes)", hint=b"RESET")
UNSAFE = error(b"0A000", b"this client_encoding is not supported", hint=b"UTF8")
CALL = FunctionCall(1598, (), (), 0)
JIT = {b"jit": b"off"}


def fails_on_the_server(script: SessionScript, refusal: Pattern) -> None:
    """An extended-query message is refused: a syntax error on the server takes its place."""
    script.gone_up()
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(refusal, IDLE)


def query_fails(script: SessionScript, refusal: Pattern) -> None:
    """A statement of a Query is refused: a division by zero on the server takes its place."""
    script.gone_up()
    script.upstream_sends(server_error(b"22012"), IDLE).frontend_receives(refusal, IDLE)


def warning(text: bytes) -> Pattern:
    def fits(message: Message) -> bool:
        return (
            isinstance(message, NoticeResponse)
            and dict(message.fields)[b"S"] == b"WARNING"
            and text in message.encode()
        )

    return Pattern(f"WARNING {text!r}", fits)


# What a client cannot set.


def test_there_is_a_limit_to_what_travels_with_each_transaction(script: SessionScript) -> None:
    sql = b"set app.x = '%b'" % (b"v" * 300_000)
    script.frontend_sends(*said(sql), Sync()).gone_up()
    script.upstream_sends(*SAID[:1], server_error(b"42601"), IDLE).frontend_receives(*SAID[:1], TOO_MANY, IDLE)
    script.frontend_sends(Query(sql))
    query_fails(script, TOO_MANY)
    has_in_force(script, {})


def test_values_in_parameters_count(start: Start) -> None:
    script = start(startup={b"app.a": b"v" * 230_000})
    script.frontend_sends(parse(b"", b"select set_config('app.b', $1, false)")).forgets()
    script.upstream_sends(*INJECTED).upstream_answers(*SAID[:1])
    script.frontend_sends(Bind(b"", b"", (), (b"v" * 60_000,), ()), Sync())
    fails_on_the_server(script, TOO_MANY)


def test_settings_add_up(start: Start) -> None:
    script = start(startup={b"app.a": b"v" * 200_000})
    script.frontend_sends(Query(b"set app.b = '%b'" % (b"v" * 65_000))).gone_up()
    script.upstream_sends(*SELECTED)
    script.upstream_sends(server_error(b"22012"), IDLE).frontend_receives(TOO_MANY, IDLE)
    script.frontend_sends(*said(b"set app.b = '%b'" % (b"v" * 65_000)), Sync()).gone_up()
    script.upstream_sends(*INJECTED, *SAID[:1], server_error(b"42601"), IDLE)
    script.frontend_receives(*SAID[:1], TOO_MANY, IDLE)


def test_up_to_the_limit_they_are_brought_to_a_server_in_any_pieces(start: Start) -> None:
    value = b"v" * 131_065
    script = start(startup={b"app.a": value, b"app.b": value})
    script.frontend_sends(Query(b"select 1")).gone_up()
    answer = columns(TEXT, TEXT).encode() + row(value, value).encode() + done().encode()
    at = len(answer) - len(done().encode()) - 1
    script.upstream_sends(answer[:at]).upstream_sends(answer[at:]).upstream_answers(row(b"1"), done(), IDLE)


def test_a_reset_is_never_too_much(start: Start) -> None:
    script = start(startup={b"app.a": b"v" * 262_130})
    script.frontend_sends(Query(b"reset app.a")).gone_up()
    script.upstream_sends(done(b"SET"), done(b"SET"), IDLE).frontend_receives(done(b"RESET"), IDLE)
    script.frontend_sends(*said(b"reset app.a"), Sync()).gone_up()
    script.upstream_sends(*SAID, done(b"SET"), *SAID, done(b"SET"), IDLE)
    script.frontend_receives(*SAID, done(b"RESET"), IDLE)


def test_a_name_that_set_would_cut_short_is_refused(script: SessionScript) -> None:
    refusal = error(b"0A000", hint=b"shorter")
    sql = b"select set_config('app.%b', '1', false)" % (b"x" * 64)
    script.frontend_sends(Query(sql))
    query_fails(script, refusal)
    script.frontend_sends(*said(sql), Sync()).gone_up()
    script.upstream_sends(*SAID[:1], server_error(b"42601"), IDLE).frontend_receives(*SAID[:1], refusal, IDLE)


@pytest.mark.parametrize("value", [b"5", b"'1min'", b"'" + b"reset " * 40_000 + b"'"])
def test_a_timeout_of_idle_sessions_cannot_work_and_is_refused(script: SessionScript, value: bytes) -> None:
    script.frontend_sends(Query(b"set idle_session_timeout = " + value))
    query_fails(script, error(b"0A000", hint=b"--idle-timeout"))


@pytest.mark.parametrize("sql", [b"set idle_session_timeout = 0", b"set idle_session_timeout to '0 s'"])
def test_no_timeout_of_idle_sessions_is_none(script: SessionScript, sql: bytes) -> None:
    script.frontend_sends(Query(sql)).gone_up()
    script.upstream_sends(done(b"SET"), *told(b"0"), IDLE).forgets()


@pytest.mark.parametrize(
    "sql", [b"reset idle_session_timeout", b"set idle_session_timeout to default", b"reset idle_session_timeout -- x"]
)
def test_the_default_timeout_of_idle_sessions_is_none(script: SessionScript, sql: bytes) -> None:
    script.frontend_sends(Query(sql)).gone_up()
    script.upstream_sends(done(b"SET"), IDLE).forgets()


@pytest.mark.parametrize(
    "sql",
    [
        b"set client_encoding = 'SJIS'",
        b"set names 'shift_jis_2004'",
        b"set client_encoding to big5",
        b"SET session Client_Encoding TO 'G B K'",
        b"set local client_encoding to gb18030",
        b"set local client_encoding to 'uhc' /* or not */",
        b"set names 'johab' -- or not",
        b"select set_config('client_encoding', 'SJIS', false)",
        b"select pg_catalog.set_config('client_encoding', 'sjis', true)",
    ],
)
def test_encodings_whose_bytes_look_like_quotes_are_refused(script: SessionScript, sql: bytes) -> None:
    script.frontend_sends(Query(sql))
    query_fails(script, UNSAFE)
    script.frontend_sends(*said(sql), Sync())
    script.gone_up()
    script.upstream_sends(*SAID[:1], server_error(b"42601"), IDLE).frontend_receives(*SAID[:1], UNSAFE, IDLE)
    has_in_force(script, {})


@pytest.mark.parametrize("sql", [b"set client_encoding = latin1", b"set names 'utf8'", b"set app.sjis = 'SJIS'"])
def test_others_are_not(script: SessionScript, sql: bytes) -> None:
    script.frontend_sends(Query(sql)).gone_up()
    script.upstream_sends(done(b"SET"), *told(b"UTF8"), IDLE).frontend_receives(done(b"SET"), IDLE)


def test_an_encoding_by_parameter_is_refused(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"select set_config('client_encoding', $1, false)")).gone_up()
    script.upstream_answers(*SAID[:1])
    script.frontend_sends(Bind(b"", b"", (), (b"sjis",), ()), Sync())
    fails_on_the_server(script, UNSAFE)


def test_values_are_kept_in_utf_8_whatever_the_client_speaks(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set client_encoding to latin1")).forgets()
    script.upstream_sends(done(b"SET"), *told(b"LATIN1"), IDLE).forgets()
    name, value = b"app.x", b"\xe4"
    script.frontend_sends(*said(b"set app.x = '\xe4'"), Sync()).forgets()
    script.upstream_sends(*INJECTED, *SAID, done(b"SET"), *SAID, row(value), done(b"SHOW"), IDLE).forgets()
    script.frontend_sends(*said(b"select 1"), Sync())
    encoded = b"pg_catalog.set_config('%b',E'\\u00e4',true)" % name
    script.upstream_receives(*own(select({b"client_encoding": b"LATIN1"}) + b"," + encoded, b"select 1"), Sync())
    script.forgets()


# What cannot run in a transaction block.


@pytest.mark.parametrize(
    ("sql", "startup"),
    [
        (b"vacuum", {}),
        (b"vacuum", JIT),
        (b"create index concurrently i on t (a)", JIT),
        (b"do $$ begin commit; end $$", {}),
    ],
)
def test_without_settings_that_matter_it_runs_as_it_is(start: Start, sql: bytes, startup: dict[bytes, bytes]) -> None:
    script = start(startup=startup)
    script.queries(sql, done(b"VACUUM"), IDLE)
    script.frontend_sends(*said(sql), Sync()).upstream_receives(*own(sql), Sync())
    script.upstream_answers(*SAID, done(b"VACUUM"), IDLE)


@pytest.mark.parametrize("sql", [b"vacuum", b"create database x", b"do $$ begin commit; end $$"])
def test_with_settings_in_force_it_is_refused(start: Start, sql: bytes) -> None:
    refusal = error(b"0A000", hint=b"RESET")
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(sql))
    query_fails(script, refusal)
    script.frontend_sends(*said(sql), Sync()).gone_up()
    script.upstream_sends(*SAID[:1], server_error(b"42601"), IDLE)
    script.frontend_receives(*SAID[:1], refusal, IDLE)


@pytest.mark.parametrize("unsafe", ["warn", "allow"])
@pytest.mark.parametrize("sql", [b"vacuum", b"do $$ begin commit; end $$"])
def test_where_that_is_wanted_it_is_let_through(start: Start, unsafe: str, sql: bytes) -> None:
    script = start(startup=WORK_MEM, policy=Policy(unsafe=unsafe))
    warnings = [warning(b"it was let through")] * (unsafe == "warn")
    script.frontend_sends(Query(sql)).upstream_receives(Query(sql)).frontend_receives(*warnings)
    script.upstream_answers(done(b"VACUUM"), IDLE)
    script.frontend_sends(*said(sql), Sync())
    script.gone_up()
    script.forgets()


def test_in_a_block_the_server_refuses_it(start: Start) -> None:
    script = begins(start(startup=WORK_MEM), local(b"work_mem", b"8MB"))
    script.queries(b"vacuum", server_error(b"25001"), FAILED)


def test_among_other_statements_the_server_refuses_it(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"vacuum; select 1"))
    script.upstream_receives(Query(local(b"work_mem", b"8MB") + b";vacuum; select 1"))
    script.upstream_sends(done(b"SET"), server_error(b"25001"), IDLE).frontend_receives(server_error(b"25001"), IDLE)


# FunctionCall.


def test_a_function_call_has_nothing_to_bring_settings_with(start: Start) -> None:
    script = start(startup=WORK_MEM)
    refusal = error(b"0A000", hint=b"Use SELECT")
    script.frontend_sends(CALL).frontend_receives(refusal, IDLE)
    begins(script, local(b"work_mem", b"8MB")).frontend_sends(CALL).upstream_receives(CALL)
    script.upstream_answers(FunctionCallResponse(b"1"), IN_BLOCK)


def test_amid_a_batch_a_function_call_has_them_in_force(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"select 1"), CALL).upstream_receives(*own(select(WORK_MEM), b"select 1"), CALL)
    script.forgets()


def test_where_that_is_wanted_a_function_call_goes_without(start: Start) -> None:
    script = start(startup=WORK_MEM, policy=Policy(allowed=frozenset({"function-call"})))
    script.frontend_sends(CALL).upstream_receives(CALL).upstream_answers(FunctionCallResponse(b"1"), IDLE)


def test_a_function_call_of_set_config_is_refused(script: SessionScript) -> None:
    set_config = FunctionCall(2078, (), (b"work_mem", b"8MB", b"f"), 0)
    script.frontend_sends(set_config).frontend_receives(error(b"0A000", hint=b"--allow computed-settings"), IDLE)
    script.begins().frontend_sends(set_config).upstream_receives(Query(b"SELECT 1/0"))
    script.upstream_sends(server_error(b"22012"), FAILED)
    script.frontend_receives(error(b"0A000", hint=b"--allow computed-settings"), FAILED)


def test_the_error_that_stands_for_a_refusal_is_no_others(script: SessionScript) -> None:
    script.begins().frontend_sends(FunctionCall(2078, (), (), 0)).upstream_receives(Query(b"SELECT 1/0"))
    script.upstream_answers(server_error(b"57014"), FAILED)


@pytest.mark.parametrize("is_query", [True, False])
def test_a_value_that_is_larger_than_any_that_was_asked_for_is_not_kept(script: SessionScript, is_query: bool) -> None:
    sql, value = b"set app.x from current", row(b"v" * 2_000_000).encode()
    if is_query:
        script.frontend_sends(Query(sql)).forgets()
        script.upstream_sends(done(b"SET"), columns(TEXT)).forgets()
    else:
        script.frontend_sends(*said(sql), Sync()).forgets()
        script.upstream_sends(*SAID, done(b"SET"), *SAID).forgets()
    for start in range(0, len(value), 600_000):
        script.upstream_sends(value[start : start + 600_000])
    script.upstream_sends(done(b"SHOW"), IDLE)
    has_in_force(script.forgets(), {})


def test_the_seed_of_random_is_not_a_transactions(script: SessionScript) -> None:
    sql, refusal = b"select set_config('seed', '0.5', true)", error(b"0A000", hint=b"--allow setseed")
    script.frontend_sends(Query(sql)).frontend_receives(refusal, IDLE)
    script.frontend_sends(*said(sql), Sync())
    fails_on_the_server(script, refusal)
