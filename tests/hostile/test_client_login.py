"""Clients that never say who they are, say it slowly, or say what nobody asked for."""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from contextlib import suppress
from functools import partial

import pytest

from pgshim.protocol import hot
from tests.hostile.arena import BOUND, Arena, Talk, arena, each, quickly
from tests.hostile.client import MODEL, Intruder, ModelUpstream, descriptors, intruder
from tests.hostile.conversation import conversation
from tests.hostile.test_client_vanishes import ALL, TURNS, WAYS
from tests.proxy.conftest import Run
from tests.proxy.world import GSSENC_REQUEST, SSL_REQUEST, startup, until

STARTUP = startup()


def client_hello() -> bytes:
    """The first thing that a TLS client says."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = client_hello()

#: What a client says before it falls silent, and never reads.
HALF_OPEN = {
    "nothing": b"",
    "one byte": b"\0",
    "half a packet": STARTUP[: len(STARTUP) // 2],
    "all but one byte": STARTUP[:-1],
    "an SSLRequest": SSL_REQUEST,
    "half an SSLRequest": SSL_REQUEST[:5],
    "half a ClientHello": SSL_REQUEST + HELLO[: len(HELLO) // 2],
    "half a direct ClientHello": HELLO[: len(HELLO) // 2],
    "no password": b"".join(conversation("3000")[0].client_sends),
    "half a password": b"".join(b"".join(turn.client_sends) for turn in conversation("3000")[:2])[:-1],
}


def test_a_client_that_is_half_open_is_let_go_of_by_the_login_timeout(run: Run) -> None:
    async def stay(place: Arena, said: bytes) -> None:
        async with intruder(place.server) as client:
            await client.send(said[: len(SSL_REQUEST)])
            if said.startswith(SSL_REQUEST):
                await client.loop.sock_recv(client.sock, 1)
            await client.send(said[len(SSL_REQUEST) :])
            # The timeout is looked at from the other side: this client does not read.
            await until(lambda: not (place.server.greetings or place.server._arrivals), BOUND)
            types, fields = await client.to_the_end()
            assert types in ("", "RE"), (said, types)
            assert fields.get("C", "08006") == "08006"

    async def story() -> None:
        async with arena(ModelUpstream(), login_timeout=2.0, tls_self_signed=True) as place:
            await each(partial(stay, place, said) for said in HALF_OPEN.values())

    run(story())


def test_a_whole_conversation_byte_by_byte_is_one_like_any_other(run: Run) -> None:
    async def story() -> None:
        async with arena(ModelUpstream()) as place, intruder(place.server) as client:
            for byte in startup(database=MODEL):
                await client.send(bytes((byte,)))
                await asyncio.sleep(0.001)
            assert (await client.until("Z")).startswith("R")
            for byte in ALL:
                await client.send(bytes((byte,)))
                await asyncio.sleep(0.001)
            types, _ = await client.to_the_end()
            assert types == "".join(turn.gets for turn in TURNS)

    run(story())


def test_many_slow_clients_do_not_keep_a_good_one_from_being_served(run: Run) -> None:
    async def drip(place: Arena, is_over: asyncio.Event) -> None:
        async with intruder(place.server) as client:
            for byte in STARTUP:
                await client.send(bytes((byte,)))
                if is_over.is_set():
                    return
                await asyncio.sleep(0.02)
            await is_over.wait()

    async def story() -> None:
        async with arena() as place, asyncio.TaskGroup() as group:
            is_over = asyncio.Event()
            for _ in range(60):
                group.create_task(drip(place, is_over))
            async with asyncio.timeout(BOUND):
                for number in range(5):
                    heard = await Talk(str(4000 + number)).play_whole(place.server)
                    assert heard.is_whole, heard
            is_over.set()

    run(story())


@pytest.mark.parametrize(
    "head",
    [struct.pack("!iI", length, 3 << 16) for length in (-(2**31), -1, 0, 7, 10_001, 2**31 - 1)],
    ids=lambda head: str(struct.unpack("!i", head[:4])[0]),
)
def test_a_startup_packet_whose_length_is_none_closes_the_connection_without_a_word(run: Run, head: bytes) -> None:
    async def story() -> None:
        async with arena() as place, intruder(place.server) as client:
            await client.send(head + bytes(100))
            assert await client.to_the_end() == ("", {})

    run(story())


#: What comes first, and the SQLSTATE of the FATAL that it is answered with, as PostgreSQL 15 does.
REFUSED = {
    "a code that is no version": (struct.pack("!II", 8, 99), "0A000"),
    "version 2": (struct.pack("!II", 9, 2 << 16) + b"\0", "0A000"),
    "version 4": (struct.pack("!II", 9, 4 << 16) + b"\0", "0A000"),
    "no terminator": (struct.pack("!II", 13, 3 << 16) + b"user\0", "08P01"),
    "a name without a value": (struct.pack("!II", 14, 3 << 16) + b"user\0\0", "08P01"),
    "nothing at all": (struct.pack("!II", 8, 3 << 16), "08P01"),
    "replication": (startup(replication="true"), "0A000"),
    "replication of a database": (startup(replication="database"), "0A000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_first_packet_that_cannot_be_is_a_fatal_error(run: Run, name: str) -> None:
    packet, sqlstate = REFUSED[name]

    async def story() -> None:
        async with arena() as place, intruder(place.server) as client:
            await client.send(packet)
            types, fields = await client.to_the_end()
            assert (types, fields["S"], fields["C"]) == ("E", "FATAL", sqlstate)

    run(story())


@pytest.mark.parametrize("again", [SSL_REQUEST, GSSENC_REQUEST], ids=["SSLRequest", "GSSENCRequest"])
def test_a_request_for_encryption_twice_is_an_unknown_version(run: Run, again: bytes) -> None:
    async def story() -> None:
        async with arena() as place, intruder(place.server) as client:
            for request in (SSL_REQUEST, GSSENC_REQUEST):
                await client.send(request)
                assert await client.loop.sock_recv(client.sock, 1) == b"N"
            await client.send(again)
            types, fields = await client.to_the_end()
            assert (types, fields["C"]) == ("E", "0A000")

    run(story())


def test_a_second_startup_packet_is_no_message(run: Run) -> None:
    async def story() -> None:
        async with arena() as place, intruder(place.server, "app") as client:
            await client.send(STARTUP)
            types, fields = await client.to_the_end()
            assert (types, fields["S"], fields["C"]) == ("E", "FATAL", "08P01")

    run(story())


@pytest.mark.parametrize("said", [hot.query(b"select 1"), hot.SYNC, bytes(4)], ids=["Query", "Sync", "NUL"])
def test_anything_but_a_password_where_one_is_asked_for_is_a_fatal_error(run: Run, said: bytes) -> None:
    async def story() -> None:
        async with arena() as place, intruder(place.server) as client:
            await client.send(b"".join(conversation("3000")[0].client_sends))
            assert (await client.read())[0] == "R"
            await client.send(said)
            types, fields = await client.to_the_end()
            assert (types, fields["S"], fields["C"]) == ("E", "FATAL", "08P01")

    run(story())


def test_a_password_that_never_ends_is_not_waited_for(run: Run) -> None:
    async def story() -> None:
        async with arena() as place, intruder(place.server) as client:
            await client.send(b"".join(conversation("3000")[0].client_sends))
            assert (await client.read())[0] == "R"
            await client.send(b"p" + struct.pack("!I", 2**31 - 1))
            types, fields = await client.to_the_end()
            assert (types, fields["C"]) == ("E", "08P01")

    run(story())


def test_what_is_sent_ahead_of_the_end_of_the_login_is_limited(run: Run) -> None:
    async def story() -> None:
        async with arena(ModelUpstream()) as place, intruder(place.server) as client:
            # The check of this setting is not answered.
            await client.send(startup(statement_timeout="5"))
            assert (await client.read())[0] == "R"
            with suppress(ConnectionError):
                await client.send(hot.query(b"select 1") * 100_000)
            types, fields = await client.to_the_end()
            assert set(types) <= {"S", "E"}
            assert fields.get("C", "08P01") == "08P01"

    run(story())


@pytest.mark.parametrize("way", WAYS)
def test_connections_that_leave_at_once_leave_nothing(way: str) -> None:
    async def touch(place: Arena) -> None:
        WAYS[way](await Intruder.connect(place.server))

    async def story() -> None:
        before = descriptors()
        async with arena() as place:
            await each(partial(touch, place) for _ in range(400))
        await until(lambda: descriptors() <= before, BOUND)

    quickly(story())


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_vanishes_anywhere_in_a_tls_handshake_leaves_nothing(way: str) -> None:
    async def vanish(place: Arena, request: bytes, said: bytes) -> None:
        client = await Intruder.connect(place.server)
        await client.send(request)
        if request:
            assert await client.loop.sock_recv(client.sock, 1) == b"S"
        await client.send(said)
        if said == HELLO:
            await client.loop.sock_recv(client.sock, 1)
        WAYS[way](client)

    async def story() -> None:
        before = descriptors()
        async with arena(tls_self_signed=True) as place:
            places = [*range(0, len(HELLO), 16), len(HELLO)]
            for request in (SSL_REQUEST, b""):
                await each(partial(vanish, place, request, HELLO[:size]) for size in places)
        await until(lambda: descriptors() <= before, BOUND)

    quickly(story())


def test_bytes_that_are_no_tls_end_a_handshake(run: Run) -> None:
    async def story() -> None:
        async with arena(tls_self_signed=True) as place:
            for said in (STARTUP, os.urandom(512), b"\x16" * 100, HELLO[:10] + b"\xff" * 100):
                async with intruder(place.server) as client:
                    await client.send(SSL_REQUEST)
                    assert await client.loop.sock_recv(client.sock, 1) == b"S"
                    await client.send(said)
                    client.says_no_more()
                    await client.sink()

    run(story())
