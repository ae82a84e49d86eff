"""The Dockerfile's image: built on a small Debian, run read-only by runc, in front of a real PgBouncer."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy import machine
from tests.deploy.conftest import Pool
from tests.deploy.machine import Container, eventually

Client = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def container(image: str, image_root: Path, pool: Pool, tmp_path: Path) -> Iterator[Container]:
    container = Container(image_root, tmp_path, machine.configuration(image), {"/pool": pool.folder})
    try:
        yield container
    finally:
        container.end()


def served(container: Container, pool: Pool, *arguments: str) -> subprocess.Popen[str]:
    """The container, when HEALTHCHECK says that it is healthy."""
    process = container.start(*arguments, PGSHIM_UPSTREAM=f"/pool:{pool.port}", PGSHIM_ALLOW_PLAINTEXT="true")
    eventually(lambda: process.poll() is not None or container.is_healthy())
    assert process.poll() is None
    return process


def probe(container: Container, path: str) -> int:
    """The status that a kubelet's probe would get, at the port of the manifests."""
    ask = f"""
import sys, urllib.error, urllib.request
try:
    status = urllib.request.urlopen("http://127.0.0.1:9187{path}", timeout=5).status
except urllib.error.HTTPError as error:
    status = error.code
sys.exit(status // 10)
"""
    return 10 * container.execute("python3", "-c", ask)


def finished(client: subprocess.Popen[str], line: str = "") -> str:
    output, errors = client.communicate(line, timeout=machine.SECONDS)
    assert client.returncode == 0, errors
    return output


def test_the_image_says_how_it_is_run(image: str) -> None:
    config = machine.configuration(image)
    assert config["Entrypoint"] == ["pgshim"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "65532:65532"
    assert set(config["ExposedPorts"]) == {"6432/tcp"}
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not [each for each in config["Env"] if re.search(r"pip|proxy|ssl|cert", each, re.IGNORECASE)]


def test_the_image_is_its_base_and_one_folder(image_root: Path) -> None:
    root = image_root
    with machine.mounted(machine.BASE) as base:
        added = machine.run("diff", "--recursive", "--brief", "--no-dereference", base / "etc", root / "etc")
        assert added == ""
        there, before = ({path.name for path in folder.iterdir()} for folder in (root, base))
        assert there == before | {"pool"}
        assert [path.name for path in (root / "opt").iterdir()] == ["pgshim"]
        (site,) = (root / "opt/pgshim/lib").glob("python3*/site-packages")
        for package in ("pgshim", "uvloop", "cryptography"):
            assert (site / package).is_dir()
        assert not (site / "pip").exists()
        size = sum(path.lstat().st_size for path in (root / "opt").rglob("*")) / 2**20
        print(f"\n/opt/pgshim: {size:.0f} MiB")
        assert size < 60


def test_an_app_is_served_from_a_read_only_image(container: Container, pool: Pool, client: Client) -> None:
    served(container, pool)
    assert container.execute("sh", "-c", "touch /anywhere") != 0
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert re.search(r"^Uid:\t65532\t65532", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert finished(client(container.pid)) == "done\n"


def test_an_app_is_served_by_workers(container: Container, pool: Pool, client: Client) -> None:
    process = served(container, pool, "--workers", "2")
    assert finished(client(container.pid)) == "done\n"
    container.signal("TERM")
    assert process.wait(machine.SECONDS) == 0


def test_sigterm_lets_a_transaction_end(container: Container, pool: Pool, client: Client) -> None:
    process = served(container, pool, "--metrics", "0.0.0.0:9187")
    assert (probe(container, "/healthz"), probe(container, "/readyz")) == (200, 200)
    app = client(container.pid, "transaction")
    assert app.stdout is not None
    assert app.stdout.readline() == "begun\n"
    container.signal(machine.configuration(machine.IMAGE)["StopSignal"])
    # Nobody new comes in, and so HEALTHCHECK notices as well.
    eventually(lambda: not container.is_healthy())
    assert (probe(container, "/healthz"), probe(container, "/readyz")) == (200, 500)
    assert process.poll() is None
    assert finished(app, "\n") == "committed\n"
    assert process.wait(machine.SECONDS) == 0


def test_without_its_pooler_it_lives_and_is_not_ready(container: Container) -> None:
    options = {"PGSHIM_UPSTREAM": "127.0.0.1:1", "PGSHIM_ALLOW_PLAINTEXT": "true", "PGSHIM_METRICS": "0.0.0.0:9187"}
    process = container.start(**options)
    eventually(lambda: process.poll() is not None or container.is_healthy())
    assert (probe(container, "/healthz"), probe(container, "/readyz")) == (200, 500)
    container.signal("TERM")
    assert process.wait(machine.SECONDS) == 0


def test_plaintext_beyond_loopback_has_to_be_asked_for(container: Container) -> None:
    process = container.start(PGSHIM_UPSTREAM="127.0.0.1:1")
    assert process.wait(machine.SECONDS) == 2
    assert process.stderr is not None
    assert "--allow-plaintext" in process.stderr.read()
