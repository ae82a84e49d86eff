"""Replies of the wrong type, too many, too few, in the wrong order; and what may come at any time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from pgshim.protocol import hot
from pgshim.protocol.backend import NoticeResponse, NotificationResponse, ParameterStatus
from tests.hostile.arena import Arena, Heard, Talk, arena, each, quickly
from tests.hostile.checks import VIOLATION, check_fatal, check_prefix
from tests.hostile.conversation import Turn, all_answers, all_replies, fatal, type_code_of
from tests.hostile.disturbance import (
    EVERYWHERE,
    SESSION,
    Check,
    Place,
    is_noticed,
    is_noticed_or_outlived,
    run_all,
)
from tests.hostile.upstream import Part
from tests.protocol.samples import BACKEND
from tests.proxy.conftest import Run
from tests.proxy.world import READY, Client, command_complete, data_row
from tests.session.messages import server_error

#: A message of each type that a backend sends.
SAMPLES = {type_code_of(data): data for _, data in reversed(BACKEND)} | {"E": server_error(b"42703", b"no").encode()}

#: Type code of a reply -> what else may stand there, as far as its type goes.
_ANY_OF_A_QUERY = "TDCIHWGdc"
_INSTEAD = {"E": "2", "t": "tTn", "T": "tTn", "D": "DHWGdcCIs", "C": "DHWGdcCIs", "G": "DHWGdcCIs"}
_AT_ANY_TIME = "NAS"


def may_stand_there(turn: Turn, instead_of: str, type_code: str) -> bool:
    if type_code in _AT_ANY_TIME + "E" or type_code == instead_of:
        return True
    allowed = _ANY_OF_A_QUERY if turn.is_query else _INSTEAD.get(instead_of, "")
    return type_code in allowed


# One reply is not the one that is due.


def test_a_reply_of_a_wrong_type_is_noticed_where_it_stands() -> None:
    cases: list[tuple[Place, bytes, Check]] = []
    for place in SESSION:
        due = type_code_of(place.answers("@@@@")[place.index])
        for type_code, sample in SAMPLES.items():
            if type_code != due:
                check = is_noticed_or_outlived if may_stand_there(place.of("@@@@"), due, type_code) else is_noticed
                cases.append((place, place.with_instead("@@@@", sample), check))
    assert len(cases) > 1000
    run_all(cases)


def test_a_reply_that_comes_twice_is_noticed_where_no_server_would_send_it() -> None:
    cases: list[tuple[Place, bytes, Check]] = []
    for place in EVERYWHERE:
        turn, message = place.of("@@@@"), place.answers("@@@@")[place.index]
        noticed = "Z" if turn.is_login or turn.is_query else "12TCZ"
        check = is_noticed if type_code_of(message) in noticed else is_noticed_or_outlived
        cases.append((place, place.with_instead("@@@@", message, message), check))
    run_all(cases)


def test_a_reply_that_is_missing_is_noticed_with_the_next() -> None:
    cases: list[tuple[Place, bytes, Check]] = []
    for place in SESSION:
        turn, type_code = place.of("@@@@"), type_code_of(place.answers("@@@@")[place.index])
        is_seen = type_code == "C" and place.answers("@@@@")[place.index + 1][0] == ord("Z")
        is_seen |= type_code in "12TE" and not turn.is_query
        cases.append((place, place.with_instead("@@@@"), is_noticed if is_seen else is_noticed_or_outlived))
    run_all(cases)


def test_replies_in_the_wrong_order_end_with_an_honest_error() -> None:
    pairs = [(at, then) for at, then in zip(EVERYWHERE, EVERYWHERE[1:], strict=False) if at.turn == then.turn]
    cases: list[tuple[Place, bytes, Check]] = []
    for place, _ in pairs:
        first, second = place.answers("@@@@")[place.index : place.index + 2]
        cases.append((place, place.with_instead("@@@@", second, first, count=2), is_noticed_or_outlived))
    run_all(cases)


# ReadyForQuery.


def ask_both(answer: bytes, *, types: str) -> None:
    """Two Queries in one write, of which the first gets this answer: what comes before the connection ends."""

    async def story() -> None:
        async with arena() as ring:
            ring.upstream.answers[b"select 1"] = answer
            client = await Client.logged_in(ring.server)
            client.send(hot.query(b"select 1") + hot.query(b"select 'the second'"))
            assert await client.types(len(types)) == types
            assert (await client.error())["C"] == VIOLATION
            assert await client.is_closed()

    quickly(story())


def test_a_ready_for_query_that_comes_twice_does_not_answer_the_next_query() -> None:
    ask_both(data_row(1) + command_complete() + READY + READY, types="DCZ")


def test_a_ready_for_query_that_comes_early_does_not_give_the_next_query_anothers_rows() -> None:
    ask_both(data_row(1) + READY + data_row(1) + command_complete() + READY, types="D")


@pytest.mark.parametrize("status", [*b"ITE", *b"\0iX\xff"])
def test_a_transaction_status_is_believed_if_there_is_such_a_one(status: int) -> None:
    ready = hot.message(ord("Z"), bytes((status,)))
    cases: list[tuple[Place, bytes, Check]] = []
    for place in EVERYWHERE:
        if type_code_of(place.answers("@@@@")[place.index]) == "Z":
            is_bad = status not in b"ITE" or (place.of("@@@@").is_login and status != ord("I"))
            cases.append((place, place.with_instead("@@@@", ready), is_noticed if is_bad else is_noticed_or_outlived))
    run_all(cases)


def test_a_block_that_nobody_began_is_rolled_back_when_its_client_leaves(run: Run) -> None:
    async def story() -> None:
        async with arena() as ring:
            ring.upstream.answers[b"select 1"] = command_complete() + hot.READY[hot.IN_BLOCK]
            client = await Client.logged_in(ring.server)
            assert await client.query(b"select 1") == "CZ"
            await client.close()
        assert b"ROLLBACK" in ring.upstream.queries()

    run(story())


def test_a_block_that_the_server_says_is_over_is_over(run: Run) -> None:
    async def story() -> None:
        async with arena() as ring:
            ring.upstream.answers[b"begin"] = command_complete(b"BEGIN") + READY
            client = await Client.logged_in(ring.server)
            client.send(hot.query(b"begin"))
            assert [await client.read() for _ in "CZ"] == [("C", b"BEGIN\0"), ("Z", b"I")]
            assert await client.query(b"commit") == "DCZ"
            await client.close()
        assert b"ROLLBACK" not in ring.upstream.queries()

    run(story())


# What may come at any time.

NOTICE = NoticeResponse(((b"S", b"WARNING"), (b"V", b"WARNING"), (b"C", b"01000"), (b"M", b"look out"))).encode()
NOTIFICATION = NotificationResponse(4711, b"channel", b"payload").encode()
STATUS = ParameterStatus(b"DateStyle", b"German, DMY").encode()


@pytest.mark.parametrize("message", [NOTICE, NOTIFICATION, STATUS])
def test_what_may_come_at_any_time_disturbs_nothing(message: bytes) -> None:
    def case(ring: Arena, number: int, place: Place) -> Callable[[], Awaitable[None]]:
        async def story() -> None:
            token = str(2000 + number)
            answer = place.with_instead(token, message, count=0)
            ring.upstream.parts[token] = Part.with_turn(token, place.turn, answer)
            talk = Talk(token)
            if message == NOTIFICATION and place.of(token).is_login:
                # No server sends one to a client that cannot have listened yet.
                check_fatal(await talk.play_to_the_end(ring.server), VIOLATION)
                return
            heard = await talk.play_whole(ring.server)
            kept = [each for each in heard.messages if each != message]
            assert kept == list(all_replies(token)), str(heard)
            # A notice may belong to what pgshim itself has sent; a setting that is reported while a block fails counts
            # as undone with the block.
            may_be_missing = message == NOTICE or (message == STATUS and place.of(token).fails)
            assert len(heard.messages) - len(kept) == 1 or may_be_missing, str(heard)

        return story

    async def story() -> None:
        async with arena() as ring:
            await each(case(ring, number, place) for number, place in enumerate(EVERYWHERE))

    quickly(story())


def test_the_reason_for_which_upstream_closes_reaches_the_client_and_nothing_else_does() -> None:
    reason = fatal("57P01", "terminating connection due to administrator command")

    def is_told(heard: Heard) -> None:
        assert heard.messages[-1] == reason, str(heard)
        check_prefix(heard)

    cases = [(place, b"".join(place.answers("@@@@")[: place.index]) + reason, is_told) for place in EVERYWHERE]
    cases.append((Place(len(all_answers("@@@@")) - 1, 0), reason, is_told))
    run_all(cases)
