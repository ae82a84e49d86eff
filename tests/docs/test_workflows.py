"""The workflows are what GitHub takes, and call what the Makefile has."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.markdown import ROOT

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))


@pytest.mark.parametrize(
    ("schema", "files"),
    [("vendor.github-workflows", WORKFLOWS), ("vendor.dependabot", [FOLDER / "dependabot.yml"])],
)
def test_they_fit_the_schema(schema: str, files: list[Path]) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_no_more_than_it_says(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_all_that_ci_runs_is_run_there() -> None:
    workflow = yaml.safe_load((FOLDER / "workflows" / "test.yml").read_text())
    called = {word for line in _commands(workflow) for word in line.split()[1:] if line.startswith("make ")}
    called |= set(workflow["jobs"]["matrix"]["strategy"]["matrix"]["target"])
    ci = (ROOT / ".ci" / "run").read_text()
    wanted = set(re.findall(r"[a-z][a-z-]+", " ".join(re.findall(r'(?:matrix[+]?="|for target in )(.*)', ci))))
    assert wanted - {"do", "matrix", "target"} <= called
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in called if re.fullmatch(r"[a-z-]+", word)} <= targets


def _commands(workflow: dict[str, Any]) -> list[str]:
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
