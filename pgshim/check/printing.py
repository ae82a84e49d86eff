"""The report for people: sections of lines, with colours where rich is installed and a terminal shows them."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from importlib.util import find_spec

from pgshim.check.report import Level, Remark

_MARKS = {Level.PLAIN: "", Level.OK: "ok", Level.NOTE: "note", Level.WARNING: "warn", Level.PROBLEM: "FAIL"}
_STYLES = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}

_LABEL_WIDTH = 19
_INDENT = 2 + 6 + _LABEL_WIDTH + 2
_PLAIN_WIDTH, _WIDEST, _NARROWEST = 110, 120, 60

#: Writes pieces of (text, style) as one line.
Write = Callable[[list[tuple[str, str]]], None]


class Printer:
    """Prints lines as they come, each section under its name."""

    def __init__(self, write: Write | None = None, width: int = 0) -> None:
        is_terminal = sys.stdout.isatty()
        columns = shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns if is_terminal else _PLAIN_WIDTH
        self._width = max(width or min(columns, _WIDEST), _NARROWEST)
        self._write = write or (_with_rich() if is_terminal and _may_be_styled() else _plainly)
        self._section = ""

    def title(self, text: str) -> None:
        """What the report is about."""
        self._write([(text, "bold")])

    def show(self, section: str, remark: Remark) -> None:
        """One line: mark, label, text, and below it what to do."""
        self.begin(section)
        style = _STYLES.get(remark.level, "")
        first, *rest = self._wrapped(remark.text)
        mark = f"  {_MARKS[remark.level]:<6}"
        self._write([(mark, style), (f"{remark.label:<{_LABEL_WIDTH}}  ", ""), (first, "")])
        for line in rest:
            self._write([(" " * _INDENT + line, "")])
        for number, line in enumerate(self._wrapped(remark.fix, less=3) if remark.fix else ()):
            self._write([(" " * _INDENT, ""), ("-> " if number == 0 else "   ", style), (line, "")])

    def show_verbatim(self, section: str, label: str, text: str) -> None:
        """A line to copy: it is not wrapped."""
        self.begin(section)
        self._write([(f"  {label}", "")])
        self._write([(f"      {text}", "bold")])

    def begin(self, section: str) -> None:
        """Its name, unless it stands there already: what takes a while has a heading by then."""
        if section != self._section:
            self._section = section
            self._write([])
            self._write([(section, "bold")])

    def _wrapped(self, text: str, less: int = 0) -> list[str]:
        width = max(self._width - _INDENT - less, 20)
        # What a server says is not to steer the terminal.
        shown = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
        return textwrap.wrap(shown, width, break_long_words=False, break_on_hyphens=False) or [""]


def _may_be_styled() -> bool:
    """NO_COLOR speaks of colours alone; bold without them tells nothing, so all is left out."""
    return not os.environ.get("NO_COLOR") and find_spec("rich") is not None


def _plainly(pieces: list[tuple[str, str]]) -> None:
    line = "".join(text for text, _ in pieces).rstrip()
    print(_encodable(line), flush=True)


def _encodable(text: str) -> str:
    """A terminal or a pipe in another encoding gets a question mark, not a traceback."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _with_rich() -> Write:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    return lambda pieces: console.print(Text.assemble(*((_encodable(text), style) for text, style in pieces)))
