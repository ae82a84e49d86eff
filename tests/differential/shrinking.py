"""A script that goes wrong, made as small as it can be while it goes wrong in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.differential.script import WHOLE, Script, Step

SECONDS = 60.0


def shrunk(script: Script, is_wrong: Callable[[Script], bool], seconds: float = SECONDS) -> Script:
    """The smallest script that was found in that time for which `is_wrong` still holds."""
    end = time.monotonic() + seconds
    improved = True
    while improved:
        improved = False
        for smaller in _smaller(script):
            if time.monotonic() > end:
                return script
            if smaller.steps and is_wrong(smaller):
                script, improved = smaller, True
                break
    return script


def _smaller(script: Script) -> Iterator[Script]:
    """Scripts with something less, the largest pieces first."""
    steps = script.steps
    size = len(steps) // 2
    while size:
        for at in range(0, len(steps), size):
            yield replace(script, steps=steps[:at] + steps[at + size :])
        size //= 2
    if script.cut != WHOLE:
        yield replace(script, cut=WHOLE)
    if script.is_serial:
        yield replace(script, is_serial=False)
    if script.is_eager:
        yield replace(script, is_eager=False)
    for client in script.logins:
        yield replace(script, logins={k: v for k, v in script.logins.items() if k != client})
    for at, step in enumerate(steps):
        for simpler in _simpler(step):
            yield replace(script, steps=(*steps[:at], simpler, *steps[at + 1 :]))


def _simpler(step: Step) -> Iterator[Step]:
    messages = step.messages
    for at in range(len(messages) - 1 if len(messages) > 1 else 0, -1, -1):
        if len(messages) > 1:
            yield replace(step, messages=messages[:at] + messages[at + 1 :])
        if messages[at].startswith("Q ") and ";" in messages[at]:
            parts = messages[at][2:].split(";")
            for part in range(len(parts)):
                text = "Q " + ";".join(each.strip() for each in parts[:part] + parts[part + 1 :])
                yield replace(step, messages=(*messages[:at], text, *messages[at + 1 :]))
    if not step.reads:
        yield replace(step, reads=True)
