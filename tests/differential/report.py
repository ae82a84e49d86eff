"""A difference, told as the smallest conversation that shows it."""

from __future__ import annotations

from tests.differential.arena import Arena, Outcome
from tests.differential.script import Script
from tests.differential.shrinking import shrunk


def described(arena: Arena, outcome: Outcome) -> str:
    """The smallest script that differs in the same way, and how it does."""

    def is_wrong(script: Script) -> bool:
        if not arena.takes(script):
            return False
        again = arena.play(script)
        return bool(again.difference) and again.signature == outcome.signature

    if not is_wrong(outcome.played):
        return f"(not seen again)\n{outcome.played}\n\n{outcome.difference}"
    smallest = shrunk(outcome.played, is_wrong)
    return f"{smallest}\n\n{arena.play(smallest).difference}"
