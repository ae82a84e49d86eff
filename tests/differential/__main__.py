"""Plays random conversations for as long as asked: `python -m tests.differential [N] [--first NUMBER] [--server 18]`.

Each difference is shrunk and printed as a script that can be pasted into `regressions`. Exit code 1 if there was one.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import psycopg

from pgshim.demo.binaries import wheel_bindir
from tests.differential.arena import Arena, kind_of
from tests.differential.conversations import conversation
from tests.differential.report import described
from tests.differential.script import Script
from tests.differential.sharing import sharing_conversation
from tests.poolers.setups import SETUPS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=1000, help="how many conversations")
    parser.add_argument("--first", type=int, default=1, help="the number of the first one, which it has for ever")
    parser.add_argument("--words", action="store_true", help="print what servers said, by type and SQLSTATE")
    parser.add_argument("--server", choices=["system", "18"], default="system", help="which PostgreSQL")
    parser.add_argument("--sharing", action="store_true", help="conversations of clients that prepare the same texts")
    parser.add_argument("--describe-cache", type=int, metavar="N", help="pgshim's option, if not its default")
    parser.add_argument("--script", type=Path, help="plays the script in this file so many times instead")
    parser.add_argument("--begin", choices=["lazy", "eager"], help="all with this --lazy-begin, not some with either")
    parser.add_argument("--pooler", choices=SETUPS, help="which pooler, if not the system's PgBouncer")
    arguments = parser.parse_args()
    # So that the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    setup = SETUPS[arguments.pooler] if arguments.pooler else None
    bindir = wheel_bindir(18) if arguments.server == "18" else None
    with Arena(bindir, setup, arguments.describe_cache) as arena:
        campaign = Campaign(arena, arguments.begin, sharing_conversation if arguments.sharing else conversation)
        if arguments.script:
            script = Script.parse(arguments.script.read_text())
            return campaign.repeat(script, arguments.count)
        status = campaign.run(arguments.count, arguments.first)
        if arguments.words:
            print(", ".join(f"{kind} {times}" for kind, times in campaign.messages.most_common()))
    return status


class Campaign:
    """Many conversations, and what they brought to light."""

    def __init__(
        self, arena: Arena, begin: str | None = None, generate: Callable[[Random], Script] = conversation
    ) -> None:
        self.arena = arena
        self.generate = generate
        #: "lazy" or "eager": how pgshim begins blocks; None: as the conversation's number says.
        self.begin = begin
        self.counts: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        #: What servers have said, by type and SQLSTATE.
        self.messages: Counter[str] = Counter()

    def run(self, count: int, first: int) -> int:
        begun = time.monotonic()
        for number in range(first, first + count):
            self.play(number)
        rate = count / (time.monotonic() - begun)
        print(
            f"{count} conversations ({rate:.1f} a second), {self.counts['known']} part in a known way, "
            f"{self.counts['left out']} were left out, "
            f"{self.counts['different']} differ, in {len(self.found)} ways."
        )
        for signature, times in self.found.most_common():
            print(f"{times:5} {signature}")
        if has_traceback := "Traceback (most recent call last)" in self.arena.log():
            print(f"pgshim logged a traceback:\n{self.arena.log()[-4000:]}")
        return 1 if self.found or has_traceback else 0

    def repeat(self, script: Script, count: int) -> int:
        """Plays one script again and again; prints the first way in which it differs."""
        outcomes = [self.arena.play(script) for _ in range(count)]
        wrong = [outcome for outcome in outcomes if outcome.difference]
        print(f"{len(wrong)} of {count} differ, {sum(outcome.is_known for outcome in outcomes)} in a known way.")
        print(wrong[0].difference if wrong else "\n".join(outcomes[0].own))
        return bool(wrong)

    def play(self, number: int) -> None:
        script = self.generate(Random(number))
        if self.begin is not None:
            script = replace(script, is_eager=self.begin == "eager")
        if not self.arena.takes(script):
            self.counts["left out"] += 1
            return
        try:
            outcome = self.arena.play(script)
        except (AssertionError, ConnectionError) as error:
            self.found[repr(error)] += 1
            print(f"\n== conversation {number}: {error!r}\n{script}", flush=True)
            return
        except psycopg.Error:
            # One who was not to be disturbed.
            print(f"\n== conversation {number}:\n{script}\n{self.arena.pooler.log()[-3000:]}", flush=True)
            raise
        self.counts["known"] += outcome.is_known
        self.messages.update(map(kind_of, outcome.own))
        if not outcome.difference:
            return
        self.counts["different"] += 1
        self.found[outcome.signature] += 1
        if self.found[outcome.signature] == 1:
            print(f"\n== conversation {number}: {outcome.signature}\n{described(self.arena, outcome)}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
