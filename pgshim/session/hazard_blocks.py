"""Which statements cannot run in a transaction block (PreventInTransactionBlock).

Not those whose text does not show it: REINDEX and CLUSTER of a partitioned table. Not DISCARD ALL, nor what ends a
prepared transaction: those are no statements that settings in force have a say in.
"""

from collections.abc import Sequence

from pgshim.session.hazard_calls import closing
from pgshim.session.tokens import Lexeme

_DATABASES = frozenset({b"database", b"tablespace", b"subscription"})
_WHOLE = frozenset({b"schema", b"database", b"system"})
_DETAILS = frozenset({b"subscription", b"system"})


def refuses_block(statement: Sequence[Lexeme]) -> bool:
    """Whether a statement cannot run in a transaction block (25001), as far as its words tell.

    Some forms of a SUBSCRIPTION's statements can; they count as those that cannot.
    """
    words = [lexeme[1] for lexeme in statement]
    match words:
        case [b"vacuum", *_]:
            return True
        case [b"create" | b"drop", what, *_] if what in _DATABASES:
            return True
        case [b"create", b"unique", b"index", b"concurrently", *_]:
            return True
        case [b"create" | b"drop", b"index", b"concurrently", *_]:
            return True
        case [b"alter", what, *_] if what in _DETAILS:
            return True
        case [b"alter", b"database", _, *rest]:
            return b"tablespace" in rest[:4]
        case [b"alter", b"table", *_, b"concurrently"]:
            return True
        case [b"reindex", *rest]:
            return _reindexes_many(rest)
        case [b"cluster", *rest]:
            return _has_no_table(rest)
    return False


def _reindexes_many(rest: Sequence[bytes]) -> bool:
    options: Sequence[bytes] = ()
    if rest[:1] == [b"("]:
        end = closing(rest, 0)
        options, rest = rest[:end], rest[end + 1 :]
    return b"concurrently" in options or b"concurrently" in rest[1:2] or not _WHOLE.isdisjoint(rest[:1])


def _has_no_table(rest: Sequence[bytes]) -> bool:
    if rest[:1] == [b"("]:
        rest = rest[closing(rest, 0) + 1 :]
    return rest in ([], [b"verbose"])
