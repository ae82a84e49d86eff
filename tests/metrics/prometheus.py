"""A real Prometheus that scrapes pgshim each second, for a test."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pgshim.demo.processes import ServerProcess

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"

_CONFIGURATION = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files:
  - {alerts}
scrape_configs:
  - job_name: pgshim
    static_configs:
      - targets: ["{target}"]
"""


class Prometheus(ServerProcess):
    """Has the job `pgshim`, and the alert rules of deploy/."""

    name = "prometheus"

    def __init__(self, target: str) -> None:
        super().__init__()
        self._target = target

    def _prepare(self) -> None:
        # Its account need not be able to read the checkout.
        alerts = self._write("alerts.yml", ALERTS.read_text())
        self._write("prometheus.yml", _CONFIGURATION.format(alerts=alerts, target=self._target))

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                "prometheus",
                f"--config.file={self.directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--web.listen-address={self.host}:{self.port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port}/-/ready", timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The vector that an expression has now. Raises AssertionError with the reason if it is wrong."""
        found: list[dict[str, Any]] = self._ask("query", {"query": expression})["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """The alert rules, with their health."""
        return [rule for group in self._ask("rules", {})["groups"] for rule in group["rules"]]

    def _ask(self, what: str, parameters: Mapping[str, str]) -> Any:
        url = f"http://{self.host}:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from error
