"""A small Debian, the image on top of it, and containers of that image.

Needs root, debootstrap, buildah and runc. What takes long is kept in `build/deploy`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "build" / "deploy"
BASE = "localhost/pgshim-test-base"
IMAGE = "localhost/pgshim-test"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
SECONDS = 30.0
BUILD_SECONDS = 450


def run(*command: object, timeout: float = BUILD_SECONDS, stdin: str = "") -> str:
    """What it prints; its complaints are in the failure."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout, input=stdin)
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def eventually(holds: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What it says as soon as that is true."""
    end = time.monotonic() + seconds
    while not (outcome := holds()):
        assert time.monotonic() < end, holds
        time.sleep(0.1)
    return outcome


def debian(name: str, *packages: str) -> Path:
    """A root folder with these packages, made once."""
    folder = KEPT / name
    if not folder.exists():
        cache, unfinished = KEPT / "packages", KEPT / f"{name}.unfinished"
        cache.mkdir(parents=True, exist_ok=True)
        run("rm", "-rf", unfinished)
        run(
            "debootstrap", "--variant=minbase", f"--cache-dir={cache}", f"--include={','.join(packages)}",
            "bookworm", unfinished, MIRROR,
        )  # fmt: skip
        unfinished.rename(folder)
    return folder


def buildah(*command: object) -> str:
    places = "--root", KEPT / "store", "--runroot", KEPT / "run", "--storage-driver", "vfs"
    return run("buildah", *places, *command).strip()


def build() -> str:
    """The image of the Dockerfile; its name."""
    if BASE not in buildah("images", "--format", "{{.Name}}"):
        folder = debian("base", "python3", "python3-venv", "ca-certificates")
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, folder, "/")
        buildah("commit", "--quiet", "--rm", container, BASE)
        run("rm", "-rf", folder)
    # What this machine trusts, and where its pip looks, holds while pip runs; mounts do not get into the image.
    trusted = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    places = {trusted: "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf": "/etc/pip.conf"}
    volumes = [f"--volume={here}:{there}:ro" for here, there in places.items() if Path(here).exists()]
    buildah("build", "--isolation=chroot", "--format=docker", f"--build-arg=BASE={BASE}", *volumes, "-t", IMAGE, ROOT)
    # What had the name before.
    buildah("rmi", "--prune", "--force")
    return IMAGE


def configuration(image: str) -> dict[str, Any]:
    """What the image says of how it is run."""
    config: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    return config


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """The image's root folder, writable, and thrown away in the end."""
    container = buildah("from", image)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("rm", container)


class Container:
    """The image, run by runc: a network of its own, read-only, without capabilities, `folders` bound into it."""

    def __init__(self, root: Path, bundle: Path, config: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        self.name = f"pgshim-test-{os.getpid()}-{bundle.name}"
        self.bundle = bundle
        self.config = config
        run("runc", "spec", "--bundle", bundle)
        self.spec = json.loads((bundle / "config.json").read_text())
        user = int(config["User"].partition(":")[0])
        self.spec["root"] = {"path": str(root), "readonly": True}
        self.spec["process"] |= {
            "terminal": False,
            "user": {"uid": user, "gid": user},
            "args": [*config["Entrypoint"], *(config["Cmd"] or [])],
            "cwd": config["WorkingDir"] or "/",
            "noNewPrivileges": True,
            "capabilities": {},
        }
        self.spec["mounts"] = [each for each in self.spec["mounts"] if each["type"] != "cgroup"]
        for inside, outside in folders.items():
            bind = {"destination": inside, "source": str(outside), "type": "bind", "options": ["rbind", "ro"]}
            self.spec["mounts"].append(bind)
        self._process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        self.spec["process"]["args"] += arguments
        self.spec["process"]["env"] = [*self.config["Env"], *(f"{name}={it}" for name, it in environment.items())]
        (self.bundle / "config.json").write_text(json.dumps(self.spec))
        command = [*self._runc("run"), "--bundle", str(self.bundle), self.name]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return self._process

    def _runc(self, command: str) -> list[str]:
        return ["runc", "--root", str(self.bundle), command]

    def execute(self, *command: str) -> int:
        """The exit code of a command inside."""
        return subprocess.run([*self._runc("exec"), self.name, *command], capture_output=True, timeout=20).returncode

    @property
    def pid(self) -> int:
        """The first process inside."""
        return int(json.loads(run(*self._runc("state"), self.name))["pid"])

    def signal(self, name: str) -> None:
        run(*self._runc("kill"), self.name, name)

    def is_healthy(self) -> bool:
        """What HEALTHCHECK says."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.execute(*command) == 0

    def end(self) -> None:
        subprocess.run([*self._runc("delete"), "--force", self.name], capture_output=True, timeout=20)
        if self._process is not None:
            self._process.wait(20)
            assert self._process.stderr is not None
            self._process.stderr.close()
