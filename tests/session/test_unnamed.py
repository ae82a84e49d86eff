"""The unnamed statement is a statement: it crosses Syncs, and ends where it ends on a server."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    ParameterDescription,
    ParseComplete,
)
from pgshim.protocol.frontend import Flush, Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    IDLE,
    bind,
    close,
    columns,
    describe,
    done,
    error,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript

INT4, TEXT = 23, 25


# The unnamed statement is a statement.


def test_the_unnamed_statement_crosses_syncs(script: SessionScript) -> None:
    script.prepares(b"", b"select $1::text", TEXT)
    for _ in range(2):
        script.frontend_sends(bind(b"", b"x"), execute(), Sync())
        script.upstream_receives(parse(b"", b"select $1::text", TEXT), bind(b"", b"x"), execute(), Sync())
        script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE)
        script.frontend_receives(BindComplete(), done(), IDLE)


def test_pg8000_describes_and_binds_the_unnamed_statement_in_batches_of_their_own(script: SessionScript) -> None:
    sql = parse(b"", b"select 1")
    script.frontend_sends(sql, Flush(), Sync())
    script.upstream_receives(sql, Flush(), Sync())
    script.upstream_answers(ParseComplete(), IDLE)
    script.frontend_sends(describe(b""), Flush(), Sync())
    script.upstream_receives(sql, describe(b""), Flush(), Sync())
    script.upstream_sends(ParseComplete(), ParameterDescription(()), columns(INT4), IDLE)
    script.frontend_receives(ParameterDescription(()), columns(INT4), IDLE)
    script.frontend_sends(bind(b""), Flush(), execute(), Flush(), Sync())
    script.upstream_receives(sql, describe(b""), bind(b""), Flush(), execute(), Flush(), Sync())
    script.upstream_sends(
        *(ParseComplete(), ParameterDescription(()), columns(INT4), BindComplete(), row(b"1"), done(), IDLE)
    )
    script.frontend_receives(BindComplete(), row(b"1"), done(), IDLE)


@pytest.mark.parametrize("sql", [b"", b"select 2"])
def test_a_query_drops_the_unnamed_statement(script: SessionScript, sql: bytes) -> None:
    script.prepares(b"", b"select 1").prepares(b"s", b"select 3")
    script.queries(sql, done(), IDLE).does_not_know(b"")
    script.knows(b"s", b"select 3")


def test_a_query_that_fails_drops_the_unnamed_statement(script: SessionScript) -> None:
    script.prepares(b"", b"select 1")
    script.queries(b"selec", server_error(b"42601"), IDLE).does_not_know(b"")


def test_a_query_that_is_on_its_way_drops_the_unnamed_statement(script: SessionScript) -> None:
    script.prepares(b"", b"select 1")
    script.frontend_sends(Query(b"select 2"), bind(b""), execute(), Sync())
    script.upstream_receives(Query(b"select 2"))
    script.upstream_sends(columns(INT4), row(b"2"), done(), IDLE)
    script.frontend_receives(columns(INT4), row(b"2"), done(), IDLE)
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"26000", b"unnamed prepared statement does not exist"), IDLE)


def test_the_next_unnamed_parse_takes_the_place_of_the_unnamed_statement(script: SessionScript) -> None:
    script.prepares(b"", b"select 1").prepares(b"", b"select 2").knows(b"", b"select 2")


def test_an_unnamed_parse_that_fails_drops_the_unnamed_statement(script: SessionScript) -> None:
    script.prepares(b"", b"select 1")
    script.frontend_sends(parse(b"", b"selec"), Sync())
    script.upstream_receives(parse(b"", b"selec"), Sync())
    script.upstream_answers(server_error(b"42601"), IDLE)
    script.does_not_know(b"")


def test_an_unnamed_parse_that_is_skipped_leaves_the_unnamed_statement(script: SessionScript) -> None:
    script.prepares(b"", b"select 1").prepares(b"s", b"select 1/0")
    script.frontend_sends(bind(b"s"), execute(), parse(b"", b"select 2"), Sync())
    script.upstream_receives(parse(b"", b"select 1/0"), bind(b""), execute(), parse(b"", b"select 2"), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"22012"), IDLE)
    script.frontend_receives(BindComplete(), server_error(b"22012"), IDLE)
    script.knows(b"", b"select 1")


def test_the_unnamed_statement_outlives_statements_with_names(script: SessionScript) -> None:
    script.prepares(b"", b"select 1").prepares(b"s", b"select 2").knows(b"s", b"select 2").knows(b"", b"select 1")


def test_closing_the_unnamed_statement_ends_it(script: SessionScript) -> None:
    script.prepares(b"", b"select 1")
    script.frontend_sends(close(b""), Sync()).frontend_receives(CloseComplete(), IDLE)
    script.does_not_know(b"")
