"""A small Debian, an image on top of it, containers of that image, and a systemd that is the first process of one.

Needs root, debootstrap, buildah and runc. What takes long is kept in `build/deploy`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    # Whatever this machine trusts is trusted while pip runs; a file that is mounted does not get into the image.
    trusted = os.environ.get("SSL_CERT_FILE")
    volumes = [f"--volume={trusted}:/etc/ssl/certs/ca-certificates.crt:ro"] if trusted else []
    buildah("build", "--isolation=chroot", "--format=docker", f"--build-arg=BASE={BASE}", *volumes, "-t", IMAGE, ROOT)
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


#: What makes a machine of a root folder, in namespaces of its own, and becomes its first process.
BOOT = """
set -e
root=$1 pool=$2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -p "$root/dev/shm" "$root/srv/pool" "$root/outside"
mount -t tmpfs tmpfs "$root/dev/shm"
mount --bind "$pool" "$root/srv/pool"
ip link set lo up
cd "$root"
pivot_root . outside
umount -l /outside
exec env -i container=test PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --log-target=console
"""


class Machine:
    """systemd as the first process of a root folder, with a network of its own, and `pool` at /srv/pool."""

    def __init__(self, root: Path, pool: Path, log: Path) -> None:
        self.root = root
        # All that it starts belongs to a control group of its own.
        mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
        self._group = next(Path(words[1]) for words in mounts if words[2] == "cgroup2") / f"pgshim-test-{os.getpid()}"
        self._group.mkdir()
        namespaces = "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child"
        join = f"echo $$ > {self._group}/cgroup.procs; exec \"$@\""
        boot = "unshare", *namespaces, "bash", "-c", BOOT, "boot", str(root), str(pool)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "-c", join, "join", *boot], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        self.pid = 0
        eventually(self._has_booted)

    def _has_booted(self) -> bool:
        assert self._process.poll() is None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return False
        self.pid = int(children[0])
        if Path(f"/proc/{self.pid}/comm").read_text() != "systemd\n":
            return False
        # "degraded" has booted as well; what a test needs it starts itself.
        state = subprocess.run(self.inside("systemctl", "is-system-running"), capture_output=True, text=True).stdout
        return state.strip() in ("running", "degraded")

    def inside(self, *command: str) -> Sequence[str]:
        """The command line that runs one in there."""
        clean = "env", "-i", "PATH=/usr/sbin:/usr/bin", "SYSTEMD_PAGER="
        return ["nsenter", "--target", str(self.pid), "--all", "--root", "--wd", *clean, *command]

    def do(self, *command: str) -> str:
        return run(*self.inside(*command), timeout=90).strip()

    def show(self, name: str, unit: str = "pgshim.service") -> str:
        return self.do("systemctl", "show", "--property", name, "--value", unit)

    def log(self) -> str:
        return self.do("journalctl", "--unit", "pgshim.service", "--no-pager", "--output", "cat")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        eventually(lambda: "populated 0" in (self._group / "cgroup.events").read_text())
        for group in sorted(self._group.rglob("*"), reverse=True):
            if group.is_dir():
                group.rmdir()
        self._group.rmdir()
