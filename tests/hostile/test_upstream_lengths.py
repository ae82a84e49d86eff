"""Lengths and counts that lie, types that there are not, and what is no protocol at all."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from pgshim.protocol import hot
from tests.hostile.conversation import type_code_of
from tests.hostile.disturbance import (
    EVERYWHERE,
    SESSION,
    Check,
    Place,
    is_noticed,
    is_noticed_or_outlived,
    run_all,
)
from tests.protocol.samples import BACKEND

BACKEND_TYPES = {data[0] for _, data in BACKEND}

#: Types of which all messages are as long as each other.
FIXED = "123Icns" + "Z"

#: No message may be as long.
TOO_LONG = (0x3FFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def with_length(message: bytes, length: int) -> bytes:
    return message[:1] + length.to_bytes(4, "big") + message[5:]


def places_of(token: str = "@@@@") -> Iterator[tuple[Place, bytes]]:
    """Each place, with the message that is due there."""
    return ((place, place.answers(token)[place.index]) for place in EVERYWHERE)


@pytest.mark.parametrize("length", [0, 1, 3, *TOO_LONG])
def test_a_length_that_no_message_can_have_is_noticed(length: int) -> None:
    run_all(
        (place, place.with_instead("@@@@", with_length(message, length)), is_noticed) for place, message in places_of()
    )


@pytest.mark.parametrize("lie", ["one less", "one more", "none", "a lot more", "as much as there may be"])
def test_a_length_that_is_not_the_messages_ends_with_an_honest_error(lie: str) -> None:
    cases: list[tuple[Place, bytes, Check]] = []
    for place, message in places_of():
        true = len(message) - 1
        length = {"one less": true - 1, "one more": true + 1, "none": 4, "a lot more": 5000}.get(lie, 0x3FFFFFFE)
        is_seen = type_code_of(message) in FIXED and place in SESSION and length != true
        check = is_noticed if is_seen else is_noticed_or_outlived
        cases.append((place, place.with_instead("@@@@", with_length(message, length)), check))
    run_all(cases)


def test_a_message_of_a_wrong_type_that_has_no_end_is_noticed_or_awaited() -> None:
    cases: list[tuple[Place, bytes, Check]] = []
    for place in SESSION:
        before = b"".join(place.answers("@@@@")[: place.index])
        for type_code in b"DdTtCENSA1":
            beginning = hot.message(type_code, bytes(9000))[:20]
            cases.append((place, before + beginning, is_noticed_or_outlived))
    run_all(cases)


def test_a_type_that_there_is_not_is_noticed_at_once() -> None:
    cases: list[tuple[Place, bytes, Check]] = []
    for place in SESSION[:: len(SESSION) // 2]:
        before = b"".join(place.answers("@@@@")[: place.index])
        cases += [
            (place, before + bytes((type_code,)), is_noticed)
            for type_code in sorted({*range(256)} - BACKEND_TYPES)
        ]
    run_all(cases)


def test_a_type_that_there_is_not_is_noticed_in_the_login() -> None:
    login = [place for place in EVERYWHERE if place not in SESSION]
    run_all(
        (place, place.with_instead("@@@@", hot.message(type_code, b"")), is_noticed)
        for place in login[:: len(login) // 2]
        for type_code in sorted({*range(256)} - BACKEND_TYPES)
    )


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_another_protocol_is_noticed_in_any_place(garbage: bytes) -> None:
    run_all((place, place.with_instead("@@@@", garbage), is_noticed) for place, _ in places_of())


def test_garbage_ends_with_an_honest_error() -> None:
    chance = random.Random(4)
    run_all(
        (place, place.with_instead("@@@@", chance.randbytes(chance.choice((1, 5, 40, 4000)))), is_noticed_or_outlived)
        for place, _ in places_of()
        for _ in range(6)
    )


def bodies(body: bytes) -> Iterator[bytes]:
    """Bodies like this one, whose counts and lengths lie, and that lack an end or have too much of one."""
    yield b""
    yield body[:-1]
    yield body + b"\0"
    yield body + b"x"
    yield body.replace(b"\0", b"x")
    for count in (b"\0\0", b"\0\2", b"\x7f\xff", b"\x80\0", b"\xff\xff"):
        yield count + body[2:]
    yield body[:2] + b"\0\0\xff\xff" + body[6:]
    yield body[:2] + b"\x7f\xff\xff\xff" + body[6:]
    yield bytes(len(body))
    yield b"\xff" * len(body)


def test_a_body_that_is_none_of_its_type_ends_with_an_honest_error() -> None:
    run_all(
        (place, place.with_instead("@@@@", hot.message(message[0], body)), is_noticed_or_outlived)
        for place, message in places_of()
        for body in bodies(message[5:])
    )
