"""Pictures of what was measured, as SVG: the same figures give the same bytes.

`round_trips` and `cpu` take plain data; `draw` takes what `bench.saved` has kept.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.saved import Saved, load

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"

#: Figures of one bar group: what was measured -> how much, or None (or a text that says why) where it could not be.
Figures = Mapping[str, float | str | None]

# Text stays text: it can be searched, and the files are small. matplotlib brings the first font along and measures by
# it; none of the others, which a reader may have instead, is wider. Ids do not hang on chance.
STYLE = {
    "svg.hashsalt": "pgshim",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#57606a",
}
#: A background of its own, so that it reads the same on a light page and on a dark one.
PAPER, INK, PALE = "#ffffff", "#1f2328", "#57606a"
#: pgshim is the blue one everywhere. The others are told apart in grey, too.
PGSHIM = "#0969da"
OTHERS = ("#8c959f", "#e0a100", "#3d444d", "#bc8cff", "#4d9375")

#: The height of one bar, and of the space between groups, in inches; what titles, axes and captions take.
BAR, SPACE, FRAME = 0.12, 0.08, 0.7
WIDTH = 11.0


def draw() -> Iterator[Path]:
    """Draw all pictures from the results that are saved, one after the other; where they are. Raises NotSaved."""
    trips = load("roundtrips")
    yield round_trips(round_trip_rows(trips), trips.about, FOLDER / "round-trips.svg")
    used = load("cpu")
    yield cpu(cpu_rows(used), used.about, FOLDER / "cpu.svg")


def round_trip_rows(saved: Saved) -> list[tuple[str, str, dict[str, float | str | None]]]:
    """(driver, operation, {way: round trips, or why there are none}) of a saved table."""
    ways = saved.columns[2:-1]
    return [
        (driver, operation, {way: _whole(count) for way, count in zip(ways, counts, strict=True)})
        for driver, operation, *counts, _ in saved.rows
    ]


def _whole(cell: str) -> float | str:
    return int(cell) if cell.isdigit() else cell


def cpu_rows(saved: Saved) -> list[tuple[str, dict[str, float | None]]]:
    """(case, {name: microseconds, or None where it could not be measured}) of a saved table.

    Its columns are what makes the case, what was measured, and ratios, which are not drawn.
    """
    rows = []
    for row in saved.rows:
        cells = dict(zip(saved.columns, row, strict=True))
        case = ", ".join(_labelled(name, cells.pop(name)) for name in saved.columns if name in CASE)
        rows.append((case, {name: _number(cell) for name, cell in cells.items() if not name.startswith("ratio")}))
    return rows


CASE = ("case", "mode", "clients", "connections")


def _labelled(column: str, cell: str) -> str:
    if column not in ("clients", "connections"):
        return cell
    return f"{cell} {column[:-1] if cell == '1' else column}"


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def round_trips(rows: Sequence[tuple[str, str, Figures]], about: Sequence[str], path: Path) -> Path:
    """A panel for each driver, a group of bars for each operation.

    rows -- (driver, operation, {way: round trips, or a text that says why there are none})
    about -- lines that say with what it was measured
    """
    panels: dict[str, list[tuple[str, Figures]]] = {}
    for driver, operation, counts in rows:
        panels.setdefault(driver, []).append((operation, counts))
    with mpl.rc_context(STYLE):
        tallest = max(map(len, panels.values()))
        ways = list(rows[0][2])
        height = _height(tallest, len(ways))
        down = len(panels) // 2 + 1
        figure = Figure(figsize=(WIDTH, down * height + 0.5), facecolor=PAPER, layout="constrained")
        grid = figure.subplots(down, 2, sharex=True)
        for axes, (driver, operations) in zip(grid.flat, panels.items(), strict=False):
            _bars(axes, operations, ways, tallest, lambda count: f"{count:.0f}")
            axes.set_title(driver, loc="left", fontweight="bold", color=INK)
            axes.tick_params(labelbottom=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        last = grid.flat[len(panels)]
        last.text(0, 0.97, _wrapped([*WAYS, *about], 46), transform=last.transAxes, va="top", color=PALE)
        _entitle(figure, "Round trips of each operation, counted in front of the pooler: fewer is better", ways)
        return _write(figure, path)


WAYS = (
    "direct: PostgreSQL itself",
    "workaround: PgBouncer, and set what the drivers' documentation says to set for transaction poolers",
    "pgshim: PgBouncer behind pgshim, nothing set",
    "",
    "PgBouncer before 1.21 is given one batch at a time, so queries at once take their turns.",
    "",
)


def cpu(rows: Sequence[tuple[str, Figures]], about: Sequence[str], path: Path) -> Path:
    """A group of bars for each case.

    rows -- (label of the case, {name: microseconds of CPU time for each query, or None})
    about -- lines that say with what it was measured
    """
    with mpl.rc_context(STYLE):
        names = list(rows[0][1])
        figure = Figure(figsize=(WIDTH, _height(len(rows), len(names)) + 0.9), facecolor=PAPER, layout="constrained")
        axes = figure.subplots()
        _bars(axes, rows, names, len(rows), lambda used: f"{used:.1f}")
        _entitle(figure, "CPU time for each query, user and system, in microseconds: less is better", names)
        figure.supxlabel(_wrapped(about, 130), color=PALE, fontsize=8.5, x=0.01, ha="left")
        return _write(figure, path)


def _height(groups: int, bars: int) -> float:
    return groups * (bars * BAR + SPACE) + FRAME


def _color(names: Sequence[str], name: str) -> str:
    others = [other for other in names if other != "pgshim"]
    return PGSHIM if name == "pgshim" else OTHERS[others.index(name) % len(OTHERS)]


def _entitle(figure: Figure, title: str, names: Sequence[str]) -> None:
    """The title, and below it what each colour stands for."""
    patches = [Patch(color=_color(names, name), label=name) for name in names]
    figure.legend(
        handles=patches, title=title, loc="outside upper center", ncols=len(names), frameon=False, title_fontsize=12
    )


def _wrapped(lines: Sequence[str], width: int) -> str:
    return "\n".join(part for line in lines for part in textwrap.wrap(line, width) or [""])


def _bars(
    axes: Axes,
    groups: Sequence[tuple[str, Figures]],
    names: Sequence[str],
    most: int,
    written: Callable[[float], str],
) -> None:
    """Groups of horizontal bars from the top down, each bar with its figure; `most` groups would fill the panel."""
    step = len(names) * BAR + SPACE
    axes.set_facecolor(PAPER)
    for at, (_, figures) in enumerate(groups):
        for index, name in enumerate(names):
            _bar(axes, at * step + index * BAR, figures.get(name), _color(names, name), written)
    axes.set_yticks([at * step + (len(names) - 1) * BAR / 2 for at in range(len(groups))])
    axes.set_yticklabels([label for label, _ in groups], color=INK)
    axes.set_ylim(most * step - SPACE - BAR / 2, -SPACE - BAR / 2)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", colors=PALE)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="x", color="#d8dee4", linewidth=0.6)
    axes.set_axisbelow(True)


def _bar(axes: Axes, y: float, figure: float | str | None, color: str, written: Callable[[float], str]) -> None:
    width = 0.0 if figure is None or isinstance(figure, str) else figure
    axes.barh(y, width, height=BAR * 0.88, color=color)
    text: dict[str, Any] = {"va": "center", "fontsize": 7, "color": INK}
    if figure is None or isinstance(figure, str):
        words, text["color"] = figure or "cannot", "#cf222e"
    else:
        words = written(figure)
    axes.annotate(words, (width, y), xytext=(3, -0.5), textcoords="offset points", **text)


def _write(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None})
    return path
