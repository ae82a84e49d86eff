"""The client programs of other languages: what each needs, how it is built and run. Nothing is built in the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "clients"
# Downloading is most of it.
BUILD_SECONDS = 900


class CannotRun(Exception):
    """A client that cannot be built; the message is a sentence that says why."""


@dataclass(frozen=True)
class Program:
    """One client. `name` is the driver's, `folder` that of its source here, `packages` Debian's that build it."""

    name: str
    folder: str
    packages: str

    @property
    def directory(self) -> Path:
        """Where it is built."""
        return BUILD / self.folder

    def build(self) -> list[str]:
        """Builds it and returns the command that runs it. Raises CannotRun."""
        shutil.copytree(HERE / self.folder, self.directory, dirs_exist_ok=True)
        return self._build()

    def _build(self) -> list[str]:
        raise NotImplementedError

    def _tool(self, name: str, *version: str) -> tuple[int, ...]:
        """The version that a tool says it has. Raises CannotRun."""
        if shutil.which(name) is None:
            raise CannotRun(f"{name} is not on this machine: install {self.packages}.")
        said = self._run(name, *version)
        match = re.search(r"(\d+)\.(\d+)", said)
        if match is None:
            raise CannotRun(f"`{name} {' '.join(version)}` says no version: {said}")
        return int(match[1]), int(match[2])

    def _run(self, *command: str, **environment: str) -> str:
        """What the command printed. Raises CannotRun."""
        try:
            done = subprocess.run(
                command,
                cwd=self.directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=BUILD_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise CannotRun(f"`{' '.join(command)}` did not end within {BUILD_SECONDS} s.") from None
        if done.returncode != 0:
            raise CannotRun(f"`{' '.join(command)}` failed: {done.stdout.strip()[-1500:]}")
        return done.stdout


@dataclass(frozen=True)
class Node(Program):
    """A module of the folder `node`, which has one lock file for both drivers."""

    module: str

    def _build(self) -> list[str]:
        self._tool("npm", "--version")
        node = self._tool("node", "--version")
        if node < (18, 0):
            raise CannotRun(f"{self.name}'s program needs Node 18 or later; this is {node[0]}.{node[1]}.")
        self._run("npm", "ci", "--no-audit", "--no-fund", "--no-update-notifier")
        return ["node", str(self.directory / self.module)]


@dataclass(frozen=True)
class Go(Program):
    """Locked twice: where Go is older than the current driver needs, its last version for Go 1.19 is what runs."""

    def _build(self) -> list[str]:
        go = self._tool("go", "version")
        if go < (1, 19):
            raise CannotRun(f"{self.name} needs Go 1.19 or later; this is {go[0]}.{go[1]}.")
        modules = "go.mod" if go >= (1, 25) else "go-1.19.mod"
        # No other Go than the one that is here.
        command = ("go", "build", "-mod=readonly", "-buildvcs=false", f"-modfile={modules}", "-o", "client", ".")
        self._run(*command, GOTOOLCHAIN="local", GOFLAGS="")
        return [str(self.directory / "client")]


@dataclass(frozen=True)
class Maven(Program):
    def _build(self) -> list[str]:
        java = self._tool("javac", "-version")
        self._tool("mvn", "--version")
        if java < (17, 0):
            raise CannotRun(f"{self.name}'s program needs JDK 17 or later; this is {java[0]}.")
        self._run("mvn", "--batch-mode", "--quiet", "compile", "dependency:copy-dependencies")
        target = self.directory / "target"
        # Small heaps: several of them run at once.
        return ["java", "-Xmx128m", "-XX:+UseSerialGC", "-cp", f"{target}/classes:{target}/dependency/*", "Client"]


@dataclass(frozen=True)
class Cargo(Program):
    def _build(self) -> list[str]:
        cargo = self._tool("cargo", "--version")
        if cargo < (1, 85):
            found = f"this is {cargo[0]}.{cargo[1]}"
            raise CannotRun(f"{self.name} needs Rust 1.85 or later; {found}: install {self.packages}.")
        self._run("cargo", "build", "--locked", "--quiet", CARGO_TARGET_DIR=str(self.directory / "target"))
        return [str(self.directory / "target" / "debug" / "tokio-postgres-client")]


PROGRAMS: Sequence[Program] = (
    Node("postgres.js", "node", "nodejs npm", "postgres_js.mjs"),
    Node("node-postgres", "node", "nodejs npm", "node_postgres.mjs"),
    Go("pgx", "pgx", "golang-go"),
    Maven("PgJDBC", "pgjdbc", "default-jdk-headless maven"),
    Cargo("tokio-postgres", "tokio_postgres", "cargo (Debian 12: cargo-web)"),
)
