"""Whether the bytes of an upstream's read are the whole answer to an ordinary batch: see `pgshim.session.express`."""

from __future__ import annotations

from struct import Struct

from pgshim.protocol import hot
from pgshim.session.statements import Statement

_read_header = Struct("!BI").unpack_from

#: What every answer ends with: a ReadyForQuery, but for the transaction status.
READY = b"Z\0\0\0\x05"
READY_SIZE = len(READY) + 1

_DATA_ROW = ord("D")
#: What the answer to a Query is made of, rows aside; and what may be its last message, and an Execute's.
_OF_QUERY = frozenset(b"TC")
_LAST_OF_QUERY = ord("C")
_LAST_OF_EXECUTE = frozenset(b"Cs")
_DESCRIPTIONS = frozenset(b"Tn")


def behind_description(data: bytes, pos: int, statement: Statement) -> int:
    """The end of a portal's description that begins at `pos`; -1: it is not what the client was told before."""
    if statement.is_named:
        told = statement.told_of_portal
        description = told.description if told is not None else hot.NO_DATA
        return pos + len(description) if description and data.startswith(description, pos) else -1
    type_code, length = _read_header(data, pos)
    if type_code not in _DESCRIPTIONS or length < 4:
        return -1
    return pos + 1 + int(length)


def is_answer_to_query(data: bytes) -> bool:
    """Whether these are descriptions, rows and the ends of statements, the last of them such an end."""
    pos, end = 0, len(data) - READY_SIZE
    type_code = 0
    while pos < end:
        type_code, length = _read_header(data, pos)
        if type_code != _DATA_ROW and type_code not in _OF_QUERY or length < 4:
            return False
        pos += 1 + length
    return pos == end and type_code == _LAST_OF_QUERY


def is_answer_to_execute(data: bytes, pos: int) -> bool:
    """Whether from `pos` on come rows, and one message that ends or suspends the portal."""
    end = len(data) - READY_SIZE
    while pos < end:
        type_code, length = _read_header(data, pos)
        if length < 4:
            return False
        pos += 1 + length
        if type_code != _DATA_ROW:
            return pos == end and type_code in _LAST_OF_EXECUTE
    return False
