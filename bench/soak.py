"""Full load for a long time: does pgshim grow?

Clients of all kinds (`soak_clients`) work as fast as they are answered. Memory, descriptors and tasks are looked at all
the while; when everybody has left, what there is of them must be what there was before anybody came.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

import asyncpg

from bench.machine import cpu_seconds, descriptors, raise_file_limit, resident_kib
from bench.observed import Observation, ObservedPgshim
from bench.outcome import NotMet, Row, drive, mib
from bench.soak_clients import CLIENTS, WARM_CLIENTS, Site, warm_up
from bench.streams import busy_servers
from pgshim.demo.servers import PgBouncer, PostgresServer

POOL = 20
#: Seconds between two samples, or less, so that there are LEAST_SAMPLES.
INTERVAL = 10.0
LEAST_SAMPLES = 30
#: What the last third of the time may have more than the second: a share, and KiB.
SHARE = 0.05
GROWTH = 4 * 1024
#: Seconds for what the last clients left behind to be cleared away.
PATIENCE = 30.0


@dataclass(frozen=True)
class Sample:
    """pgshim at one moment; seconds since the start, KiB."""

    seconds: float
    resident: int
    descriptors: int
    observation: Observation


class Soak:
    """One run against one pgshim."""

    def __init__(self, shim: ObservedPgshim, seconds: float) -> None:
        self._shim = shim
        self._seconds = seconds
        self._start = time.monotonic()
        #: CPU time and seconds at the last row.
        self._cpu, self._at = cpu_seconds(shim.pid), 0.0
        self.samples: list[Sample] = []

    async def sample(self) -> Sample:
        """Look at pgshim."""
        observation = await self._shim.observe()
        seconds = time.monotonic() - self._start
        return Sample(seconds, resident_kib(self._shim.pid), descriptors(self._shim.pid), observation)

    def row(self, sample: Sample, site: Site) -> Row:
        """A line of the table; CPU time is that since the last."""
        cpu = cpu_seconds(self._shim.pid)
        share = 100 * (cpu - self._cpu) / max(sample.seconds - self._at, 0.01)
        self._cpu, self._at = cpu, sample.seconds
        seen = sample.observation
        numbers = (site.operations, site.clients, sample.descriptors, seen.tasks, seen.objects, seen.blocks)
        return f"{sample.seconds:.0f}", mib(sample.resident), f"{share:.0f}", *(f"{number:,}" for number in numbers)

    async def work(self, site: Site) -> AsyncGenerator[Row, None]:
        """Let the clients work, and look at pgshim all the while."""
        asyncio.get_running_loop().set_exception_handler(site.on_loop_error)
        tasks = [asyncio.create_task(site.repeat(turn)) for turn, count in CLIENTS.items() for _ in range(count)]
        end = self._start + self._seconds
        shown = self._start
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(INTERVAL, self._seconds / LEAST_SAMPLES, left))
            self.samples.append(await self.sample())
            if time.monotonic() - shown >= INTERVAL - 1:
                shown = time.monotonic()
                yield self.row(self.samples[-1], site)
            ended = [task for task in tasks if task.done()]
            if ended:
                await asyncio.gather(*ended)
        site.over.set()
        await asyncio.gather(*tasks)

    def check_growth(self) -> None:
        """Raise NotMet if the last third of the time had more memory than the second."""
        middle, last = (
            statistics.mean(
                each.resident for each in self.samples if third / 3 < each.seconds / self._seconds <= (third + 1) / 3
            )
            for third in (1, 2)
        )
        if last - middle > min(SHARE * middle, GROWTH):
            raise NotMet(
                f"pgshim's memory was {mib(middle)} MiB in the second third of the time and {mib(last)} MiB in the last"
            )

    async def check_end(self, before: Sample) -> Sample:
        """Raise NotMet if descriptors or tasks are left when all clients have gone."""
        give_up = time.monotonic() + PATIENCE
        while True:
            after = await self.sample()
            more = after.descriptors - before.descriptors, after.observation.tasks - before.observation.tasks
            if max(more) <= 0:
                return after
            if time.monotonic() > give_up:
                raise NotMet(f"all clients have left, and pgshim has {more[0]} descriptors and {more[1]} tasks more")
            await asyncio.sleep(0.5)


async def measure(postgres: PostgresServer, shim: ObservedPgshim, seconds: float) -> AsyncGenerator[Row, None]:
    """(s, MiB, CPU %, operations, clients, descriptors, tasks, objects, blocks). Raises NotMet."""
    site = Site(shim.endpoint())
    await asyncio.gather(*(warm_up(site) for _ in range(WARM_CLIENTS)))
    await asyncio.sleep(1)
    soak = Soak(shim, seconds)
    before = await soak.sample()
    yield soak.row(before, site)
    async with asyncpg.create_pool(site.endpoint.url, min_size=4, max_size=16, max_queries=2000) as site.pool:
        async for row in soak.work(site):
            yield row
    after = await soak.check_end(before)
    yield soak.row(after, site)
    if site.faults:
        raise NotMet(f"{len(site.faults)} of {site.operations} operations went wrong; the first: {site.faults[0]}")
    soak.check_growth()
    if count := await busy_servers(postgres):
        raise NotMet(f"{count} servers are still at work for clients that have left")


def rows(seconds: float) -> Iterator[Row]:
    """See `measure`; the clients work for so many seconds."""
    raise_file_limit()
    with (
        PostgresServer() as postgres,
        # MD5, because with SCRAM the clients would mostly compute keys.
        PgBouncer(postgres, pool_size=POOL, settings={"auth_type": "md5"}) as pooler,
        ObservedPgshim(pooler, options=["--loop", "uvloop"]) as shim,
    ):
        yield from drive(measure(postgres, shim, seconds))
