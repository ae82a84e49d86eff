"""What pgshim has done, in one line for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pgshim.proxy.server import Server
from pgshim.session.counts import Counts


def summary(servers: Sequence[Server]) -> str:
    """How many connections all of these had, and what was done for them."""
    connections = sum(server.tally.logins for server in servers)
    refused = sum(sum(server.tally.refusals.values()) for server in servers)
    parts = [f"{connections:,} connection{'s' * (connections != 1)}" if connections else "no connections"]
    if refused:
        parts.append(f"{refused:,} not let in")
    if done := _together(servers).summary():
        parts.append(done)
    return "; ".join(parts)


def _together(servers: Sequence[Server]) -> Counts:
    counts = Counts()
    for name in Counts.__slots__:
        figures = [getattr(server.tally, name) for server in servers]
        if isinstance(figures[0], int):
            setattr(counts, name, sum(figures))
        else:
            of_each = Counter[str]()
            for figure in figures:
                of_each.update(figure)
            setattr(counts, name, dict(of_each))
    return counts
