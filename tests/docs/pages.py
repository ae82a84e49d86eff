"""Runs what a page of the docs says, block by block, with real servers in the places it names.

A fenced block says in its first line what is to be done with it, behind the language:

    test            run it (python, bash, js); it has to end with exit code 0
    output          what the block before printed, to the letter; `...` stands for any text within a line
    serve           start it and leave it running until the page ends, once its port is open; `serve=8000`: that port
    env             export lines, which hold for all that comes behind
    file=NAME       write it to that file
    install         a command that installs: what it names has to be here, in a version that fits
    args            a manifest (yaml): start the container named pgshim, that is `pgshim` with its args and env
    unrun=REASON    not run, and why not
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pgshim.demo.postgres import NOTHING
from pgshim.demo.processes import accepts_connections, clean_environment
from tests.docs.markdown import ROOT, Block, blocks

BLOCK_SECONDS = 120.0
START_SECONDS = 20.0
MARKS = frozenset({"test", "output", "serve", "env", "file", "install", "args", "unrun"})
#: Languages that show something, and are nothing to run.
SHOWN = frozenset({"", "text"})


class Page:
    """One run of a page in `directory`. `places` says what stands there in truth for what the page says."""

    def __init__(self, directory: Path, places: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.places = dict(places)
        self.environment = {**_environment(), **environment}
        self._printed = ""
        self._running: list[tuple[subprocess.Popen[bytes], Path]] = []
        alternatives = "|".join(re.escape(name) for name in sorted(places, key=len, reverse=True))
        # Not where it is the key of a mapping.
        self._pattern = re.compile(rf"(?<![\w.])(?:{alternatives})(?!\w|\":)")

    @classmethod
    @contextmanager
    def opened(cls, *arguments: Any) -> Iterator[Page]:
        """Ends in the end what the page has started."""
        page = cls(*arguments)
        try:
            yield page
        finally:
            for process, _ in reversed(page._running):
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def run(self, path: Path) -> int:
        """Runs all of it, and returns how many blocks there were to run. Raises AssertionError."""
        count = 0
        for block in blocks(path):
            handler = self._handler(block)
            if handler is not None:
                handler(block, self._placed(block.text))
                count += 1
        for process, log in self._running:
            assert process.poll() is None, log.read_text()
            assert "Traceback" not in log.read_text(), log.read_text()
        return count

    def _handler(self, block: Block) -> Callable[[Block, str], None] | None:
        known = MARKS & block.marks.keys()
        if "unrun" in known or (not known and block.language in SHOWN):
            return None
        assert len(known) == 1, f"{block.where}: a block of the quick start has one of the marks {sorted(MARKS)}"
        handler: Callable[[Block, str], None] = getattr(self, f"_{known.pop()}")
        return handler

    def _placed(self, text: str) -> str:
        return self._pattern.sub(lambda match: self.places[match[0]], text)

    def _file(self, block: Block, text: str) -> None:
        path = self.directory / block.marks["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _env(self, block: Block, text: str) -> None:
        done = self._finished(block, ["bash", "-euc", f"{text}\nenv -0"])
        pairs = (line.split("=", 1) for line in done.split("\0") if "=" in line)
        self.environment |= {name: value for name, value in pairs if name != "_"}

    def _test(self, block: Block, text: str) -> None:
        if block.language == "bash":
            command = ["bash", "-euo", "pipefail", "-c", text]
        else:
            suffix, program = {"python": (".py", sys.executable), "js": (".mjs", "node")}[block.language]
            path = self.directory / f"line_{block.line}{suffix}"
            path.write_text(text)
            command = [program, str(path)]
        self._printed = self._finished(block, command)

    def _finished(self, block: Block, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
        )
        assert done.returncode == 0, f"{block.where}: {done.stdout}{done.stderr}{self._logs()}"
        return done.stdout

    def _output(self, block: Block, text: str) -> None:
        wanted = "[^\n]*".join(re.escape(part) for part in text.strip().split("..."))
        assert re.fullmatch(wanted, self._printed.strip()), f"{block.where}: it printed {self._printed!r}"

    def _serve(self, block: Block, text: str) -> None:
        port = int(self.places[block.marks["serve"] or "6432"])
        self._start(block, ["bash", "-euc", f"exec {text}"], port)

    def _args(self, block: Block, text: str) -> None:
        containers = [found for found in _mappings(list(yaml.safe_load_all(text))) if _is_pgshim(found)]
        assert len(containers) == 1, f"{block.where}: one container is named pgshim"
        arguments = containers[0].get("args") or containers[0].get("command")
        variables = {variable["name"]: variable["value"] for variable in containers[0].get("env", ())}
        self._start(block, ["pgshim", *map(str, arguments)], int(self.places["6432"]), variables)

    def _start(self, block: Block, command: list[str], port: int, variables: Mapping[str, str] = NOTHING) -> None:
        log = self.directory / f"line_{block.line}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._running.append((process, log))
        deadline = time.monotonic() + START_SECONDS
        while not accepts_connections("127.0.0.1", port):
            assert process.poll() is None, f"{block.where}: {log.read_text()}"
            assert time.monotonic() < deadline, f"{block.where}: port {port} is not open; {log.read_text()}"
            time.sleep(0.05)

    def _install(self, block: Block, text: str) -> None:
        for line in text.strip().splitlines():
            program, verb, *packages = (word for word in shlex.split(line, comments=True) if not word.startswith("-"))
            assert verb == "install", f"{block.where}: {line}"
            for package in packages:
                assert self._is_installed(program, package), f"{block.where}: {package} is not here"

    def _is_installed(self, program: str, package: str) -> bool:
        if program == "npm":
            return (self.directory / "node_modules" / package / "package.json").exists()
        name, extras = re.fullmatch(r"([\w.-]+)(?:\[([\w,]+)\])?", package).groups()  # type: ignore[union-attr]
        metadata = importlib.metadata.metadata(name)
        return set((extras or "").split(",")) - {""} <= set(metadata.get_all("Provides-Extra") or ())

    def _logs(self) -> str:
        return "".join(f"\n{log.name}: {log.read_text()[-2000:]}" for _, log in self._running)


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings within a document, each with its key in the one around it as `name` where it has none."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            yield from _mappings({"name": key} | inner if isinstance(inner, dict) else inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _is_pgshim(found: Mapping[str, Any]) -> bool:
    return found.get("name") == "pgshim" and ("args" in found or "command" in found)


def _environment() -> dict[str, str]:
    """A shell's in which this Python's programs come first, and no variable of pgshim's or the tests' is set."""
    environment = {name: value for name, value in clean_environment().items() if not name.startswith("PGSHIM_")}
    environment.pop("PYTHONASYNCIODEBUG", None)
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    return environment | {"PATH": path, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


def node_modules(folder: Path) -> Path:
    """Where `npm ci` has put what the lock file in `folder` names; it is done again only when that has changed."""
    from tests.clients.programs import BUILD, CannotRun

    build = BUILD.parent / "docs" / folder.name
    lock = (folder / "package-lock.json").read_text()
    done = build / "done"
    if not done.exists() or done.read_text() != lock:
        build.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            (build / name).write_text((folder / name).read_text())
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier"]
        try:
            run = subprocess.run(command, cwd=build, capture_output=True, text=True, timeout=600)
        except FileNotFoundError:
            raise CannotRun("npm is not on this machine: install nodejs npm.") from None
        if run.returncode != 0:
            raise CannotRun(f"`{' '.join(command)}` failed: {run.stderr.strip()[-1500:]}")
        done.write_text(lock)
    assert json.loads(lock)["packages"]
    return build / "node_modules"
