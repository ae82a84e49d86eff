"""What systemd does, done here: sockets passed at start, and a datagram socket for what it is told."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pgshim.addresses import Address
from pgshim.proxy.activation import inherit
from pgshim.settings import Settings
from tests.proxy.world import SSL_REQUEST, startup
from tests.test_cli import CLEAN, NOWHERE, ended, port_in, running

#: Puts the descriptors that it is given at 3, 4, ... and becomes pgshim, as a service manager's child does.
BECOME = """
import os, sys
count, *arguments = sys.argv[1:]
given = [int(number) for number in os.environ.pop("GIVEN").split()]
moved = [os.dup2(os.dup(fd), 100 + place) for place, fd in enumerate(given)]
for place, fd in enumerate(moved):
    os.dup2(fd, 3 + place)
    os.close(fd)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ["LISTEN_FDS"] = count
os.execv(sys.executable, [sys.executable, "-m", "pgshim", *arguments])
"""


class Told:
    """The service manager's socket: what it is told, one thing after the other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.settimeout(10)
        self._sock.bind("\0" + name[1:] if name[0] == "@" else name)

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def next(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._sock.recv(4096).decode().splitlines())

    def until(self, name: str) -> dict[str, str]:
        """The next one with this name in it; others are heartbeats."""
        while name not in (message := self.next()):
            assert message == {"WATCHDOG": "1"}
        return message


@pytest.fixture(params=["path", "abstract"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Told]:
    with Told(str(tmp_path / "notify") if request.param == "path" else f"@pgshim-test-{os.getpid()}") as manager:
        yield manager


@contextmanager
def activated(
    socks: Sequence[socket.socket], *arguments: str, promised: int = 0, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """pgshim as a child that was given these sockets, and may have been `promised` more."""
    process = subprocess.Popen(
        [sys.executable, "-c", BECOME, str(promised or len(socks)), *arguments],
        env=CLEAN | {"GIVEN": " ".join(str(sock.fileno()) for sock in socks)} | environment,
        pass_fds=[sock.fileno() for sock in socks],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def log_of(process: subprocess.Popen[str], last: str) -> list[str]:
    """The log up to the line with this in it."""
    assert process.stderr is not None
    lines: list[str] = []
    while not (lines and last in lines[-1]):
        line = process.stderr.readline()
        assert line, lines
        lines.append(line)
    return lines


def listening(host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, 0))


def say(address: tuple[str, int] | str, message: bytes) -> bytes:
    """The first bytes of the answer."""
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(message)
        return client.recv(4096)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_manager_is_told_each_step(told: Told, workers: str) -> None:
    options = "--listen", "127.0.0.1:0", "--upstream", NOWHERE, "--workers", workers, "--drain-timeout", "7s"
    with running(*options, NOTIFY_SOCKET=told.name) as (process, lines):
        ready = told.next()
        assert (ready["READY"], ready["MAINPID"]) == ("1", str(process.pid))
        # Ready is not too early.
        assert say(("127.0.0.1", port_in(lines)), SSL_REQUEST) == b"N"
        process.send_signal(signal.SIGHUP)
        before = told.next()
        assert before["RELOADING"] == "1"
        assert abs(int(before["MONOTONIC_USEC"]) - time.monotonic_ns() // 1000) < 60_000_000
        assert told.next()["READY"] == "1"
        process.send_signal(signal.SIGTERM)
        stopping = told.next()
        assert stopping["STOPPING"] == "1"
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 7_000_000
        assert ended(process)[0] == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_beats_at_half_of_what_the_watchdog_waits(told: Told, workers: str) -> None:
    options = "--listen", "127.0.0.1:0", "--upstream", NOWHERE, "--workers", workers
    with running(*options, NOTIFY_SOCKET=told.name, WATCHDOG_USEC="400000") as (process, _):
        assert told.next()["READY"] == "1"
        started = time.monotonic()
        assert [told.next() for _ in range(5)] == [{"WATCHDOG": "1"}] * 5
        assert time.monotonic() - started >= 0.75
        process.send_signal(signal.SIGHUP)
        assert told.until("RELOADING")
        assert told.until("READY")
        process.send_signal(signal.SIGTERM)
        assert told.until("STOPPING")
        assert ended(process)[0] == 0


def test_a_watchdog_that_waits_for_another_process_gets_nothing(tmp_path: Path) -> None:
    with Told(str(tmp_path / "notify")) as told:
        environment = {"NOTIFY_SOCKET": told.name, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
        with running("--listen", "127.0.0.1:0", "--upstream", NOWHERE, **environment) as (process, _):
            assert told.next()["READY"] == "1"
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            assert "STOPPING" in told.next()


def test_a_manager_that_cannot_be_told_is_logged_and_no_more() -> None:
    options = "--listen", "127.0.0.1:0", "--upstream", NOWHERE
    with activated([], *options, NOTIFY_SOCKET="/nowhere/notify") as process:
        log_of(process, "cannot tell the service manager READY=1: no such file")
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
    with running(*options, NOTIFY_SOCKET="vsock:2:1234") as (_, lines):
        assert "NOTIFY_SOCKET is not a Unix socket" in lines[0]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_inherited_sockets_take_the_place_of_listen_and_outlive_a_restart(workers: str) -> None:
    with listening() as sock, listening() as taken:
        address = sock.getsockname()
        port = str(taken.getsockname()[1])
        # A port in use shows that --listen is not tried.
        options = "--listen", f"127.0.0.1:{port}", "--upstream", NOWHERE, "--workers", workers
        with activated([sock], *options) as process:
            assert f"listening on 127.0.0.1:{address[1]} (plaintext, inherited)" in log_of(process, "upstream")[0]
            assert all(say(address, SSL_REQUEST) == b"N" for _ in range(4))
            process.send_signal(signal.SIGTERM)
            assert ended(process)[0] == 0
        with socket.create_connection(address, timeout=20) as waiting:
            waiting.sendall(SSL_REQUEST)
            with activated([sock], *options):
                assert waiting.recv(1) == b"N"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sockets_by_the_name_of_session_are_the_session_endpoints(tmp_path: Path, workers: str) -> None:
    path = str(tmp_path / "session.sock")
    with listening() as sock, socket.socket(socket.AF_UNIX) as local, ExitStack() as upstreams:
        local.bind(path)
        local.listen()
        pooler, server = (upstreams.enter_context(listening()) for _ in range(2))
        at_pooler, at_server = (f"127.0.0.1:{each.getsockname()[1]}" for each in (pooler, server))
        options = "--upstream", at_pooler, "--session-upstream", at_server, "--workers", workers
        process = upstreams.enter_context(activated([local, sock], *options, LISTEN_FDNAMES="session:pgshim.socket"))
        lines = log_of(process, "upstream")
        assert f"listening on unix:{path} (plaintext, inherited) for the session endpoint" in lines[0]
        for address, upstream in ((path, server), (sock.getsockname(), pooler)):
            assert arrival(upstream, address)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
        assert Path(path).exists()


def arrival(upstream: socket.socket, address: tuple[str, int] | str) -> bytes:
    """What reaches this upstream of a client that comes to an address; one that logs nobody in is a probe."""
    upstream.settimeout(10)
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as client:
        client.connect(address)
        client.sendall(startup(user="bob"))
        while True:
            connection, _ = upstream.accept()
            with connection:
                connection.settimeout(10)
                assert connection.recv(8) == SSL_REQUEST
                connection.sendall(b"N")
                if received := connection.recv(4096):
                    return received


def test_sockets_for_another_process_are_left_alone() -> None:
    with listening() as sock, activated([sock], "--listen", "127.0.0.1:0", "--upstream", NOWHERE, LISTEN_PID="1") as it:
        (line,) = (line for line in log_of(it, "upstream") if "listening" in line)
        assert "inherited" not in line
        assert f":{sock.getsockname()[1]} " not in line


def datagram() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.mark.parametrize(
    ("make", "names", "code", "words"),
    [
        (datagram, "", 1, "descriptor 3 .* ListenStream= and Accept=no"),
        (bound, "", 1, "descriptor 3 .* ListenStream= and Accept=no"),
        (listening, "session", 2, r"127\.0\.0\.1:\d+ has the name session .* --session-upstream"),
        (lambda: listening("0.0.0.0"), "", 2, r"0\.0\.0\.0:\d+ is not loopback .* --allow-plaintext"),
    ],
)
def test_a_socket_that_cannot_be_had_is_one_sentence(
    make: Callable[[], socket.socket], names: str, code: int, words: str
) -> None:
    with make() as sock, activated([sock], "--upstream", NOWHERE, LISTEN_FDNAMES=names) as process:
        exit_code, text = ended(process)
        assert (exit_code, len(text.splitlines())) == (code, 1)
        assert re.search(words, text)


def test_a_descriptor_that_is_not_there_is_one_sentence() -> None:
    with listening() as sock, activated([sock], "--upstream", NOWHERE, promised=2) as process:
        assert ended(process) == (1, "pgshim: descriptor 4 of LISTEN_FDS cannot be had: bad file descriptor\n")


@pytest.mark.parametrize("promised", ["", "none", "-1", "0"])
def test_what_promises_no_number_of_sockets_promises_none(promised: str) -> None:
    settings = Settings(Address("127.0.0.1", 1), (Address("127.0.0.1", 0),))
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": promised, "HOME": "/"}
    assert inherit(settings, environment) == (settings, [])
    assert environment == {"HOME": "/"}


def test_a_socket_that_is_the_upstream_is_one_sentence() -> None:
    with listening() as sock:
        upstream = f"127.0.0.1:{sock.getsockname()[1]}"
        with activated([sock], "--upstream", upstream) as process:
            sentence = f"--upstream {upstream} is where pgshim itself listens; give the pooler's address"
            assert ended(process) == (2, f"pgshim: {sentence}, or another ListenStream=\n")


def test_a_default_that_sockets_take_the_place_of_may_be_the_upstreams() -> None:
    with listening() as sock, activated([sock], "--upstream", "127.0.0.1:6432") as process:
        assert any("listening" in line for line in log_of(process, "upstream"))
    with activated([], "--upstream", "127.0.0.1:6432", LISTEN_PID="1") as process:
        code, text = ended(process)
        assert (code, text.count("\n")) == (2, 1)
        assert "is where pgshim itself listens" in text
