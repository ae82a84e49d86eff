"""Turns an input into another one: in its records, in the messages in a record, in the bytes of a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tests.fuzz.inputs import Record, messages, pack, unpack

#: Lengths, counts and codes at the edge of something.
_NUMBERS = (0, 1, 3, 4, 5, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 10_000, 10_001, 0x3FFFFFFE, 0x7FFFFFFF, 0xFFFFFFFF)
_TYPE_CODES = b"QPBEDCHSXFcfdpRKZTtnsIVGWAN123v\0"

#: No input becomes larger than this many bytes, unless it came so.
_LARGEST = 6000


class Mutator:
    """Makes inputs of inputs, the same ones from the same `random`.

    words -- what is put in at some places: keywords, whole messages
    operations -- of the records that the target knows
    """

    def __init__(self, random: Random, words: Sequence[bytes], operations: bytes) -> None:
        self._random = random
        self._words = words
        self._operations = operations

    def mutate(self, data: bytes, other: bytes) -> bytes:
        """Another input; `other` may lend it some of its records."""
        records = unpack(data) or [(self._operations[0], b"")]
        limit = max(_LARGEST, 2 * len(data) if len(data) < 100_000 else len(data))
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 5, 8))):
            records = self._step(records, other) or records
        return pack(records)[:limit]

    def _step(self, records: list[Record], other: bytes) -> list[Record]:
        how = self._random.random()
        if how < 0.3:
            return self._records(records, other)
        index = self._random.randrange(len(records))
        operation, payload = records[index]
        changed = self._messages(payload) if how < 0.75 else self._bytes(payload)
        return [*records[:index], (operation, changed), *records[index + 1 :]]

    def _records(self, records: list[Record], other: bytes) -> list[Record]:
        """Records left out, said twice, exchanged, cut in two, joined, or taken from the other input."""
        random = self._random
        index = random.randrange(len(records))
        operation, payload = records[index]
        before, behind = records[:index], records[index + 1 :]
        match random.randrange(9):
            case 0:
                return before + behind
            case 1:
                return [*before, *[records[index]] * 2, *behind]
            case 2:
                return [*before, *behind[:1], records[index], *behind[1:]]
            case 3 | 4:
                at = random.randrange(len(payload) + 1)
                return [*before, (operation, payload[:at]), (operation, payload[at:]), *behind]
            case 5 if behind and behind[0][0] == operation:
                return [*before, (operation, payload + behind[0][1]), *behind[1:]]
            case 6:
                return before or records
            case 7:
                lent = unpack(other)
                start = random.randrange(len(lent) + 1)
                return [*before, records[index], *lent[start : start + random.randrange(1, 6)], *behind]
        return [*before, records[index], (random.choice(self._operations), b""), *behind]

    def _messages(self, payload: bytes) -> bytes:
        """The same among the messages of a payload; or one of them changed, mostly with its length made right."""
        random = self._random
        parts = messages(payload)
        if not parts:
            return self._bytes(payload)
        index = random.randrange(len(parts))
        part = parts[index]
        match random.randrange(8):
            case 0:
                parts[index] = b""
            case 1:
                parts[index] = part * random.choice((2, 2, 3, 20))
            case 2:
                parts.insert(random.randrange(len(parts) + 1), parts.pop(index))
            case 3:
                parts[index] = bytes((random.choice(_TYPE_CODES),)) + part[1:]
            case 4:
                size = (int.from_bytes(part[1:5], "big") + random.choice((-4, -1, 1, 2, 200))) & 0xFFFFFFFF
                size = random.choice((size, size, random.choice(_NUMBERS)))
                parts[index] = part[:1] + size.to_bytes(4, "big") + part[5:]
            case _:
                body = self._bytes(part[5:])
                parts[index] = part[:1] + (len(body) + 4).to_bytes(4, "big") + body
        return b"".join(parts)

    def _bytes(self, data: bytes) -> bytes:
        random = self._random
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.choice((1, 1, 2, 4, 8, 30)))
        changes: tuple[Callable[[], bytes], ...] = (
            lambda: bytes((data[at] ^ 1 << random.randrange(8),)) if at < len(data) else b"",
            lambda: bytes((random.randrange(256),)),
            lambda: random.choice((b"", b"\0")),
            lambda: random.choice(_NUMBERS).to_bytes(4, "big")[-random.choice((1, 2, 4)) :],
            lambda: data[at:end] * random.choice((2, 2, 5)),
            lambda: random.choice(self._words),
        )
        how = random.randrange(len(changes))
        if how == len(changes) - 1 or random.random() < 0.2:
            end = random.choice((at, end))
        elif how < 2:
            end = at + 1
        return data[:at] + changes[how]() + data[end:]
