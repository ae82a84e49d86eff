"""Resets that are answered here: what pools send between two users of a connection costs no trip."""

from __future__ import annotations

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import BindComplete, FieldDescription, ParseComplete, RowDescription
from pgshim.protocol.frontend import Flush, Query, Sync
from pgshim.session.statements import SUBSTITUTE
from tests.session.in_force import (
    INJECTED,
    ONE_OF_ALL,
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
    sets,
    setting,
    told,
)
from tests.session.messages import FAILED, IDLE, IN_BLOCK, bind, columns, done, execute, parse, row, server_error
from tests.session.script import SessionScript, Start

ASYNCPG = b"SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"
VOID = (
    RowDescription((FieldDescription(b"pg_advisory_unlock_all", 0, 0, 2278, 4, -1, 0),)),
    row(b""),
    done(b"SELECT 1"),
)
RESETS: list[tuple[bytes, tuple[Message, ...]]] = [
    (b"reset all", (done(b"RESET"),)),
    (b"RESET ALL ; ", (done(b"RESET"),)),
    (b"close all", (done(b"CLOSE CURSOR ALL"),)),
    (b"unlisten *", (done(b"UNLISTEN"),)),
    (b"discard all", (done(b"DISCARD ALL"),)),
    (b"discard plans", (done(b"DISCARD PLANS"),)),
    (b"select pg_advisory_unlock_all()", VOID),
    (b"select pg_catalog.pg_advisory_unlock_all()", VOID),
    (ASYNCPG, (*VOID, done(b"CLOSE CURSOR ALL"), done(b"UNLISTEN"), done(b"RESET"))),
]


def sets_again(script: SessionScript, name: bytes, value: bytes) -> SessionScript:
    """A SET with others in force."""
    script.frontend_sends(Query(b"set %b to '%b'" % (name, value))).forgets()
    values = (b"off", value) if name in (b"role", b"session_authorization") else (value,)
    script.upstream_sends(*SELECTED, done(b"SET"), *told(*values), IDLE).forgets()
    return script


@pytest.mark.parametrize(("sql", "answers"), RESETS)
def test_outside_of_a_block_it_is_answered_here_as_a_server_does(
    script: SessionScript, sql: bytes, answers: tuple[Message, ...]
) -> None:
    script.frontend_sends(Query(sql)).frontend_receives(*answers, IDLE)


@pytest.mark.parametrize(("sql", "_answers"), [RESETS[0], RESETS[4], RESETS[-1]])
def test_settings_are_reset(start: Start, sql: bytes, _answers: tuple[Message, ...]) -> None:
    script = start(startup=WORK_MEM)
    sets_again(script, b"work_mem", b"5kB")
    sets_again(script, b"statement_timeout", b"1s")
    script.frontend_sends(Query(sql)).forgets()
    has_in_force(script, WORK_MEM)


def test_without_settings_it_goes_on_as_if_there_had_never_been_any(script: SessionScript) -> None:
    sets(script, b"work_mem", b"8MB").frontend_sends(Query(b"reset all")).frontend_receives(done(b"RESET"), IDLE)
    script.queries(b"select 1", columns(TEXT), done(), IDLE)


def test_what_is_reset_is_reported(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set datestyle = german")).forgets()
    script.upstream_sends(done(b"SET"), *told(b"German, DMY"), IDLE).forgets()
    script.frontend_sends(Query(b"reset all"))
    script.frontend_receives(done(b"RESET"), setting(b"DateStyle", b"ISO, MDY"), IDLE)


@pytest.mark.parametrize(("sql", "role"), [(b"reset all", b"carl"), (b"discard all", b"bob")])
def test_the_role_is_reset_by_discard_all_alone(start: Start, sql: bytes, role: bytes) -> None:
    script = sets_again(start(startup=WORK_MEM | {b"role": b"bob"}), b"role", b"carl")
    script.frontend_sends(Query(sql)).forgets()
    has_in_force(script, WORK_MEM | {b"role": role})


@pytest.mark.parametrize("sql", [b"reset all", b"discard plans", b"close all"])
def test_prepared_statements_stay_but_for_the_unnamed_one(script: SessionScript, sql: bytes) -> None:
    script.prepares(b"s", b"call p()").prepares(b"", b"call q()")
    script.frontend_sends(Query(sql)).forgets()
    script.knows(b"s", b"call p()").does_not_know(b"")


def test_discard_all_ends_them(script: SessionScript) -> None:
    script.prepares(b"s", b"call p()").frontend_sends(Query(b"discard all"))
    script.frontend_receives(done(b"DISCARD ALL"), IDLE).does_not_know(b"s")


# Where it is real work.


def test_in_a_block_it_goes_up(start: Start) -> None:
    script = begins(start(startup=WORK_MEM), local(b"work_mem", b"8MB"))
    script.queries(b"close all", done(b"CLOSE CURSOR ALL"), IN_BLOCK)
    script.queries(b"unlisten *", done(b"UNLISTEN"), IN_BLOCK)
    script.frontend_sends(Query(ASYNCPG))
    script.upstream_receives(Query(ASYNCPG.replace(b"RESET ALL", ONE_OF_ALL + b";" + local(b"work_mem", b"8MB"))))
    script.upstream_answers(*VOID, done(b"CLOSE CURSOR ALL"), done(b"UNLISTEN"))
    script.upstream_sends(done(b"SET"), done(b"SET"), IN_BLOCK).frontend_receives(done(b"RESET"), IN_BLOCK)
    script.queries(b"discard all", server_error(b"25001"), FAILED)
    script.queries(b"reset all", server_error(b"25P02"), FAILED)


def test_amid_a_batch_it_goes_up(script: SessionScript) -> None:
    script.frontend_sends(*said(b"select 1"), Query(b"close all"))
    script.upstream_receives(*own(b"select 1"), Query(b"close all"))
    script.upstream_answers(*SAID, done(), done(b"CLOSE CURSOR ALL"), IDLE)


def test_discard_all_amid_a_batch_resets_the_settings(start: Start) -> None:
    script = sets_again(start(startup=WORK_MEM), b"work_mem", b"5kB")
    script.frontend_sends(parse(b"s", b"select 1"), Query(b"discard all"))
    script.upstream_receives(*own(select({b"work_mem": b"5kB"})), parse(b"", b"select 1"), Query(SUBSTITUTE))
    script.upstream_sends(*INJECTED, ParseComplete(), columns(), row(), done(), IDLE)
    script.frontend_receives(ParseComplete(), done(b"DISCARD ALL"), IDLE)
    has_in_force(script, WORK_MEM)


def test_behind_a_query_that_is_not_answered_it_waits(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(Query(b"select 1"), Query(b"reset all"), Query(b"select 2"))
    script.upstream_receives(Query(select(WORK_MEM) + b";select 1"))
    script.upstream_sends(*SELECTED, done(), IDLE).frontend_receives(done(), IDLE, done(b"RESET"), IDLE)
    script.upstream_receives(Query(select(WORK_MEM) + b";select 2"))
    script.upstream_sends(*SELECTED, done(), IDLE).frontend_receives(done(), IDLE)


def test_behind_an_idle_exchange_it_is_answered_here(script: SessionScript) -> None:
    script.frontend_sends(parse(b"s", b"select 1"), Flush()).upstream_receives(parse(b"", b"select 1"), Flush())
    script.upstream_answers(ParseComplete())
    script.frontend_sends(Query(b"close all")).frontend_receives(done(b"CLOSE CURSOR ALL"), IDLE)
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.forgets().upstream_sends(BindComplete()).forgets()


def test_among_other_statements_it_goes_up(script: SessionScript) -> None:
    script.queries(b"close all; select 1", done(b"CLOSE CURSOR ALL"), columns(TEXT), done(), IDLE)


def test_discard_all_beside_others_is_refused_by_the_server(script: SessionScript) -> None:
    script.frontend_sends(Query(b"close all; discard all")).upstream_receives(Query(b"close all; discard all"))
    script.upstream_answers(done(b"CLOSE CURSOR ALL"), server_error(b"25001"), IDLE)
