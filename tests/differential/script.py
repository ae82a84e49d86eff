"""A conversation of one to four clients with a server, as text that can be read and pasted into a test.

Each line is a client's number and what it does:

    0 P a|select $1::int  D S|a  S      a burst in the notation of `tests.oracle.wire`, written at once
    1! Q select 1                       the same, but the client does not read the answers yet
    0? d 1\\tx\\n  c                    only if the client is in COPY-in mode; if it is not, left out
    2 connect options=-cwork_mem=3MB    what a client gives at login, ahead of its first burst

`{x*3000000}` stands for three million `x`. A script may begin with `cut 3` (bytes are written three at a time) and
`serial` (pgshim holds the next batch back until the one before is answered), and `eager` (--no-lazy-begin).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

from tests.oracle.wire import encode

_LINE = re.compile(r"(\d)([!?]?) (.*)", re.DOTALL)
_REPEATED = re.compile(r"\{(.)\*(\d+)\}")
WHOLE = 1 << 30


@dataclass(frozen=True)
class Step:
    """What one client does at one moment: a burst of messages in the notation."""

    client: int
    messages: tuple[str, ...]
    reads: bool = True
    #: The end of a COPY FROM STDIN, sent only if one has begun.
    is_copy_data: bool = False

    @classmethod
    def of(cls, client: int, burst: str, mark: str = "") -> Self:
        messages = tuple(message.strip() for message in burst.split("  ") if message.strip())
        return cls(client, messages, reads=mark != "!", is_copy_data=mark == "?")

    def __str__(self) -> str:
        mark = "?" if self.is_copy_data else "" if self.reads else "!"
        return f"{self.client}{mark} {'  '.join(self.messages)}"

    def encode(self) -> bytes:
        return b"".join(encode(_expanded(message)) for message in self.messages)

    @property
    def readies(self) -> int:
        """How many ReadyForQuery the burst brings, unless a COPY swallows some."""
        return sum(message[0] in "SQF" for message in self.messages)


@dataclass(frozen=True)
class Script:
    """A conversation. `logins` is what clients give at login, as the query of a URL."""

    steps: tuple[Step, ...]
    logins: dict[int, str] = field(default_factory=dict)
    cut: int = WHOLE
    is_serial: bool = False
    is_eager: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        script = cls(())
        for line in filter(str.strip, text.splitlines()):
            script = script._with_line(line.strip())
        return script

    def _with_line(self, line: str) -> Self:
        if line == "serial":
            return replace(self, is_serial=True)
        if line == "eager":
            return replace(self, is_eager=True)
        if line.startswith("cut "):
            return replace(self, cut=int(line[4:]))
        match = _LINE.fullmatch(line)
        assert match, f"no line of a script: {line!r}"
        client, mark, burst = int(match[1]), match[2], match[3]
        if burst.startswith("connect "):
            return replace(self, logins={**self.logins, client: burst.removeprefix("connect ")})
        return replace(self, steps=(*self.steps, Step.of(client, burst, mark)))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.cut != WHOLE:
            yield f"cut {self.cut}"
        if self.is_serial:
            yield "serial"
        if self.is_eager:
            yield "eager"
        for client, login in self.logins.items():
            yield f"{client} connect {login}"
        yield from map(str, self.steps)

    @property
    def has_query_amid_batch(self) -> bool:
        """Whether a client sends a Query or FunctionCall behind extended-query messages without a Sync.

        PostgreSQL 18.4 loses its place when such a one fails (XX000 "unexpected state STARTED"), for whoever gets that
        server next, too.
        """
        open_clients: set[int] = set()
        for step in self.steps:
            for message in step.messages:
                if message[0] in "PBDEC":
                    open_clients.add(step.client)
                elif message[0] == "S":
                    open_clients.discard(step.client)
                elif message[0] in "QF" and step.client in open_clients:
                    return True
        return False

    @property
    def crashes_servers(self) -> bool:
        """Whether a client executes or describes the unnamed portal behind a Query that has taken it.

        PostgreSQL 15.18 crashes over that (signal 11) if the Query has failed in a block, and all its servers restart.
        """
        taken: set[int] = set()
        for step in self.steps:
            for message in step.messages:
                if message[0] == "Q":
                    taken.add(step.client)
                elif message.startswith("B |"):
                    taken.discard(step.client)
                elif step.client in taken and (message == "D P|" or message.partition("|")[0].strip() == "E"):
                    return True
        return False

    @property
    def clients(self) -> list[int]:
        return sorted({step.client for step in self.steps})


def _expanded(message: str) -> str:
    return _REPEATED.sub(lambda match: match[1] * int(match[2]), message)
