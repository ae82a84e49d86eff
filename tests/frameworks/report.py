"""From pytest's junit file to results: one for each story, and one for each module of the drivers' tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from tests.matrix.results import Outcome, Result

COLOURS = {Outcome.PASSED: "green", Outcome.REFUSED: "yellow", Outcome.FAILED: "red", Outcome.NOT_RUN: "red"}


@dataclass(frozen=True)
class Case:
    """One test of a run: its module (`test_asyncpg`), name with parameters, what it noted, and why it failed."""

    module: str
    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True)
class Client:
    """A client, its version, and the modules that are its tests; with `pattern` only those tests whose name has it."""

    name: str
    version: str
    modules: Sequence[str]
    pattern: str = ""

    def cases(self, cases: Iterable[Case], module: str) -> list[Case]:
        return [case for case in cases if case.module == module and re.search(self.pattern, case.name)]


@dataclass(frozen=True)
class Pooler:
    name: str
    version: str


def read(junit: Path) -> list[Case]:
    """The tests of a run."""
    return [_case(element) for element in ElementTree.parse(junit).iter("testcase")]


def _case(element: ElementTree.Element) -> Case:
    properties = {found.get("name", ""): found.get("value", "") for found in element.iter("property")}
    faults = [found.get("message", found.tag) for tag in ("failure", "error", "skipped") for found in element.iter(tag)]
    module = element.get("classname", "").rpartition(".")[2]
    return Case(module, element.get("name", ""), properties, "; ".join(faults))


def stories(client: Client, pooler: Pooler, cases: Sequence[Case]) -> Iterator[Result]:
    """A result for each test of the client's."""
    for module in client.modules:
        found = client.cases(cases, module)
        for case in found:
            outcome, reason = Outcome.PASSED, case.properties.get("detail", "")
            if case.failure:
                outcome, reason = Outcome.FAILED, _line(case.failure)
            elif "refused" in case.properties:
                outcome, reason = Outcome.REFUSED, case.properties["refused"]
            yield _result(client, pooler, _words(case.name), outcome, reason)
        if not found:
            yield _result(client, pooler, _words(module), Outcome.FAILED, "it was not run")


def modules(client: Client, pooler: Pooler, cases: Sequence[Case]) -> Iterator[Result]:
    """A result for each module of the client's, with how many of its tests passed."""
    for module in client.modules:
        found = client.cases(cases, module)
        failed = [case for case in found if case.failure]
        reason = f"{len(found) - len(failed)} of {len(found)} tests"
        if failed:
            reason += f"; {failed[0].name}: {_line(failed[0].failure)}"
        outcome = Outcome.PASSED if found and not failed else Outcome.FAILED
        yield _result(client, pooler, _words(module), outcome, reason)


def show(results: Sequence[Result], console: Console) -> None:
    """Prints them as a table."""
    table = Table(title="Frameworks and drivers, through pgshim")
    for name in ("client", "version", "what", "outcome", ""):
        table.add_column(name, overflow="fold")
    for result in results:
        colour = COLOURS[result.outcome]
        outcome = f"[{colour}]{result.outcome}[/{colour}]"
        table.add_row(result.client, result.version, result.feature, outcome, result.reason.replace("[", "\\["))
    console.print(table)


def _result(client: Client, pooler: Pooler, feature: str, outcome: Outcome, reason: str) -> Result:
    return Result(client.name, client.version, pooler.name, pooler.version, feature, outcome, reason)


def _words(name: str) -> str:
    """`test_two_workers[a]` as people read it."""
    head, bracket, parameters = name.removeprefix("test_").partition("[")
    return head.replace("_", " ") + (f": {parameters.removesuffix(']')}" if bracket else "")


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
