"""The command line's grammar on top of click: options under headings, and pgshim's own sentences for what is wrong.

click's sentences say what is wrong and not what to do; here each has the option, or the variable of the environment
that it came from, the value and the fix. What looks like a URL is never repeated: it may hold a password.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import click
from click.core import ParameterSource

from pgshim.errors import ConfigurationError
from pgshim.values import CHOICES, READERS


class Parsed(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on only
    """A value that is read by a function that raises ConfigurationError."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ConfigurationError as error:
            self.fail(error.message, param, ctx)


class Words(click.Choice):  # type: ignore[type-arg]  # as above
    """One of a few words."""

    def __init__(self, name: str) -> None:
        super().__init__(CHOICES[name])
        self._reader = Parsed(name, READERS[name])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self._reader.convert(value, param, ctx)


class Switch(click.types.BoolParamType):
    """On or off, for a flag: the environment may hold anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither on nor off; write 1 or 0", param, ctx)


class Option(click.Option):
    """An option that stands under a heading in --help. Without a type it has that of `pgshim.values`."""

    def __init__(self, *args: Any, heading: str = "Options", **attributes: Any) -> None:
        super().__init__(*args, **{"show_default": attributes.get("default") != "", "show_envvar": True, **attributes})
        self.heading = heading
        name = str(self.name)
        if self.is_flag:
            self.type = Switch()
        elif name in CHOICES:
            self.type = Words(name)
        elif "type" not in attributes and name in READERS:
            self.type = Parsed(name, READERS[name])


class Subcommand(click.Command):
    """Says which argument is one too many."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            raise ConfigurationError(f"{_shown(rest[0])} is more than {ctx.command_path} takes; leave it out")
        return rest


class Group(click.Group):
    """Writes the options under their headings; a value of --trace stands behind a "=", as usual for what has none."""

    command_class = Subcommand

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                headings.setdefault(getattr(parameter, "heading", "Other"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        self.format_commands(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # click would take a command that follows for the value: `--trace run`.
        options = [each for each in self.params if isinstance(each, click.Option) and not each.is_flag]
        with_value = {name for each in options for name in each.opts if name != "--trace"}
        done, rest = [], list(args)
        while rest and rest[0].startswith("-") and rest[0] != "--":
            word = rest.pop(0)
            done.append("--trace=-" if word == "--trace" else word)
            if word in with_value:
                done += rest[:1]
                del rest[:1]
        return super().parse_args(ctx, done + rest)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        word = args[0]
        if self.get_command(ctx, word) is None and not ctx.resilient_parsing:
            fix = f"give one of {', '.join(self.list_commands(ctx))}, or leave it out"
            if ctx.params.get("trace") == "-" and "://" not in word:
                fix += f"; a file for the trace is given as --trace={word}"
            raise ConfigurationError(f"{_shown(word)} is no command of pgshim's; {fix}")
        return super().resolve_command(ctx, args)


def sentence(error: click.ClickException, program: click.Group) -> str:
    """What is wrong with a command line of the program, and the fix."""
    context = getattr(error, "ctx", None)
    if isinstance(error, click.MissingParameter) and error.param is not None and error.param.name == "words":
        return "run needs a command; write it behind --, as in pgshim run -- uvicorn app:app"
    if isinstance(error, click.BadParameter) and error.param is not None and context is not None:
        return f"{_origin(error.param, context)}: {error.message}"
    if isinstance(error, click.NoSuchOption) and context is not None:
        return _no_such_option(error, context)
    if isinstance(error, click.BadOptionUsage):
        return _option_usage(error, program)
    fix = f"; {context.command_path} --help says what there is" if context is not None else ""
    return error.format_message().rstrip(".") + fix


def without_urls(text: str, arguments: Sequence[str]) -> str:
    """The text without those of the arguments that look like a URL, or of the variables of the environment."""
    given = [*arguments, *(value for name, value in os.environ.items() if name.startswith("PGSHIM_"))]
    pieces = {piece for each in given for word in each.split() for piece in (word, word.partition("=")[2])}
    for piece in sorted(pieces, key=len, reverse=True):
        if "://" in piece:
            text = text.replace(repr(piece), "a URL").replace(piece, "a URL")
    return text


def _origin(parameter: click.Parameter, context: click.Context) -> str:
    """The option's name, or that of the variable it came from."""
    name = str(parameter.name)
    if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
        if parameter.envvar:
            return parameter.envvar if isinstance(parameter.envvar, str) else parameter.envvar[0]
        return f"{context.auto_envvar_prefix}_{name.upper()}"
    return parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.human_readable_name)


def _no_such_option(error: click.NoSuchOption, context: click.Context) -> str:
    name = error.option_name
    if context.parent is not None and _option_of(context.parent.command, name) is not None:
        command = context.info_name
        return f"{name} is an option of pgshim's own; write it in front of {command}, as in pgshim {name} ... {command}"
    if isinstance(context.command, click.Group):
        for command, each in context.command.commands.items():
            if _option_of(each, name) is not None:
                return f"{name} is an option of {command}; write it behind that, as in pgshim {command} {name}"
    there = [option for each in context.command.params for option in (*each.opts, *each.secondary_opts)]
    fix = f"{context.command_path} --help has all there are"
    if near := get_close_matches(name, there, n=1, cutoff=0.8):
        fix = f"did you mean {near[0]}? {fix}"
    return f"{_shown(name)} is no option of {context.command_path}; {fix}"


def _option_usage(error: click.BadOptionUsage, program: click.Group) -> str:
    # click does not say of which command it is.
    name = error.option_name
    found = [option for each in (program, *program.commands.values()) if (option := _option_of(each, name)) is not None]
    if found[0].is_flag:
        return f"{name} takes no value; leave out the = and what is behind it"
    metavar = found[0].metavar or "|".join(CHOICES.get(str(found[0].name), ("VALUE",)))
    return f"{name} needs a value; write {name} {metavar}"


def _option_of(command: click.Command, name: str) -> click.Option | None:
    for each in command.params:
        if isinstance(each, click.Option) and name in (*each.opts, *each.secondary_opts):
            return each
    return None


def _shown(word: str) -> str:
    return "a URL" if "://" in word else f"'{word}'"
