"""Result shapes, where the client was told of a portal once and decodes what later portals return by that: PgJDBC."""

from __future__ import annotations

import pytest

from pgshim.protocol import hot
from pgshim.protocol.backend import BindComplete, NoData, ParseComplete, RowDescription
from pgshim.protocol.frontend import Sync
from tests.session.messages import IDLE, bind, columns, describe_portal, done, execute, parse, row, server_error
from tests.session.script import SessionScript
from tests.session.shapes import CHANGED, COMMITTED, PURE, WRITING

INT4, TEXT = 23, 25
OTHER_COLUMNS = hot.error_response(
    "ERROR", b"08P01", "bind message has 2 result formats but query has 1 columns", routine=b"PortalSetResultFormat"
)


def is_told_of_a_portal(script: SessionScript, sql: bytes = PURE, result: RowDescription | None = None) -> None:
    """The client prepares `s`, and describes the portal of its first execution only."""
    script.frontend_sends(parse(b"s", sql), bind(b"s"), describe_portal(), execute(), Sync())
    script.upstream_receives(parse(b"", sql), bind(b""), describe_portal(), execute(), Sync())
    told = columns(INT4) if result is None else result
    script.upstream_answers(ParseComplete(), BindComplete(), told, row(b"1"), done(), IDLE)


def executes_again(script: SessionScript, sql: bytes = PURE, results: tuple[int, ...] = ()) -> None:
    """The client executes `s` without a question; pgshim asks for it."""
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", sql), bind(b"", results=results), describe_portal(), execute(), Sync())


def test_a_portal_that_the_client_takes_for_known_is_described_ahead_of_its_execute(script: SessionScript) -> None:
    is_told_of_a_portal(script)
    for _ in range(2):
        executes_again(script)
        script.upstream_sends(ParseComplete(), BindComplete(), columns(INT4), row(b"2"), done(), IDLE)
        script.frontend_receives(BindComplete(), row(b"2"), done(), IDLE)


@pytest.mark.parametrize("now", [columns(TEXT), columns(INT4, names="z"), NoData()])
def test_columns_that_have_changed_are_an_error_as_on_a_server(
    script: SessionScript, now: RowDescription | NoData
) -> None:
    is_told_of_a_portal(script)
    executes_again(script)
    script.upstream_sends(ParseComplete(), BindComplete(), now, row(b"x"), done(), IDLE)
    script.frontend_receives(BindComplete(), CHANGED, IDLE)


def test_what_may_have_written_is_not_reported_as_not_done(script: SessionScript) -> None:
    is_told_of_a_portal(script, WRITING)
    executes_again(script, WRITING, results=(0,))
    script.upstream_sends(ParseComplete(), BindComplete(), columns(TEXT), row(b"x"), done(), IDLE)
    script.frontend_receives(BindComplete(), COMMITTED, IDLE)


@pytest.mark.parametrize("sql", [PURE, WRITING])
def test_another_number_of_columns_than_the_bind_has_formats_is_that_error_too(
    script: SessionScript, sql: bytes
) -> None:
    is_told_of_a_portal(script, sql, columns(INT4, INT4))
    script.frontend_sends(bind(b"s", results=(1, 1)), execute(), Sync())
    script.upstream_receives(parse(b"", sql), bind(b"", results=(1, 1)), describe_portal(), execute(), Sync())
    script.upstream_sends(ParseComplete(), OTHER_COLUMNS, IDLE)
    script.frontend_receives(CHANGED, IDLE)


def test_any_other_error_of_the_bind_is_the_servers(script: SessionScript) -> None:
    is_told_of_a_portal(script)
    executes_again(script)
    script.upstream_sends(ParseComplete(), server_error(b"22P02"), IDLE)
    script.frontend_receives(server_error(b"22P02"), IDLE)


def test_a_client_that_asks_each_time_is_told_the_new_columns(script: SessionScript) -> None:
    is_told_of_a_portal(script)
    for now in (columns(TEXT), columns(TEXT, INT4)):
        script.frontend_sends(bind(b"s"), describe_portal(), execute(), Sync())
        script.upstream_receives(parse(b"", PURE), bind(b""), describe_portal(), execute(), Sync())
        script.upstream_sends(ParseComplete(), BindComplete(), now, done(), IDLE)
        script.frontend_receives(BindComplete(), now, done(), IDLE)


def test_what_it_was_told_last_is_what_counts(script: SessionScript) -> None:
    test_a_client_that_asks_each_time_is_told_the_new_columns(script)
    executes_again(script)
    script.upstream_sends(ParseComplete(), BindComplete(), columns(TEXT, INT4), done(), IDLE)
    script.frontend_receives(BindComplete(), done(), IDLE)


def test_a_portal_is_described_once_however_often_it_is_executed(script: SessionScript) -> None:
    is_told_of_a_portal(script)
    script.frontend_sends(bind(b"s", portal=b"p"), execute(b"p", 1), execute(b"p", 1), Sync())
    script.upstream_receives(
        *(parse(b"", PURE), bind(b"", portal=b"p"), describe_portal(b"p")),
        *(execute(b"p", 1), execute(b"p", 1), Sync()),
    )


def test_a_statement_that_the_server_still_has_needs_no_description(script: SessionScript) -> None:
    is_told_of_a_portal(script)
    script.frontend_sends(bind(b"s"), bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", PURE), bind(b""), bind(b""), execute(), Sync())


@pytest.mark.parametrize("sql", [b"show work_mem", b"explain select 1"])
def test_a_utility_statement_is_not_looked_at(script: SessionScript, sql: bytes) -> None:
    is_told_of_a_portal(script, sql)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", sql), bind(b""), execute(), Sync())


def test_a_bind_too_large_to_hold_is_looked_at_too(script: SessionScript) -> None:
    is_told_of_a_portal(script, WRITING)
    value = b"x" * 70_000
    script.frontend_sends(bind(b"s", value), execute(), Sync())
    script.upstream_receives(parse(b"", WRITING), bind(b"", value), describe_portal(), execute(), Sync())
