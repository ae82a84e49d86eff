"""Where traces go: a file that only its owner can read, written by a thread that nobody waits for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

import pytest

from pgshim.errors import ConfigurationError
from pgshim.proxy import tracing
from pgshim.proxy.tracing import Tracing, check_file
from pgshim.session.trace import Leg

SYNC = b"S\0\0\0\4"


def tell(trace: Tracing, times: int = 1) -> None:
    of = trace.trace(7)
    for _ in range(times):
        of.tell(Leg.PASSES_UP, SYNC)


def wait_for(text: str, log: pytest.LogCaptureFixture) -> None:
    end = time.monotonic() + 5
    while text not in log.text:
        assert time.monotonic() < end, log.text
        time.sleep(0.01)


def test_lines_are_appended_under_a_heading_for_each_day(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("before\n")
    trace = Tracing(str(path))
    tell(trace, 2)
    trace.close()
    before, heading, *lines = path.read_text().splitlines()
    assert before == "before"
    assert re.fullmatch(r"-- \d{4}-\d\d-\d\d pgshim \S+: F client, B upstream, \| pgshim", heading)
    assert len(lines) == 2
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6} #7   F----->B                4 Sync", line) for line in lines)


def test_each_worker_has_its_number(tmp_path: Path) -> None:
    trace = Tracing(str(tmp_path / "trace"), worker=2)
    tell(trace)
    trace.close()
    assert " [2] #7 F----->B " in (tmp_path / "trace").read_text()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    check_file(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    check_file("-")


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "trace"
    with pytest.raises(ConfigurationError, match=rf"--trace {path} cannot be written: no such file .*; give another"):
        check_file(str(path))


def test_a_full_disk_ends_the_trace_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    trace = Tracing("/dev/full")
    tell(trace)
    wait_for("the trace ends here: /dev/full: no space left on device", caplog)
    tell(trace, 100)
    trace.close()
    assert caplog.text.count("the trace ends here") == 1


def test_a_directory_that_is_gone_ends_the_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trace = Tracing(str(tmp_path / "gone" / "trace"))
    tell(trace)
    wait_for("the trace ends here", caplog)
    trace.close()


@pytest.mark.parametrize("is_blocking", [True, False])
def test_nobody_waits_for_a_reader_and_what_is_lost_is_counted(
    is_blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_MOST_WAITING", 4000)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, is_blocking)
    trace = Tracing(f"/dev/fd/{writer}")
    if not is_blocking:
        # Opened anew it would block: stderr is not opened.
        monkeypatch.setattr(tracing.os, "open", lambda *_: os.dup(writer))
    began = time.monotonic()
    # The thread must have begun to write before as much waits again.
    for _ in range(200):
        tell(trace, 5)
        time.sleep(0.001)
    assert time.monotonic() - began < 5
    text = b""
    while b"lines lost here" not in text:
        text += os.read(reader, 65536)
    found = re.search(rb"-- (\d+) lines lost here: they came faster than they could be written\n", text)
    assert found is not None
    trace.close()
    os.set_blocking(reader, False)
    with contextlib.suppress(BlockingIOError):
        text += os.read(reader, 1 << 20)
    os.close(reader)
    os.close(writer)
    assert text.count(b" Sync\n") + int(found[1]) == 1000


def test_closing_waits_for_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_PATIENCE", 0.1)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    trace = Tracing(f"/dev/fd/{writer}")
    tell(trace, 500)
    began = time.monotonic()
    trace.close()
    assert time.monotonic() - began < 2
    os.close(writer)
    os.close(reader)


def test_nothing_is_written_where_nothing_was_told(tmp_path: Path) -> None:
    Tracing(str(tmp_path / "trace")).close()
    assert not (tmp_path / "trace").exists()
