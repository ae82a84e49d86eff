"""pgshim with --metrics as its tests see it: its answers by HTTP, and its figures."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families

from pgshim.demo.processes import ServerProcess
from pgshim.demo.servers import PgBouncer, PgshimProcess

SECONDS = 15.0

_LISTENING = re.compile(r"metrics and health on (127\.0\.0\.1:\d+)")


class Monitored:
    """A pgshim that is running, and its --metrics."""

    def __init__(self, process: PgshimProcess) -> None:
        self.process = process
        until(lambda: _LISTENING.search(process.log()) is not None)
        found = _LISTENING.search(process.log())
        assert found is not None
        self.address = found[1]

    @property
    def url(self) -> str:
        return self.process.endpoint().url

    def get(self, path: str, method: str = "GET", accept: str = "") -> tuple[int, str, str]:
        """(status, content type, body)."""
        headers = {"Accept": accept} if accept else {}
        request = urllib.request.Request(f"http://{self.address}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                return response.status, response.headers["Content-Type"], response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    def figures(self) -> dict[str, float]:
        """What /metrics says: `name` or `name{value,value}` -> figure."""
        found = {}
        for family in text_string_to_metric_families(self.get("/metrics")[2]):
            for sample in family.samples:
                labels = ",".join(sample.labels.values())
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


@contextmanager
def monitored(pooler: PgBouncer | ServerProcess, *options: str) -> Iterator[Monitored]:
    """pgshim with --metrics and these options, in front of a pooler."""
    with PgshimProcess(pooler, options=["--metrics", "127.0.0.1:0", *options]) as process:
        yield Monitored(process)
        assert "Traceback (most recent call last)" not in process.log(), process.log()


def until(is_so: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
