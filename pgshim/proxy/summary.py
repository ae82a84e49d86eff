"""What pgshim has done, in one line for people."""

from __future__ import annotations

from collections.abc import Iterable

from pgshim.proxy.server import Server


def summary(servers: Iterable[Server]) -> str:
    """How many connections all of them had."""
    connections = sum(server.next_number() - 1 for server in servers)
    return f"{connections or 'no'} connection{'s' * (connections != 1)}"
