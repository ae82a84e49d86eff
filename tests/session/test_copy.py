"""COPY: data passes while the server may be reading it, and is dropped at any other time."""

from __future__ import annotations

import pytest

from pgshim.errors import ProtocolViolation
from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    CopyInResponse,
    CopyOutResponse,
    ParseComplete,
)
from pgshim.protocol.frontend import CopyData, CopyDone, CopyFail, Flush, Query, Sync
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    IN_BLOCK,
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
from tests.session.script import SessionScript

INT4 = 23
COPY = b"copy t from stdin"
G = CopyInResponse(0, (0,))
COPIED = done(b"COPY 1")
DATA = CopyData(b"1\n")


def executes_copy(script: SessionScript, *more: Message) -> SessionScript:
    """A prepared COPY FROM STDIN is executed in one write with these messages, which all go up."""
    script.frontend_sends(bind(b"c"), execute(), *more)
    return script.upstream_receives(parse(b"", COPY), bind(b""), execute(), *more)


def test_copy_in_passes(script: SessionScript) -> None:
    script.copies_in()
    script.frontend_sends(DATA).upstream_receives(DATA)
    script.frontend_sends(DATA, DATA, CopyDone()).upstream_receives(DATA, DATA, CopyDone(), Sync())
    script.upstream_answers(COPIED, IDLE)


def test_asyncpg_sends_its_data_before_the_server_has_asked_for_it(script: SessionScript) -> None:
    script.frontend_sends(Query(COPY), DATA, CopyDone())
    script.upstream_receives(*script.copy_in(), Flush(), DATA, CopyDone(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), G, COPIED, IDLE).frontend_receives(G, COPIED, IDLE)


def test_copy_fail_passes(script: SessionScript) -> None:
    script.copies_in()
    script.frontend_sends(DATA, CopyFail(b"no")).upstream_receives(DATA, CopyFail(b"no"), Sync())
    script.upstream_answers(server_error(b"57014"), IDLE)


def test_a_copy_that_the_server_refuses_fails_as_a_query_does(script: SessionScript) -> None:
    script.frontend_sends(Query(COPY)).upstream_receives(*script.copy_in(), Flush())
    script.upstream_sends(server_error(b"42P01")).frontend_receives(server_error(b"42P01"))
    script.upstream_receives(Flush(), Sync()).upstream_answers(IDLE)
    script.queries(b"select 1", columns(INT4), done(), IDLE)


def test_what_comes_behind_a_copy_that_the_server_refuses_is_carried_out(script: SessionScript) -> None:
    script.frontend_sends(Query(COPY), DATA, CopyDone(), Query(b"select 1"))
    script.upstream_receives(*script.copy_in(), Flush(), DATA, CopyDone(), Sync())
    script.upstream_sends(server_error(b"42P01"), IDLE).frontend_receives(server_error(b"42P01"), IDLE)
    script.upstream_receives(Query(b"select 1")).upstream_answers(columns(INT4), done(), IDLE)


def test_a_copy_in_a_block_goes_on_in_the_block(script: SessionScript) -> None:
    script.begins().copies_in()
    script.frontend_sends(DATA, CopyDone()).upstream_receives(DATA, CopyDone(), Sync())
    script.upstream_answers(COPIED, IN_BLOCK)


def test_a_copy_drops_the_unnamed_statement_like_any_query(script: SessionScript) -> None:
    script.prepares(b"", b"select 1").prepares(b"s", b"select 2").copies_in()
    script.frontend_sends(CopyDone()).upstream_receives(CopyDone(), Sync()).upstream_answers(COPIED, IDLE)
    script.does_not_know(b"").knows(b"s", b"select 2")


def test_a_copy_that_the_server_refuses_drops_it_too(script: SessionScript) -> None:
    script.prepares(b"", b"select 1")
    script.frontend_sends(Query(COPY)).upstream_receives(*script.copy_in(), Flush())
    script.upstream_sends(server_error(b"42P01")).frontend_receives(server_error(b"42P01"))
    script.upstream_receives(Flush(), Sync()).upstream_answers(IDLE)
    script.does_not_know(b"")


def test_the_syncs_of_a_client_in_the_middle_of_a_copy_are_ignored(script: SessionScript) -> None:
    script.copies_in()
    script.frontend_sends(Sync(), DATA, Sync(), Flush(), CopyDone()).upstream_receives(DATA, CopyDone(), Sync())
    script.upstream_answers(COPIED, IDLE)
    script.frontend_sends(Sync()).frontend_receives(IDLE)


def test_a_sync_behind_a_copy_is_answered(script: SessionScript) -> None:
    script.copies_in()
    script.frontend_sends(DATA, CopyDone(), Sync()).upstream_receives(DATA, CopyDone(), Sync())
    script.upstream_sends(COPIED, IDLE).frontend_receives(COPIED, IDLE, IDLE)


def test_copy_out_passes(script: SessionScript) -> None:
    script.queries(b"copy t to stdout", CopyOutResponse(0, (0,)), DATA, DATA, CopyDone(), COPIED, IDLE)


def test_copy_out_by_execute_passes(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"copy t to stdout"), bind(b""), execute(), Sync())
    script.upstream_receives(parse(b"", b"copy t to stdout"), bind(b""), execute(), Sync())
    script.upstream_answers(ParseComplete(), BindComplete(), CopyOutResponse(0, (0,)), DATA, DATA, CopyDone(), COPIED)
    script.upstream_answers(IDLE)


@pytest.mark.parametrize("stray", [CopyData(b"x"), CopyDone(), CopyFail(b"x")])
def test_a_stray_copy_message_is_dropped(script: SessionScript, stray: Message) -> None:
    script.frontend_sends(stray, stray).expects_nothing()
    script.queries(b"select 1", columns(INT4), row(b"1"), done(), IDLE)
    script.begins().frontend_sends(stray).expects_nothing()


@pytest.mark.parametrize("stray", [CopyData(b"x"), CopyDone(), CopyFail(b"x")])
def test_a_copy_message_behind_what_starts_no_copy_is_dropped(script: SessionScript, stray: Message) -> None:
    script.frontend_sends(
        Query(b"select 1"), stray, parse(b"s", b"select 2"), stray, bind(b"s"), execute(), stray, Sync()
    )
    script.upstream_receives(Query(b"select 1"), parse(b"", b"select 2"), bind(b""), execute(), Sync())
    script.upstream_answers(columns(INT4), done(), IDLE, ParseComplete(), BindComplete(), done(), IDLE)


def test_asyncpg_goes_on_sending_after_the_copy_has_failed(script: SessionScript) -> None:
    script.copies_in().frontend_sends(DATA).upstream_receives(DATA)
    script.upstream_sends(server_error(b"22P02")).frontend_receives(server_error(b"22P02"))
    script.upstream_receives(Flush(), Sync())
    script.frontend_sends(DATA).expects_nothing()
    script.upstream_answers(IDLE)
    script.frontend_sends(DATA, DATA, CopyDone()).expects_nothing()


def test_postgres_js_sends_copy_fail_after_each_copy(script: SessionScript) -> None:
    script.copies_in()
    script.frontend_sends(DATA, CopyDone()).upstream_receives(DATA, CopyDone(), Sync())
    script.upstream_answers(COPIED, IDLE)
    script.frontend_sends(CopyFail(b"stray"), Query(b"select 1")).upstream_receives(Query(b"select 1"))
    script.upstream_answers(columns(INT4), done(), IDLE)


def test_copy_data_of_any_size_is_not_held_back(script: SessionScript) -> None:
    script.copies_in()
    data = CopyData(b"x" * 1_000_000).encode()
    script.frontend_sends(data[:3]).expects_nothing()
    script.frontend_sends(data[3:700_000]).upstream_receives(data[:700_000])
    script.frontend_sends(data[700_000:] + b"d\0").upstream_receives(data[700_000:])
    script.frontend_sends(b"\0\0\x05x").upstream_receives(b"d\0\0\0\x05x")
    script.frontend_sends(CopyDone()).upstream_receives(CopyDone(), Sync()).upstream_answers(COPIED, IDLE)


def test_a_read_that_begins_and_ends_amid_copy_data_is_not_copied(script: SessionScript) -> None:
    script.copies_in()
    stream = CopyData(b"x" * 1000).encode() * 3
    script.frontend_sends(stream[:500]).upstream_receives(stream[:500])
    data = stream[500:2500]
    script.stage.receive_from_client(data)
    assert script.stage.take_upstream_output() is data


def test_stray_copy_data_is_dropped_whole_however_it_comes(script: SessionScript) -> None:
    data = CopyData(b"x" * 1000).encode()
    script.frontend_sends(data[:500]).expects_nothing()
    script.frontend_sends(data[500:700]).expects_nothing()
    script.frontend_sends(data[700:], Query(b"select 1")).upstream_receives(Query(b"select 1"))
    script.upstream_answers(columns(INT4), done(), IDLE)


def test_copy_data_that_was_begun_is_ended_though_the_copy_has_failed(script: SessionScript) -> None:
    # A Sync in the middle of it would be read as data.
    script.copies_in()
    data = CopyData(b"x" * 1000).encode()
    script.frontend_sends(data[:500]).upstream_receives(data[:500])
    script.upstream_sends(server_error(b"22P02")).frontend_receives(server_error(b"22P02"))
    script.frontend_sends(data[500:], DATA).upstream_receives(data[500:], Flush(), Sync())
    script.upstream_answers(IDLE)
    script.frontend_sends(DATA, CopyDone()).expects_nothing()


def test_data_of_a_copy_by_execute_that_was_begun_is_ended_too(script: SessionScript) -> None:
    script.prepares(b"c", COPY)
    executes_copy(script, Flush())
    script.upstream_sends(ParseComplete(), BindComplete(), G).frontend_receives(BindComplete(), G)
    data = CopyData(b"x" * 1000).encode()
    script.frontend_sends(data[:500]).upstream_receives(data[:500])
    script.upstream_answers(server_error(b"22P02"))
    script.frontend_sends(data[500:], DATA).upstream_receives(data[500:])
    script.frontend_sends(CopyDone(), Sync()).upstream_receives(Flush(), Sync()).upstream_answers(IDLE)


def test_copy_in_a_query_of_several_statements(script: SessionScript) -> None:
    script.queries(b"copy t from stdin; select 1; copy t from stdin", G)
    script.frontend_sends(DATA, CopyDone()).upstream_receives(DATA, CopyDone())
    script.upstream_answers(COPIED, columns(INT4), row(b"1"), done(), G)
    script.frontend_sends(DATA, CopyDone()).upstream_receives(DATA, CopyDone())
    script.upstream_answers(COPIED, IDLE)


# Syncs and Flushes that the server ignores.


def test_psqlpy_sends_a_sync_that_the_server_swallows(script: SessionScript) -> None:
    script.prepares(b"c", COPY).prepares(b"o", b"select 1")
    executes_copy(script, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), G).frontend_receives(BindComplete(), G)
    script.frontend_sends(DATA, CopyDone(), Sync(), close(b"o"), Sync())
    script.upstream_receives(DATA, CopyDone(), Sync())
    script.upstream_sends(COPIED, IDLE).frontend_receives(COPIED, IDLE, CloseComplete(), IDLE)
    script.does_not_know(b"o")


def test_all_syncs_in_front_of_the_end_of_the_data_are_swallowed(script: SessionScript) -> None:
    script.prepares(b"c", COPY)
    executes_copy(script, Sync(), DATA)
    script.upstream_sends(ParseComplete(), BindComplete(), G).frontend_receives(BindComplete(), G)
    script.frontend_sends(DATA, Sync(), DATA, Sync(), CopyDone(), Sync())
    *sent, last = script.gone_up()  # A Sync that the server ignores may go up or not.
    assert ([message for message in sent if message != Sync()], last) == ([DATA, DATA, CopyDone()], Sync())
    script.upstream_answers(COPIED, IDLE)
    script.queries(b"select 1", columns(INT4), done(), IDLE)


def test_a_sync_behind_a_copy_that_never_began_is_answered(script: SessionScript) -> None:
    script.prepares(b"c", COPY)
    executes_copy(script, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"42P01"), IDLE)
    script.frontend_receives(BindComplete(), server_error(b"42P01"), IDLE)
    script.frontend_sends(DATA, CopyDone(), Sync()).frontend_receives(IDLE)


def test_a_copy_that_never_began_answers_the_syncs_around_its_data(script: SessionScript) -> None:
    script.prepares(b"c", COPY)
    executes_copy(script, Sync(), DATA, CopyDone(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), server_error(b"42P01"), IDLE, IDLE)
    script.frontend_receives(BindComplete(), server_error(b"42P01"), IDLE, IDLE)


def test_a_copy_that_fails_in_its_data_answers_the_sync_behind(script: SessionScript) -> None:
    script.prepares(b"c", COPY)
    executes_copy(script, Sync(), DATA, CopyDone(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), G, server_error(b"22P02"), IDLE)
    script.frontend_receives(BindComplete(), G, server_error(b"22P02"), IDLE)
    script.queries(b"select 1", columns(INT4), done(), IDLE)


@pytest.mark.parametrize("end", [COPIED, server_error(b"22P02")], ids=["done", "failed"])
def test_what_comes_behind_a_copy_that_has_ended_waits_for_its_ready_for_query(
    script: SessionScript, end: Message
) -> None:
    # PgBouncer forgets at the end of a COPY what it had counted, and gives the server away at the ReadyForQuery.
    script.prepares(b"c", COPY)
    executes_copy(script, Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), G).frontend_receives(BindComplete(), G)
    script.frontend_sends(DATA, CopyDone(), Sync()).upstream_receives(DATA, CopyDone(), Sync())
    script.upstream_sends(end).frontend_receives(end)
    batch = (parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.frontend_sends(*batch).upstream_receives()
    script.upstream_sends(IDLE).frontend_receives(IDLE)
    script.upstream_receives(*batch)


@pytest.mark.parametrize("has_change", [False, True])
def test_so_it_does_behind_a_query_whose_copy_has_failed(script: SessionScript, has_change: bool) -> None:
    if has_change:
        script.prepares(b"", b"select 2")
    script.queries(b"select 1; copy t from stdin", columns(INT4), done(), G)
    script.frontend_sends(DATA).upstream_receives(DATA)
    script.upstream_sends(server_error(b"22P02")).frontend_receives(server_error(b"22P02"))
    batch = (parse(b"", b"select 1"), bind(b""), execute(), Sync())
    script.frontend_sends(CopyDone(), *batch).upstream_receives()
    script.upstream_sends(IDLE).frontend_receives(IDLE)
    script.upstream_receives(*batch)


def test_a_flush_behind_the_end_of_the_data_goes_up(script: SessionScript) -> None:
    script.prepares(b"c", COPY)
    executes_copy(script, Flush())
    script.upstream_sends(ParseComplete(), BindComplete(), G).frontend_receives(BindComplete(), G)
    script.frontend_sends(DATA, CopyDone(), Flush(), Sync()).upstream_receives(DATA, CopyDone(), Flush(), Sync())
    script.upstream_answers(COPIED, IDLE)


def test_an_error_ahead_of_a_copy_is_not_the_copys(script: SessionScript) -> None:
    script.frontend_sends(bind(b"nosuch"), Sync(), Query(COPY), CopyDone())
    script.upstream_receives(A_PARSE_THAT_FAILS, Sync())
    script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(error(b"26000"), IDLE)
    script.upstream_receives(*script.copy_in(), Flush(), CopyDone(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), G, COPIED, IDLE).frontend_receives(G, COPIED, IDLE)


def test_copy_by_execute_with_its_data_in_one_write(script: SessionScript) -> None:
    script.prepares(b"c", COPY).begins()
    executes_copy(script, DATA, CopyDone(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), G, COPIED, IN_BLOCK)
    script.frontend_receives(BindComplete(), G, COPIED, IN_BLOCK)


def test_a_copy_that_fails_on_the_clients_word_fails_its_batch(script: SessionScript) -> None:
    script.prepares(b"c", COPY).begins()
    executes_copy(script, CopyFail(b"no"), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), G, server_error(b"57014"), FAILED)
    script.frontend_receives(BindComplete(), G, server_error(b"57014"), FAILED)


def test_a_copy_that_a_function_starts_is_seen_by_the_servers_answer(script: SessionScript) -> None:
    # No text shows it: the server says so.
    script.queries(b"call p()", G)
    script.frontend_sends(DATA, CopyDone()).upstream_receives(DATA, CopyDone())
    script.upstream_answers(COPIED, IDLE)


def test_another_message_amid_copy_data_ends_the_connection(script: SessionScript) -> None:
    script.frontend_sends(Query(b"copy t from stdin")).gone_up()
    script.upstream_sends(ParseComplete(), BindComplete(), CopyInResponse(0, ()))
    script.frontend_receives(CopyInResponse(0, ()))
    with pytest.raises(ProtocolViolation, match="unexpected message type 0x51 during COPY from stdin"):
        script.frontend_sends(Query(b"select 1"))
