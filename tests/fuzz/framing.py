"""The framer: any bytes, in any pieces, give the same messages up to the same break.

A record's operation says which rules hold (`f` the frontend's, `b` the backend's, `p` and `q` those of the plain
session); its payload is the stream. The size of the pieces in which it is fed is made of its checksum.
"""

from __future__ import annotations

from random import Random
from zlib import crc32

from pgshim.errors import InvalidLength, ProtocolViolation, UnknownMessageType
from pgshim.protocol.framing import CONTINUATION, HEAD_SIZE, PASS, WHOLE, Framer, FrameRules
from tests.fuzz.inputs import unpack

_HOLD = 5000

RULES = {
    ord("f"): FrameRules(
        passed=b"d",
        wanted=b"QPBEDCHSXFcf",
        hold=_HOLD,
        holds={ord("B"): 300, ord("F"): 300},
        limits=dict.fromkeys(b"EDCHSXcf", 1000),
    ),
    ord("b"): FrameRules(passed=b"Dd", wanted=b"123ACEGHINRSTVWZKcnstv", hold=_HOLD),
    ord("p"): FrameRules(passed=b"dPBEDCHcf", wanted=b"QSFX", hold=0),
    ord("q"): FrameRules(passed=b"123ACDdGHIKNRSTVWcnstv", wanted=b"ZE", hold=4096, largest=100_000),
}

#: What a stream is made of: (type code, bytes) of each wanted message; of what lies between, type code 0.
Pieces = list[tuple[int, bytes]]
Failure = type[ProtocolViolation] | None


def expected(stream: bytes, rules: FrameRules) -> tuple[Pieces, Failure]:
    """The same, read in the plainest way; of a message that is not whole, what there is of it."""
    pieces: Pieces = []
    pos = 0
    while pos < len(stream):
        type_code, header = stream[pos], stream[pos + 1 : pos + 5]
        if not rules.policies[type_code]:
            return pieces, UnknownMessageType
        if len(header) < 4:
            break
        length = int.from_bytes(header, "big")
        if length < 4 or length > rules.limits[type_code]:
            return pieces, InvalidLength
        message = stream[pos : pos + 1 + length]
        pieces.append((type_code if rules.policies[type_code] == WHOLE else 0, message))
        pos += 1 + length
    return pieces, None


class _Reading:
    """What a framer reports, put together again."""

    def __init__(self, rules: FrameRules) -> None:
        self.rules = rules
        self.framer = Framer(rules)
        self.pieces: Pieces = []
        self.run = b""
        self.fed = self.given = 0

    def feed(self, data: bytes) -> None:
        self.fed += len(data)
        buffer, end, frames = self.framer.feed(data)
        self.given += end
        pos = 0
        for type_code, start, stop, missing in frames:
            assert pos <= start <= stop <= end <= len(buffer)
            self._between(buffer[pos:start])
            if type_code == CONTINUATION:
                assert self.run == b""
                before, message = self.pieces.pop()
                self.pieces.append((before, message + buffer[start:stop]))
            else:
                self._cut()
                self.pieces.append((type_code, buffer[start:stop]))
                assert int.from_bytes(buffer[start + 1 : start + 5], "big") + 1 == stop - start + missing
            pos = stop
        self._between(buffer[pos:end])
        if self.framer.failure is None:
            assert self.fed - self.given <= max(max(self.rules.holds) + 1, HEAD_SIZE), "too much is held back"
            is_whole = self.fed == self.given and not self.framer.is_inside_passed
            assert self.framer.is_between_messages == is_whole

    def _between(self, run: bytes) -> None:
        self.run += run

    def _cut(self) -> None:
        """The run that is at its end, as the messages in it."""
        rest = self.run
        self.run = b""
        while rest:
            size = 1 + int.from_bytes(rest[1:5], "big")
            self.pieces.append((0, rest[:size]))
            assert self.rules.policies[rest[0]] == PASS
            rest = rest[size:]

    def end(self) -> tuple[Pieces, Failure]:
        self._cut()
        return self.pieces, None if self.framer.failure is None else type(self.framer.failure)


def run(data: bytes) -> None:
    """Raises only on a fault."""
    for operation, stream in unpack(data):
        rules = RULES.get(operation, RULES[ord("f")])
        pieces, failure = expected(stream, rules)
        random = Random(crc32(stream))
        sizes = (len(stream) or 1, 1 if len(stream) < 600 else 997, random.randrange(1, 40), random.randrange(1, 5000))
        for size in sizes:
            if len(stream) > 2000 * size:
                continue
            reading = _Reading(rules)
            for start in range(0, len(stream), size):
                reading.feed(stream[start : start + size])
            found, broken = reading.end()
            assert broken is failure
            held = len(pieces) > len(found) and len(pieces[-1][1]) <= max(max(rules.holds) + 1, HEAD_SIZE)
            assert found == (pieces[:-1] if held else pieces)
