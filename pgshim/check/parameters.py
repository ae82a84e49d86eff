"""Startup parameters: what becomes of those that drivers and apps send. One connection for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pgshim.check.experiments import PATIENCE, process_id
from pgshim.check.failures import CheckFailure, NoAnswer, Refused
from pgshim.check.wire import Wire

#: Connections at a time.
_AT_ONCE = 2

#: Seconds to wait for a server where there was none for the one before.
_IMPATIENCE = 0.2

#: (name, value, the setting that shows whether it is in force, as SHOW gives it). Each value is harmless, and hardly
#: anybody's default.
PARAMETERS = (
    ("application_name", "pgshim-check", "application_name", "pgshim-check"),
    ("client_encoding", "LATIN1", "client_encoding", "LATIN1"),
    ("TimeZone", "Etc/GMT+7", "TimeZone", "Etc/GMT+7"),
    ("extra_float_digits", "2", "extra_float_digits", "2"),
    ("search_path", "pg_catalog", "search_path", "pg_catalog"),
    ("statement_timeout", "54321", "statement_timeout", "54321ms"),
    ("jit", "off", "jit", "off"),
    ("options", "-c lock_timeout=54321", "lock_timeout", "54321ms"),
)

#: With a value that it does not have: pgshim itself says so, others take it for any parameter.
CHOICE = ("pgshim.session", "whoever-you-are")

Connect = Callable[[Sequence[tuple[str, str]]], Awaitable[Wire]]


class Fate(StrEnum):
    """What becomes of a startup parameter."""

    TAKEN = "taken"
    IGNORED = "ignored"
    REFUSED = "refused"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`text` is the refusal, or why it was not tried."""

    name: str
    fate: Fate
    text: str = ""


async def try_all(connect: Connect, skipped: dict[str, str], default_jit: str) -> list[Outcome]:
    """What becomes of each. `skipped` gives reasons (name -> text) not to try; `default_jit` is what jit is anyway."""
    gate = asyncio.Semaphore(_AT_ONCE)
    waited: list[str] = []

    async def one(name: str, value: str, setting: str, expected: str) -> Outcome:
        if name in skipped:
            return Outcome(name, Fate.NOT_TRIED, skipped[name])
        if name == "jit" and default_jit == "off":
            value = expected = "on"
        async with gate:
            # In a pool whose servers are all taken each of them would have to wait; a refusal comes without one.
            patience = _IMPATIENCE if waited else PATIENCE
            try:
                return await _try(connect, name, value, setting, expected, patience)
            except NoAnswer:
                waited.append(name)
                return Outcome(name, Fate.NOT_TRIED, "no server was free for another connection")

    return list(await asyncio.gather(*(one(*parameter) for parameter in PARAMETERS)))


async def _try(connect: Connect, name: str, value: str, setting: str, expected: str, patience: float) -> Outcome:
    """Raises CheckFailure but for a refusal."""
    try:
        wire = await connect([(name, value)])
    except Refused as refused:
        return Outcome(name, Fate.REFUSED, refused.message)
    try:
        found = (await wire.query(f"SHOW {setting}", patience)).value
    except Refused as refused:
        return Outcome(name, Fate.REFUSED, refused.message)
    finally:
        await wire.close()
    return Outcome(name, Fate.TAKEN if found == expected else Fate.IGNORED)


async def unknown_parameter(connect: Connect) -> str:
    """The refusal of a parameter that is nobody's but pgshim's; empty if it is taken."""
    try:
        wire = await connect([CHOICE])
    except Refused as refused:
        return refused.message
    except CheckFailure:
        return ""
    try:
        # A pooler may log in before it has a server.
        await process_id(wire, PATIENCE)
    except Refused as refused:
        return refused.message
    except CheckFailure:
        return ""
    finally:
        await wire.close()
    return ""
