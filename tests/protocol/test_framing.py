"""Framing: the same messages are found in any chunking of the same bytes, and large ones are never held."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgshim.errors import InvalidLength, PgshimError, UnknownMessageType
from pgshim.protocol.framing import (
    CONTINUATION,
    HEAD_SIZE,
    LARGE_MESSAGE_LIMIT,
    SMALL_MESSAGE_LIMIT,
    Framer,
    FrameRules,
)

PASSED, WANTED, SMALL, UNKNOWN = b"dQS!"
HOLD = 6000
RULES = FrameRules(passed=b"d", wanted=b"QS", hold=HOLD, limits={SMALL: SMALL_MESSAGE_LIMIT}, largest=1_000_000)


def message(type_code: int, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("!BI", type_code, len(body) + 4 if length is None else length) + body


def chunked(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(stream)) for cut in cuts})
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


class Reader:
    """Puts together what a framer finds: wanted messages whole, and runs."""

    def __init__(self, rules: FrameRules = RULES) -> None:
        self.framer = Framer(rules)
        # Neighbouring runs are one: a run has no bounds of its own.
        self.found: list[tuple[int, bytes]] = []
        # Bytes that went in and have not come out.
        self.held = 0

    def feed(self, data: bytes) -> None:
        buffer, end, frames = self.framer.feed(data)
        assert 0 <= end <= len(buffer)
        assert self.framer.lead <= end or not end
        self.held += len(data) - end
        pos = 0
        for type_code, start, stop, missing in frames:
            assert pos <= start <= stop <= end
            self._run(buffer[pos:start])
            if type_code == CONTINUATION:
                assert start == 0, "the rest of a message comes first"
                large, begun = self.found[-1]
                self.found[-1] = large, begun + buffer[start:stop]
            else:
                assert buffer[start] == type_code
                self.found.append((type_code, buffer[start:stop]))
            if missing:
                assert stop == end == len(buffer), "what is missing can only follow"
                assert self.framer.is_inside_passed
            pos = stop
        self._run(buffer[pos:end])

    def _run(self, data: bytes) -> None:
        if data and self.found and self.found[-1][0] == PASSED:
            self.found[-1] = PASSED, self.found[-1][1] + data
        elif data:
            self.found.append((PASSED, data))


def expected(messages: list[bytes]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for each in messages:
        if each[0] == PASSED and found and found[-1][0] == PASSED:
            found[-1] = PASSED, found[-1][1] + each
        else:
            found.append((each[0], each))
    return found


bodies = st.binary(max_size=30) | st.integers(0, 3 * HOLD).map(lambda size: b"x" * size)
messages = st.one_of(
    st.builds(message, st.sampled_from([PASSED, WANTED]), bodies),
    st.builds(message, st.just(SMALL), st.binary(max_size=8)),
)
cuts = st.lists(st.integers(0, 12 * HOLD), max_size=30) | st.lists(st.integers(0, 60), max_size=30)
bounded = settings(derandomize=True, max_examples=150, deadline=None)


@bounded
@given(st.lists(messages, max_size=8), cuts)
def test_any_chunking_finds_the_same_messages_and_runs(sent: list[bytes], where: list[int]) -> None:
    reader = Reader()
    for chunk in chunked(b"".join(sent), where):
        reader.feed(chunk)
        assert reader.framer.failure is None
    assert reader.found == expected(sent)
    assert reader.framer.is_between_messages
    assert not reader.framer.is_inside_passed


@bounded
@given(st.lists(messages, max_size=4), st.integers(0, 60))
def test_single_bytes_find_the_same_messages_and_runs(sent: list[bytes], size: int) -> None:
    stream = b"".join(each[: size + 5] if len(each) < 100 else message(PASSED, each[:size]) for each in sent)
    whole, single = Reader(), Reader()
    whole.feed(stream)
    for index in range(len(stream)):
        single.feed(stream[index : index + 1])
    assert single.found == whole.found


@bounded
@given(st.lists(messages, max_size=6), cuts, st.sampled_from(["type", "short", "long"]), st.binary(max_size=20))
def test_what_is_in_front_of_a_break_is_found_and_nothing_behind_it(
    sent: list[bytes], where: list[int], kind: str, behind: bytes
) -> None:
    broken = {
        "type": message(UNKNOWN),
        "short": message(WANTED, length=3),
        "long": message(WANTED, length=1_000_001),
    }[kind]
    reader = Reader()
    for chunk in chunked(b"".join(sent) + broken + behind, where):
        reader.feed(chunk)
    assert reader.found == expected(sent)
    assert isinstance(reader.framer.failure, UnknownMessageType if kind == "type" else InvalidLength)


@bounded
@given(st.lists(messages, max_size=6), cuts)
def test_never_more_is_held_than_the_limit(sent: list[bytes], where: list[int]) -> None:
    reader = Reader()
    came = 0
    for chunk in chunked(b"".join(sent), where):
        reader.feed(chunk)
        came += len(chunk)
        out = sum(len(data) for _, data in reader.found)
        assert 0 <= came - out <= max(HOLD + 1, HEAD_SIZE)


@bounded
@given(st.lists(st.binary(max_size=12), max_size=10))
def test_random_bytes_give_messages_or_a_typed_failure(chunks: list[bytes]) -> None:
    reader = Reader()
    for chunk in chunks:
        reader.feed(chunk)
    stream = b"".join(chunks)
    assert stream.startswith(b"".join(data for _, data in reader.found))
    assert reader.framer.failure is None or isinstance(reader.framer.failure, PgshimError)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (message(WANTED, length=3), InvalidLength),
        (message(WANTED, length=0), InvalidLength),
        (message(PASSED, length=3), InvalidLength),
        (message(PASSED, length=1_000_001), InvalidLength),
        (message(WANTED, length=0xFFFFFFFF), InvalidLength),
        (message(SMALL, length=SMALL_MESSAGE_LIMIT + 1), InvalidLength),
        (message(UNKNOWN), UnknownMessageType),
        (message(UNKNOWN, length=2), UnknownMessageType),
        (b"\0", UnknownMessageType),
        (b"!", UnknownMessageType),
        (b"!\0\0", UnknownMessageType),
    ],
)
def test_a_bad_header_is_a_failure_at_once(data: bytes, kind: type[PgshimError]) -> None:
    framer = Framer(RULES)
    buffer, end, frames = framer.feed(message(SMALL) + data)
    assert (buffer[:end], frames) == (message(SMALL), [(SMALL, 0, 5, 0)])
    assert type(framer.failure) is kind
    assert framer.failure.sqlstate == b"08P01"
    assert framer.feed(message(SMALL)) == (b"", 0, [])


@pytest.mark.parametrize("length", [4, 5, SMALL_MESSAGE_LIMIT])
def test_lengths_within_the_limit_are_taken(length: int) -> None:
    framer = Framer(RULES)
    framer.feed(message(SMALL, length=length))
    assert framer.failure is None


def test_the_largest_message_there_may_be_is_postgresqls() -> None:
    framer = Framer(FrameRules(passed=b"d", wanted=b"Q", hold=HOLD))
    framer.feed(message(PASSED, length=LARGE_MESSAGE_LIMIT))
    assert framer.failure is None
    framer = Framer(FrameRules(passed=b"d", wanted=b"Q", hold=HOLD))
    framer.feed(message(PASSED, length=LARGE_MESSAGE_LIMIT + 1))
    assert isinstance(framer.failure, InvalidLength)


def test_a_run_is_the_bytes_that_came_not_a_copy() -> None:
    framer = Framer(RULES)
    data = message(PASSED, b"x" * 100) * 10 + message(WANTED, b"q") + message(PASSED, b"y")
    buffer, end, frames = framer.feed(data)
    assert buffer is data
    assert end == len(data)
    assert frames == [(WANTED, 1050, 1056, 0)]


def test_a_passed_message_is_never_held() -> None:
    framer = Framer(RULES)
    data = message(PASSED, b"x" * 100)
    assert framer.feed(data[:3]) == (data[:3], 0, [])
    assert not framer.is_between_messages
    assert not framer.is_inside_passed
    assert framer.feed(data[3:50]) == (data[:50], 50, [])
    assert framer.is_inside_passed
    assert framer.feed(data[50:] + message(SMALL)) == (data[50:] + message(SMALL), 60, [(SMALL, 55, 60, 0)])
    assert framer.lead == 55
    assert framer.is_between_messages


def test_the_lead_says_how_much_continues_an_earlier_run() -> None:
    framer = Framer(RULES)
    data = message(PASSED, b"x" * 100)
    framer.feed(data[:50])
    assert framer.lead == 0
    framer.feed(data[50:60])
    assert framer.lead == 10
    framer.feed(data[60:] + data)
    assert framer.lead == 45
    framer.feed(data)
    assert framer.lead == 0


def test_a_wanted_message_is_held_until_it_is_whole() -> None:
    framer = Framer(RULES)
    data = message(WANTED, b"x" * (HOLD - 4))
    assert framer.feed(message(SMALL) + data[:100]) == (message(SMALL) + data[:100], 5, [(SMALL, 0, 5, 0)])
    assert not framer.is_between_messages
    assert framer.feed(data[100:-1]) == (b"", 0, [])
    assert framer.feed(data[-1:] + message(SMALL)) == (
        *(data + message(SMALL), len(data) + 5),
        [(WANTED, 0, len(data), 0), (SMALL, len(data), len(data) + 5, 0)],
    )


def test_a_message_over_its_limit_is_announced_by_its_first_bytes_and_continued() -> None:
    framer = Framer(RULES)
    data = message(WANTED, b"x" * 20_000)
    assert framer.feed(data[:100]) == (data[:100], 0, [])
    assert framer.feed(data[100:5000]) == (data[:5000], 5000, [(WANTED, 0, 5000, 15_005)])
    assert framer.is_inside_passed
    assert framer.feed(data[5000:6000]) == (data[5000:6000], 1000, [(CONTINUATION, 0, 1000, 14_005)])
    rest = data[6000:] + message(SMALL)
    assert framer.feed(rest) == (rest, 14_010, [(CONTINUATION, 0, 14_005, 0), (SMALL, 14_005, 14_010, 0)])
    assert framer.lead == 0


def test_a_message_over_its_limit_that_is_there_is_whole() -> None:
    data = message(WANTED, b"x" * 20_000)
    assert Framer(RULES).feed(data) == (data, len(data), [(WANTED, 0, len(data), 0)])


def test_each_type_has_its_own_limit_for_being_held() -> None:
    rules = FrameRules(passed=b"", wanted=b"BQ", hold=HOLD, holds={ord("B"): 5000})
    large, small = message(ord("B"), b"x" * 5500), message(ord("Q"), b"x" * 5500)
    assert Framer(rules).feed(large[:5200])[2] == [(ord("B"), 0, 5200, 305)]
    assert Framer(rules).feed(small[:5200])[2] == []


@bounded
@given(st.integers(0, 200), st.lists(st.integers(0, 500), max_size=6))
def test_small_messages_that_need_not_be_held_come_in_any_pieces(size: int, where: list[int]) -> None:
    reader = Reader(FrameRules(passed=b"d", wanted=b"QS", hold=0))
    sent = [message(WANTED, b"x" * size), message(SMALL), message(WANTED, b"y" * size)]
    for chunk in chunked(b"".join(sent), where):
        reader.feed(chunk)
    assert reader.found == expected(sent)
