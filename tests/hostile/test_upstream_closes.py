"""The upstream closes at every byte of a conversation."""

from collections.abc import Awaitable, Callable

import pytest

from tests.hostile.arena import Arena, Talk, arena, each, quickly
from tests.hostile.checks import LOST, check_fatal, check_prefix
from tests.hostile.conversation import all_answers
from tests.hostile.upstream import Ending, Part
from tests.proxy.conftest import Run


def test_a_conversation_that_nobody_disturbs_is_the_recorded_one(run: Run) -> None:
    async def story() -> None:
        async with arena() as place:
            heard = await Talk("2000").play_whole(place.server)
            assert heard.is_whole, heard

    run(story())


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
def test_a_conversation_that_is_cut_at_any_byte_ends_with_an_honest_error(ending: Ending) -> None:
    size = len(b"".join(all_answers("1000")))

    def cut(place: Arena, at: int) -> Callable[[], Awaitable[None]]:
        async def case() -> None:
            token = str(2000 + at)
            place.upstream.parts[token] = Part.cut(token, at, ending)
            heard = await Talk(token).play_to_the_end(place.server)
            check_prefix(heard)
            # Inside a row that the client has begun to read, an error would be taken for its rest.
            if not heard.rest:
                check_fatal(heard, LOST)

        return case

    async def story() -> None:
        async with arena() as place:
            await each(cut(place, at) for at in range(size + 1))

    quickly(story())
