"""Clients that send what is no message, or no message of theirs: lengths that lie, unknown types, the wrong moment."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import pytest

from pgshim.protocol import frontend, hot
from pgshim.protocol.frontend import CopyData, CopyDone, CopyFail, Query, Sync
from tests.hostile.arena import Arena, arena, each, quickly
from tests.hostile.client import MODEL, Intruder, ModelUpstream, intruder
from tests.protocol.samples import FRONTEND
from tests.proxy.conftest import Run
from tests.session.messages import bind, close, describe, execute, parse

TYPES = sorted({data[0] for _, data in FRONTEND})
#: Those that are a client's once it is logged in.
OWN = [type_code for type_code in TYPES if type_code != ord("p")]
SAMPLES = {data[0]: data for message, data in FRONTEND if not isinstance(message, frontend.GSSResponse)}
NO_LENGTHS = (0, 1, 3, -1, -5, -(2**31), 2**31 - 1, 0x3FFFFFFF)


def said_as(type_code: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack("!Bi", type_code, length) + body


async def answer_to(client: Intruder, said: bytes) -> tuple[str, dict[str, str]]:
    """What comes of it, up to the end, which is the client's own if pgshim waits for more."""
    with suppress(ConnectionError):
        await client.send(said)
        client.says_no_more()
    return await client.to_the_end()


def is_fatal(fields: dict[str, str]) -> bool:
    return (fields.get("S"), fields.get("C")) == ("FATAL", "08P01")


def test_a_length_that_no_message_has_is_fatal_and_nothing_of_it_goes_up() -> None:
    upstream = ModelUpstream()

    async def say(place: Arena, type_code: int, length: int) -> None:
        async with intruder(place.server, "app") as client:
            types, fields = await answer_to(client, said_as(type_code, length, SAMPLES[type_code][5:]) + b"LIES")
            assert types == "E", (chr(type_code), length, types)
            assert is_fatal(fields)

    async def story() -> None:
        async with arena(upstream) as place:
            await each(partial(say, place, type_code, length) for type_code in TYPES for length in NO_LENGTHS)

    quickly(story())
    assert {type_code for type_code, _ in upstream.received} <= {"Q", "X", ""}
    assert not any(b"LIES" in text or text == b"select 1" for text in upstream.queries())


def test_a_length_that_is_over_the_limit_of_a_small_message_is_fatal() -> None:
    async def say(place: Arena, type_code: int) -> None:
        async with intruder(place.server, MODEL) as client:
            types, fields = await answer_to(client, said_as(type_code, 10_001, bytes(9_997)))
            assert types == "E"
            assert is_fatal(fields)

    async def story() -> None:
        async with arena(ModelUpstream()) as place:
            await each(partial(say, place, type_code) for type_code in b"EDCHSXcf")

    quickly(story())


def lies() -> Iterable[bytes]:
    """Every message with a length that is a little off, or promises what never comes; a Sync and a Query behind."""
    behind = Sync().encode() + Query(b"select 1").encode()
    for type_code in OWN:
        body = SAMPLES[type_code][5:]
        true = len(body) + 4
        for length in {*range(max(4, true - 6), true + 7), 9_999, 100_000, 0x3FFFFFFE} - {true}:
            if length <= 10_000 or type_code in b"QPBFd":
                yield said_as(type_code, length, body) + behind


def test_a_length_that_is_off_ends_in_an_error_or_waits_for_the_rest_and_is_never_guessed_at() -> None:
    upstream = ModelUpstream()

    async def say(place: Arena, said: bytes) -> None:
        async with intruder(place.server, MODEL) as client:
            types, fields = await answer_to(client, said)
            if fields:
                assert fields["C"] in ("08P01", "26000", "34000", "42601"), (said, types, fields)

    async def story() -> None:
        async with arena(upstream) as place:
            await each(partial(say, place, said) for said in lies())

    quickly(story())


#: Bodies that do not fit their format.
MALFORMED = {
    "Parse without NULs": hot.message(ord("P"), b"a"),
    "Parse without the text's NUL": hot.message(ord("P"), b"a\0select 1"),
    "Parse without a count": hot.message(ord("P"), b"a\0select 1\0"),
    "Parse with half a count": hot.message(ord("P"), b"a\0select 1\0\0"),
    "Parse with fewer OIDs than it counts": hot.message(ord("P"), b"a\0select 1\0\0\2\0\0\0\x17"),
    "Parse with more OIDs than it counts": hot.message(ord("P"), b"a\0select 1\0\0\0\0\0\0\x17"),
    "Parse with half an OID": hot.message(ord("P"), b"a\0select 1\0\0\1\0\0"),
    "Parse with 65,535 OIDs that are not there": hot.message(ord("P"), b"a\0select 1\0\xff\xff"),
    "Query without NUL": hot.message(ord("Q"), b"select 1"),
    "Query of nothing": hot.message(ord("Q"), b""),
    "Query with a NUL inside": hot.message(ord("Q"), b"select 1\0select 2\0"),
    "Bind without NULs": hot.message(ord("B"), b"abc"),
    "Bind of nothing": hot.message(ord("B"), b""),
    "Describe of neither": hot.message(ord("D"), b"Xa\0"),
    "Describe without NUL": hot.message(ord("D"), b"Sa"),
    "Describe of nothing": hot.message(ord("D"), b""),
    "Close of neither": hot.message(ord("C"), b"\0a\0"),
    "Close with more behind its name": hot.message(ord("C"), b"Sa\0b"),
    "Execute without a limit": hot.message(ord("E"), b"a\0"),
    "Execute with half a limit": hot.message(ord("E"), b"a\0\0\0"),
    "Execute with more than a limit": hot.message(ord("E"), b"a\0\0\0\0\0\0"),
    "FunctionCall without an OID": hot.message(ord("F"), b"\0\0"),
}


def test_a_body_that_does_not_fit_its_format_is_fatal() -> None:
    upstream = ModelUpstream()

    async def say(place: Arena, name: str) -> None:
        async with intruder(place.server, MODEL) as client:
            types, fields = await answer_to(client, MALFORMED[name] + Sync().encode())
            assert types == "E", (name, types)
            assert is_fatal(fields)

    async def story() -> None:
        async with arena(upstream) as place:
            await each(partial(say, place, name) for name in MALFORMED)

    quickly(story())
    upstream.check_rest()


def test_every_type_code_that_is_no_clients_is_fatal() -> None:
    """Those of a server's messages are among them, and a password outside of the login."""
    upstream = ModelUpstream()

    async def say(place: Arena, type_code: int, ahead: bytes) -> None:
        async with intruder(place.server, MODEL) as client:
            types, fields = await answer_to(client, ahead + said_as(type_code, 8, b"LIES"))
            assert types.endswith("E"), chr(type_code)
            assert is_fatal(fields)

    async def story() -> None:
        async with arena(upstream) as place:
            strangers = [type_code for type_code in range(256) if type_code not in OWN]
            await each(partial(say, place, type_code, b"") for type_code in strangers)
            await each(partial(say, place, type_code, parse(b"", b"insert").encode()) for type_code in strangers[::8])

    quickly(story())
    upstream.check_rest()


COPY = Query(b"copy t from stdin").encode()
BEGIN = Query(b"begin").encode()
INSERT = b"".join(message.encode() for message in (parse(b"", b"insert"), bind(b""), execute()))

#: What is said first, what that is answered with, and what is said at that moment.
WRONG_MOMENTS = {
    **{
        f"{type(message).__name__} amid copy data": (COPY, "G", CopyData(b"1\n").encode() + message.encode())
        for message in (Query(b"select 1"), parse(b"", b"select 1"), bind(b""), describe(b""), execute())
    },
    "FunctionCall amid copy data": (COPY, "G", SAMPLES[ord("F")]),
    "a password amid copy data": (COPY, "G", SAMPLES[ord("p")]),
    "a password in a block": (BEGIN, "CZ", INSERT + SAMPLES[ord("p")]),
    "a StartupMessage in a block": (BEGIN, "CZ", INSERT + struct.pack("!II", 9, 3 << 16) + b"\0"),
}


@pytest.mark.parametrize("name", WRONG_MOMENTS)
def test_a_message_that_is_illegal_in_its_state_is_fatal(run: Run, name: str) -> None:
    first, answer, said = WRONG_MOMENTS[name]
    upstream = ModelUpstream()

    async def story() -> None:
        async with arena(upstream) as place, intruder(place.server, MODEL) as client:
            await client.send(first)
            assert await client.until(answer[-1]) == answer
            types, fields = await answer_to(client, said)
            assert types.endswith("E")
            assert is_fatal(fields)

    run(story())
    upstream.check_rest()
    assert all(database.rows == 0 for database in upstream.databases.values())


@pytest.mark.parametrize("stray", [CopyData(b"1\n"), CopyDone(), CopyFail(b"no")], ids=["data", "done", "fail"])
def test_copy_data_that_nobody_asked_for_is_ignored_as_a_server_does(run: Run, stray: frontend.CopyData) -> None:
    upstream = ModelUpstream()

    async def story() -> None:
        async with arena(upstream) as place, intruder(place.server, MODEL) as client:
            await client.send(stray.encode() * 3 + Query(b"select 1").encode() + stray.encode() + hot.TERMINATE)
            assert await client.to_the_end() == ("TDCZ", {})

    run(story())


@pytest.mark.parametrize("behind", [Query(b"insert").encode(), INSERT + Sync().encode(), CopyData(b"1").encode()])
def test_nothing_behind_a_terminate_goes_up(run: Run, behind: bytes) -> None:
    upstream = ModelUpstream()

    async def story() -> None:
        async with arena(upstream) as place, intruder(place.server, MODEL) as client:
            await client.send(hot.TERMINATE + behind)
            types, fields = await client.to_the_end()
            assert types in ("", "E")
            assert not fields or is_fatal(fields)

    run(story())
    upstream.check_rest()
    assert all(database.rows == 0 for database in upstream.databases.values())


def test_a_terminate_amid_a_pipeline_is_the_end_of_it(run: Run) -> None:
    upstream = ModelUpstream()

    async def story() -> None:
        async with arena(upstream) as place:
            in_block, in_copy = BEGIN + Query(b"insert").encode(), COPY + CopyData(b"1\n").encode()
            for said in (INSERT, in_block, in_copy, close(b"a").encode()):
                async with intruder(place.server, MODEL) as client:
                    await client.send(said + hot.TERMINATE)
                    types, _ = await client.to_the_end()
                    assert "E" not in types
            # What was whole ahead of it is done.
            async with intruder(place.server, MODEL) as client:
                await client.send(INSERT + Sync().encode() + hot.TERMINATE)
                assert (await client.to_the_end())[0] == "12CZ"

    run(story())
    upstream.check_rest()
    assert sorted(database.rows for database in upstream.databases.values()) == [0, 0, 0, 0, 1]
