"""`python -m tests.chaos`: prints what happened, and exits with 1 if a check failed."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pgshim.demo.binaries import MissingBinary
from pgshim.demo.processes import ServerFailed
from tests.chaos.bank import spend
from tests.chaos.desks_psycopg import THREADS
from tests.chaos.report import console, show
from tests.chaos.town import Town

#: What a run may take beyond its sabotage: servers that start and stop, recovery, the audit.
GRACE_SECONDS = 240


def main() -> int:
    """The exit code: 0, 1 if a check failed, 2 if the servers could not be run."""
    arguments = _arguments()
    # The servers end with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    # asyncpg's pool and psycopg's transactions log each connection that they lose.
    logging.disable(logging.ERROR)
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    where = "PgBouncer, without pgshim" if arguments.without_pgshim else "pgshim and PgBouncer"
    console.print(f"A bank on {where}: {arguments.seconds:g} s of sabotage, seed {seed}.\n")
    try:
        with Town(has_pgshim=not arguments.without_pgshim) as town, _limit(town, arguments.seconds + GRACE_SECONDS):
            day = asyncio.run(spend(town, arguments.seconds, random.Random(seed), arguments.only))
            has_passed = show(day, seed)
            if not has_passed and arguments.logs:
                for shim in town.shims:
                    console.print(shim.log(), markup=False, soft_wrap=True)
    except (MissingBinary, ServerFailed) as error:
        console.print(f"The bank could not be run: {error}", markup=False)
        return 2
    return 0 if has_passed else 1


@contextmanager
def _limit(town: Town, seconds: float) -> Iterator[None]:
    """Ends the process with exit code 1 if it takes longer."""

    def end() -> None:
        print(f"The bank did not close within {seconds:g} s; where its threads are:", file=sys.stderr)
        faulthandler.dump_traceback()
        town.__exit__()
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the sabotage lasts (default 60)")
    parser.add_argument("--seed", type=int, help="what the clients and the saboteur choose by (default: a random one)")
    parser.add_argument("--only", default="", metavar="WORD", help="only acts of sabotage with this in their name")
    parser.add_argument("--without-pgshim", action="store_true", help="connect straight to PgBouncer")
    parser.add_argument("--logs", action="store_true", help="print pgshim's logs if a check failed")
    return parser.parse_args()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    THREADS.shutdown(wait=False, cancel_futures=True)
    if any(thread.name.startswith("client") and thread.is_alive() for thread in threading.enumerate()) and code:
        # A client that hangs in a thread would keep the interpreter from exiting.
        os._exit(code)
    sys.exit(code)
