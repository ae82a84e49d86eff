"""Conversations in which one of the upstream's messages is another than it should be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.hostile.arena import Arena, Heard, Talk, arena, each, quickly
from tests.hostile.checks import LOST, VIOLATION, check_fatal, check_prefix, check_sound
from tests.hostile.conversation import Turn, conversation
from tests.hostile.upstream import Part


@dataclass(frozen=True)
class Place:
    """One of the upstream's messages: the turn, and which of that turn's answers."""

    turn: int
    index: int

    def of(self, token: str) -> Turn:
        return conversation(token)[self.turn]

    def answers(self, token: str) -> list[bytes]:
        return list(self.of(token).upstream_answers)

    def with_instead(self, token: str, *messages: bytes, count: int = 1) -> bytes:
        """The turn's answer with these messages instead of `count` of its own."""
        answers = self.answers(token)
        answers[self.index : self.index + count] = messages
        return b"".join(answers)


def places(*, in_login: bool) -> Iterator[Place]:
    for number, turn in enumerate(conversation("1000")):
        if turn.is_login is in_login:
            yield from (Place(number, index) for index in range(len(turn.upstream_answers)))


SESSION = list(places(in_login=False))
EVERYWHERE = [*places(in_login=True), *SESSION]

Check = Callable[[Heard], None]


def disturbed(arena: Arena, number: int, place: Place, answer: bytes, check: Check) -> Callable[[], Awaitable[None]]:
    """A conversation with another answer in one turn, after which the upstream closes."""

    async def case() -> None:
        token = str(2000 + number)
        answer_of_its_own = answer.replace(b"@@@@", token.encode())
        arena.upstream.parts[token] = part = Part.changed(token, place.turn, answer_of_its_own)
        heard = await Talk(token).play_to_the_end(arena.server)
        check_sound(heard, part.answers)
        check(heard)

    return case


def run_all(cases: Iterable[tuple[Place, bytes, Check]]) -> None:
    """Each answer takes the place of its turn's, with the end of the connection right behind it."""

    async def story() -> None:
        async with arena() as ring:
            await each(disturbed(ring, number, *case) for number, case in enumerate(cases))

    quickly(story())


def is_noticed(heard: Heard) -> None:
    check_fatal(heard, VIOLATION)
    check_prefix(heard)


def is_noticed_or_outlived(heard: Heard) -> None:
    """Where a server might have said the same, pgshim believes it: the end comes when the upstream closes."""
    if not heard.rest:
        check_fatal(heard, VIOLATION, LOST)
