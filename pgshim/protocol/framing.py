"""Finds frames in a stream: whole messages of the types asked for, and untouched runs of all others.

A frame is a type byte, an Int32 length that counts itself, and a body (manual: "Message Flow", "Message Formats").
A `Framer` is fed what a socket gave, in any chunking, and says where the messages lie that somebody wants to see; what
lies between them is a run of frames of the other types, which is never copied, held or looked into. A wanted message
that is not complete yet is held back; one that is larger than its limit is announced by its first bytes, and what is
missing follows as a CONTINUATION.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from pgshim.errors import InvalidLength, UnknownMessageType

_HEADER = Struct("!BI")
HEADER_SIZE = _HEADER.size

#: The type code under which the rest of a large message is reported. No message has it.
CONTINUATION = 0

#: (type code, start, end, missing): a wanted message is `buffer[start:end]`; `missing` is the number of its bytes that
#: are still to come (0: it is whole), and that will be reported as CONTINUATION.
Frame = tuple[int, int, int, int]

PASS, WHOLE = 1, 2
_UNKNOWN = 0

#: PostgreSQL takes no message over 1 GiB - 1 (PQ_LARGE_MESSAGE_LIMIT), and none over 10,000 bytes where a body is just
#: names and numbers (PQ_SMALL_MESSAGE_LIMIT).
LARGE_MESSAGE_LIMIT = 0x3FFFFFFE
SMALL_MESSAGE_LIMIT = 10_000

#: How much of a message that is over its `hold` limit is kept for the first look.
HEAD_SIZE = 4096


class FrameRules:
    """Which types there are in one direction, which of them are wanted whole, and how large each may be.

    hold -- type code -> the largest length (bytes, the length field included) that is held whole
    limits -- type code -> the largest length there may be; `largest` for those not named
    """

    __slots__ = ("holds", "limits", "policies")

    def __init__(
        self,
        *,
        passed: Iterable[int],
        wanted: Iterable[int],
        hold: int,
        holds: dict[int, int] | None = None,
        limits: dict[int, int] | None = None,
        largest: int = LARGE_MESSAGE_LIMIT,
    ) -> None:
        self.policies = bytearray(256)
        self.limits = [largest] * 256
        self.holds = [hold] * 256
        for type_code in passed:
            self.policies[type_code] = PASS
        for type_code in wanted:
            self.policies[type_code] = WHOLE
        for type_code, limit in (limits or {}).items():
            self.limits[type_code] = limit
        for type_code, limit in (holds or {}).items():
            self.holds[type_code] = limit


class Framer:
    """Splits one direction of one connection into frames."""

    __slots__ = ("_held", "_needed", "_owed", "_rules", "failure", "is_continuing", "lead")

    def __init__(self, rules: FrameRules) -> None:
        self._rules = rules
        #: The first bytes of a wanted message, or of a header, that is not complete yet.
        self._held: bytearray | None = None
        #: How many bytes `_held` must have before another look is worth while.
        self._needed = 0
        #: Bytes of the current message that are still to come and pass untouched.
        self._owed = 0
        #: Whether those belong to a large message that has been announced.
        self.is_continuing = False
        #: How many bytes at the start of the last buffer belong to a frame of a run that began in an earlier one.
        self.lead = 0
        #: Set once the stream is broken; what was found in front of the break has been reported.
        self.failure: InvalidLength | UnknownMessageType | None = None

    @property
    def is_between_messages(self) -> bool:
        """Whether all that was fed so far ends with a whole message."""
        return self._held is None and self._owed == 0

    @property
    def is_inside_passed(self) -> bool:
        """Whether the rest of a message is still to come of which the beginning has been reported."""
        return self._owed > 0

    def feed(self, data: bytes) -> tuple[bytes, int, list[Frame]]:
        """Take the next bytes of the stream.

        Returns (buffer, end, frames): `frames` are in order, and the bytes of `buffer[:end]` that lie in none of them
        are a run of the other types. The bytes behind `end` are held back. When the stream breaks, `failure` is set to
        an InvalidLength or UnknownMessageType, to be raised once the frames in front of it have been dealt with.
        """
        if self.failure is not None:
            return b"", 0, []
        held = self._held
        if held is not None:
            held += data
            if len(held) < self._needed:
                return b"", 0, []
            data = bytes(held)
            self._held = None
        size = len(data)
        frames: list[Frame] = []
        pos = self.lead = 0
        if self._owed:
            pos = self._take_owed(size, frames)
        policies = self._rules.policies
        limits = self._rules.limits
        read_header = _HEADER.unpack_from
        last = size - HEADER_SIZE
        while pos <= last:
            type_code, length = read_header(data, pos)
            policy = policies[type_code]
            if policy == PASS and 4 <= length <= limits[type_code]:
                pos += 1 + length
                continue
            if length < 4 or length > limits[type_code] or not policy:
                return self._fail(data, pos, type_code, length, frames)
            following = pos + 1 + length
            if following > size:
                if length <= self._rules.holds[type_code]:
                    return self._hold(data, pos, 1 + length, frames)
                if size - pos < HEAD_SIZE:
                    return self._hold(data, pos, min(HEAD_SIZE, 1 + length), frames)
                frames.append((type_code, pos, size, following - size))
                self._owed = following - size
                self.is_continuing = True
                return data, size, frames
            frames.append((type_code, pos, following, 0))
            pos = following
        if pos > size:  # The end of a message that passes is still to come.
            self._owed = pos - size
            return data, size, frames
        if pos < size:
            if not policies[data[pos]]:
                return self._fail(data, pos, data[pos], 4, frames)
            return self._hold(data, pos, 5, frames)
        return data, size, frames

    def _take_owed(self, size: int, frames: list[Frame]) -> int:
        """Report the bytes that complete an earlier message; returns where the next one starts."""
        taken = min(size, self._owed)
        self._owed -= taken
        if self.is_continuing:
            frames.append((CONTINUATION, 0, taken, self._owed))
            self.is_continuing = self._owed > 0
        else:
            self.lead = taken
        return taken

    def _hold(self, data: bytes, pos: int, needed: int, frames: list[Frame]) -> tuple[bytes, int, list[Frame]]:
        self._held = bytearray(data[pos:])
        self._needed = needed
        return data, pos, frames

    def _fail(
        self, data: bytes, pos: int, type_code: int, length: int, frames: list[Frame]
    ) -> tuple[bytes, int, list[Frame]]:
        if not self._rules.policies[type_code]:
            self.failure = UnknownMessageType(f"invalid message type {type_code}")
        else:
            self.failure = InvalidLength(f"invalid message length {length} for message type {chr(type_code)!r}")
        return data, pos, frames
