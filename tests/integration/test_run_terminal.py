"""`pgshim run` in a terminal: its keys reach the command once, and a shell's job control works on it."""

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect

from pgshim.demo.processes import clean_environment

if TYPE_CHECKING:
    from tests.integration.conftest import Stack

ROOT = Path(__file__).parent.parent.parent
NOWHERE = "postgresql://u:p@127.0.0.1:1/d"
RUN = f"{sys.executable} -m pgshim run -q --"
SECONDS = 15


def environment(url: str = NOWHERE) -> dict[str, str]:
    inherited = {name: value for name, value in clean_environment().items() if not name.startswith("PGSHIM_")}
    plain = {"PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": "", "TERM": "dumb", "PGSHIM_LOG_LEVEL": "error"}
    return {**inherited, **plain, "DATABASE_URL": url, "PS1": "prompt> ", "HISTFILE": "/dev/null"}


@contextmanager
def terminal(command: str, arguments: list[str], url: str = NOWHERE) -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(command, arguments, env=environment(url), encoding="utf-8", timeout=SECONDS, echo=False)
    try:
        yield child
    finally:
        child.close(force=True)


@contextmanager
def shell(url: str = NOWHERE) -> Iterator[pexpect.spawn]:
    """An interactive bash."""
    with terminal("bash", ["--norc", "--noprofile", "--noediting", "-i"], url) as child:
        child.expect_exact("prompt> ")
        yield child


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    return f"{RUN} {sys.executable} -u {path}"


SLEEPING = "import signal, time; signal.signal(2, signal.SIG_DFL); print('ready'); time.sleep(20)"

COUNTING = """
    import signal, time
    count = 0
    def note(number, frame):
        global count
        count += 1
        print("got", signal.Signals(number).name, count)
    for name in ("SIGINT", "SIGQUIT", "SIGWINCH", "SIGTERM"):
        signal.signal(getattr(signal, name), note)
    print("ready")
    end = time.monotonic() + 1.5
    while (rest := end - time.monotonic()) > 0:
        time.sleep(rest)
    print("total", count)
    """


def test_ctrl_c_reaches_the_command_once(tmp_path: Path) -> None:
    with shell() as child:
        child.sendline(script(tmp_path, COUNTING))
        child.expect_exact("ready")
        child.sendintr()
        child.expect_exact("got SIGINT 1")
        child.setwinsize(40, 100)
        child.expect_exact("got SIGWINCH 2")
        child.expect_exact("total 2")
        child.expect_exact("prompt> ")


def test_ctrl_c_ends_pgshim_with_the_command_as_it_would_end_the_command(tmp_path: Path) -> None:
    with shell() as child:
        child.sendline(script(tmp_path, SLEEPING))
        child.expect_exact("ready")
        child.sendintr()
        child.expect_exact("prompt> ")
        child.sendline("echo code $?")
        child.expect_exact("code 130")


def test_a_loop_in_a_script_ends_with_ctrl_c(tmp_path: Path) -> None:
    """A shell goes by how its child ended: a child that only exits with 130 would not end the loop."""
    program = script(tmp_path, SLEEPING)
    with terminal("bash", ["-c", f"while true; do {program}; done"]) as child:
        child.expect_exact("ready")
        child.sendintr()
        child.expect(pexpect.EOF)
        assert "ready" not in child.before


def test_ctrl_z_stops_the_job_and_fg_goes_on_with_it(tmp_path: Path) -> None:
    with shell() as child:
        child.sendline(script(tmp_path, "print('ready'); print('read', input()); print('read', input())"))
        child.expect_exact("ready")
        child.sendline("one")
        child.expect_exact("read one")
        child.send("\x1a")
        child.expect("Stopped.*prompt> ")
        child.sendline("jobs -s | wc -l; fg")
        child.expect("1.*program.py")
        child.sendline("two")
        child.expect_exact("read two")
        child.expect_exact("prompt> ")


def test_a_job_in_the_background_stops_when_it_reads(tmp_path: Path) -> None:
    with shell() as child:
        child.sendline(script(tmp_path, "print('ready'); print('read', input())") + " &")
        child.expect_exact("ready")
        child.sendline("")
        child.expect("Stopped")
        child.sendline("fg")
        child.expect("program.py")
        child.sendline("one")
        child.expect_exact("read one")


def test_kill_of_the_job_ends_it(tmp_path: Path) -> None:
    with shell() as child:
        child.sendline(script(tmp_path, "print('ready'); import time; time.sleep(20)") + " &")
        child.expect_exact("ready")
        child.sendline("kill %1; wait %1; echo code $?")
        child.expect_exact("code 143")


def test_the_terminal_going_away_ends_the_command(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"""
        import signal, sys, time
        def end(number, frame):
            open({str(mark)!r}, "a").write("hangup")
            sys.exit()
        signal.signal(signal.SIGHUP, end)
        print("ready")
        time.sleep(20)
    """
    command, *arguments = script(tmp_path, text).split()
    with terminal(command, arguments) as child:
        child.expect_exact("ready")
        child.ptyproc.fileobj.close()
        child.closed = True
        child.ptyproc.closed = True
        child.wait()
    assert mark.read_text() == "hangup"


def test_psql_has_the_terminal(plain_stack: "Stack") -> None:
    url = plain_stack.pgbouncer.endpoint().url
    with shell(url) as child:
        child.sendline(f'{RUN} sh -c \'exec psql -X "$DATABASE_URL"\'')
        child.expect_exact("app=> ")
        child.sendline("SELECT 6 * 7 AS answer;")
        child.expect_exact("42")
        child.expect_exact("app=> ")
        child.sendline("SELECT pg_sleep(20);")
        child.expect(pexpect.TIMEOUT, timeout=0.5)
        # A CancelRequest through pgshim, and psql goes on.
        child.sendintr()
        child.expect_exact("canceling statement due to user request")
        child.expect_exact("app=> ")
        child.send("\x1a")
        child.expect("Stopped.*prompt> ")
        child.sendline("fg")
        child.sendline("SELECT 6 * 8 AS answer;")
        child.expect_exact("48")
        child.sendline("\\q")
        child.expect_exact("prompt> ")


def test_a_pager_behind_the_command_has_the_terminal_too(tmp_path: Path) -> None:
    pager = "import sys; text = sys.stdin.read(); print('key', open('/dev/tty').readline(), text)"
    with shell() as child:
        child.sendline(f'{script(tmp_path, "print(1 * 7)")} | {sys.executable} -c "{pager}"')
        child.expect(pexpect.TIMEOUT, timeout=1)
        child.sendline("pressed")
        child.expect("key pressed.*7")
