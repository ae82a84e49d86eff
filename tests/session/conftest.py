"""A script for each test, or several; at the end nothing may have been given out that nobody has received."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.session.script import SessionScript, Start


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a session with these options."""
    scripts: list[SessionScript] = []

    def start_session(**options: Any) -> SessionScript:
        scripts.append(SessionScript(**options))
        return scripts[-1]

    yield start_session
    for script in scripts:
        script.expects_nothing()


@pytest.fixture
def script(start: Start) -> SessionScript:
    """A session with the usual options."""
    return start()
