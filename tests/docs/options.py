"""Writes docs/options.md from the command line's own declarations: `python -m tests.docs.options`, or `make docs`."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import click

from pgshim.cli import command
from tests.docs.markdown import ROOT

PATH = ROOT / "docs" / "options.md"
PREFIX = "PGSHIM"
WIDTH = 120

_OPENING = """\
# Options

```
pgshim --listen 6432 --upstream pooler.example:6543
```

This page is made from the program by `make docs`, and says what `pgshim --help` says.

Each option can come from the environment instead; the command line wins. An option that is repeatable takes several
values there, separated by spaces. Flags are on with `1`, `true`, `yes` or `on`.

| written as | |
|---|---|
| `ADDRESS` | `HOST:PORT`, `[IPv6]:PORT`, or a Unix socket, as each option says |
| `TIME` | seconds, or a number with `ms`, `s`, `min` or `h`: `30`, `30s`, `500ms`, `5min`, `1h` |
| `SIZE` | bytes, or a number with `KiB`, `MiB`, `GiB`: `1048576`, `16MiB`; `kB`, `MB` are the same, as in PostgreSQL |
| `FILE` | a PEM file, which pgshim's user may read |

A bad option ends pgshim with exit code 2, before it listens, and with one sentence that names the option, or the
variable of the environment, the value and the fix.
[operations.md](operations.md#exit-codes) has the other exit codes.
"""


def page() -> str:
    """The whole page."""
    context = click.Context(command, info_name="pgshim", auto_envvar_prefix=PREFIX)
    parts = [_OPENING]
    heading = ""
    for option in _options(command):
        of = getattr(option, "heading", "Other")
        if of != heading:
            heading = of
            parts.append(f"## {heading}\n")
        parts.append(_entry(option, context))
    for name, subcommand in sorted(command.commands.items()):
        parts.append(f"## `pgshim {name}`\n")
        parts.append(_wrapped(inspect.cleandoc(subcommand.help or "").split("\n\n")[0]))
        within = click.Context(subcommand, context, name)
        parts.append(f"```\npgshim {' '.join([name, *subcommand.collect_usage_pieces(within)])}\n```\n")
        parts += [_entry(option, within, level=3) for option in _options(subcommand)]
    return "\n".join(parts)


def _options(of: click.Command) -> Iterator[click.Option]:
    for parameter in of.params:
        if isinstance(parameter, click.Option) and not parameter.hidden and parameter.name != "version":
            yield parameter


def _entry(option: click.Option, context: click.Context, level: int = 3) -> str:
    names = [*option.opts, *option.secondary_opts]
    value = "" if option.is_flag else f" {option.metavar or _choices(option)}"
    title = f"{'#' * level} {', '.join(f'`{name}{value}`' for name in names)}\n"
    facts = [f"Default: {_default(option, context)}."]
    if context.auto_envvar_prefix and option.name and option.allow_from_autoenv:
        facts.append(f"Environment: `{context.auto_envvar_prefix}_{option.name.upper()}`.")
    if option.multiple:
        facts.append("Repeatable.")
    text = (option.help or "").removesuffix(" Repeatable.")
    return f"{title}\n{_wrapped(text)}\n{_wrapped(' '.join(facts))}"


def _choices(option: click.Option) -> str:
    of = option.type
    return "|".join(map(str, of.choices)) if isinstance(of, click.Choice) else of.name.upper()


def _default(option: click.Option, context: click.Context) -> str:
    if isinstance(option.show_default, str):
        return option.show_default.removeprefix("none: ")
    default: Any = option.get_default(context, call=False)
    if option.is_flag:
        return "on" if default is True else "off"
    values = default if isinstance(default, tuple | list) else [default]
    shown = [f"`{value}`" for value in values if value not in ("", None) and not _is_unset(value)]
    return ", ".join(shown) or "none"


def _is_unset(value: Any) -> bool:
    """click's own mark for "no default", from 8.3 on."""
    return getattr(value, "name", "") == "UNSET"


def _wrapped(text: str) -> str:
    escaped = text.replace("*", r"\*").replace("<", r"\<")
    return textwrap.fill(escaped, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(page())
    click.echo(f"{PATH.relative_to(ROOT)} written")
