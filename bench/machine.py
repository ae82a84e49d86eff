"""The machine, and what a process on it has used."""

import contextlib
import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path

from pgshim import __version__
from pgshim.demo.binaries import find_pgbouncer, find_postgres

TICK = os.sysconf("SC_CLK_TCK")


def describe() -> str:
    """Processor, cores, kernel and Python, on one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {system}"


def versions() -> list[str]:
    """What takes part in every measurement: pgshim, PostgreSQL, PgBouncer."""
    postgres = _version(find_postgres().bindir / "postgres")
    return [f"pgshim {__version__}", f"PostgreSQL {postgres}", f"PgBouncer {_version(find_pgbouncer())}"]


def _version(program: Path) -> str:
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", output)
    assert found is not None, output
    return found[0]


def busy() -> str:
    """How busy the machine is before anything is measured: its load over the last minute."""
    return f"load average {os.getloadavg()[0]:.1f}"


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used so far, to the nanosecond."""
    # Linux: the clock of a process by its number, as clock_getcpuclockid(3) builds it. /proc counts in steps of 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


def family_cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its children, those that have ended included."""
    total = cpu_seconds(pid)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total += (int(fields[13]) + int(fields[14])) / TICK
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        # One that has just ended is counted when its parent has noticed.
        with contextlib.suppress(OSError):
            total += cpu_seconds(int(child))
    return total


def resident_kib(pid: int) -> int:
    """Resident memory of a process, in KiB."""
    return _status_kib(pid, "VmRSS:")


def peak_kib(pid: int) -> int:
    """The most resident memory that a process has had since `reset_peak`, in KiB."""
    return _status_kib(pid, "VmHWM:")


def reset_peak(pid: int) -> None:
    """Let the peak begin at what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


def descriptors(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def raise_file_limit() -> int:
    """Allow as many open files as the hard limit does, here and in what is started from here; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
