"""The command line: one sentence and an exit code for what is wrong; a process that starts and ends as it should."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgshim import __version__
from pgshim.addresses import Address
from pgshim.cli import command, settings_from
from pgshim.settings import Settings
from tests.proxy.world import startup

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PGSHIM_")}
#: Nothing listens there: a port that was free a moment ago is nobody's.
NOWHERE = "127.0.0.1:1"


def pgshim(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pgshim", *arguments],
        env=CLEAN | environment,
        capture_output=True,
        text=True,
        timeout=20,
    )


def options(arguments: Sequence[str] = (), **environment: str) -> Settings:
    """The settings that a command line gives."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        context = command.make_context("pgshim", list(arguments), auto_envvar_prefix="PGSHIM")
    return settings_from(context.params)


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """pgshim as a process, and the lines of its log up to the start-up line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgshim", *arguments], env=CLEAN | environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        lines: list[str] = []
        while not (lines and "upstream 127.0.0.1" in lines[-1]):
            line = process.stderr.readline()
            assert line, lines
            lines.append(line)
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and the rest of the log."""
    code = process.wait(timeout=10)
    assert process.stderr is not None
    return code, process.stderr.read()


def port_in(lines: list[str]) -> int:
    match = re.search(r"127\.0\.0\.1:(\d+)", lines[0])
    assert match is not None
    return int(match[1])


def test_version() -> None:
    result = pgshim("--version")
    assert (result.returncode, result.stdout) == (0, f"pgshim {__version__}\n")


def test_help_stands_in_groups_with_defaults_and_names_of_the_environment() -> None:
    text = pgshim("--help").stdout
    headings = "Clients", "Upstream", "Session features", "Times and limits", "Running and logging", "Commands"
    for heading in headings:
        assert f"\n{heading}:\n" in text
    flat = " ".join(text.split())
    for part in ("PGSHIM_DRAIN_TIMEOUT; default: 30s", "default: 16MiB", "demo", "PgBouncer"):
        assert part in flat


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--upstream", "missing", "--upstream pooler.example:6543"]),
        (["--upstream", "pooler"], ["--upstream", "'pooler'", "pooler:6432"]),
        (["--upstream", "postgres://u:hunter2@h/d"], ["--upstream", "HOST:PORT"]),
        (["--upstream", NOWHERE, "--listen", "99999"], ["--listen", "'99999'", "write"]),
        (["--upstream", NOWHERE, "--listen", "0.0.0.0:2"], ["--listen", "0.0.0.0:2", "--allow-plaintext"]),
        (["--upstream", NOWHERE, "--drain-timeout", "5x"], ["--drain-timeout", "'5x'", "30s"]),
        (["--upstream", NOWHERE, "--max-message", "big"], ["--max-message", "'big'", "16MiB"]),
        (["--upstream", NOWHERE, "--max-connections", "0"], ["--max-connections: 0 is too small; give 1 or more"]),
        (["--upstream", NOWHERE, "--describe-cache", "-1"], ["--describe-cache: -1 is too small; give 0 or more"]),
        (["--upstream", NOWHERE, "--describe-cache", "on"], ["--describe-cache: 'on' is not a whole number; give 0"]),
        (["--upstream", NOWHERE, "--prewarm", "-1"], ["--prewarm: -1 is too small; give 0 or more"]),
        (["--upstream", NOWHERE, "--prewarm", "9", "--max-connections", "8"], ["--prewarm 9", "--max-connections 8"]),
        (["--upstream", NOWHERE, "--workers", "0"], ["--workers: 0 is too small; give 1 to 64"]),
        (["--upstream", NOWHERE, "--workers", "auto"], ["--workers", "'auto'"]),
        (["--upstream", NOWHERE, "--workers", "2", "--tls-cert", "/no", "--tls-key", "/no"], ["--tls-cert", "/no"]),
        (["--upstream", NOWHERE, "--pipeline", "x"], ["--pipeline", "'x'", "serial"]),
        (["--upstream", NOWHERE, "--upstream-tls", "verify-full"], ["--upstream-tls verify-full", "--upstream-ca"]),
        (["--upstream", NOWHERE, "--upstream-ca", "/nope"], ["--upstream-ca", "/nope", "PEM"]),
        (["--upstream", NOWHERE, "--tls-cert", "/nope", "--tls-key", "/nope"], ["--tls-cert", "/nope", "PEM"]),
        (["--upstream", NOWHERE, "--session-upstream", "pooler"], ["--session-upstream", "'pooler'", "pooler:6432"]),
        (["--upstream", NOWHERE, "--session-listen", "7000"], ["--session-listen 127.0.0.1:7000", "needs"]),
        (["--upstream", NOWHERE, "--unsafe", "maybe"], ["--unsafe", "'maybe'", "refuse"]),
        (["--upstream", NOWHERE, "--allow", "listening"], ["--allow", "'listening'", "give one of ", "listen", "load"]),
        (["--upstream", NOWHERE, "--trace-values"], ["--trace-values", "--trace=FILE"]),
        (["--upstream", NOWHERE, "--trace=/no/file"], ["--trace /no/file", "no such file", "another"]),
        (["--no-such-option"], ["--no-such-option"]),
        (["nonsense"], ["nonsense"]),
    ],
)
def test_a_bad_option_is_one_sentence_and_exit_code_2(arguments: list[str], words: list[str]) -> None:
    result = pgshim(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("pgshim: ")
    for word in words:
        assert word in result.stderr
    assert "hunter2" not in result.stderr


def test_a_bad_value_in_the_environment_is_an_option_like_any_other() -> None:
    result = pgshim(PGSHIM_UPSTREAM=NOWHERE, PGSHIM_LOGIN_TIMEOUT="soon")
    assert result.returncode == 2
    assert "PGSHIM_LOGIN_TIMEOUT: " in result.stderr
    assert "'soon'" in result.stderr


def test_every_option_can_come_from_the_environment() -> None:
    found = options(
        PGSHIM_UPSTREAM="[::1]:6543",
        PGSHIM_LISTEN="7000 unix:/tmp:7001",
        PGSHIM_TLS_SELF_SIGNED="1",
        PGSHIM_IDLE_TIMEOUT="5min",
        PGSHIM_MAX_STATEMENT_BYTES="1MiB",
        PGSHIM_UPSTREAM_MODE="session",
        PGSHIM_SESSION_UPSTREAM="pooler:5432",
        PGSHIM_SESSION_LISTEN="7002 127.0.0.1:7003",
        PGSHIM_TENANT="abc",
        PGSHIM_UNSAFE="warn",
        PGSHIM_ALLOW="listen with-hold",
        PGSHIM_STRICT_CUSTOM_SETTINGS="1",
        PGSHIM_WORKERS="4",
        PGSHIM_TRACE="-",
        PGSHIM_TRACE_VALUES="1",
    )
    assert found.upstream == Address("::1", 6543)
    assert [str(address) for address in found.listen] == ["127.0.0.1:7000", "[::1]:7000", "unix:/tmp/.s.PGSQL.7001"]
    assert (found.tls_self_signed, found.idle_timeout, found.max_statement_bytes) == (True, 300.0, 1 << 20)
    assert found.upstream_mode == "session"
    assert (found.session_upstream, found.tenant) == (Address("pooler", 5432), "abc")
    assert [str(address) for address in found.session_listen] == ["127.0.0.1:7002", "[::1]:7002", "127.0.0.1:7003"]
    assert (found.unsafe, found.allow, found.strict_custom_settings) == ("warn", ("listen", "with-hold"), True)
    assert found.workers == 4
    assert (found.trace, found.trace_values) == ("-", True)


def test_trace_has_a_value_only_if_it_is_given() -> None:
    upstream = ["--upstream", NOWHERE]
    assert options(upstream).trace == ""
    assert options([*upstream, "--trace"]).trace == options(["--trace", *upstream]).trace == "-"
    assert options([*upstream, "--trace=a"]).trace == options(["--trace=a", *upstream]).trace == "a"
    # A command that follows is one; a value of another option is none.
    assert options([*upstream, "--trace", "check", "--trace"]).trace == "-"
    assert options([*upstream, "--tenant", "run", "--trace", "run", "--", "x", "--trace=b"]).trace == "-"


def test_tls_defaults_are_each_upstreams_own_and_what_is_given_holds_for_both() -> None:
    both = ["--upstream", "127.0.0.1:6543", "--session-upstream", "aws-0-eu.pooler.supabase.com:5432"]
    assert (options(both).upstream_tls, options(both).session_upstream_tls) == ("prefer", "require")
    given = options([*both, "--upstream-tls", "disable"])
    assert (given.upstream_tls, given.session_upstream_tls) == ("disable", "disable")


def test_the_defaults_of_the_command_line_are_those_of_settings() -> None:
    found = options(["--upstream", "pooler:6543"])
    assert found == Settings(found.upstream, found.listen)
    assert [str(address) for address in found.listen] == ["127.0.0.1:6432", "[::1]:6432"]


def test_the_same_address_twice_is_listened_on_once() -> None:
    found = options(["--upstream", "pooler:1", "--listen", "7000", "--listen", "127.0.0.1:7000"])
    assert [str(address) for address in found.listen] == ["127.0.0.1:7000", "[::1]:7000"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_one_sentence_and_exit_code_1(workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = pgshim("--upstream", NOWHERE, "--listen", address, "--workers", workers)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert re.match(r"pgshim: cannot listen on 127.0.0.1:\d+: address already in use; ", result.stderr)


@pytest.mark.parametrize("missing", [("cryptography", "--tls-self-signed"), ("uvloop", "--loop=uvloop")])
def test_a_missing_extra_is_one_sentence(missing: tuple[str, str], tmp_path: Path) -> None:
    package, option = missing
    (tmp_path / f"{package}.py").write_text(f"raise ImportError('no', name='{package}')")
    result = pgshim("--upstream", NOWHERE, "--listen", "0", option, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"needs the package {package}" in result.stderr
    assert "pip install 'pgshim[" in result.stderr


def test_the_demo_is_a_command_of_its_own_that_needs_no_upstream() -> None:
    result = pgshim("demo", "--help")
    assert result.returncode == 0
    assert "--keep" in result.stdout


def test_the_start_says_what_listens_where_and_an_unreachable_upstream_is_a_warning() -> None:
    with running("--listen", "127.0.0.1:0", "--upstream", NOWHERE) as (process, lines):
        assert re.search(r"listening on 127\.0\.0\.1:\d+ \(plaintext\)", lines[0])
        assert "upstream 127.0.0.1:1 (TLS prefer: certificate not verified" in lines[1]
        assert "transaction mode, pipeline auto" in lines[1]
        assert process.stderr is not None
        warning = process.stderr.readline()
        assert "WARNING" in warning
        assert "could not connect to the upstream 127.0.0.1:1: connection refused" in warning
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_require_upstream_exits_with_1(workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"127.0.0.1:{there.getsockname()[1]}"
        session = ["--session-upstream", NOWHERE, "--upstream-tls", "disable"]
        options = ["--require-upstream", "--workers", workers]
        result = pgshim("--listen", "127.0.0.1:0", "--upstream", address, *session, *options)
    assert result.returncode == 1
    assert f"could not connect to the upstream {NOWHERE}" in result.stderr
    result = pgshim("--listen", "127.0.0.1:0", "--upstream", NOWHERE, *options)
    assert result.returncode == 1
    assert "could not connect" in result.stderr
    assert "listening" not in result.stderr


def test_json_lines() -> None:
    with running("--listen", "127.0.0.1:0", "--upstream", NOWHERE, "--log-format", "json") as (process, lines):
        entry = json.loads(lines[0])
        assert entry["level"] == "info"
        assert entry["logger"] == "pgshim.server"
        assert entry["message"].startswith("listening on 127.0.0.1:")
        with socket.create_connection(("127.0.0.1", port_in([entry["message"]]))) as client:
            client.sendall(startup())
            assert client.recv(100).startswith(b"E")
        process.send_signal(signal.SIGINT)
        code, rest = ended(process)
        assert code == 0
        entries = [json.loads(line) for line in rest.splitlines()]
        assert [entry.get("connection") for entry in entries if "closed" in entry["message"]] == [1]
        assert not [entry for entry in entries if "alice" in json.dumps(entry)]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_second_interrupt_ends_it_at_once(loop: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        upstream = f"127.0.0.1:{server.getsockname()[1]}"
        with running(
            "--listen", "127.0.0.1:0", "--upstream", upstream, "--upstream-tls", "disable", "--loop", loop
        ) as (
            process,
            lines,
        ):
            with socket.create_connection(("127.0.0.1", port_in(lines))) as client:
                client.sendall(startup())
                # The probe comes first, and closes.
                peers = [server.accept()[0], server.accept()[0]]
                peers[1].recv(1000)
                peers[1].sendall(b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I")
                assert len(client.recv(100)) == 15
                client.sendall(b"Q\0\0\0\x0bselect\0")
                peers[1].recv(1000)
                process.send_signal(signal.SIGINT)
                time.sleep(0.3)
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
                assert ended(process)[0] == 0
                answer = client.recv(1000)
                assert b"C57P01" in answer
            for peer in peers:
                peer.close()


def test_sighup_reads_the_certificates_again(tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def issue() -> None:
        issued = authority.issue_cert("localhost")
        cert.write_bytes(issued.cert_chain_pems[0].bytes())
        issued.private_key_pem.write_to_path(str(key))

    issue()
    files = ["--tls-cert", str(cert), "--tls-key", str(key)]
    with running("--listen", "127.0.0.1:0", "--upstream", NOWHERE, *files) as (process, lines):
        assert "(TLS)" in lines[0]
        assert process.stderr is not None
        process.stderr.readline()
        issue()
        process.send_signal(signal.SIGHUP)
        assert "certificates read again" in process.stderr.readline()
        cert.write_text("no certificate")
        process.send_signal(signal.SIGHUP)
        assert "certificates not changed: --tls-cert" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0


def test_the_limit_of_open_files_is_raised() -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = min(hard, 4096) if hard != resource.RLIM_INFINITY else 4096
    limits = f"ulimit -S -n 256; ulimit -H -n {wanted}"
    script = f"{limits}; exec {sys.executable} -m pgshim --listen 127.0.0.1:0 --upstream {NOWHERE}"
    process = subprocess.Popen(["bash", "-c", script], env=CLEAN, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while "upstream" not in process.stderr.readline():
            pass
        found = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(rf"Max open files\s+{wanted}\s+{wanted}", found)
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def test_starting_costs_little() -> None:
    """CPU time up to listening, the interpreter's own included, in a process without debugging."""
    code = (
        "import sys, time; sys.argv = ['pgshim', '--listen', '127.0.0.1:0', '--upstream', '127.0.0.1:1'];"
        "import pgshim.proxy.run as r; r._Ending.wait = lambda self: __import__('asyncio').sleep(0);"
        "from pgshim.cli import main\n"
        "try: main()\n"
        "finally: print(time.process_time())"
    )
    result = subprocess.run([sys.executable, "-c", code], env=CLEAN | {"PYTHONASYNCIODEBUG": ""}, capture_output=True,
                            text=True, timeout=20)  # fmt: skip
    assert "listening" in result.stderr
    assert float(result.stdout) < 0.6


def test_the_addresses_of_metrics_are_written_like_those_of_listen() -> None:
    arguments = ["--upstream", NOWHERE, "--metrics", "0.0.0.0:9187", "--metrics", "0.0.0.0:9187"]
    assert options(arguments).metrics == (Address("0.0.0.0", 9187),)
    assert options(["--upstream", NOWHERE]).metrics == ()
    assert options(["--upstream", NOWHERE], PGSHIM_METRICS="127.0.0.1:1 127.0.0.1:2").metrics == (
        Address("127.0.0.1", 1),
        Address("127.0.0.1", 2),
    )


def test_metrics_and_clients_have_addresses_of_their_own() -> None:
    ended = pgshim("--upstream", NOWHERE, "--listen", "127.0.0.1:6499", "--metrics", "127.0.0.1:6499")
    assert ended.returncode == 2
    assert "--metrics 127.0.0.1:6499 is where clients log in; give it another address" in ended.stderr
    assert "Traceback" not in ended.stderr
