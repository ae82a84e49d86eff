"""docs/options.md says what the program says."""

import re

from pgshim.cli import command
from tests.docs import options


def test_the_page_is_as_the_program_says() -> None:
    assert options.PATH.read_text() == options.page(), "run `make docs`"


def test_every_option_has_an_entry_and_a_sentence() -> None:
    page = options.page()
    for parameter in command.params:
        assert re.search(rf"^### .*`{parameter.opts[0]}\b", page, re.MULTILINE) or parameter.name == "version"
        assert getattr(parameter, "help", "")
