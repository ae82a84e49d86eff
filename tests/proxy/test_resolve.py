"""Names that have no address, names that cannot have one, and a resolver that does not answer."""

import _thread
import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pgshim.addresses import Address
from pgshim.errors import UpstreamUnreachable
from pgshim.proxy import resolve
from pgshim.proxy.listen import ListenError, open_listeners
from pgshim.proxy.resolve import Resolver
from pgshim.proxy.server import Server
from pgshim.proxy.upstream import Upstream
from pgshim.settings import Settings
from tests.proxy.conftest import Run
from tests.proxy.world import Client, pgshim, startup

ROOT = Path(__file__).parent.parent.parent
BAD_NAMES = ["pooler..example", ".example", "p" * 64 + ".example"]

#: Found by each interpreter at its start: one name's servers do not answer for a minute.
_SLOW = """
import socket, time
real = socket.getaddrinfo
def getaddrinfo(host, *arguments, **options):
    if host == "slow.example":
        time.sleep(60)
    return real(host, *arguments, **options)
socket.getaddrinfo = getaddrinfo
"""


class Slow:
    """A resolver that answers when the test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        self.answered = 0
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, *arguments: object, **options: object) -> object:
        if host != "slow.example":
            return self._real(host, *arguments, **options)  # type: ignore[arg-type]
        self.asked += 1
        assert self.may_answer.wait(20)
        self.answered += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]


# Names that cannot have an address.


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_be_one_is_a_fatal_error_at_once(
    run: Run, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with pgshim(Address(name, 5432)) as server:
            client = await Client.connect(server)
            client.send(startup())
            async with asyncio.timeout(2):
                error = await client.error()
            assert (error["S"], error["C"]) == ("FATAL", "08001")
            assert "not a host name" in error["M"]
            assert error["H"].startswith("Check --upstream")

    run(story())
    assert "Traceback" not in caplog.text


def test_a_name_that_cannot_be_one_cannot_be_listened_on_either() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on a\.\.b:1: not a host name"):
        open_listeners((Address("a..b", 1),))


def test_any_other_exception_is_a_fatal_error_too(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Upstream, "connect", fail)

    async def story() -> None:
        async with pgshim(Address("127.0.0.1", 1)) as server:
            client = await Client.connect(server)
            client.send(startup())
            async with asyncio.timeout(2):
                error = await client.error()
            assert error["C"] == "08001"
            assert error["M"] == "could not connect to the upstream 127.0.0.1:1: internal error"
            assert not server.connections

    run(story())
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "internal error: ZeroDivisionError()"
    ]


# A resolver that does not answer.


def test_no_more_threads_wait_for_the_resolver_than_may(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)

    async def story() -> None:
        resolver = Resolver()
        given_up = [asyncio.ensure_future(resolver.addresses("slow.example", 1)) for _ in range(30)]
        await asyncio.sleep(0.1)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        # Those that were given up have their threads still.
        waiting = [asyncio.ensure_future(resolver.addresses("slow.example", 1)) for _ in range(3)]
        # An address needs no thread.
        assert (await resolver.addresses("127.0.0.1", 5432))[0][4] == ("127.0.0.1", 5432)
        assert (await resolver.addresses("::1", 5432))[0][4][:2] == ("::1", 5432)
        assert slow.asked == resolve._AT_ONCE
        slow.may_answer.set()
        assert [found[0][4] for found in await asyncio.gather(*waiting)] == [("127.0.0.1", 1)] * 3

    run(story())
    assert slow.asked == resolve._AT_ONCE + 3


def test_a_machine_without_room_for_a_thread(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def story() -> None:
        server = Server(Settings(Address("localhost", 1), (Address("127.0.0.1", 0),)))
        with monkeypatch.context() as patch:
            patch.setattr(_thread, "start_new_thread", no_room)
            for _ in range(resolve._AT_ONCE + 1):
                with pytest.raises(UpstreamUnreachable, match="resource temporarily unavailable"):
                    await server.upstream.probe()
        with pytest.raises(UpstreamUnreachable, match="connection refused"):
            await server.upstream.probe()

    run(story())


def test_an_answer_may_come_when_the_loop_is_closed(
    run: Run, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    slow = Slow(monkeypatch)

    async def story() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Resolver().addresses("slow.example", 1)

    began = time.monotonic()
    run(story())
    # The loop's end has waited for nobody.
    assert time.monotonic() - began < 5
    slow.may_answer.set()
    deadline = time.monotonic() + 10
    while not slow.answered:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # The thread's last step.
    time.sleep(0.1)
    assert not recwarn.list


def _environment(folder: Path, **changes: str) -> dict[str, str]:
    (folder / "sitecustomize.py").write_text(_SLOW)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PGSHIM_")}
    return {**inherited, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **changes}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_end_of_pgshim_does_not_wait_for_the_resolver(tmp_path: Path, loop: str, workers: str) -> None:
    arguments = ["--loop", loop, "--workers", workers, "--listen", "127.0.0.1:0", "--drain-timeout", "1s"]
    with subprocess.Popen(
        [sys.executable, "-m", "pgshim", *arguments, "--upstream", "slow.example:5432"],
        env=_environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stderr.readline())
            assert found is not None
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as client:
                client.sendall(startup())
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                assert process.wait(20) == 0
            assert time.monotonic() - began < 6
            log = process.stderr.read()
            assert log.endswith("stopped\n")
            assert "killed" not in log
        finally:
            process.kill()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_command_does_not_wait_for_the_resolver(tmp_path: Path, loop: str) -> None:
    environment = _environment(tmp_path, DATABASE_URL="postgresql://u:p@slow.example/d")
    command = [sys.executable, "-m", "pgshim", "--loop", loop]
    # Both have found nothing out when the command, or the patience, is over.
    ended = subprocess.run([*command, "run", "--", "true"], env=environment, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 0, ended.stderr
    options = ["--connect-timeout", "500ms", "--require-upstream"]
    ended = subprocess.run(
        [*command, *options, "run", "--", "true"], env=environment, capture_output=True, text=True, timeout=20
    )
    assert ended.returncode == 1
    assert "no answer in time" in ended.stderr


@pytest.mark.parametrize("how", [["--listen", "127.0.0.1:0", "--upstream", "a..b:1"], ["run", "--", "true"]])
def test_require_upstream_and_a_name_that_cannot_be_one(tmp_path: Path, how: list[str]) -> None:
    environment = _environment(tmp_path, DATABASE_URL="postgresql://u:p@a..b/d")
    command = [sys.executable, "-m", "pgshim", "--require-upstream", *how]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
    assert ended.returncode in (1, 2)
    assert "a..b" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_app_that_serves_does_not_wait_for_the_resolver(tmp_path: Path) -> None:
    program = """
import asyncio, pgshim
async def main():
    async with pgshim.serve("slow.example:5432", drain_timeout=0.2) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(bytes.fromhex("0000001000030000") + b"user\\0u\\0\\0")
        await asyncio.sleep(0.3)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], env=_environment(tmp_path), check=True, timeout=20)
