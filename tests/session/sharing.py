"""What the stories of shared descriptions have in common: two clients, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgshim.protocol.backend import NoData, ParameterDescription, ParseComplete, RowDescription
from pgshim.protocol.frontend import Flush, Sync
from pgshim.session.session import SharedTexts
from tests.session.messages import IDLE, columns, describe, parse
from tests.session.script import SessionScript, Start
from tests.session.twins import TwinDescriptions

INT4, INT8, TEXT = 23, 20, 25
QUERY = b"select a from t where b = $1"
UPDATE = b"update t set a = $1"
A_COLUMN = columns(INT4)

#: SessionScript's options -> one more client of the same process.
Client = Callable[..., SessionScript]


class Clock:
    """Seconds, as they are set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Process:
    """Clients that share what they are told."""

    def __init__(self, start: Start, most: int = 10) -> None:
        self.clock = Clock()
        self.descriptions = TwinDescriptions(most, self.clock)
        self._texts = SharedTexts()
        self._start = start

    def client(self, **options: Any) -> SessionScript:
        return self._start(descriptions=self.descriptions, texts=self._texts, **options)

    def knows(
        self, sql: bytes = QUERY, *found: int, result: RowDescription | None = A_COLUMN, **options: Any
    ) -> SessionScript:
        """A client has asked a server; and here it is."""
        script = self.client(**options)
        asks(script, sql, *(found or (INT4,)), result=result)
        return script

    def forget(self) -> None:
        """Somebody else has changed a schema."""
        self.descriptions.forget()
        self.descriptions.twin.forget()

    @property
    def hits(self) -> int:
        return self.descriptions.hits


def description(*found: int, result: RowDescription | None = A_COLUMN) -> tuple[Any, ...]:
    """What a client is told."""
    return ParseComplete(), ParameterDescription(found or (INT4,)), NoData() if result is None else result


def asks(
    script: SessionScript,
    sql: bytes = QUERY,
    *found: int,
    result: RowDescription | None = A_COLUMN,
    name: bytes = b"s",
    declared: tuple[int, ...] = (),
) -> None:
    """Parse and Describe go up, and come to nobody's knowledge but the server's answer."""
    script.frontend_sends(parse(name, sql, *declared), describe(name), Sync())
    script.upstream_receives(parse(b"", sql, *declared), describe(b""), Sync())
    script.upstream_answers(*description(*(found or (INT4,)), result=result), IDLE)


def is_told(
    script: SessionScript,
    sql: bytes = QUERY,
    *found: int,
    result: RowDescription | None = A_COLUMN,
    name: bytes = b"s",
    declared: tuple[int, ...] = (),
) -> None:
    """Parse, Describe and Flush, as asyncpg sends them, are answered here."""
    script.frontend_sends(parse(name, sql, *declared), describe(name), Flush())
    script.frontend_receives(*description(*(found or (INT4,)), result=result))
