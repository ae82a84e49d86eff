"""What can be said of the files of deploy/ without running them: schemas, linters, and what has to agree in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.machine import ROOT, run

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SCHEMAS = [("vendor.compose-spec", DEPLOY / "compose.yaml")] + [
    ("vendor.github-workflows", path) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
]


def program(name: str) -> Path:
    return Path(sys.executable).parent / name


@pytest.mark.parametrize("path", [ROOT / "Dockerfile", DEPLOY / "example-app" / "Dockerfile"], ids=str)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    assert run(program("hadolint"), "--failure-threshold", "style", path) == ""


@pytest.mark.parametrize(("schema", "path"), SCHEMAS, ids=str)
def test_the_schema_holds(schema: str, path: Path) -> None:
    run(program("check-jsonschema"), "--builtin-schema", schema, path)


#: Native sidecars are of 1.29.
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_takes_the_manifests(version: str) -> None:
    said = run(program("kubernetes-validate"), "--strict", "--kubernetes-version", version, *MANIFESTS)
    for kind in ("deployment", "service", "poddisruptionbudget", "networkpolicy"):
        assert f"passed for resource {kind}/pgshim against version {version}" in said
    assert f"passed for resource deployment/app against version {version}" in said


def test_kubernetes_validate_would_notice() -> None:
    wrong = MANIFESTS[0].read_text().replace("readOnlyRootFilesystem", "readonlyRootFilesystem", 1)
    command = [program("kubernetes-validate"), "--strict", "/dev/stdin"]
    done = subprocess.run(command, input=wrong, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "readonlyRootFilesystem" in done.stdout + done.stderr


def pods() -> list[Any]:
    """(name, the pod's spec) of each Deployment."""
    documents = [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())]
    return [(d["metadata"]["name"], d["spec"]["template"]["spec"]) for d in documents if d["kind"] == "Deployment"]


@pytest.mark.parametrize(("name", "pod"), pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_pod_is_what_the_restricted_profile_asks_for(name: str, pod: dict[str, Any]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(volume.keys() <= {"name", "secret"} for volume in pod.get("volumes", []))
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert not any("hostPort" in port for port in container.get("ports", []))
        assert {"requests", "limits"} == container["resources"].keys()


@pytest.mark.parametrize(("name", "pod"), pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_pod_is_given_the_time_that_a_drain_takes(name: str, pod: dict[str, Any]) -> None:
    (shim,) = (each for each in [*pod.get("initContainers", []), *pod["containers"]] if each["name"] == "pgshim")
    environment = {each["name"]: each.get("value", "") for each in shim["env"]}
    # 30 s is what --drain-timeout is by itself.
    seconds = int(environment.get("PGSHIM_DRAIN_TIMEOUT", "30s").removesuffix("s"))
    seconds += int(shim.get("lifecycle", {"preStop": {"exec": {"command": ["0"]}}})["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > seconds + 5
    # The probes go where the metrics are.
    (metrics,) = (port["containerPort"] for port in shim["ports"] if port["name"] == "metrics")
    assert environment["PGSHIM_METRICS"] == f"0.0.0.0:{metrics}"
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert shim[probe]["httpGet"] == {"path": path, "port": "metrics"}


def test_the_compose_file_gives_the_time_that_a_drain_takes() -> None:
    grace = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["pgshim"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > 35


def test_the_environment_file_names_options_that_there_are() -> None:
    """So do the manifests and the compose file."""
    files = [ROOT / "Dockerfile", *(path for path in DEPLOY.rglob("*") if path.is_file())]
    named = {name for path in files for name in re.findall(r"\bPGSHIM_([A-Z_]+)\b", path.read_text())}
    options = set(re.findall(r"--(?:no-)?([a-z-]+)", run(sys.executable, "-m", "pgshim", "--help")))
    assert {name.lower().replace("_", "-") for name in named} <= options
    assert len(named) >= 8
