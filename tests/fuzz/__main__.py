"""The long run: python -m tests.fuzz [--seconds N] [--target NAME] [--seed N] [--keep].

Every fault is printed, made small, in the notation of the corpus; `--keep` also writes it there, for the fault's story
to be told and the file to be given a name that says it.
"""

from __future__ import annotations

import argparse
import sys
from hashlib import sha256
from random import Random

from tests.fuzz.explore import Explorer, Fault
from tests.fuzz.inputs import CORPUS, write
from tests.fuzz.targets import TARGETS, entries


def _show(name: str, fault: Fault, *, is_kept: bool) -> None:
    text = write(fault.data, fault.where)
    print(f"\n=== {name}: {fault.where}\n{fault.trace}\n{text}", flush=True)
    if is_kept:
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"fault_{sha256(fault.data).hexdigest()[:10]}.txt").write_text(text)


def main() -> int:
    """Returns 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz pgshim from bytes.")
    parser.add_argument("--seconds", type=float, default=600.0, help="in all; shared among the targets")
    parser.add_argument("--target", choices=list(TARGETS), action="append", help="all of them, if none is named")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="write what is found into the corpus")
    arguments = parser.parse_args()
    names = arguments.target or list(TARGETS)
    found = 0
    for name in names:
        target = TARGETS[name]
        random = Random(f"{name} {arguments.seed}")
        explorer = Explorer(target.run, entries(name), target.mutator(random), random)
        for fault in explorer.explore(arguments.seconds / len(names)):
            _show(name, fault, is_kept=arguments.keep)
        found += len(explorer.faults)
        print(f"{name}: {explorer.summary}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
