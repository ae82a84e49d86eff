"""What may differ: the refusals, and nothing that is not in the lists below."""

from __future__ import annotations

import re
from itertools import zip_longest

#: What pgshim says when it refuses what needs a session, or what cannot be had with settings in force.
REFUSALS = ("supported by pgshim", "--allow", "pgshim")

#: (what a server says, what pgshim says in its place): where two conversations part for one of these, the rest of them
#: is not compared.
PARTINGS = [
    # The Parse that pgshim repeats fails (in a failed block, or because a table has changed) before anything is made of
    # what comes behind it: a Bind with the wrong number of values, or a Describe of a statement that returns nothing.
    (r"ErrorResponse\(.*C=08P01, M=bind message supplies", r"ErrorResponse\("),
    (r"ParameterDescription", r"ErrorResponse\(.*C=25P02"),
    # The same of a table or column that is gone: a server tells the parameters before it looks again.
    (r"ParameterDescription", r"ErrorResponse\(.*C=(42703|42P01|42883)"),
    # What a COPY FROM STDIN trips over is the Parse that is repeated; the client's own message comes behind it.
    (r"ErrorResponse\(.*C=08P01, M=unexpected message type 0x4[24]", r"ErrorResponse\(.*message type 0x50 during COPY"),
    # With settings in force they come ahead of any Parse: what is behind it is in a transaction, with a snapshot.
    (r"ErrorResponse\(.*C=25P01, M=(LOCK TABLE|DECLARE CURSOR) can only", r"CommandComplete"),
    (r"CommandComplete\(tag=b'(BEGIN|START TRANSACTION|SET)'", r"ErrorResponse\(.*C=25001, M=SET TRANSACTION"),
    # A Parse and Flush outside of a block are no transaction for long: pgshim ends it, to let go of the server.
    (r"ErrorResponse\(.*C=25001, M=SET TRANSACTION", r"CommandComplete\(tag=b'(BEGIN|START TRANSACTION|SET)'"),
    # In a failed block there may be an unnamed portal that is pgshim's, where the client has bound none.
    (r"ErrorResponse\(.*C=34000, M=portal \"\" does not exist", r"NoData|ErrorResponse\(.*C=25P02"),
    # A second Describe tells what the columns are now.
    (r"ErrorResponse\(.*C=0A000, M=cached plan must not change result type", r"RowDescription|NoData"),
    # A server reads the parameters first.
    (r"ErrorResponse\(", r"ErrorResponse\(.*C=0A000, M=cached plan must not change result type"),
    # What another client was told is verified to the letter: a server does not mind parameters of another type.
    (r"BindComplete|ParameterDescription", r"ErrorResponse\(.*C=0A000, M=cached plan must not change result type"),
    (r"BindComplete", r"ErrorResponse\(.*C=40003, .*parameters or result columns"),
    # A statement whose columns have changed may have run already.
    (r"ErrorResponse\(.*C=0A000, M=cached plan must not change result type", r"ErrorResponse\(.*C=40003"),
]
_PARTINGS = [(re.compile(own), re.compile(through)) for own, through in PARTINGS]


def is_refusal(told: list[str]) -> bool:
    """Whether pgshim refused something: then the two sides have not done the same."""
    return any("ErrorResponse" in line and any(words in line for words in REFUSALS) for line in told)


def part_as_known(own: list[str], through: list[str]) -> bool:
    """Whether the first difference is one of those that are known."""
    pairs = zip_longest(own, through, fillvalue="")
    mine, theirs = next(((a, b) for a, b in pairs if a != b), ("", ""))
    return any(a.match(mine) and b.match(theirs) for a, b in _PARTINGS)


_ROUTINE = re.compile(r", R=(?!FetchPreparedStatement|RevalidateCachedQuery)\w+")


def without_known(told: list[str]) -> list[str]:
    """Without what is documented to differ."""
    return [_plain(line) for line in told]


def _plain(line: str) -> str:
    # The function of the server's source, but for those that drivers look at: a Query may go up in other messages.
    line = _ROUTINE.sub("", line)
    # 08P01 of a Bind names the statement as the server knows it.
    line, named, _ = line.partition(", but prepared statement ")
    # 18 words the refusal of a block for the whole pipeline.
    return line.replace("be executed within a pipeline", "run inside a transaction block") + named
