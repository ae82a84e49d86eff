"""What a measurement printed, kept as JSON under `build/bench`, so that pictures can be drawn from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "build" / "bench"


class NotSaved(Exception):
    """There is no result of that name; one sentence that says how to get one."""


@dataclass(frozen=True)
class Saved:
    """A table: its title, what it was measured with (the machine, versions), its columns, and its rows of texts."""

    title: str
    about: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def save(name: str, result: Saved) -> None:
    """Keep a result, in place of the last one of that name."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(result), indent=1, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def load(name: str) -> Saved:
    """The last result of that name. Raises NotSaved."""
    try:
        text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotSaved(f"there is no saved result of {name}: run `python -m bench {name}` first") from None
    return Saved(**json.loads(text))
