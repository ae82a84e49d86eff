"""What may differ: the refusals, and nothing that is not in the list below."""

from __future__ import annotations

import re

#: What pgshim says when it refuses what needs a session, or what cannot be had with settings in force.
REFUSALS = ("supported by pgshim", "--allow", "pgshim")


def is_refusal(told: list[str]) -> bool:
    """Whether pgshim refused something: then the two sides have not done the same."""
    return any("ErrorResponse" in line and any(words in line for words in REFUSALS) for line in told)


def without_known(own: list[str], through: list[str]) -> tuple[list[str], list[str]]:
    """Both without what is documented to differ."""
    return [_plain(line) for line in own], [_plain(line) for line in through]


_ROUTINE = re.compile(r", R=(?!FetchPreparedStatement|RevalidateCachedQuery)\w+")


_LISTED = re.compile(r'(\bs1|"A b"),(?=s1|public)')


def _plain(line: str) -> str:
    # The function of the server's source, but for those that drivers look at: a Query may go up as Parse, Bind, Execute.
    line = _ROUTINE.sub("", line)
    # 08P01 of a Bind names the statement as the server knows it.
    line, named, _ = line.partition(", but prepared statement ")
    # A list is brought into force element by element.
    line = _LISTED.sub(r"\1, ", line)
    # 18 words the refusal of a block for the whole pipeline.
    line = line.replace("be executed within a pipeline", "run inside a transaction block")
    return line + named
