"""The client vanishes at every byte of a conversation: its upstream is brought to rest, or closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

import pytest

from pgshim.protocol import hot
from pgshim.protocol.frontend import CopyData, CopyDone, Flush, Query, Sync
from tests.hostile.arena import BOUND, Arena, arena, each, quickly
from tests.hostile.client import MODEL, Intruder, ModelUpstream, descriptors
from tests.hostile.conversation import conversation, encoded
from tests.proxy.world import SSL_REQUEST, Client, startup, until
from tests.session.messages import bind, close, describe, execute, parse

DATA = CopyData(b"1\n")


@dataclass(frozen=True)
class Turn:
    """What the client sends at once, and the type codes that it gets for it."""

    sends: bytes
    gets: str
    #: Rows that are committed once this is answered, and once it has all been sent.
    rows: int = 0


def _turn(*messages: object, gets: str, rows: int = 0) -> Turn:
    return Turn(b"".join(encoded(list(messages))), gets, rows)  # type: ignore[arg-type]


#: Autocommit, a block, COPY in both protocols, failure, pipelines; one batch is answered by a Flush alone.
TURNS = (
    _turn(parse(b"a", b"select 1"), describe(b"a"), Sync(), gets="1tTZ"),
    _turn(parse(b"b", b"insert"), bind(b"b"), execute(), bind(b"a"), execute(), Sync(), gets="12C2DCZ", rows=1),
    _turn(Query(b"begin"), gets="CZ"),
    _turn(bind(b"b"), execute(), bind(b"a"), execute(), Flush(), gets="2C2DC"),
    _turn(Sync(), gets="Z"),
    _turn(parse(b"c", b"copy t from stdin"), bind(b"c"), execute(), Flush(), gets="12G"),
    _turn(DATA, DATA, CopyDone(), Sync(), gets="CZ"),
    _turn(Query(b"fail"), gets="EZ"),
    _turn(Query(b"rollback"), gets="CZ"),
    _turn(Query(b"copy t from stdin"), gets="G"),
    _turn(DATA, DATA, CopyDone(), gets="CZ"),
    _turn(bind(b"a"), execute(), Sync(), bind(b"b"), execute(), Sync(), Query(b"insert"), gets="2DCZ2CZCZ", rows=2),
    _turn(close(b"a"), Sync(), gets="3Z"),
)
ALL = b"".join(turn.sends for turn in TURNS) + hot.TERMINATE


async def play(client: Intruder, size: int) -> tuple[int, int]:
    """Send so many bytes, each turn when the one before is answered; (rows acknowledged, at most committed)."""
    least = most = 0
    for turn in TURNS:
        most += turn.rows
        await client.send(turn.sends[:size])
        if size < len(turn.sends):
            return least, most
        size -= len(turn.sends)
        types = "".join([(await client.read())[0] for _ in turn.gets])
        assert types == turn.gets
        least += turn.rows
    await client.send(hot.TERMINATE[:size])
    return least, most


async def send_at_once(client: Intruder, size: int) -> tuple[int, int]:
    """The same bytes, all at once."""
    await client.send(ALL[:size])
    return 0, sum(turn.rows for turn in TURNS)


WAYS = {"FIN": Intruder.close, "RST": Intruder.reset}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sends", [play, send_at_once])
def test_a_client_that_vanishes_at_any_byte_leaves_its_server_at_rest(
    sends: Callable[[Intruder, int], Awaitable[tuple[int, int]]], way: str
) -> None:
    upstream = ModelUpstream()

    async def vanish(place: Arena, size: int) -> None:
        client = await Intruder.logged_in(place.server, MODEL)
        await sends(client, size)
        WAYS[way](client)

    async def story() -> None:
        before = descriptors()
        async with arena(upstream) as place:
            await each(partial(vanish, place, size) for size in range(len(ALL) + 1))
            await until(lambda: len(upstream.ended) == len(ALL) + 1, BOUND)
        upstream.check_rest()
        # Nothing needed pressing: no CancelRequest, and no connection was cut off but inside a message that had begun.
        assert upstream.cancels == []
        assert upstream.aborted <= 4 * len(DATA.data)
        await until(lambda: descriptors() <= before, BOUND)

    quickly(story())


def test_what_an_absent_client_had_not_finished_is_not_committed() -> None:
    upstream = ModelUpstream()
    bounds: dict[int, tuple[int, int]] = {}

    async def story() -> None:
        async with arena(upstream) as place:
            for size in range(len(ALL) + 1):
                client = await Intruder.logged_in(place.server, MODEL)
                number = max(upstream.databases)
                bounds[number] = await play(client, size)
                client.reset()
            await until(lambda: len(upstream.ended) == len(ALL) + 1, BOUND)

    quickly(story())
    for number, (least, most) in bounds.items():
        assert least <= upstream.databases[number].rows <= most


def logins() -> Iterable[bytes]:
    """Every beginning of what a client says in a login by SASL, with an SSLRequest first or not."""
    said = [b"".join(turn.client_sends) for turn in conversation("3000") if turn.is_login]
    for packet in range(len(said)):
        for size in range(len(said[packet])):
            yield b"".join(said[:packet]) + said[packet][:size]
    yield b"".join(said)
    yield from (SSL_REQUEST[:size] for size in range(len(SSL_REQUEST) + 1))


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_vanishes_at_any_byte_of_its_login_leaves_nothing(way: str) -> None:
    async def vanish(place: Arena, said: bytes) -> None:
        client = await Intruder.connect(place.server)
        # Upstream answers when it has been told enough: then the client has got to where it leaves.
        for turn in conversation("3000"):
            packet = b"".join(turn.client_sends)
            await client.send(said[: len(packet)])
            if not turn.is_login or not said.startswith(packet) or packet == said:
                break
            said = said[len(packet) :]
            await client.read()
        WAYS[way](client)

    async def story() -> None:
        before = descriptors()
        async with arena() as place:
            await each(partial(vanish, place, said) for said in logins())
        await until(lambda: descriptors() <= before, BOUND)

    quickly(story())


def test_a_client_that_vanishes_while_its_settings_are_being_checked_leaves_nothing() -> None:
    upstream = ModelUpstream()

    async def story() -> None:
        async with arena(upstream) as place:
            for way in WAYS.values():
                client = await Intruder.connect(place.server)
                seen = upstream.checks
                await client.send(startup(statement_timeout="5"))
                await until(lambda seen=seen: upstream.checks > seen, BOUND)
                way(client)

    quickly(story())


def test_a_client_that_vanishes_is_noticed_though_others_go_on(run: Callable[..., None]) -> None:
    async def story() -> None:
        async with arena() as place:
            good = await Client.logged_in(place.server)
            for number in range(20):
                bad = await Intruder.logged_in(place.server)
                await bad.send(hot.query(b"select 'bad %d'" % number)[: number + 3])
                bad.reset()
                assert await good.query(b"select 'good %d'" % number) == "DCZ"
            good.send(hot.TERMINATE)

    run(story())
