"""Names: they exist by the server's answers, and fail as PostgreSQL fails them."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    ParseComplete,
)
from pgshim.protocol.frontend import Bind, Describe, Flush, Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
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


# Names follow the server's answers.


def test_a_parse_that_failed_leaves_no_name(script: SessionScript) -> None:
    script.frontend_sends(parse(b"p9", b"selec"), bind(b"p9"), execute(), Sync(), bind(b"p9"), execute(), Sync())
    script.upstream_receives(parse(b"", b"selec"), bind(b""), execute(), Sync())
    script.upstream_sends(server_error(b"42601"))
    script.frontend_receives(server_error(b"42601"))
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(IDLE, server_error(b"42601"), IDLE)
    script.frontend_receives(IDLE, error(b"26000", b'prepared statement "p9" does not exist'), IDLE)


def test_a_parse_that_was_skipped_leaves_no_name(script: SessionScript) -> None:
    script.prepares(b"x", b"select 1/0")
    script.frontend_sends(bind(b"x"), execute(), parse(b"p1", b"select 5"), Sync())
    script.upstream_receives(parse(b"", b"select 1/0"), bind(b""), execute(), parse(b"", b"select 5"), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"22012"), IDLE)
    script.frontend_receives(BindComplete(), server_error(b"22012"), IDLE)
    script.does_not_know(b"p1")


def test_a_parse_that_the_client_sent_behind_an_error_it_has_seen_leaves_no_name(script: SessionScript) -> None:
    script.frontend_sends(parse(b"a", b"selec"), Flush())
    script.upstream_receives(parse(b"", b"selec"), Flush())
    script.upstream_answers(server_error(b"42601"))
    script.frontend_sends(parse(b"b", b"select 1"), bind(b"b"), describe(b"b"), execute(), close(b"b"), Flush())
    script.expects_nothing()
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)
    script.does_not_know(b"b")


def test_a_name_survives_rollback(script: SessionScript) -> None:
    script.begins()
    script.frontend_sends(parse(b"s", b"select 1"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), Sync())
    script.upstream_answers(ParseComplete(), IN_BLOCK)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE).knows(b"s", b"select 1")


def test_close_ends_a_name_which_can_be_taken_again(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(close(b"s"), Sync()).frontend_receives(CloseComplete(), IDLE)
    script.does_not_know(b"s")
    script.prepares(b"s", b"select 2").knows(b"s", b"select 2")


def test_close_and_parse_of_a_name_in_one_batch(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(close(b"s"), parse(b"s", b"select 2"), bind(b"s"), execute(), Sync())
    script.frontend_receives(CloseComplete())
    script.upstream_receives(parse(b"", b"select 2"), bind(b""), execute(), Sync())
    script.upstream_answers(ParseComplete(), BindComplete(), done(), IDLE)
    script.knows(b"s", b"select 2")


def test_a_close_that_was_skipped_leaves_the_name(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").prepares(b"x", b"select 1/0")
    script.frontend_sends(bind(b"x"), execute(), close(b"s"), Sync())
    script.upstream_receives(parse(b"", b"select 1/0"), bind(b""), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"22012"), IDLE)
    script.frontend_receives(BindComplete(), server_error(b"22012"), IDLE)
    script.knows(b"s", b"select 1")


def test_close_of_an_unknown_name_is_no_error(script: SessionScript) -> None:
    script.frontend_sends(close(b"nosuch"), close(b""), Sync())
    script.frontend_receives(CloseComplete(), CloseComplete(), IDLE)


def test_only_63_bytes_of_a_name_count(script: SessionScript) -> None:
    script.prepares(b"n" * 70, b"select 1").knows(b"n" * 63, b"select 1").knows(b"n" * 64, b"select 1")
    script.frontend_sends(parse(b"n" * 65, b"select 2"), Sync())
    script.upstream_receives(parse(b"", b"select 2"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"42P05"), IDLE)
    script.frontend_sends(close(b"n" * 66), Sync()).frontend_receives(CloseComplete(), IDLE)
    script.does_not_know(b"n" * 63)


# Errors as PostgreSQL gives them.


def test_a_name_that_is_taken_is_refused_as_a_server_does(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(parse(b"s", b"select 2"), bind(b"s"), execute(), Sync())
    script.upstream_receives(parse(b"", b"select 2"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(
        error(b"42P05", b'prepared statement "s" already exists', routine=b"StorePreparedStatement"), IDLE
    )
    script.knows(b"s", b"select 1")


def test_a_name_that_is_taken_within_its_own_batch_is_refused(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select 1"), parse(b"s", b"select 2"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), parse(b"", b"select 2"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(ParseComplete(), error(b"42P05"), IDLE)
    script.knows(b"s", b"select 1")


@pytest.mark.parametrize("sqlstate", [b"42601", b"42P01", b"25P02"])
def test_what_is_wrong_with_a_text_comes_before_a_name_that_is_taken(script: SessionScript, sqlstate: bytes) -> None:
    script.prepares(b"s", b"select 1")
    script.frontend_sends(parse(b"s", b"select from nosuch"), Sync())
    script.upstream_receives(parse(b"", b"select from nosuch"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_answers(server_error(sqlstate), IDLE)
    script.knows(b"s", b"select 1")


def test_the_unnamed_statement_is_never_taken(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"select 1"), parse(b"", b"select 2"), Sync())
    script.upstream_receives(parse(b"", b"select 1"), parse(b"", b"select 2"), Sync())
    script.upstream_answers(ParseComplete(), ParseComplete(), IDLE)
    script.knows(b"", b"select 2")


@pytest.mark.parametrize("message", [bind(b"nosuch"), describe(b"nosuch")])
def test_an_unknown_name_is_refused_as_a_server_does(script: SessionScript, message: Bind | Describe) -> None:
    script.frontend_sends(message, execute(), Sync())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE)
    text = b'prepared statement "nosuch" does not exist'
    script.frontend_receives(error(b"26000", text, routine=b"FetchPreparedStatement"), IDLE)
    script.queries(b"select 1", columns(INT4), done(), IDLE)


def test_an_unknown_name_in_a_failed_block_is_still_26000(script: SessionScript) -> None:
    script.begins().queries(b"x", server_error(b"42601"), FAILED)
    script.frontend_sends(bind(b"nosuch"), Sync())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), FAILED)
    script.frontend_receives(error(b"26000"), FAILED)


def test_close_in_a_failed_block_is_answered(script: SessionScript) -> None:
    script.prepares(b"s", b"select 1").begins().queries(b"x", server_error(b"42601"), FAILED)
    script.frontend_sends(close(b"s"), Sync()).frontend_receives(CloseComplete(), FAILED)


def test_an_unknown_name_fails_the_block_on_the_server(script: SessionScript) -> None:
    script.begins()
    script.frontend_sends(bind(b"nosuch"), execute(), Sync())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), FAILED)
    script.frontend_receives(error(b"26000"), FAILED)


def test_what_a_batch_did_before_an_error_of_pgshims_own_is_undone_by_the_server(script: SessionScript) -> None:
    script.prepares(b"i", b"insert into t values (1)")
    script.frontend_sends(bind(b"i"), execute(), bind(b"nosuch"), execute(), parse(b"z", b"select 1"), Sync())
    script.upstream_receives(parse(b"", b"insert into t values (1)"), bind(b""), execute(), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"INSERT 0 1"), server_error(b"42601"), IDLE)
    script.frontend_receives(BindComplete(), done(b"INSERT 0 1"), error(b"26000"), IDLE)
    script.does_not_know(b"z")


def test_an_error_of_pgshims_own_waits_for_what_is_owed_before_it(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 1"), bind(b"nosuch"), Sync())
    script.upstream_receives(Query(b"select 1"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_answers(columns(INT4), row(b"1"), done(), IDLE)
    script.upstream_sends(server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"26000"), IDLE)


def test_an_error_of_the_servers_comes_before_one_of_pgshims_own(script: SessionScript) -> None:
    script.prepares(b"x", b"select 1/0")
    script.frontend_sends(bind(b"x"), execute(), bind(b"nosuch"), Sync())
    script.upstream_receives(parse(b"", b"select 1/0"), bind(b""), execute(), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"22012"), IDLE)
    script.frontend_receives(BindComplete(), server_error(b"22012"), IDLE)


def test_an_error_of_pgshims_own_does_not_wait_for_the_sync(script: SessionScript) -> None:
    # A server sends an error at once, the Flush is not needed.
    script.frontend_sends(bind(b"nosuch"), Flush())
    script.upstream_receives(A_PARSE_THAT_FAILS)
    script.upstream_sends(server_error(b"42601")).frontend_receives(error(b"26000"))
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)
