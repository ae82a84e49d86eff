"""docs/compatibility.md, made from the results of the targets' last runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from tests.matrix.results import Outcome, Result

HEAD = """# Compatibility

What was run, with which versions, and how it went. This page is made by `make compatibility` from the results of
`make test-asyncpg test-clients test-poolers test-frameworks`; nothing in it was written by hand. Every client is
unmodified and uses its defaults. Every pooler runs in transaction mode, round robin, with a pool of 3 (40 for asyncpg's
own tests), so that consecutive transactions of a client land on different servers.

A cell says how many of the things that were tried passed. What is refused (`R`) is refused by pgshim with an error that
names it, as [session-features.md](session-features.md) says it will be; what failed (`F`) stands below with its reason.
"""

STAND_IN = """
"Supavisor (stand-in)" is a program of this project's tests, modelled on Supavisor's source and documents. Supavisor
itself was not run.
"""


def page(results: Sequence[Result]) -> str:
    """The whole page, in Markdown."""
    lines = [HEAD]
    if any("stand-in" in result.pooler for result in results):
        lines.append(STAND_IN)
    tried: dict[tuple[str, ...], list[Result]] = {}
    for _, rows in groupby(sorted(results, key=_place), key=_client):
        of_client = list(rows)
        tried.setdefault(tuple(sorted({_pooler(row) for row in of_client})), []).extend(of_client)
    for poolers, of_poolers in sorted(tried.items(), key=lambda item: -len(item[0])):
        lines += _table(poolers, of_poolers)
    for title, outcome in (("What is refused", Outcome.REFUSED), ("What failed", Outcome.FAILED)):
        lines += _reasons(title, [row for row in results if row.outcome is outcome])
    lines += _reasons("What was not run", [row for row in results if row.outcome is Outcome.NOT_RUN])
    return "\n".join(lines).rstrip() + "\n"


def _table(poolers: Sequence[str], results: Sequence[Result]) -> list[str]:
    """The clients that were run with the same poolers."""
    lines = ["", f"| client | {' | '.join(poolers)} |", f"|---|{'---|' * len(poolers)}"]
    for client, rows in groupby(results, key=_client):
        of_client = list(rows)
        cells = [_cell([row for row in of_client if _pooler(row) == name]) for name in poolers]
        lines.append(f"| {client} | {' | '.join(cells)} |")
    return lines


def _place(result: Result) -> tuple[str, str]:
    return _client(result).lower(), _client(result)


def _client(result: Result) -> str:
    return f"{_name(result.client)} {result.version}".strip()


def _name(client: str) -> str:
    return "psycopg" if client == "psycopg 3" else client.replace("on psycopg 3", "on psycopg")


def _pooler(result: Result) -> str:
    return f"{result.pooler} {result.pooler_version}".strip()


def _cell(rows: Iterable[Result]) -> str:
    counts = dict.fromkeys(Outcome, 0)
    for row in rows:
        counts[row.outcome] += 1
    tried = sum(counts.values()) - counts[Outcome.NOT_RUN]
    if not tried:
        return "not run"
    parts = [f"{counts[Outcome.PASSED]} of {tried}"]
    signs = {Outcome.REFUSED: "R", Outcome.FAILED: "F"}
    parts += [f"{counts[outcome]} {sign}" for outcome, sign in signs.items() if counts[outcome]]
    return ", ".join(parts)


def _reasons(title: str, rows: list[Result]) -> list[str]:
    if not rows:
        return []
    lines = ["", f"## {title}", "", "| client | pooler | what | reason |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (_place(row), row.pooler, row.feature)):
        reason = " ".join(row.reason.split()).replace("|", "\\|")
        lines.append(f"| {_name(row.client)} | {row.pooler} {row.pooler_version} | {row.feature} | {reason} |")
    return lines
