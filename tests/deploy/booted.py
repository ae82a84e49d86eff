"""A systemd that is the first process of a small Debian: namespaces of its own, of which nothing is left in the end.

Needs root, and a mount of cgroup2.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.deploy.machine import eventually, run

#: What makes a machine of folders that lie on top of each other, and becomes its first process. All that is written is
#: in memory, and gone with it.
BOOT = """
set -e
folders=$1 pool=$2
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
root=/mnt/root
mount -t overlay overlay -o "lowerdir=$folders,upperdir=/mnt/upper,workdir=/mnt/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -p "$root/dev/shm" "$root/dev/pts" "$root/srv/pool" "$root/outside"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --bind "$pool" "$root/srv/pool"
ip link set lo up
cd "$root"
pivot_root . outside
umount -l /outside
# As systemd expects of who starts it: what it mounts for a service has to be seen there.
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --log-target=journal
"""


class Machine:
    """systemd as the first process of `folders`, the first of which is on top, with a network of its own.

    `pool` is at /srv/pool. What the console shows goes to `log`.
    """

    def __init__(self, folders: Sequence[Path], pool: Path, log: Path) -> None:
        # All that it starts belongs to a control group of its own.
        mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
        self._group = next(Path(words[1]) for words in mounts if words[2] == "cgroup2") / f"pgshim-test-{os.getpid()}"
        self._group.mkdir()
        self._log = log
        namespaces = "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child"
        join = f'echo $$ > {self._group}/cgroup.procs; exec "$@"'
        boot = "unshare", *namespaces, "bash", "-c", BOOT, "boot", ":".join(map(str, folders)), str(pool)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "-c", join, "join", *boot], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        self.pid = 0
        try:
            eventually(self._has_booted)
        except BaseException:
            self.end()
            raise

    def _has_booted(self) -> bool:
        assert self._process.poll() is None, self._log.read_text(errors="replace")
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
        # journald may not have written the last lines yet.
        self.do("journalctl", "--sync")
        return self.do("journalctl", "--unit", "pgshim.service", "--no-pager", "--output", "cat")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        eventually(lambda: "populated 0" in (self._group / "cgroup.events").read_text())
        for group in sorted(self._group.rglob("*"), reverse=True):
            if group.is_dir():
                group.rmdir()
        self._group.rmdir()
