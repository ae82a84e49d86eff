"""Tortoise ORM on asyncpg (`tests.apps.tortoise_app`): three processes at once with each story."""

import pytest

from tests.frameworks.servers import Servers
from tests.integration.support import run_together

PROCESSES = 3


def tell(servers: Servers, story: str, processes: int = PROCESSES) -> None:
    url = servers.endpoint().url.replace("postgresql://", "asyncpg://")
    outputs = run_together("tortoise_app", [[url, story, str(number)] for number in range(processes)], {})
    assert outputs == [f"{story} {number}: every answer right\n" for number in range(processes)]


@pytest.fixture(autouse=True)
def _schemas(servers: Servers) -> None:
    tell(servers, "schemas", processes=1)


def test_schemas_are_made_and_left_alone_when_they_are_there(servers: Servers) -> None:
    tell(servers, "schemas", processes=1)


@pytest.mark.parametrize("story", ["transactions", "many", "relations", "concurrent"])
def test_three_processes_with_answers_of_their_own(servers: Servers, story: str) -> None:
    tell(servers, story)


def test_a_lock_of_the_session_is_refused_by_name(servers: Servers, record_property) -> None:
    tell(servers, "locks")
    record_property("refused", "pg_advisory_lock(): 0A000, the hint names pg_advisory_xact_lock()")
