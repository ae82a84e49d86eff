"""Clients that send without end: what a session keeps for them is bounded."""

from __future__ import annotations

import pytest

from pgshim.errors import ProtocolViolation
from pgshim.protocol.backend import CopyInResponse, ParseComplete
from pgshim.protocol.frontend import CopyDone, CopyFail, Flush, Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    IDLE,
    bind,
    close,
    columns,
    done,
    error,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start

MANY = 10_000
SYNC = Sync().encode()
G = CopyInResponse(0, (0,))
SLOW = Query(b"select pg_sleep(60)")


def test_too_many_syncs_amid_copy_data_end_the_connection(script: SessionScript) -> None:
    script.copies_in()
    with pytest.raises(ProtocolViolation, match="too many Sync"):
        script.frontend_sends(SYNC * MANY)
    script.collects().expects_nothing()


def test_some_thousand_syncs_amid_copy_data_are_ignored_as_a_server_does(script: SessionScript) -> None:
    script.copies_in()
    script.frontend_sends(SYNC * 4000).frontend_sends(CopyDone()).upstream_receives(CopyDone(), Sync())
    script.upstream_answers(done(b"COPY 0"), IDLE)


@pytest.mark.parametrize("end", [CopyDone(), CopyFail(b"no")])
def test_too_many_ends_of_copy_data_end_the_connection(script: SessionScript, end: CopyDone | CopyFail) -> None:
    script.frontend_sends(query := Query(b"copy t from stdin; select 1")).upstream_receives(query)
    with pytest.raises(ProtocolViolation, match="too many CopyDone"):
        script.frontend_sends(end.encode() * MANY)


def test_the_name_in_an_error_is_cut_off_where_it_is_absurd(script: SessionScript) -> None:
    name = b"n" * 5000
    shown = b"n" * 1024
    script.frontend_sends(bind(name), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"26000", b'prepared statement "%s" does not exist' % shown), IDLE)
    script.prepares(name, b"select 1").frontend_sends(parse(name, b"select 2"), Sync())
    script.upstream_receives(parse(b"", b"select 2"), A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(ParseComplete(), server_error(b"42601"), IDLE)
    script.frontend_receives(error(b"42P05", b'prepared statement "%s" already exists' % shown), IDLE)


def test_unnamed_statements_on_their_way_wait_for_each_other_beyond_their_limit(start: Start) -> None:
    script = start(max_statement_bytes=100)
    texts = [parse(b"", b"x" * 60), parse(b"", b"y" * 60), parse(b"", b"z" * 60)]
    script.frontend_sends(*texts, Sync()).upstream_receives(texts[0], Flush())
    script.upstream_answers(ParseComplete()).upstream_receives(texts[1], Flush())
    script.upstream_sends(server_error(b"42601")).frontend_receives(error(b"42601"))
    script.upstream_receives(Flush(), Sync()).upstream_answers(IDLE)


def test_an_unnamed_statement_over_the_limit_waits_for_nothing_alone_or_in_a_batch_behind_another(start: Start) -> None:
    script = start(max_statement_bytes=100).prepares(b"", b"x" * 200)
    script.frontend_sends(parse(b"", b"x" * 200), Sync()).upstream_receives(parse(b"", b"x" * 200), Sync())
    script.frontend_sends(parse(b"", b"y" * 200), Sync()).upstream_receives(parse(b"", b"y" * 200), Sync())
    script.upstream_answers(ParseComplete(), IDLE, ParseComplete(), IDLE)


def test_replies_owed_are_limited_and_the_client_is_read_on_as_they_come(script: SessionScript) -> None:
    script.frontend_sends(SLOW).upstream_receives(SLOW)
    script.frontend_sends(close(b"s").encode() * MANY).expects_nothing()
    kept = len(script.session.outstanding)
    assert kept < MANY / 2
    assert script.session.backlog_size == (MANY - kept + 1) * len(close(b"s").encode())


def test_rows_of_a_reply_do_not_make_what_is_held_back_be_looked_at_anew(script: SessionScript) -> None:
    script.frontend_sends(SLOW).upstream_receives(SLOW)
    script.frontend_sends(parse(b"", b"select 1"), bind(b""), execute()).expects_nothing()
    script.upstream_answers(columns(23)).upstream_answers(row(b"1")).upstream_answers(row(b"2"))
    script.upstream_answers(done(), IDLE).upstream_receives(parse(b"", b"select 1"), bind(b""), execute())
    script.frontend_sends(Sync()).upstream_receives(Flush(), Sync())
    script.upstream_answers(server_error(b"42601"), IDLE)
