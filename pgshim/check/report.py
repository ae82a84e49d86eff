"""What was found: lines for people as they come, and data for machines.

A line has a level. What an app would fail by is a PROBLEM, and decides the exit code; what it should know of is a
WARNING or a NOTE, each with what to do about it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How much a line matters; the values are those in the JSON."""

    PLAIN = "plain"
    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to say: `label` is one or two words; `fix` is what to do, or empty."""

    level: Level
    label: str
    text: str
    fix: str = ""


@dataclass
class Report:
    """The lines of each section go to `show` as they come; `begin` hears what is looked at next."""

    show: Callable[[str, Remark], None] = lambda section, remark: None
    begin: Callable[[str], None] = lambda section: None
    #: One entry for each section of the JSON.
    data: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, str]] = field(default_factory=list)

    def add(self, section: str, label: str, text: str, *, level: Level = Level.OK, fix: str = "") -> None:
        """One line of a section."""
        self.put(section, Remark(level, label, text, fix))

    def put(self, section: str, remark: Remark) -> None:
        """One line of a section; what is more than plain or fine is a finding as well."""
        if remark.level not in (Level.PLAIN, Level.OK):
            self.findings.append({"section": section.lower(), **asdict(remark), "level": remark.level.value})
        self.show(section, remark)

    @property
    def exit_code(self) -> int:
        """1 with a problem, else 0."""
        return int(any(finding["level"] == Level.PROBLEM.value for finding in self.findings))

    def as_json(self) -> str:
        """Sections in the order they were looked at, the findings, and the exit code."""
        return json.dumps({**self.data, "findings": self.findings, "exit_code": self.exit_code}, indent=2)
