"""`pgshim check` in a terminal: the password's prompt, Ctrl-C there, and escape sequences."""

import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from pgshim.check import run
from pgshim.demo.processes import clean_environment
from pgshim.demo.servers import PgBouncer

ROOT = Path(__file__).parent.parent.parent
PROMPT = "Password for user app: "
SECONDS = 15


@contextmanager
def terminal(url: str, **environment: str) -> Iterator[pexpect.spawn]:
    kept = {name: value for name, value in clean_environment().items() if not name.startswith(("PGSHIM_", "NO_COLOR"))}
    plain = {"PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": "", "HOME": "/nonexistent", "TERM": "xterm-256color"}
    words = ["-m", "pgshim", "check", url]
    child = pexpect.spawn(
        sys.executable, words, env={**kept, **plain, **environment}, encoding="utf-8", timeout=SECONDS
    )
    try:
        yield child
    finally:
        child.close(force=True)


def without_password(pooler: PgBouncer) -> str:
    endpoint = pooler.endpoint()
    assert f":{endpoint.password}@" in endpoint.url
    return endpoint.url.replace(f":{endpoint.password}@", "@")


def rest_of(child: pexpect.spawn) -> str:
    child.expect(pexpect.EOF)
    child.close()
    text: str = child.before
    return text


def test_one_interrupt_at_the_prompt_ends_it(pooler: PgBouncer) -> None:
    with terminal(without_password(pooler)) as child:
        child.expect_exact(PROMPT)
        child.sendintr()
        assert "Traceback" not in rest_of(child)
        assert (child.exitstatus, child.signalstatus) == (130, None)


def test_an_interrupt_while_nobody_answers_ends_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql://u:p@127.0.0.1:{listener.getsockname()[1]}/d"
        with terminal(url) as child:
            child.expect_exact("TLS")
            child.sendintr()
            assert "Traceback" not in rest_of(child)
            assert child.exitstatus == 130


SLOW_RESOLVER = """
import socket, time
socket.getaddrinfo = lambda *arguments, **named: time.sleep(30)
"""


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_a_slow_resolver_holds_up_neither_an_interrupt_nor_the_end(is_interrupted: bool, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_RESOLVER)
    with terminal("postgresql://u:p@h/d?connect_timeout=1", PYTHONPATH=f"{tmp_path}:{ROOT}") as child:
        child.expect_exact("Address")
        if is_interrupted:
            child.sendintr()
        text = rest_of(child)
        assert "Traceback" not in text
        assert ("no answer in time" in text) is not is_interrupted
        assert child.exitstatus == (130 if is_interrupted else 1)


def test_a_password_that_is_typed_is_used_and_not_shown(pooler: PgBouncer) -> None:
    with terminal(without_password(pooler)) as child:
        child.expect_exact(PROMPT)
        child.sendline(pooler.endpoint().password)
        child.expect_exact("as app, password from the prompt")
        assert pooler.endpoint().password not in child.before
        child.sendintr()
        rest_of(child)
        assert child.exitstatus == 130


@pytest.mark.parametrize("key", ["\x04", "\r"], ids=["end of file", "nothing"])
def test_no_password_is_typed(key: str, pooler: PgBouncer) -> None:
    with terminal(without_password(pooler)) as child:
        child.expect_exact(PROMPT)
        child.send(key)
        text = rest_of(child)
        assert "FAIL" in text
        assert "asks for a password" in text
        assert "Traceback" not in text
        assert child.exitstatus == 1


def test_an_interrupt_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with run._interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_colours_are_for_terminals_and_no_color_leaves_no_escape_sequence() -> None:
    url = "postgresql://u:p@127.0.0.1:1/d"
    with terminal(url) as child:
        assert re.search(r"\x1b\[[\d;]*31m  FAIL", rest_of(child))
    with terminal(url, NO_COLOR="1") as child:
        text = rest_of(child)
    assert "  FAIL  IPv4" in text
    assert "\x1b" not in text


def test_a_terminal_that_cannot_show_a_letter_gets_a_question_mark() -> None:
    with terminal("postgresql://u:p@/d?host=/nonexistent/%C3%A9", PYTHONIOENCODING="ascii") as child:
        text = rest_of(child)
        assert child.exitstatus == 1
    assert "Traceback" not in text
    assert "/nonexistent/?/.s.PGSQL.5432: no such file" in text
