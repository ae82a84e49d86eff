"""PostgreSQL is the oracle: random conversations with it directly, and through pgshim and PgBouncer."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from pgshim.demo.binaries import wheel_bindir
from tests.differential.arena import Arena
from tests.differential.conversations import scripts
from tests.differential.regressions import REGRESSIONS
from tests.differential.report import described
from tests.differential.script import Script
from tests.differential.sharing import sharing_conversation

#: Conversations in a run of the tests, the same in each; `make differential` has as many as one likes.
EXAMPLES = 250
#: And of those of clients that prepare the same texts.
SHARING = 100


@pytest.fixture(scope="module", params=["system", "18"])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    """Both sides; in the end, pgshim must not have logged a traceback."""
    with Arena(wheel_bindir(18) if request.param == "18" else None) as found:
        yield found
        assert "Traceback (most recent call last)" not in found.log(), found.log()


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize("is_serial", [False, True], ids=["through", "serial"])
@pytest.mark.parametrize("is_eager", [False, True], ids=["lazy", "eager"])
def test_what_once_went_another_way_goes_as_it_does_on_a_server(
    arena: Arena, name: str, *, is_serial: bool, is_eager: bool
) -> None:
    text = REGRESSIONS[name] + "\nserial" * is_serial + "\neager" * is_eager
    outcome = arena.play(Script.parse(text))
    assert not outcome.is_known, outcome.through
    assert not outcome.difference, outcome.difference


def test_a_conversation_goes_as_it_does_on_a_server_of_its_own(arena: Arena) -> None:
    @settings(
        derandomize=True,
        max_examples=EXAMPLES,
        # A difference is made small by words of the script, not by choices of the generator.
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scripts())
    def play(script: Script) -> None:
        assume(arena.takes(script))
        outcome = arena.play(script)
        if outcome.difference:
            pytest.fail(described(arena, outcome), pytrace=False)

    play()


def test_clients_that_prepare_the_same_texts_are_told_what_a_server_tells_each(arena: Arena) -> None:
    for number in range(SHARING):
        script = sharing_conversation(Random(number))
        outcome = arena.play(script)
        if outcome.difference:
            pytest.fail(f"conversation {number}\n{described(arena, outcome)}", pytrace=False)


def test_a_script_reads_as_it_is_written() -> None:
    text = """cut 3
serial
eager
1 connect options=-cwork_mem%3D3MB
1 P a|select $1::int  D S|a  S
1! Q select 1
1? d 1\\tx\\n  c"""
    assert str(Script.parse(text)) == text
    assert Script.parse(text).steps[0].readies == 1
