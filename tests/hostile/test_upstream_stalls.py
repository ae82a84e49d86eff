"""The upstream falls silent between any two messages."""

from __future__ import annotations

import asyncio

import pytest

from pgshim.proxy import departure
from tests.hostile.arena import BOUND, Arena, Talk, arena, each, quickly
from tests.hostile.checks import LOST, check_fatal, check_prefix
from tests.hostile.conversation import conversation
from tests.hostile.disturbance import EVERYWHERE, SESSION, Place
from tests.hostile.upstream import Part
from tests.proxy.conftest import Run
from tests.proxy.world import until


def begin(ring: Arena, place: Place, number: int) -> Talk:
    """A client whose upstream says nothing from this place on."""
    token = str(2000 + number)
    said = b"".join(place.answers(token)[: place.index])
    ring.upstream.parts[token] = Part.until(token, place.turn, said)
    return Talk(token)


def test_a_client_waits_while_others_are_served_and_its_upstream_is_let_go_when_it_leaves(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departure, "PATIENCE", 1.5)

    async def story() -> None:
        async with arena() as ring:
            talks = [begin(ring, place, number) for number, place in enumerate(SESSION)]
            waiting = [asyncio.create_task(talk.play(ring.server)) for talk in talks]
            await until(lambda: {talk.heard.token for talk in talks} <= ring.upstream.played, BOUND)
            await ring.others_are_served()
            for talk, task in zip(talks, waiting, strict=True):
                check_prefix(talk.heard)
                assert not task.done(), str(talk.heard)
                assert not talk.heard.fatal, str(talk.heard)
                task.cancel()
                talk.leave()
            await asyncio.wait(waiting)
            # Each upstream has been asked to cancel what it was doing before it was cut off.
            await until(lambda: not ring.server.departures and len(ring.server.connections) <= 2, BOUND)
            asked_in_vain = sum(bool(place.of("@@@@").goes_up) for place in SESSION)
            assert len(ring.upstream.cancels) == asked_in_vain

    run(story())


def test_a_login_that_stalls_ends_with_the_login_timeout() -> None:
    """Between any two messages, and amid the first."""
    answer = conversation("2000")[0].upstream_answers[0]
    amid = [Part.until("2000", 0, answer[:size]) for size in range(1, len(answer))]
    between = [place for place in EVERYWHERE if place not in SESSION]

    async def story() -> None:
        async with arena(login_timeout=2.0) as ring:

            async def case(talk: Talk) -> None:
                heard = await talk.play_to_the_end(ring.server)
                check_prefix(heard)
                check_fatal(heard, LOST)
                assert "--login-timeout" in heard.fatal["H"]

            talks = [begin(ring, place, number) for number, place in enumerate(between)]
            talks += [Talk(str(3000 + number)) for number in range(len(amid))]
            ring.upstream.parts |= {str(3000 + number): part for number, part in enumerate(amid)}
            await each(lambda talk=talk: case(talk) for talk in talks)

    quickly(story())
