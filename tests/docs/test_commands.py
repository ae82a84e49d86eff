"""Command lines and options that a page names are such as the program takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pgshim.cli import command
from tests.docs import markdown
from tests.docs.markdown import ROOT

PAGES = [page for page in markdown.files() if page == ROOT / "README.md" or page.is_relative_to(ROOT / "docs")]
#: Of others: of docker, kubectl, systemctl, of a server's command line, of every command.
FOREIGN = {"--ulimit", "--name", "--help", "--rm", "--read-only", "--cap-drop", "--security-opt", "--stop-timeout"}
FOREIGN |= {"--no-healthcheck", "--build-arg", "--build", "--cert", "--key", "--now"}


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """(where, words) of each `pgshim ...` in a fenced block."""
    for page in PAGES:
        for block in markdown.blocks(page):
            for line in block.text.replace("\\\n", " ").splitlines():
                if line.startswith("pgshim "):
                    yield f"{block.where}: {line}", shlex.split(line, comments=True)[1:]


LINES = dict(command_lines())


@pytest.mark.parametrize("where", [where for where in LINES if "..." not in where and "[" not in where])
def test_the_program_takes_a_command_line(where: str) -> None:
    of: click.Command = command
    words = LINES[where]
    context = None
    for name, subcommand in command.commands.items():
        if words[0] == name:
            context = command.make_context("pgshim", ["--upstream", "127.0.0.1:1", name])
            of, words = subcommand, words[1:]
    of.make_context(of.name or "pgshim", words, parent=context)


def test_there_are_command_lines_on_many_pages() -> None:
    assert len({where.split(":")[0] for where in LINES}) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_option_that_is_named_is_one(page: Path) -> None:
    options = [option for of in _commands(command) for option in of.params]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    named = {name for code in markdown.codes(page) for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", code)}
    assert named <= known | FOREIGN


def _commands(of: click.Command) -> Iterator[click.Command]:
    yield of
    for subcommand in of.commands.values() if isinstance(of, click.Group) else ():
        yield from _commands(subcommand)
