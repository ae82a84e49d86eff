"""The fuzzer: mutates the inputs it has, keeps those that reach something new, and says which raise.

What is new is told by the lines of pgshim that follow each other in a function. That costs a multiple of the time, and
`sys.settrace`, so the bounded run of the tests does without: there, mutations of the corpus are all.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any

import pgshim
from tests.fuzz.inputs import messages, pack, unpack
from tests.fuzz.mutations import Mutator

_ROOM = str(Path(pgshim.__file__).parent)
_HERE = str(Path(__file__).parent)

Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Fault:
    """An input that raises, and where: the exception and the last line of pgshim, or of a target, in its trace."""

    data: bytes
    where: str
    trace: str


def fault_of(run: Run, data: bytes) -> Fault | None:
    """What is wrong with an input."""
    try:
        run(data)
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
        last = frames[-1]
        where = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
        return Fault(data, where, "".join(traceback.format_exception(error)))
    return None


def _is_ours(filename: str) -> bool:
    return filename.startswith((_ROOM, _HERE))


class Coverage:
    """Which lines of pgshim have followed which."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int, int]] = set()

    def has_new(self, run: Run, data: bytes) -> bool:
        """Whether the input reaches something new; what it raises it raises."""
        before = len(self.seen)
        sys.settrace(self._call)
        try:
            run(data)
        finally:
            sys.settrace(None)
        return len(self.seen) > before

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_ROOM):
            return None
        add = self.seen.add
        last = 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line


def mutations(corpus: Sequence[bytes], mutator: Mutator, random: Random, count: int) -> Iterator[bytes]:
    """That many mutations of what is in the corpus."""
    for _ in range(count):
        yield mutator.mutate(random.choice(corpus), random.choice(corpus))


class Explorer:
    """A long run of one target."""

    def __init__(self, run: Run, corpus: Sequence[bytes], mutator: Mutator, random: Random) -> None:
        self._run = run
        self._mutator = mutator
        self._random = random
        self._coverage = Coverage()
        self._corpus = list(corpus)
        self.runs = 0
        #: By where they are: the first one of each.
        self.faults: dict[str, Fault] = {}
        for data in corpus:
            self._try(data)

    @property
    def summary(self) -> str:
        """What has been done so far."""
        reached = len(self._coverage.seen)
        return f"{self.runs} inputs, {len(self._corpus)} kept, {reached} steps reached, {len(self.faults)} faults"

    def explore(self, seconds: float) -> Iterator[Fault]:
        """Run for so long; gives each new fault, made small."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pick = self._random.random() < 0.5
            recent = self._corpus[-200:] if pick else self._corpus
            data = self._mutator.mutate(self._random.choice(recent), self._random.choice(self._corpus))
            fault = self._try(data)
            if fault is not None and fault.where not in self.faults:
                self.faults[fault.where] = fault
                yield smaller(self._run, fault)

    def _try(self, data: bytes) -> Fault | None:
        self.runs += 1
        try:
            if self._coverage.has_new(self._run, data):
                self._corpus.append(data)
        except Exception:
            return fault_of(self._run, data)
        return None


def smaller(run: Run, fault: Fault) -> Fault:
    """The same fault with less: records, messages and bytes left out while it stays."""
    for _ in range(4):
        before = fault.data
        for candidates in (_fewer_records, _fewer_messages, _fewer_bytes):
            fault = _reduce(run, fault, candidates)
        if fault.data == before:
            break
    return fault


def _reduce(run: Run, fault: Fault, candidates: Callable[[bytes, int], bytes | None]) -> Fault:
    index = 0
    deadline = time.monotonic() + 20
    while (data := candidates(fault.data, index)) is not None and time.monotonic() < deadline:
        found = fault_of(run, data) if data != fault.data else None
        if found is not None and found.where == fault.where:
            fault = found
        else:
            index += 1
    return fault


def _fewer_records(data: bytes, index: int) -> bytes | None:
    records = unpack(data)
    return pack(records[:index] + records[index + 1 :]) if index < len(records) else None


def _fewer_messages(data: bytes, index: int) -> bytes | None:
    records = unpack(data)
    for number, (operation, payload) in enumerate(records):
        parts = messages(payload)
        if index < len(parts):
            less = b"".join(parts[:index] + parts[index + 1 :])
            return pack([*records[:number], (operation, less), *records[number + 1 :]])
        index -= len(parts)
    return None


def _fewer_bytes(data: bytes, index: int) -> bytes | None:
    """Bytes of a payload left out, a half, a quarter, ... of it at a time; the length of a message is made right."""
    records = unpack(data)
    for number, (operation, payload) in enumerate(records):
        parts = messages(payload)
        for place, part in enumerate(parts):
            is_message = len(part) >= 5 and int.from_bytes(part[1:5], "big") + 1 == len(part)
            head, body = (part[:1], part[5:]) if is_message else (b"", part)
            cuts = [(start, size) for size in (64, 16, 4, 1) for start in range(0, len(body), size)]
            if index < len(cuts):
                start, size = cuts[index]
                body = body[:start] + body[start + size :]
                part = head + (len(body) + 4).to_bytes(4, "big") + body if head else body
                less = b"".join([*parts[:place], part, *parts[place + 1 :]])
                return pack([*records[:number], (operation, less), *records[number + 1 :]])
            index -= len(cuts)
    return None
