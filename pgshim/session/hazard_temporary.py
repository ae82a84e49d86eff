"""Temporary objects: which statements create one that outlives the transaction, and which refer to one."""

from collections.abc import Sequence

from pgshim.session.builtins import FUNCTION_OR_TYPE_WORDS, RESERVED_WORDS
from pgshim.session.hazard_calls import STATEMENT_MAY_FOLLOW, at, at_top, is_name, name_of

_TEMPORARY = frozenset({b"temp", b"temporary"})
_SCOPES = frozenset({b"local", b"global"})

# What may stand between CREATE and the name of what is created.
_BEFORE_CREATED = (
    _TEMPORARY
    | _SCOPES
    | frozenset(
        b"""
    or replace unlogged recursive materialized foreign table view sequence function procedure aggregate type domain
    operator class family collation default conversion text search configuration dictionary parser template statistics
    if not exists
    """.split()
    )
)
_OBJECTS = {b"table": "A temporary table", b"view": "A temporary view", b"sequence": "A temporary sequence"}


def creates_temporary(words: Sequence[bytes]) -> str | None:
    """How to name what a CREATE makes, if that is temporary and outlives the transaction."""
    index = 3 if words[1:3] == [b"or", b"replace"] else 1
    index += at(words, index) in _SCOPES
    is_temporary = at(words, index) in _TEMPORARY
    index += is_temporary
    index += at(words, index) == b"recursive"
    if not is_temporary and _created_in_pg_temp(words) is None:
        return None
    created = at(words, index)
    if is_temporary and created not in _OBJECTS:
        return None
    if created == b"table" and _is_dropped_on_commit(words):
        return None
    return _OBJECTS.get(created, "An object in pg_temp")


def _is_dropped_on_commit(words: Sequence[bytes]) -> bool:
    """Whether ON COMMIT DROP stands outside of parentheses and of the query."""
    query = at_top(words, b"as")
    head = words[:query]
    on = at_top(head, b"commit")
    return on is not None and at(head, on - 1) == b"on" and at(head, on + 1) == b"drop"


def _created_in_pg_temp(words: Sequence[bytes]) -> int | None:
    """Where pg_temp stands in the name of what a CREATE makes."""
    index = 1
    while at(words, index) in _BEFORE_CREATED:
        index += 1
    if name_of(at(words, index + 2)) == b"pg_temp" and at(words, index + 1) == b".":  # behind the database's name
        index += 2
    return index if _is_pg_temp(words, index) else None


def _is_pg_temp(words: Sequence[bytes], index: int) -> bool:
    return name_of(at(words, index)) == b"pg_temp" and at(words, index + 1) == b"."


def reads_temporary(words: Sequence[bytes]) -> bool:
    """Whether a name begins with pg_temp, that of what is created left aside."""
    created = _created_in_pg_temp(words) if words[:1] == [b"create"] else None
    return any(
        _is_pg_temp(words, index) and index != created and at(words, index - 1) != b"." for index in range(len(words))
    )


def selects_into_temporary(words: Sequence[bytes], into: int, *, in_body: bool) -> bool:
    """Whether INTO, at an index, is that of a SELECT and names a temporary table.

    In PL/pgSQL what is behind INTO is a variable, unless TEMP stands there.
    """
    if at(words, into - 1) in (b"insert", b"merge") and _begins_statement(words, into - 1):
        return False
    index = into + 1
    index += at(words, index) in _SCOPES
    if at(words, index) in _TEMPORARY:
        following = at(words, index + 1)
        is_table = is_name(following) and following not in RESERVED_WORDS | FUNCTION_OR_TYPE_WORDS
        return following == b"table" or is_table
    index += at(words, index) == b"table"
    index += 2 * (name_of(at(words, index + 2)) == b"pg_temp" and at(words, index + 1) == b".")
    return not in_body and _is_pg_temp(words, index)


def _begins_statement(words: Sequence[bytes], index: int) -> bool:
    """Whether INSERT or MERGE is the statement there, and not a column of that name: `SELECT insert INTO TEMP t`."""
    return at(words, index - 1) in STATEMENT_MAY_FOLLOW
