"""What measurements have in common: latencies, and how one says no."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field

import uvloop

Row = tuple[str, ...]


class NotMet(Exception):
    """A measurement did not come out as it has to; one sentence."""


@dataclass
class Latencies:
    """The seconds that queries took, and the errors among them."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def milliseconds(self, share: float) -> str:
        """The latency that this share of the queries did not exceed, in ms."""
        if not self.seconds:
            return "-"
        ordered = sorted(self.seconds)
        return f"{ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1e3:.1f}"

    def check(self) -> None:
        """Raise NotMet if there were errors."""
        if self.errors:
            raise NotMet(f"{len(self.errors)} queries failed or brought a wrong answer; the first: {self.errors[0]}")


def mib(kib: float) -> str:
    """KiB as MiB, for a table."""
    return f"{kib / 1024:.1f}"


def drive(measurement: AsyncGenerator[Row, None]) -> Iterator[Row]:
    """The rows of a measurement that runs in an event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while True:
            try:
                yield runner.run(anext(measurement))
            except StopAsyncIteration:
                return
