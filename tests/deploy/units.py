"""The units of deploy/systemd, as they are, under a systemd that is the first process of a small Debian."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.deploy import machine
from tests.deploy.booted import Machine
from tests.deploy.conftest import Pool
from tests.deploy.machine import SECONDS, eventually

UNITS = machine.ROOT / "deploy" / "systemd"
SERVICE, SOCKET, SESSION = "pgshim.service", "pgshim.socket", "pgshim-session.socket"

Client = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def files(image_root: Path, pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docs/deploy/systemd.md tells to install, as a folder to lie on top of a Debian."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copytree(image_root / "opt", folder / "opt", symlinks=True)
    units, configuration = folder / "etc/systemd/system", folder / "etc/pgshim"
    for each in (units, configuration):
        each.mkdir(parents=True)
    for each in UNITS.iterdir():
        if each.suffix in (".service", ".socket"):
            shutil.copy(each, units)
    example = (UNITS / "pgshim.env").read_text()
    assert "PGSHIM_UPSTREAM=pooler.example:6543\n" in example
    upstream = f"/srv/pool:{pool.port}"
    (configuration / "pgshim.env").write_text(example.replace("pooler.example:6543", upstream))
    for each in (folder, folder / "opt", folder / "etc"):
        each.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def booted(files: Path, pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    debian = machine.debian("systemd", "python3", "systemd", "procps")
    system = Machine([files, debian], pool.folder, tmp_path_factory.mktemp("booted") / "console")
    try:
        yield system
    finally:
        system.end()


@pytest.fixture
def system(booted: Machine) -> Iterator[Machine]:
    """With the sockets open, and the service not yet asked for."""
    booted.do("systemctl", "start", SOCKET)
    try:
        yield booted
    finally:
        subprocess.run(booted.inside("systemctl", "stop", SOCKET, SESSION, SERVICE), capture_output=True, timeout=90)
        subprocess.run(booted.inside("systemctl", "reset-failed"), capture_output=True, timeout=90)
        for name in ("etc/systemd/system/pgshim.service.d",):
            booted.do("rm", "-rf", f"/{name}")
        booted.do("systemctl", "daemon-reload")


def override(system: Machine, text: str, name: str = "test.conf") -> None:
    """One more file of settings for the service."""
    folder = "/etc/systemd/system/pgshim.service.d"
    system.do("mkdir", "-p", folder)
    write(system, f"{folder}/{name}", text)
    system.do("systemctl", "daemon-reload")


def write(system: Machine, path: str, text: str) -> None:
    machine.run(*system.inside("sh", "-c", f"umask 077; cat > {path}"), stdin=text)


def finished(client: subprocess.Popen[str], line: str = "") -> str:
    output, errors = client.communicate(line, timeout=SECONDS)
    assert client.returncode == 0, errors
    return output


def main_pid(system: Machine) -> str:
    return system.show("MainPID")


def test_the_units_are_in_order(system: Machine) -> None:
    units = [f"/etc/systemd/system/{name}" for name in (SERVICE, SOCKET, SESSION)]
    assert system.do("systemd-analyze", "verify", "--man=no", *units) == ""


def test_the_service_is_well_enclosed(system: Machine) -> None:
    # 2.0 of 10; a service without settings has 9.6. What is left is that it has a network.
    report = system.do("systemd-analyze", "security", "--no-pager", "--threshold=20", SERVICE)
    print("\n" + report.splitlines()[-1])


def test_the_first_client_starts_it(system: Machine, client: Client) -> None:
    assert system.show("ActiveState") == "inactive"
    assert finished(client(system.pid)) == "done\n"
    assert system.show("ActiveState") == "active"
    assert system.show("StatusText") == "Serving clients"
    assert finished(client(system.pid, host="::1")) == "done\n"
    log = system.log()
    assert "listening on 127.0.0.1:6432 (plaintext, inherited)" in log
    assert "listening on unix:/run/pgshim/.s.PGSQL.6432 (plaintext, inherited)" in log


def test_it_has_an_account_of_its_own_and_no_rights(system: Machine) -> None:
    system.do("systemctl", "start", SERVICE)
    status = system.do("cat", f"/proc/{main_pid(system)}/status")
    (account,) = re.findall(r"^Uid:\t(\d+)", status, re.MULTILINE)
    assert 61184 <= int(account) <= 65519
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)


def test_a_reload_is_told_when_it_is_over(system: Machine) -> None:
    system.do("systemctl", "start", SERVICE)
    before = main_pid(system)
    system.do("systemctl", "reload", SERVICE)
    eventually(lambda: "certificates read again" in system.log())
    eventually(lambda: system.show("ActiveState") == "active")
    assert main_pid(system) == before


def test_a_restart_ends_no_transaction_and_turns_nobody_away(system: Machine, client: Client) -> None:
    system.do("systemctl", "start", SERVICE)
    before = main_pid(system)
    app = client(system.pid, "transaction")
    assert app.stdout is not None
    assert app.stdout.readline() == "begun\n"
    system.do("systemctl", "restart", "--no-block", SERVICE)
    eventually(lambda: system.show("StatusText") == "Waiting for transactions to end")
    waiting = client(system.pid)
    assert main_pid(system) == before
    assert finished(app, "\n") == "committed\n"
    assert finished(waiting) == "done\n"
    assert main_pid(system) not in (before, "0")
    assert system.show("Result") == "success"


def test_one_that_hangs_is_replaced(system: Machine, client: Client) -> None:
    override(system, "[Service]\nWatchdogSec=2\n")
    system.do("systemctl", "start", SERVICE)
    before = main_pid(system)
    # It beats: twice what the watchdog waits goes by.
    with pytest.raises(AssertionError):
        eventually(lambda: main_pid(system) != before, 4)
    system.do("kill", f"-{signal.SIGSTOP.value}", before)
    eventually(lambda: main_pid(system) not in (before, "0"))
    assert system.show("NRestarts") == "1"
    assert "watchdog" in system.do("journalctl", "--no-pager", "--output=cat", f"UNIT={SERVICE}").lower()
    assert finished(client(system.pid)) == "done\n"


def test_workers_are_one_service(system: Machine, client: Client) -> None:
    override(system, "[Service]\nEnvironment=PGSHIM_WORKERS=2\n")
    system.do("systemctl", "start", SERVICE)
    assert system.show("TasksCurrent") != "1"
    apps = [client(system.pid) for _ in range(4)]
    assert [finished(app) for app in apps] == ["done\n"] * 4
    system.do("systemctl", "stop", SOCKET, SERVICE)
    assert system.show("Result") == "success"


def test_clients_of_the_session_endpoint_have_a_socket_of_their_own(
    system: Machine, client: Client, pool: Pool
) -> None:
    override(system, f"[Service]\nEnvironment=PGSHIM_SESSION_UPSTREAM=/srv/pool:{pool.port}\n")
    system.do("systemctl", "start", SESSION)
    assert finished(client(system.pid, "session", port=6433)) == "done\n"
    assert "listening on 127.0.0.1:6433 (plaintext, inherited) for the session endpoint" in system.log()


def test_certificates_are_handed_over_by_systemd(system: Machine, client: Client) -> None:
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    write(system, "/etc/pgshim/tls.crt", certificate.cert_chain_pems[0].bytes().decode())
    write(system, "/etc/pgshim/tls.key", certificate.private_key_pem.bytes().decode())
    override(system, (UNITS / "pgshim.service.d" / "tls.conf").read_text(), "tls.conf")
    assert finished(client(system.pid, "tls")) == "done\n"
    assert "listening on 127.0.0.1:6432 (TLS, inherited)" in system.log()


def test_a_bad_option_is_not_tried_again(system: Machine) -> None:
    override(system, "[Service]\nEnvironment=PGSHIM_DRAIN_TIMEOUT=soon\nEnvironment=PGSHIM_LOG_LEVEL=info\n")
    subprocess.run(system.inside("systemctl", "start", SERVICE), capture_output=True, timeout=90)
    assert system.show("Result") == "exit-code"
    assert system.show("ExecMainStatus") == "2"
    assert system.show("NRestarts") == "0"
    assert "PGSHIM_DRAIN_TIMEOUT: 'soon' is not a duration" in system.log()
