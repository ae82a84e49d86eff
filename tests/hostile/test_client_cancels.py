"""CancelRequests that are nobody's, that have something behind them, and a flood of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pgshim.protocol import hot
from pgshim.proxy.server import Server
from tests.hostile.arena import BOUND, arena, quickly, watched
from tests.hostile.client import descriptors, intruder
from tests.proxy.conftest import Run
from tests.proxy.world import (
    READY,
    Client,
    ScriptedUpstream,
    cancel_request,
    command_complete,
    listening,
    pgshim,
    startup,
    until,
)


@asynccontextmanager
async def waiting(server: Server, upstream: ScriptedUpstream) -> AsyncIterator[Client]:
    """A client that waits for an answer, which comes at the end of the block."""
    release = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(command_complete() + READY)

    upstream.answers[b"wait"] = answer
    client = await Client.logged_in(server)
    client.send(hot.query(b"wait"))
    await until(lambda: b"wait" in upstream.queries())
    try:
        yield client
    finally:
        release.set()
        assert await client.types(2) == "CZ"
        client.send(hot.TERMINATE)
        assert await client.is_closed()


def test_cancel_requests_with_no_key_of_ours_are_closed_and_go_nowhere(run: Run) -> None:
    async def story() -> None:
        async with arena() as place, waiting(place.server, place.upstream):
            for key in (b"", b"\0" * 4, b"\0" * 8, b"\xff" * 8, b"k" * 256, b"\0" * 9000):
                async with intruder(place.server) as client:
                    await client.send(cancel_request(key))
                    assert await client.to_the_end() == ("", {})
            assert place.upstream.cancels == []

    run(story())


def test_nothing_is_read_behind_a_cancel_request(run: Run) -> None:
    async def story() -> None:
        async with arena() as place, waiting(place.server, place.upstream) as busy:
            async with intruder(place.server) as client:
                await client.send(cancel_request(busy.key))
                await until(lambda: place.server.canceller.under_way == 1)
                await client.send(startup(database="stranger") + cancel_request(busy.key))
                await until(lambda: place.server.canceller.under_way == 0)
                assert await client.to_the_end() == ("", {})
            assert place.upstream.cancels == [busy.key]
            assert not any(b"stranger" in packet for packet in place.upstream.startups)

    run(story())


def test_a_flood_of_cancel_requests_takes_no_more_descriptors_than_there_are() -> None:
    most: list[int] = []

    async def cancel(server: Server, key: bytes) -> None:
        async with intruder(server) as client:
            await client.send(cancel_request(key))
            assert (await client.to_the_end())[0] in ("", "E")
            most.append(server.canceller.under_way)

    async def story() -> None:
        before = descriptors()
        upstream = ScriptedUpstream()
        # Room for 64 sockets, of which a CancelRequest under way takes two.
        with watched() as troubles:
            async with listening(upstream), pgshim(upstream, descriptors=64 + 64) as server:
                async with waiting(server, upstream) as busy:
                    await asyncio.gather(*[cancel(server, busy.key) for _ in range(200)])
                    assert upstream.cancels
                    assert max(most) <= 64
                assert await (await Client.logged_in(server)).query(b"select 1") == "CZ"
        assert troubles == []
        await until(lambda: descriptors() <= before, BOUND)

    quickly(story())
