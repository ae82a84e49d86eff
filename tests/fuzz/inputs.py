"""What a fuzz target is fed: bytes that are read as records, and the text in which the corpus keeps them.

A record is an operation (one byte), the size of its payload (Int32) and the payload; a size that says too much means
all that is left. So any bytes are an input. In a file a record is a line, `c b'Q\\x00...'`: the operation, a letter,
and a Python literal; `* 40` behind it repeats the literal. A line that begins with `+` goes on with the payload of the
line before, and one that begins with `#` says what the input is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct

_HEADER = Struct("!BI")
_LINE = re.compile(r"(?P<operation>[a-z+]|0x[0-9a-f]{2}) (?P<literal>b['\"].*['\"])(?: \* (?P<times>\d+))?")

_RUN = re.compile(rb"(.)\1{63,}", re.DOTALL)

#: (operation, payload)
Record = tuple[int, bytes]

CORPUS = Path(__file__).parent / "corpus"


def unpack(data: bytes) -> list[Record]:
    """The records of an input; what is no whole header at its end does not count."""
    records = []
    pos = 0
    while pos + _HEADER.size <= len(data):
        operation, size = _HEADER.unpack_from(data, pos)
        pos += _HEADER.size
        records.append((operation, data[pos : pos + size]))
        pos += size
    return records


def pack(records: Iterable[Record]) -> bytes:
    """The input that these are the records of."""
    return b"".join(_HEADER.pack(operation, len(payload)) + payload for operation, payload in records)


def messages(payload: bytes) -> list[bytes]:
    """The messages in a payload; what is none, at its end, as one more."""
    parts = []
    while payload:
        size = 1 + int.from_bytes(payload[1:5], "big") if len(payload) >= 5 else 0
        if not 5 <= size <= len(payload):
            return [*parts, payload]
        parts.append(payload[:size])
        payload = payload[size:]
    return parts


def write(data: bytes, comment: str) -> str:
    """An input as the text of a file."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for operation, payload in unpack(data):
        mark = chr(operation) if chr(operation) in "abcdefghijklmnopqrstuvwxyz" else f"0x{operation:02x}"
        for part in messages(payload) or [b""]:
            for literal in _literals(part):
                lines.append(f"{mark} {literal}")
                mark = "+"
    return "\n".join(lines) + "\n"


def _literals(part: bytes) -> Iterator[str]:
    """A message; a byte that is repeated many times has a line of its own."""
    end = 0
    for run in _RUN.finditer(part):
        if run.start() > end:
            yield repr(part[end : run.start()])
        end = run.end()
        yield f"{run[1]!r} * {end - run.start()}"
    if end < len(part) or not part:
        yield repr(part[end:])


def read(text: str) -> bytes:
    """The input that is the text of a file. ValueError for what is none."""
    records: list[Record] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"no record: {line[:80]}")
        payload = ast.literal_eval(match["literal"]) * int(match["times"] or 1)
        mark = match["operation"]
        if mark == "+":
            operation, before = records.pop()
            records.append((operation, before + payload))
        else:
            records.append((ord(mark) if len(mark) == 1 else int(mark, 16), payload))
    return pack(records)


def corpus(target: str) -> Iterator[tuple[str, bytes]]:
    """(name, input) of all that is kept for a target."""
    for path in sorted((CORPUS / target).glob("*.txt")):
        yield path.stem, read(path.read_text())
