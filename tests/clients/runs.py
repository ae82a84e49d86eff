"""Runs a client program as several processes at once, and reads what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pgshim.demo.processes import Endpoint, clean_environment
from tests.matrix.results import Outcome

# One that hangs in spite of its own limits.
PROCESS_SECONDS = 240


@dataclass(frozen=True)
class Run:
    """What one process said, feature by feature, and why it cannot be trusted, if so."""

    version: str
    features: dict[str, tuple[Outcome, str]]
    complaint: str


@dataclass
class Report:
    """What all processes of a program said together."""

    version: str = ""
    features: dict[str, tuple[Outcome, str]] = field(default_factory=dict)

    def count(self, *outcomes: Outcome) -> int:
        return sum(outcome in outcomes for outcome, _ in self.features.values())


def run(
    command: Sequence[str], endpoint: Endpoint, *, processes: int, is_refusing: bool, feature_seconds: int
) -> Report:
    """Runs the program so many times at once; a feature went as it did for the process with which it went worst."""
    environment = clean_environment(
        PGHOST=endpoint.host,
        PGPORT=str(endpoint.port),
        PGUSER=endpoint.user,
        PGPASSWORD=endpoint.password,
        PGDATABASE=endpoint.database,
        CLIENT_REFUSES=str(int(is_refusing)),
        CLIENT_SECONDS=str(feature_seconds),
        # Java would write files in the system's encoding.
        LC_ALL="C.UTF-8",
        LANG="C.UTF-8",
    )
    environments = [{**environment, "CLIENT_WORKER": str(worker)} for worker in range(processes)]
    with ThreadPoolExecutor(processes) as threads:
        return _together(list(threads.map(partial(_one, command), environments)))


def _one(command: Sequence[str], environment: dict[str, str]) -> Run:
    process = subprocess.Popen(
        command,
        env={**environment, "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        process_group=0,
    )
    try:
        output, log = process.communicate(timeout=PROCESS_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, log = process.communicate()
        log += f"\nIt did not end within {PROCESS_SECONDS} s."
    lines: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    version = next((line["version"] for line in lines if "driver" in line), "")
    features = {line["feature"]: (Outcome(line["outcome"]), line["detail"]) for line in lines if "feature" in line}
    has_failure = any(outcome is Outcome.FAILED for outcome, _ in features.values())
    complaint = ""
    if process.returncode != int(has_failure) or not features:
        complaint = f"it ended with exit code {process.returncode}: {log.strip()[-600:]}"
    return Run(version, features, complaint)


def _together(runs: Sequence[Run]) -> Report:
    report = Report(next((run.version for run in runs if run.version), ""))
    names = dict.fromkeys(name for run in runs for name in run.features)
    for name in names:
        said = [run.features.get(name, (Outcome.FAILED, run.complaint or "it did not get there")) for run in runs]
        failed = [detail for outcome, detail in said if outcome is Outcome.FAILED]
        if failed:
            report.features[name] = (Outcome.FAILED, f"{len(failed)} of {len(runs)} processes: {failed[0]}")
        elif any(outcome is not said[0][0] for outcome, _ in said):
            report.features[name] = (Outcome.FAILED, f"the processes do not agree: {said}")
        else:
            report.features[name] = said[0]
    complaints = [run.complaint for run in runs if run.complaint]
    if complaints:
        report.features["the process"] = (Outcome.FAILED, complaints[0])
    return report
