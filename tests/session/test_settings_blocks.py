"""Settings in transaction blocks: what a BEGIN brings, and what ROLLBACK, savepoints and COMMIT make of a SET."""

from __future__ import annotations

import pytest

from pgshim.protocol.frontend import Flush, Query, Sync
from tests.session.in_force import (
    LOCAL_WARNING,
    ONE_OF_ALL,
    SAID,
    TEXT,
    WORK_MEM,
    begins,
    carried_out,
    has_in_force,
    local,
    own,
    said,
    sets,
    show,
    shown,
    told,
)
from tests.session.messages import FAILED, IDLE, IN_BLOCK, columns, done, execute, row, server_error
from tests.session.script import SessionScript, Start

SET_AGAIN = local(b"work_mem", b"8MB")
FIVE = {b"work_mem": b"5kB"}
#: Settings in force, and what brings a block into step with the modes among them.
MODES = {b"default_transaction_isolation": b"serializable", b"default_transaction_read_only": b"on"}
ISOLATION, READ_ONLY = local(b"transaction_isolation", b"serializable"), local(b"transaction_read_only", b"on")
DEFAULTS = tuple(local(name, value) for name, value in MODES.items())


def sets_in_block(script: SessionScript, name: bytes, value: bytes) -> SessionScript:
    script.frontend_sends(Query(b"set %b to '%b'" % (name, value)))
    script.upstream_receives(Query(b"SET LOCAL %b to '%b';SHOW \"%b\"" % (name, value, name)))
    script.upstream_sends(done(b"SET"), *told(value), IN_BLOCK).frontend_receives(done(b"SET"), IN_BLOCK)
    return script


# BEGIN.


def test_the_begin_comes_first_and_the_settings_behind_it(start: Start) -> None:
    # A SELECT would take the snapshot.
    script = begins(start(startup=WORK_MEM), SET_AGAIN)
    script.queries(b"select 1", columns(TEXT), row(b"1"), done(), IN_BLOCK)
    script.frontend_sends(*said(b"select 1"), Sync()).upstream_receives(*own(b"select 1"), Sync())
    script.upstream_answers(*SAID, row(b"1"), done(), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, WORK_MEM)


def test_the_same_of_a_query(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"start transaction ")).upstream_receives(
        Query(b"start transaction;" + SET_AGAIN + b" ")
    )
    script.upstream_sends(done(b"START TRANSACTION"), done(b"SET"), IN_BLOCK)
    script.frontend_receives(done(b"START TRANSACTION"), IN_BLOCK)
    script.queries(b"select 1", columns(TEXT), done(), IN_BLOCK)


def test_what_follows_the_begin_in_its_batch_has_them_in_force(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"begin"), *said(b"select 1"), *said(b"savepoint a"), Sync())
    script.upstream_receives(*own(b"begin", SET_AGAIN, b"select 1", b"savepoint a"), Sync())
    script.upstream_sends(*SAID, done(b"BEGIN"), *SAID, LOCAL_WARNING, done(b"SET"))
    script.frontend_receives(*SAID, done(b"BEGIN"))
    script.upstream_answers(*SAID, done(), *SAID, done(b"SAVEPOINT"), IN_BLOCK)


def test_several_statements_with_a_begin_among_them(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"begin; select 1; commit; select 2"))
    script.upstream_receives(Query(b"begin;%b; select 1; commit; %b;select 2" % (SET_AGAIN, SET_AGAIN)))
    script.upstream_sends(done(b"BEGIN"), done(b"SET"), done(), done(b"COMMIT"), done(b"SET"), done(), IDLE)
    script.frontend_receives(done(b"BEGIN"), done(), done(b"COMMIT"), done(), IDLE)


def test_a_begin_behind_other_statements_brings_nothing(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"select 1; begin"))
    script.upstream_receives(Query(SET_AGAIN + b";select 1; begin"))
    script.upstream_sends(done(b"SET"), done(), done(b"BEGIN"), IN_BLOCK)
    script.frontend_receives(done(), done(b"BEGIN"), IN_BLOCK)
    script.frontend_sends(*said(b"begin"), Sync()).upstream_receives(*own(b"begin"), Sync())
    script.upstream_answers(*SAID, done(b"BEGIN"), IN_BLOCK)
    script.queries(b"begin", done(b"BEGIN"), IN_BLOCK)


@pytest.mark.parametrize(
    ("sql", "ahead"),
    [
        (b"begin", (ISOLATION, READ_ONLY)),
        (b"begin isolation level read committed", (READ_ONLY,)),
        (b"begin read write, isolation level serializable", ()),
    ],
)
def test_the_modes_that_it_does_not_give_itself_are_set(start: Start, sql: bytes, ahead: tuple[bytes, ...]) -> None:
    begins(start(startup=MODES), *ahead, *DEFAULTS, sql=sql)
    script = start(startup=MODES)
    script.frontend_sends(Query(sql)).upstream_receives(Query(b";".join((sql, *ahead, *DEFAULTS))))
    script.upstream_sends(done(b"BEGIN"), *[done(b"SET")] * (len(ahead) + 2), IN_BLOCK)
    script.frontend_receives(done(b"BEGIN"), IN_BLOCK)


def test_an_error_of_what_is_brought_is_the_begins(start: Start) -> None:
    script = start(startup={b"role": b"gone"})
    script.frontend_sends(Query(b"begin")).upstream_receives(Query(b"begin;SET LOCAL role TO 'gone'"))
    script.upstream_sends(done(b"BEGIN"), server_error(b"22023", P=b"9"), FAILED)
    script.frontend_receives(done(b"BEGIN"), server_error(b"22023"), FAILED)
    script.queries(b"select 1", server_error(b"25P02"), FAILED).queries(b"rollback", done(b"ROLLBACK"), IDLE)
    has_in_force(script, {b"role": b"gone"})


# How a transaction ends.


@pytest.mark.parametrize(
    ("sql", "tag", "is_kept"),
    [
        (b"commit", b"COMMIT", True),
        (b"prepare transaction 'x'", b"PREPARE TRANSACTION", True),
        (b"rollback", b"ROLLBACK", False),
        (b"commit", b"ROLLBACK", False),
    ],
)
@pytest.mark.parametrize("is_query", [True, False])
def test_a_set_is_kept_as_the_tag_says(
    script: SessionScript, sql: bytes, tag: bytes, is_kept: bool, is_query: bool
) -> None:
    sets_in_block(script.begins(), b"work_mem", b"8MB")
    if is_query:
        script.queries(sql, done(tag), IDLE)
    else:
        script.frontend_sends(*said(sql), Sync()).upstream_receives(*own(sql), Sync())
        script.upstream_answers(*SAID, done(tag), IDLE)
    has_in_force(script, WORK_MEM if is_kept else {})


def test_a_commit_that_fails_keeps_nothing(script: SessionScript) -> None:
    sets_in_block(script.begins(), b"work_mem", b"8MB").queries(b"commit", server_error(b"23503"), IDLE)
    has_in_force(script, {})


def test_an_error_in_the_block_undoes_it(script: SessionScript) -> None:
    sets(script, b"work_mem", b"8MB")
    begins(script, SET_AGAIN)
    sets_in_block(script, b"work_mem", b"5kB")
    script.queries(b"x", server_error(b"42601"), FAILED)
    script.queries(b"set work_mem to '1GB'", server_error(b"25P02"), FAILED)
    script.frontend_sends(*said(b"reset all"), Sync()).forgets()
    script.upstream_sends(server_error(b"25P02"), FAILED).frontend_receives(server_error(b"25P02"), FAILED)
    script.queries(b"commit", done(b"ROLLBACK"), IDLE)
    has_in_force(script, WORK_MEM)


def test_a_local_set_ends_with_the_block(start: Start) -> None:
    script = begins(start(startup=WORK_MEM), SET_AGAIN)
    script.queries(b"set local work_mem = 5", done(b"SET"), IN_BLOCK)
    script.frontend_sends(*said(b"set local datestyle = german"), Sync())
    script.upstream_receives(*own(b"set local datestyle = german"), Sync())
    script.upstream_answers(*SAID, done(b"SET"), IN_BLOCK)
    script.frontend_sends(Query(b"reset all"))
    script.upstream_receives(
        Query(b'%b;%b;SET LOCAL "datestyle" TO DEFAULT' % (ONE_OF_ALL, SET_AGAIN)),
    )
    script.upstream_sends(done(b"SET"), done(b"SET"), done(b"SET"), IN_BLOCK)
    script.frontend_receives(done(b"RESET"), IN_BLOCK).queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, WORK_MEM)


def test_a_reset_is_undone_by_rollback(start: Start) -> None:
    script = start()
    sets(script, b"work_mem", b"8MB")
    begins(script, SET_AGAIN)
    script.frontend_sends(*said(b"reset work_mem"), Sync())
    script.upstream_receives(*own(b"SET LOCAL work_mem TO DEFAULT"), Sync())
    script.upstream_sends(*SAID, done(b"SET"), IN_BLOCK).frontend_receives(*SAID, done(b"RESET"), IN_BLOCK)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE)
    has_in_force(script, WORK_MEM)


# Savepoints.


def test_rollback_to_goes_back_to_what_was_in_force_then(script: SessionScript) -> None:
    sets_in_block(script.begins(), b"work_mem", b"8MB").queries(b"savepoint A", done(b"SAVEPOINT"), IN_BLOCK)
    sets_in_block(script, b"work_mem", b"5kB").queries(b"x", server_error(b"42601"), FAILED)
    script.queries(b'rollback to savepoint "a"', done(b"ROLLBACK"), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, WORK_MEM)


def test_savepoints_of_the_same_name_lie_one_in_another(script: SessionScript) -> None:
    script.begins()
    for value in (b"5kB", b"6kB"):
        sets_in_block(script, b"work_mem", value)
        script.frontend_sends(*said(b"savepoint a"), Sync()).upstream_receives(*own(b"savepoint a"), Sync())
        script.upstream_answers(*SAID, done(b"SAVEPOINT"), IN_BLOCK)
    sets_in_block(script, b"work_mem", b"7kB").queries(b"rollback to a", done(b"ROLLBACK"), IN_BLOCK)
    script.queries(b"release a", done(b"RELEASE"), IN_BLOCK).queries(b"rollback to a", done(b"ROLLBACK"), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, FIVE)


def test_releasing_an_outer_savepoint_keeps_what_was_set_inside(script: SessionScript) -> None:
    sets_in_block(script.begins(), b"work_mem", b"5kB").queries(b"savepoint a", done(b"SAVEPOINT"), IN_BLOCK)
    sets_in_block(script, b"work_mem", b"6kB").queries(b"savepoint b", done(b"SAVEPOINT"), IN_BLOCK)
    sets_in_block(script, b"work_mem", b"8MB").queries(b"release savepoint a", done(b"RELEASE"), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, WORK_MEM)


def test_a_savepoint_from_before_anything_was_set(script: SessionScript) -> None:
    script.begins().queries(b"savepoint a", done(b"SAVEPOINT"), IN_BLOCK)
    sets_in_block(script, b"work_mem", b"8MB").queries(b"savepoint b", done(b"SAVEPOINT"), IN_BLOCK)
    script.queries(b"rollback to a", done(b"ROLLBACK"), IN_BLOCK).queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, {})


def test_a_savepoint_from_before_anything_was_set_is_released(script: SessionScript) -> None:
    script.begins().queries(b"savepoint a", done(b"SAVEPOINT"), IN_BLOCK)
    sets_in_block(script, b"work_mem", b"8MB").queries(b"release a", done(b"RELEASE"), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, WORK_MEM)


def test_savepoints_end_with_their_transaction(script: SessionScript) -> None:
    sets_in_block(script.begins(), b"work_mem", b"8MB").queries(b"savepoint a", done(b"SAVEPOINT"), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    begins(script, SET_AGAIN)
    sets_in_block(script, b"work_mem", b"5kB").queries(b"rollback to a", server_error(b"3B001"), FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE)
    has_in_force(script, WORK_MEM)


# AND CHAIN.


@pytest.mark.parametrize(
    ("sql", "tag", "value"), [(b"commit and chain", b"COMMIT", b"5kB"), (b"rollback and chain", b"ROLLBACK", b"8MB")]
)
def test_the_next_transaction_of_a_chain_is_given_what_is_in_force(
    start: Start, sql: bytes, tag: bytes, value: bytes
) -> None:
    script = begins(start(startup=WORK_MEM), SET_AGAIN)
    sets_in_block(script, b"work_mem", b"5kB")
    script.frontend_sends(Query(sql)).upstream_receives(Query(sql + b";" + local(b"work_mem", value)))
    script.upstream_sends(done(tag), done(b"SET"), IN_BLOCK).frontend_receives(done(tag), IN_BLOCK)
    sets_in_block(script, b"work_mem", b"6kB")
    script.frontend_sends(*said(sql), Sync())
    value = b"6kB" if tag == b"COMMIT" else value
    script.upstream_receives(*own(sql, local(b"work_mem", value)), Sync())
    script.upstream_sends(*SAID, done(tag), *carried_out(b"SET"), IN_BLOCK).frontend_receives(
        *SAID, done(tag), IN_BLOCK
    )
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, {b"work_mem": value})


@pytest.mark.parametrize("is_query", [True, False])
def test_a_chain_behind_a_failed_block_has_what_was_in_force_before(start: Start, is_query: bool) -> None:
    script = begins(start(startup=WORK_MEM), SET_AGAIN)
    sets_in_block(script, b"work_mem", b"5kB").queries(b"x", server_error(b"42601"), FAILED)
    if is_query:
        script.frontend_sends(Query(b"commit and chain")).upstream_receives(Query(b"commit and chain;" + SET_AGAIN))
        script.upstream_sends(done(b"ROLLBACK"), done(b"SET"), IN_BLOCK).frontend_receives(done(b"ROLLBACK"), IN_BLOCK)
    else:
        script.frontend_sends(*said(b"commit and chain"), Sync())
        script.upstream_receives(*own(b"commit and chain", SET_AGAIN), Sync())
        script.upstream_sends(*SAID, done(b"ROLLBACK"), *carried_out(b"SET"), IN_BLOCK)
        script.frontend_receives(*SAID, done(b"ROLLBACK"), IN_BLOCK)
    script.queries(b"commit", done(b"COMMIT"), IDLE)
    has_in_force(script, WORK_MEM)


def test_a_chain_behind_a_set_in_its_batch_waits_for_what_that_has_come_to(script: SessionScript) -> None:
    script.begins().frontend_sends(*said(b"set work_mem = 5"), *said(b"commit and chain"), Sync())
    went_up = *own(b"SET LOCAL work_mem = 5", show(b"work_mem")), *said(b"commit and chain")[:2], Flush()
    script.upstream_receives(*went_up).upstream_sends(*SAID, done(b"SET"), *shown(b"5kB"), *SAID)
    script.frontend_receives(*SAID, done(b"SET"), *SAID)
    script.upstream_receives(execute(), *own(local(b"work_mem", b"5kB")), Sync())
    script.upstream_sends(done(b"COMMIT"), *carried_out(b"SET"), IN_BLOCK).frontend_receives(done(b"COMMIT"), IN_BLOCK)


def test_a_chain_in_one_text_with_a_set_says_the_set_again(script: SessionScript) -> None:
    script.begins().frontend_sends(Query(b"set work_mem = 5; commit and chain; select 1"))
    again = b"SET LOCAL work_mem = 5"
    script.upstream_receives(Query(again + b';SHOW "work_mem"; commit and chain;' + again + b"; select 1"))
    script.upstream_sends(done(b"SET"), *told(b"5kB"), done(b"COMMIT"), done(b"SET"), done(), IN_BLOCK)
    script.frontend_receives(done(b"SET"), done(b"COMMIT"), done(), IN_BLOCK)
