"""What the stories of result shapes have in common."""

from __future__ import annotations

from pgshim.protocol import Message
from pgshim.protocol.backend import NoData, ParameterDescription, ParseComplete, RowDescription
from pgshim.protocol.frontend import Sync
from tests.session.messages import bind, describe, error, execute, parse
from tests.session.script import SessionScript

PURE = b"select a from t"
WRITING = b"insert into t values (1) returning a"
CHANGED = error(b"0A000", b"cached plan must not change result type", routine=b"RevalidateCachedQuery")
COMMITTED = error(b"40003", hint=b"committed")
ABORTED = error(b"25P02")


def replay(sql: bytes, *types: int) -> tuple[Message, ...]:
    return parse(b"", sql, *types), describe(b"")


def verified(result: RowDescription | NoData | None) -> tuple[Message, ...]:
    """What a server answers to a replay that is verified."""
    return ParseComplete(), ParameterDescription(()), NoData() if result is None else result


def sends_verified(script: SessionScript, sql: bytes, results: tuple[int, ...] = ()) -> None:
    """A client that knows `s` executes it in a batch of its own; the replay asks for its description."""
    script.frontend_sends(bind(b"s"), execute(), Sync())
    script.upstream_receives(*replay(sql), bind(b"", results=results), execute(), Sync())
