"""deploy/compose.yaml without Docker: its commands, environments and files, with native servers on free ports.

What is put in place of what: addresses, because its services have hosts of their own, and the path of PgBouncer's list
of users. All else is as it stands there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import psycopg
import yaml

from pgshim.demo.binaries import account_options, find_pgbouncer
from pgshim.demo.processes import ServerProcess, clean_environment
from pgshim.demo.servers import PostgresServer
from tests.deploy.machine import ROOT

DEPLOY = ROOT / "deploy"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def environment(service: str, values: Mapping[str, str]) -> dict[str, str]:
    """A service's, with the variables of the machine, which are `values`, in their places."""
    given: dict[str, str] = SERVICES[service]["environment"]
    return {
        name: re.sub(r"\$\{(\w+)[^}]*\}", lambda variable: values[variable[1]], text) for name, text in given.items()
    }


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


class Service(ServerProcess):
    """A service of the compose file: a command and an environment."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.command: list[str] = []
        self.environment: dict[str, str] = {}
        self.folder = ROOT

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=clean_environment(PYTHONPATH=str(ROOT), **self.environment),
            process_group=0,
            # PgBouncer does not run as root, in its image neither.
            **(account_options() if self.name == "pgbouncer" else {}),
        )


class Pooler(Service):
    """PgBouncer by the entrypoint of the file, with deploy/pgbouncer.ini."""

    stop_signals = Service.stop_signals[:1] * 2 + Service.stop_signals[1:]

    def __init__(self, postgres: PostgresServer, values: Mapping[str, str]) -> None:
        super().__init__("pgbouncer")
        self.postgres = postgres
        self.environment = environment("pgbouncer", values)

    def _prepare(self) -> None:
        users = str(self.directory / "userlist.txt")
        text = (DEPLOY / "pgbouncer.ini").read_text()
        text = replaced(text, "host=postgres port=5432", f"host={self.postgres.host} port={self.postgres.port}")
        text = replaced(text, "listen_port = 6432", f"listen_port = {self.port}")
        ini = self._write("pgbouncer.ini", replaced(text, "/tmp/userlist.txt", users))
        (mounted,) = SERVICES["pgbouncer"]["volumes"]
        here, there, _ = mounted.split(":")
        assert (DEPLOY / here).samefile(DEPLOY / "pgbouncer.ini")
        # In the file, $$ is one $.
        *shell, script = (word.replace("$$", "$") for word in SERVICES["pgbouncer"]["entrypoint"])
        script = replaced(replaced(script, there, str(ini)), "/tmp/userlist.txt", users)
        self.command = [*shell, replaced(script, "exec pgbouncer", f"exec {find_pgbouncer()}")]


class Shim(Service):
    """pgshim with the file's environment and the image's."""

    def __init__(self, pooler: Pooler, values: Mapping[str, str]) -> None:
        super().__init__("pgshim")
        assert SERVICES["pgshim"]["build"] == ".."
        (listen,) = re.findall(r"PGSHIM_LISTEN=(\S+)", (ROOT / "Dockerfile").read_text())
        given = environment("pgshim", values) | {"PGSHIM_LISTEN": replaced(listen, ":6432", f":{self.port}")}
        upstream = f"127.0.0.1:{pooler.port}"
        self.environment = given | {"PGSHIM_UPSTREAM": replaced(given["PGSHIM_UPSTREAM"], "pgbouncer:6432", upstream)}
        self.command = [sys.executable, "-m", "pgshim"]


class App(Service):
    """The app of the file by its Dockerfile's CMD."""

    def __init__(self, address: str, values: Mapping[str, str]) -> None:
        super().__init__("app")
        self.folder = DEPLOY / SERVICES["app"]["build"]
        (command,) = re.findall(r"^CMD (\[.*\])$", (self.folder / "Dockerfile").read_text(), re.MULTILINE)
        self.command = [sys.executable, "-m", *json.loads(replaced(command, '"8000"', f'"{self.port}"'))]
        given = environment("app", values)
        self.environment = {"DATABASE_URL": replaced(given["DATABASE_URL"], "pgshim:6432", address)}

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def _is_ready(self) -> bool:
        return super()._is_ready() and "Application startup complete" in self.log()


def test_the_app_keeps_its_notes_through_all_four_services() -> None:
    with PostgresServer() as postgres:
        values = {"POSTGRES_PASSWORD": postgres.users["app"]}
        of_postgres = environment("postgres", values)
        assert (of_postgres["POSTGRES_USER"], of_postgres["POSTGRES_DB"]) == ("app", "app")
        with Pooler(postgres, values) as pooler, Shim(pooler, values) as shim:
            with App(f"127.0.0.1:{shim.port}", values) as app:
                added = [app.ask("/notes", {"text": f"note {number}"}) for number in range(12)]
                assert [note["text"] for note in added] == [f"note {number}" for number in range(12)]
                assert app.ask("/notes?limit=3") == added[:-4:-1]
                # Several connections with the same statements, on whatever servers they get.
                with ThreadPoolExecutor(8) as threads:
                    answers = threads.map(app.ask, ["/notes?limit=1"] * 80)
                    assert list(answers) == [added[-1:]] * 80
            # A second start finds its table, and no server that remembers the first one's statements.
            with App(f"127.0.0.1:{shim.port}", values) as app:
                assert len(app.ask("/notes")) == 12
            with psycopg.connect(postgres.endpoint().url) as direct:
                assert direct.execute("SELECT count(*) FROM note").fetchone() == (12,)


def test_its_folder_has_what_its_images_are_built_from() -> None:
    for service in ("pgshim", "app"):
        folder = (DEPLOY / SERVICES[service]["build"]).resolve()
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", (folder / "Dockerfile").read_text(), re.MULTILINE):
            for name in line.split():
                assert (folder / name).exists(), name
                assert f"!{name}" in (folder / ".dockerignore").read_text().splitlines()


def test_no_file_has_a_secret() -> None:
    files = [ROOT / "Dockerfile", *(path for path in DEPLOY.rglob("*") if path.is_file())]
    for path in files:
        assert not re.search(r"password *[:=] *[\"']?\w{6}|BEGIN [A-Z ]*PRIVATE", path.read_text(), re.IGNORECASE), path
