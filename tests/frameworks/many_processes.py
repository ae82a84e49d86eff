"""Eight processes of one asyncpg program, whose statement names collide; no two executions have the same answer."""

import json
from collections import Counter
from typing import Any

from pgshim.demo.processes import Endpoint
from tests.frameworks.servers import Servers
from tests.integration.support import run_together

PROCESSES = 8
EXECUTIONS = 5_000
ALL = PROCESSES * EXECUTIONS
SECONDS = 240.0


def tallies(endpoint: Endpoint) -> list[dict[str, Any]]:
    """What each process counted."""
    arguments = [[endpoint.url, str(number), str(EXECUTIONS)] for number in range(PROCESSES)]
    return [json.loads(line) for line in run_together("asyncpg_counter", arguments, {}, seconds=SECONDS)]


def summary(tallies: list[dict[str, Any]]) -> str:
    """The sums, and the commonest errors."""
    kinds: Counter[str] = Counter()
    for tally in tallies:
        for message, count in tally["errors"].items():
            kinds[message.partition(":")[0]] += count
    right, wrong = (sum(tally[key] for tally in tallies) for key in ("right", "wrong"))
    assert right + wrong + kinds.total() == ALL
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f"{right} right, {wrong} wrong, {kinds.total()} failed" + (f" ({named})" if named else "")


def test_eight_processes_of_5000_executions_each_get_every_answer(servers: Servers, record_property: Any) -> None:
    straight = tallies(servers.pgbouncer.endpoint())
    through = tallies(servers.endpoint())
    record_property("detail", f"{summary(through)}; without pgshim {summary(straight)}")
    assert through == [{"right": EXECUTIONS, "wrong": 0, "errors": {}}] * PROCESSES
    # Else the program would not see a fault if there were one.
    assert any(tally["wrong"] or tally["errors"] for tally in straight)
