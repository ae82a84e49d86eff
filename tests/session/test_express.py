"""The short way: what takes it, what does not, and what becomes of a batch that went it when the unusual comes.

That it is the same as the long way is held by the pair that every story is told to (`twins`).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    EmptyQueryResponse,
    NoData,
    NoticeResponse,
    ParameterDescription,
    ParseComplete,
    PortalSuspended,
)
from pgshim.protocol.frontend import Query, Sync
from pgshim.session.features import prepared
from pgshim.session.ordinary import MOST, is_ordinary
from pgshim.session.sql import Kind, judge
from tests.session.messages import (
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close,
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
from tests.session.script import SessionScript, Start, joined

PURE, WRITING = b"select a from t where a = $1", b"update t set a = $1"
ANSWER = BindComplete(), row(b"1"), done(), IDLE
NOTICE = NoticeResponse(((b"S", b"NOTICE"), (b"M", b"hi")))
UNNAMED = parse(b"", PURE), bind(b"", b"1"), describe_portal(), execute(), Sync()


def passed(script: SessionScript) -> int:
    """How many reads have gone the short way since it was asked last."""
    session = script.session
    count, session.passed, session._compared = session.passed, 0, 0
    return count


def queries(script: SessionScript, sql: bytes, *answers: Message) -> int:
    script.queries(sql, *answers)
    return passed(script)


@pytest.mark.parametrize(
    "answers",
    [
        (columns(23), row(b"1"), row(b"2"), done(), IDLE),
        (columns(23), done(b"SELECT 0"), IDLE),
        (done(b"INSERT 0 1"), IDLE),
        (columns(23), done(), columns(25), row(b"x"), done(), IDLE),
    ],
)
def test_a_query_and_its_answer_go_the_short_way(script: SessionScript, answers: tuple[Message, ...]) -> None:
    assert queries(script, b"select 1", *answers) == 2


@pytest.mark.parametrize(
    "answers",
    [
        (NOTICE, done(), IDLE),
        (server_error(b"22012"), IDLE),
        (EmptyQueryResponse(), IDLE),
        (columns(23), row(b"1"), server_error(b"22012"), IDLE),
    ],
)
def test_an_answer_with_anything_else_in_it_goes_the_long_way(
    script: SessionScript, answers: tuple[Message, ...]
) -> None:
    assert queries(script, b"select 1", *answers) == 1


def test_an_answer_in_two_reads_goes_the_long_way(script: SessionScript) -> None:
    script.frontend_sends(Query(b"select 1")).upstream_receives(Query(b"select 1"))
    script.upstream_answers(columns(23), row(b"1")).upstream_answers(done(), IDLE)
    assert passed(script) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (done(), done()),
        (done(), row(b"1")),
        (PortalSuspended(), done()),
        (columns(23), done()),
        (row(b"1"),),
        (),
    ],
)
def test_an_execute_ends_once(script: SessionScript, answer: tuple[Message, ...]) -> None:
    data = joined((ParseComplete(), BindComplete(), *answer, IDLE))
    session = script.session
    script.frontend_sends(parse(b"", b"select 1"), bind(b""), execute(), Sync()).forgets()
    script.upstream_sends(ParseComplete(), BindComplete(), done(), IDLE).forgets()
    session.pass_from_client(joined((parse(b"", b"select 1"), bind(b""), execute(), Sync())))
    assert session.awaits_express
    assert session.pass_from_upstream(data) is None


@pytest.mark.parametrize("tail", [b"D\0\0\0\x03", b"C\0\0\0\x09abc\0"])
def test_a_frame_that_does_not_end_where_the_answer_does_goes_the_long_way(script: SessionScript, tail: bytes) -> None:
    session = script.session
    session.pass_from_client(Query(b"select 1").encode())
    assert session.pass_from_upstream(tail + IDLE.encode()) is None
    script.forgets()


@pytest.mark.parametrize(
    "data",
    [
        Query(b"select 1").encode() + Query(b"select 2").encode(),
        Query(b"select 1").encode()[:-1],
        b"Q\0\0\0\x05\0\0",
        b"Q\0\0\0\x0aabcdef",
        b"Q\0\0\0",
        b"B\0\0\0\x04",
        b"P\0\0\0\x04",
        Sync().encode(),
        joined((bind(b"s", portal=b"p"), execute(b"p"), Sync())),
        joined((bind(b"s"), execute())),
        joined((bind(b"nosuch"), execute(), Sync())),
        b"B\0\0\0\x08\0xxx" + joined((execute(), Sync())),
        joined((parse(b"s", PURE), bind(b"s"), execute(), Sync())),
        joined((parse(b"", PURE), bind(b"s"), execute(), Sync())),
        joined((parse(b"", PURE), bind(b"", portal=b"p"), execute(), Sync())),
        joined((parse(b"", PURE), describe(b""), Sync())),
        joined((parse(b"", PURE), bind(b""), execute(), Query(b""))),
        joined((bind(b"s"), execute(), Query(b""))),
        joined((parse(b"", PURE), Sync())),
        joined((parse(b"", b"set a.b = 1"), bind(b""), execute(), Sync())),
    ],
)
def test_what_is_no_ordinary_batch_changes_nothing(script: SessionScript, data: bytes) -> None:
    assert script.session.pass_from_client(data) is None
    assert not script.session.is_busy


def test_a_read_of_many_bytes_goes_the_long_way(script: SessionScript) -> None:
    assert queries(script, b"select '%b'" % (b"x" * 17_000), done(), IDLE) == 0
    assert queries(script, b"select 1", columns(25), row(b"x" * 70_000), done(), IDLE) == 1


def test_a_text_above_the_limit_is_refused_the_long_way(start: Start) -> None:
    script = start(max_message=64)
    assert script.session.pass_from_client(Query(b"select " + b"1" * 64).encode()) is None


def test_a_statement_that_is_not_described_is_brought_along(script: SessionScript) -> None:
    script.prepares(b"s", WRITING)
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(parse(b"", WRITING), bind(b"", b"1"), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), done(b"UPDATE 1"), IDLE)
    script.frontend_receives(BindComplete(), done(b"UPDATE 1"), IDLE)
    assert passed(script) == 2


def verified(script: SessionScript) -> SessionScript:
    """A statement that the client has described is brought along, and looked at."""
    script.describes(b"s", PURE, 23, result=columns(23))
    passed(script)
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    return script.upstream_receives(parse(b"", PURE, 23), describe(b""), bind(b"", b"1"), execute(), Sync())


SEEN = ParseComplete(), ParameterDescription((23,)), columns(23)


def test_a_statement_that_is_described_is_held_against_that(script: SessionScript) -> None:
    verified(script).upstream_sends(*SEEN, *ANSWER).frontend_receives(*ANSWER)
    assert passed(script) == 2


@pytest.mark.parametrize("seen", [(ParseComplete(), NOTICE, *SEEN[1:]), (*SEEN, NOTICE)])
def test_a_notice_amid_the_description_goes_the_long_way(script: SessionScript, seen: tuple[Message, ...]) -> None:
    verified(script).upstream_sends(*seen, *ANSWER).frontend_receives(NOTICE, *ANSWER)
    assert passed(script) == 1


def test_columns_of_another_table_with_the_same_shape_are_known_the_next_time(script: SessionScript) -> None:
    seen = *SEEN[:2], columns(23, table=7)
    verified(script).upstream_sends(*seen, *ANSWER).frontend_receives(*ANSWER)
    assert passed(script) == 1
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(parse(b"", PURE, 23), describe(b""), bind(b"", b"1"), execute(), Sync())
    script.upstream_sends(*seen, *ANSWER).frontend_receives(*ANSWER)
    assert passed(script) == 2


def test_other_columns_fail_the_long_way(script: SessionScript) -> None:
    verified(script).upstream_sends(*SEEN[:2], columns(25), *ANSWER).frontend_receives(error(b"0A000"), IDLE)
    assert passed(script) == 1


def test_a_statement_that_may_have_an_effect_and_is_described_goes_the_long_way(script: SessionScript) -> None:
    returning = WRITING + b" returning a"
    script.describes(b"s", returning, 23, result=columns(23))
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    expanded = bind(b"", b"1", results=(0,))
    script.upstream_receives(parse(b"", returning, 23), describe(b""), expanded, execute(), Sync())
    script.upstream_sends(*SEEN, *ANSWER).frontend_receives(*ANSWER)
    assert passed(script) == 0


def portal_described(script: SessionScript, *told: Message) -> SessionScript:
    """A batch in which the client asks what its portal returns."""
    script.frontend_sends(bind(b"s", b"1"), describe_portal(), execute(), Sync())
    script.upstream_receives(parse(b"", PURE), bind(b"", b"1"), describe_portal(), execute(), Sync())
    script.upstream_sends(ParseComplete(), BindComplete(), *told, row(b"1"), done(), IDLE)
    return script.frontend_receives(BindComplete(), *told, row(b"1"), done(), IDLE)


def test_a_portal_that_is_described_as_before_goes_the_short_way(script: SessionScript) -> None:
    script.prepares(b"s", PURE)
    assert passed(portal_described(script, columns(23))) == 1
    assert passed(portal_described(script, columns(23))) == 2
    assert passed(portal_described(script, columns(25))) == 1
    assert passed(portal_described(script, NoData())) == 1
    assert passed(portal_described(script, NoData())) == 2


def test_who_relies_on_a_portals_description_goes_the_long_way(script: SessionScript) -> None:
    script.prepares(b"s", PURE)
    portal_described(script, columns(23))
    passed(script)
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(parse(b"", PURE), bind(b"", b"1"), describe_portal(), execute(), Sync())
    answers = columns(23), row(b"1"), done(), IDLE
    script.upstream_sends(ParseComplete(), BindComplete(), *answers).frontend_receives(BindComplete(), *answers[1:])
    assert passed(script) == 0


def test_a_batch_behind_one_that_relied_on_a_portal_goes_the_short_way(script: SessionScript) -> None:
    script.prepares(b"s", PURE)
    portal_described(script, columns(23))
    passed(script)
    script.frontend_sends(bind(b"s", b"1"), describe_portal(), execute(), Sync(), Query(b"select 1"))
    script.forgets()
    answers = ParseComplete(), BindComplete(), columns(23), row(b"1"), done(), IDLE, done(), IDLE
    script.upstream_sends(*answers).frontend_receives(*answers[1:])
    assert passed(script) == 0


def test_an_unnamed_statement_seen_before_goes_the_short_way(script: SessionScript) -> None:
    answers = ParseComplete(), BindComplete(), columns(23), row(b"1"), done(), IDLE
    for number in (0, 2, 2):
        script.frontend_sends(*UNNAMED).upstream_receives(*UNNAMED).upstream_answers(*answers)
        assert passed(script) == number
    batch = UNNAMED[0], UNNAMED[1], *UNNAMED[3:]
    script.frontend_sends(*batch).upstream_receives(*batch)
    script.upstream_answers(ParseComplete(), BindComplete(), done(), IDLE)
    assert passed(script) == 2
    # It is there for the next batch, and a Query drops it.
    script.frontend_sends(bind(b"", b"2"), execute(), Sync())
    script.upstream_receives(UNNAMED[0], bind(b"", b"2"), execute(), Sync())
    script.upstream_sends(ParseComplete(), *ANSWER).frontend_receives(*ANSWER)
    assert passed(script) == 2
    assert queries(script, b"select 1", done(), IDLE) == 2
    script.does_not_know(b"")


@pytest.mark.parametrize("told", [NOTICE, server_error(b"22012")])
def test_an_unnamed_statement_goes_the_long_way_for_a_notice_or_an_error(
    script: SessionScript, told: Message
) -> None:
    script.frontend_sends(*UNNAMED).forgets()
    script.upstream_sends(ParseComplete(), BindComplete(), columns(23), done(), IDLE).forgets()
    passed(script)
    script.frontend_sends(*UNNAMED).upstream_receives(*UNNAMED)
    end = (columns(23), done(), IDLE) if told is NOTICE else (IDLE,)
    script.upstream_answers(ParseComplete(), BindComplete(), told, *end)
    assert passed(script) == 1


def test_the_unnamed_statement_is_not_kept_for_a_client_that_reads_strings_in_another_way(start: Start) -> None:
    script = start(standard_strings=False)
    for _ in range(2):
        script.frontend_sends(*UNNAMED).upstream_receives(*UNNAMED)
        script.upstream_answers(ParseComplete(), BindComplete(), columns(23), done(), IDLE)
    assert passed(script) == 0


def test_unnamed_statements_are_kept_within_bounds(script: SessionScript) -> None:
    texts = script.session.texts
    for number in range(400):
        sql = b"select %d, '%b'" % (number, b"x" * 4000)
        texts.keep(texts.get(sql, sql + b"\0\0\0", standard_strings=True))
    long = b"select '%b'" % (b"x" * 5000)
    texts.keep(texts.get(long, long + b"\0\0\0", standard_strings=True))
    assert 100 < len(texts) < 300


# In a block.


def test_in_a_block_a_statement_that_is_there_is_not_brought_again(script: SessionScript) -> None:
    script.describes(b"s", PURE, 23, result=columns(23)).begins()
    passed(script)
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync())
    script.upstream_receives(parse(b"", PURE, 23), describe(b""), bind(b"", b"1"), execute(), Sync())
    answers = BindComplete(), row(b"1"), done(), IN_BLOCK
    script.upstream_sends(*SEEN, *answers).frontend_receives(*answers)
    script.frontend_sends(bind(b"s", b"2"), execute(), Sync())
    script.upstream_receives(bind(b"", b"2"), execute(), Sync()).upstream_answers(*answers)
    assert passed(script) == 4
    script.frontend_sends(bind(b"s", b"2"), execute(), Sync())
    script.upstream_receives(bind(b"", b"2"), execute(), Sync()).upstream_answers(NOTICE, *answers)
    assert passed(script) == 1
    assert queries(script, b"select 1", done(), IN_BLOCK) == 2
    assert queries(script, b"commit", done(b"COMMIT"), IDLE) == 2


def test_the_unnamed_statement_of_a_block_is_bound_as_the_client_does(script: SessionScript) -> None:
    script.begins()
    script.frontend_sends(*UNNAMED).upstream_receives(*UNNAMED)
    script.upstream_answers(ParseComplete(), BindComplete(), columns(23), done(), IN_BLOCK)
    passed(script)
    script.frontend_sends(bind(b"", b"2"), execute(), Sync()).upstream_receives(bind(b"", b"2"), execute(), Sync())
    script.upstream_answers(BindComplete(), row(b"1"), done(), IN_BLOCK)
    assert passed(script) == 2
    assert queries(script, b"select 1", done(), IN_BLOCK) == 2


def test_a_failed_block_goes_the_long_way(script: SessionScript) -> None:
    script.begins()
    assert queries(script, b"select 1/0", server_error(b"22012"), FAILED) == 1
    assert queries(script, b"select 1", server_error(b"25P02"), FAILED) == 0


def test_too_many_portals_go_the_long_way(script: SessionScript, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MAX_PORTALS", 1)
    script.prepares(b"s", WRITING).begins()
    for number in (2, 0):
        passed(script)
        script.frontend_sends(bind(b"s", b"1"), execute(), Sync()).forgets()
        complete = (ParseComplete(), BindComplete()) if number else (BindComplete(),)
        script.upstream_sends(*complete, done(b"UPDATE 1"), IN_BLOCK).forgets()
        assert passed(script) == number


def test_a_portal_that_has_yet_to_be_looked_at_goes_the_long_way(script: SessionScript) -> None:
    script.prepares(b"s", PURE).begins()
    script.frontend_sends(bind(b"s", b"1"), describe_portal(), execute(), Sync()).forgets()
    script.upstream_sends(ParseComplete(), BindComplete(), columns(23), done(), IN_BLOCK).forgets()
    script.queries(b"select 1", done(), IN_BLOCK)
    script.frontend_sends(bind(b"s", b"1", portal=b"p"), Sync()).forgets()
    script.upstream_sends(ParseComplete(), BindComplete(), IN_BLOCK).forgets()
    passed(script)
    script.frontend_sends(bind(b"s", b"1"), describe_portal(), execute(), Sync()).forgets()
    script.upstream_sends(BindComplete(), columns(23), done(), IN_BLOCK).forgets()
    assert passed(script) == 0
    for _ in range(2):
        script.frontend_sends(*UNNAMED).upstream_receives(*UNNAMED)
        script.upstream_answers(ParseComplete(), BindComplete(), columns(23), done(), IN_BLOCK)
    assert passed(script) == 0


# What comes while an answer is awaited.


def test_what_is_pipelined_behind_goes_the_long_way(script: SessionScript) -> None:
    script.prepares(b"s", PURE)
    passed(script)
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync()).forgets()
    assert script.session.is_busy
    assert script.session.is_answering
    script.frontend_sends(Query(b"select 1")).upstream_receives(Query(b"select 1"))
    script.upstream_sends(ParseComplete(), *ANSWER, done(), IDLE).frontend_receives(*ANSWER, done(), IDLE)
    assert passed(script) == 1
    script.frontend_sends(Query(b"select 1")).forgets()
    script.frontend_sends(close(b"s"), Sync())
    script.upstream_sends(done(), IDLE).frontend_receives(done(), IDLE, b"3\0\0\0\x04", IDLE)


def test_a_client_that_goes_away_is_cleaned_up_after(script: SessionScript) -> None:
    script.prepares(b"s", PURE).begins()
    script.frontend_sends(bind(b"s", b"1"), execute(), Sync()).forgets()
    script.session.abandon()
    script.upstream_sends(ParseComplete(), *ANSWER[:-1], IN_BLOCK).upstream_receives(Query(b"ROLLBACK"))
    script.upstream_sends(done(b"ROLLBACK"), IDLE)
    assert script.session.is_at_rest


@pytest.mark.parametrize("end", [(row(b"1"), PortalSuspended()), (done(b"SELECT 0"),)])
def test_an_execute_of_so_many_rows_goes_the_short_way(script: SessionScript, end: tuple[Message, ...]) -> None:
    script.prepares(b"s", PURE).begins()
    passed(script)
    script.frontend_sends(bind(b"s", b"1"), execute(limit=1), Sync())
    script.upstream_receives(parse(b"", PURE), bind(b"", b"1"), execute(limit=1), Sync())
    answers = BindComplete(), *end, IN_BLOCK
    script.upstream_sends(ParseComplete(), *answers).frontend_receives(*answers)
    assert passed(script) == 2
    more = row(b"2"), done(), IN_BLOCK
    script.frontend_sends(execute(), Sync()).upstream_receives(execute(), Sync()).upstream_answers(*more)
    assert passed(script) == 0


def test_a_description_that_came_in_between_may_say_nothing(script: SessionScript) -> None:
    script.describes(b"s", PURE, 23, result=columns(23))
    script.frontend_sends(describe(b"s"), Sync(), bind(b"s", b"1"), execute(), Sync()).forgets()
    told = ParameterDescription((23,)), NoData(), IDLE
    script.upstream_sends(ParseComplete(), *told, *SEEN, *ANSWER).frontend_receives(*told, *ANSWER)


# Ordinary texts.

_WORDS = r"""
set reset select $1 from t ; ' " U&" ( ) , . copy stdin listen x pg_advisory_lock pg_advisory_lock_shared
set_config a Discard ALL prepare AS execute deallocate close unlisten * temp table create temporary view do $$
language insert into /* */ -- currval lastval setseed dblink_connect pg_temp . with hold declare cursor for load
local role begin; commit pg_settings update concurrently index alter system database pg_catalog
pg_try_advisory_lock set_limit pg_advisory_unlock_all
"""
WORDS = [*_WORDS.split(), "\n"]


@settings(derandomize=True, max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, " ", " "]), max_size=12), st.sampled_from(["", " "]))
def test_no_text_is_ordinary_that_needs_a_closer_look(words: list[str], gap: str) -> None:
    text = gap.join(words).encode()
    found = judge(text)
    needs_it = found.touches_settings or found.has_hazards or found.deallocates or found.is_local_reset
    kinds = {statement.kind for statement in found.statements}
    if needs_it or not kinds.isdisjoint({Kind.PREPARE, Kind.COPY, Kind.COPY_FROM_STDIN, Kind.BEGIN}):
        assert not is_ordinary(text)


@pytest.mark.parametrize("text", [b"SELECT 1", b"update t set_ = 1", b"select '\xff' -- x"])
def test_most_texts_are_ordinary(text: bytes) -> None:
    assert is_ordinary(text)


def test_a_long_text_is_not_ordinary() -> None:
    assert is_ordinary(b"x" * MOST)
    assert not is_ordinary(b"x" * (MOST + 1))
