"""pgshim itself, which on SIGUSR1 tells what lives in it: `python -m bench.observed` with pgshim's own options."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO

from pgshim.cli import main
from pgshim.demo.servers import PgshimProcess

_MARK = "observed"
_PATIENCE = 10.0


@dataclass(frozen=True)
class Observation:
    """What lives in pgshim: asyncio tasks, objects that the collector knows, blocks of memory of any kind."""

    tasks: int
    objects: int
    blocks: int


def on_signal(*_: object) -> None:
    """Tell between two callbacks of the loop: the signal may have come in the middle of anything."""
    asyncio.get_running_loop().call_soon_threadsafe(tell)


def tell() -> None:
    """Write an Observation to standard error."""
    gc.collect()
    tasks = len(asyncio.all_tasks())
    line = f"\n{_MARK} {tasks} {len(gc.get_objects())} {sys.getallocatedblocks()}\n"
    os.write(2, line.encode())


class ObservedPgshim(PgshimProcess):
    """A pgshim that can be asked what lives in it."""

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        address = f"{self.host}:{self.port}"
        command = [sys.executable, "-m", "bench.observed", "--listen", address, "--upstream", self.upstream_address]
        return subprocess.Popen(
            [*command, *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0
        )

    def _lines(self) -> list[str]:
        return [line for line in self.log().splitlines() if line.startswith(_MARK)]

    async def observe(self) -> Observation:
        """Ask it. Raises TimeoutError."""
        before = len(self._lines())
        os.kill(self.pid, signal.SIGUSR1)
        end = time.monotonic() + _PATIENCE
        while len(lines := self._lines()) == before:
            if time.monotonic() > end:
                raise TimeoutError("pgshim does not answer SIGUSR1")
            await asyncio.sleep(0.05)
        tasks, objects, blocks = lines[-1].split()[1:]
        return Observation(int(tasks), int(objects), int(blocks))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, on_signal)
    main()
