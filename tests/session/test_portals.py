"""Portals, Binds and FunctionCalls of any size."""

from __future__ import annotations

from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    EmptyQueryResponse,
    FunctionCallResponse,
    NoData,
    ParameterDescription,
    ParseComplete,
    PortalSuspended,
)
from pgshim.protocol.frontend import Flush, FunctionCall, Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close_portal,
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
from tests.session.script import SessionScript

INT4 = 23


# Portals and limits.


def test_portals_pass_and_outlive_other_statements(script: SessionScript) -> None:
    script.prepares(b"a", b"call a()").prepares(b"b", b"call b()").begins()
    script.frontend_sends(bind(b"a", portal=b"p1"), execute(b"p1", 2), Sync())
    script.upstream_receives(parse(b"", b"call a()"), bind(b"", portal=b"p1"), execute(b"p1", 2), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), row(b"1"), PortalSuspended(), IN_BLOCK)
    script.frontend_receives(BindComplete(), row(b"1"), PortalSuspended(), IN_BLOCK)
    script.frontend_sends(bind(b"b"), describe_portal(b"p1"), execute(b"p1", 2), execute(), Sync())
    script.upstream_receives(
        *(parse(b"", b"call b()"), bind(b""), describe_portal(b"p1"), execute(b"p1", 2), execute(), Sync())
    )
    script.upstream_sends(ParseComplete())
    script.upstream_answers(BindComplete(), columns(INT4), row(b"2"), done(), done(), IN_BLOCK)
    script.frontend_sends(close_portal(b"p1"), Sync()).upstream_receives(close_portal(b"p1"), Sync())
    script.upstream_answers(CloseComplete(), IN_BLOCK)


def test_a_portal_whose_name_is_taken_is_the_servers_error(script: SessionScript) -> None:
    script.prepares(b"a", b"call a()").prepares(b"b", b"call b()").begins()
    script.frontend_sends(bind(b"a", portal=b"p"), bind(b"b", portal=b"p"), Sync())
    script.upstream_receives(
        *(parse(b"", b"call a()"), bind(b"", portal=b"p"), parse(b"", b"call b()"), bind(b"", portal=b"p"), Sync())
    )
    script.upstream_sends(ParseComplete(), BindComplete(), ParseComplete(), server_error(b"42P03"), FAILED)
    script.frontend_receives(BindComplete(), server_error(b"42P03"), FAILED)


def test_an_execute_may_end_without_command_complete(script: SessionScript) -> None:
    script.frontend_sends(parse(b"e", b";"), describe(b"e"), bind(b"e"), execute(limit=1), Sync())
    script.upstream_receives(parse(b"", b";"), describe(b""), bind(b""), execute(limit=1), Sync())
    script.upstream_answers(
        ParseComplete(), ParameterDescription(()), NoData(), BindComplete(), EmptyQueryResponse(), IDLE
    )
    script.queries(b"", EmptyQueryResponse(), IDLE)


def test_a_cursor_that_sql_has_made_can_be_described(script: SessionScript) -> None:
    script.begins().queries(b"declare c cursor for select 1", done(b"DECLARE CURSOR"), IN_BLOCK)
    script.frontend_sends(describe_portal(b"c"), Sync()).upstream_receives(describe_portal(b"c"), Sync())
    script.upstream_answers(columns(INT4), IN_BLOCK)


def test_psqlpy_describes_the_statement_behind_its_bind(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"select 1"), bind(b""), describe(b""), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), describe(b""), execute(), Sync())
    script.upstream_answers(
        *(ParseComplete(), BindComplete(), ParameterDescription(()), columns(INT4), row(b"1"), done(), IDLE)
    )


def test_asyncpg_without_a_cache_parses_again_before_each_bind(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"select 1"), describe(b""), Flush())
    script.upstream_receives(parse(b"", b"select 1"), describe(b""), Flush())
    script.upstream_answers(ParseComplete(), ParameterDescription(()), columns(INT4))
    script.frontend_sends(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.upstream_answers(ParseComplete(), BindComplete(), row(b"1"), done(), IDLE)


def test_postgres_js_prepares_two_statements_before_it_binds_the_first(script: SessionScript) -> None:
    for name, sql in ((b"a", b"call a()"), (b"b", b"call b()")):
        script.frontend_sends(parse(name, sql), describe(name), Flush())
        script.upstream_receives(parse(b"", sql), describe(b""), Flush())
        script.upstream_answers(ParseComplete(), ParameterDescription(()), NoData())
    script.frontend_sends(bind(b"a"), execute(), Sync(), bind(b"b"), execute(), Sync())
    script.upstream_receives(
        *(parse(b"", b"call a()"), bind(b""), execute(), Sync()),
        *(parse(b"", b"call b()"), bind(b""), execute(), Sync()),
    )
    script.upstream_sends(*(ParseComplete(), BindComplete(), done(), IDLE) * 2)
    script.frontend_receives(*(BindComplete(), done(), IDLE) * 2)


def test_a_bind_of_any_size_is_not_held_back(script: SessionScript) -> None:
    script.prepares(b"s", b"call p($1)")
    large = bind(b"s", b"v" * 1_000_000).encode()
    sent = bind(b"", b"v" * 1_000_000).encode()
    script.frontend_sends(large[:1000]).expects_nothing()
    script.frontend_sends(large[1000:100_000]).upstream_receives(parse(b"", b"call p($1)"), sent[:99_999])
    script.frontend_sends(large[100_000:], execute(), Sync()).upstream_receives(sent[99_999:], execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE).frontend_receives(BindComplete(), done(), IDLE)


def test_a_large_bind_of_the_unnamed_statement_passes(script: SessionScript) -> None:
    large = bind(b"", b"v" * 100_000).encode()
    script.frontend_sends(parse(b"", b"call p($1)"), large[:80_000]).upstream_receives(
        parse(b"", b"call p($1)"), large[:80_000]
    )
    script.frontend_sends(large[80_000:]).upstream_receives(large[80_000:])


def test_a_large_bind_of_an_unknown_name_is_dropped_whole(script: SessionScript) -> None:
    large = bind(b"nosuch", b"v" * 100_000).encode()
    script.frontend_sends(large[:80_000]).upstream_receives(A_PARSE_THAT_FAILS)
    script.frontend_sends(large[80_000:], large[:80_000]).expects_nothing()
    script.frontend_sends(large[80_000:], Sync()).upstream_receives(Flush(), Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"26000"), IDLE)


def test_a_large_bind_that_waits_is_taken_up_where_it_was(script: SessionScript) -> None:
    large = bind(b"s", b"v" * 100_000).encode()
    sent = bind(b"", b"v" * 100_000).encode()
    script.frontend_sends(parse(b"s", b"call p($1)"), Sync(), large[:80_000])
    script.upstream_receives(parse(b"", b"call p($1)"), Sync())
    script.frontend_sends(large[80_000:90_000]).expects_nothing()
    script.upstream_sends(ParseComplete(), IDLE).frontend_receives(ParseComplete(), IDLE)
    script.upstream_receives(parse(b"", b"call p($1)"), sent[:89_999])
    script.frontend_sends(large[90_000:], execute(), Sync()).upstream_receives(sent[89_999:], execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE).frontend_receives(BindComplete(), done(), IDLE)


def test_function_call_passes(script: SessionScript) -> None:
    call = FunctionCall(1598, (), (), 0)
    script.frontend_sends(call).upstream_receives(call)
    script.upstream_answers(FunctionCallResponse(b"x"), IDLE)
    script.frontend_sends(call).upstream_receives(call).upstream_answers(server_error(b"42883"), IDLE)


def test_a_large_function_call_passes_as_it_comes(script: SessionScript) -> None:
    call = FunctionCall(1598, (), (b"v" * 100_000,), 0).encode()
    script.frontend_sends(call[:80_000]).upstream_receives(call[:80_000])
    script.frontend_sends(call[80_000:]).upstream_receives(call[80_000:])
    script.upstream_answers(FunctionCallResponse(b"x"), IDLE)


def test_while_skipping_a_query_and_a_function_call_are_skipped(script: SessionScript) -> None:
    call = FunctionCall(1598, (), (b"v" * 100_000,), 0).encode()
    script.frontend_sends(bind(b"nosuch"), Query(b"select 1"), call[:80_000]).upstream_receives(A_PARSE_THAT_FAILS)
    script.frontend_sends(call[80_000:], Flush(), Sync()).upstream_receives(Flush(), Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"26000"), IDLE)
