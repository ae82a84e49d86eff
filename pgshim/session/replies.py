"""Which backend messages answer what was sent ("Message Flow" in the manual)."""

from __future__ import annotations

from enum import IntEnum

#: What a backend message is to the reply at the head of the queue. ENDS: of a Query, a statement of it; a
#: ReadyForQuery comes right behind such a message, or an ErrorResponse, or the server has lost its place.
OUT_OF_ORDER, WITHIN, COMPLETES, ENDS = range(4)


class Kind(IntEnum):
    """What was sent, as far as it decides which replies come."""

    PARSE = 0
    BIND = 1
    CLOSE = 2
    DESCRIBE_STATEMENT = 3
    DESCRIBE_PORTAL = 4
    EXECUTE = 5
    QUERY = 6
    FUNCTION_CALL = 7
    SYNC = 8
    #: Marks where the first copy data went up, and where CopyDone or CopyFail did; no reply of its own.
    COPY_DATA = 9
    #: A reply of pgshim's own that takes no part in the server's pipeline.
    LOCAL = 10
    #: A ReadyForQuery of pgshim's own.
    LOCAL_SYNC = 11
    #: A Describe of pgshim's own, to see whether a statement still returns what the client was told.
    VERIFICATION = 12


def _replies(within: bytes, completes: bytes, ends: bytes = b"") -> bytes:
    table = bytearray(256)
    for type_code in within:
        table[type_code] = WITHIN
    for type_code in completes:
        table[type_code] = COMPLETES
    for type_code in ends:
        table[type_code] = ENDS
    return bytes(table)


#: Kind -> what each type code is to it ("Message Flow" in the manual). ReadyForQuery, ErrorResponse and CopyInResponse
#: are not in here: they concern more than the head of the queue.
REPLIES = {
    Kind.PARSE: _replies(b"", b"1"),
    Kind.BIND: _replies(b"", b"2"),
    Kind.CLOSE: _replies(b"", b"3"),
    Kind.DESCRIBE_STATEMENT: _replies(b"t", b"Tn"),
    Kind.DESCRIBE_PORTAL: _replies(b"", b"Tn"),
    Kind.EXECUTE: _replies(b"DHWdc", b"CIs"),
    Kind.QUERY: _replies(b"TDHWdc", b"", b"CI"),
    Kind.FUNCTION_CALL: _replies(b"", b"", b"V"),
    Kind.SYNC: _replies(b"", b""),
    Kind.COPY_DATA: _replies(b"", b""),
    Kind.LOCAL: _replies(b"", b""),
    Kind.LOCAL_SYNC: _replies(b"", b""),
    Kind.VERIFICATION: _replies(b"t", b"Tn"),
}

#: Type code -> the length (bytes, the length field included) of a message that is always as long: one that says it is
#: longer would swallow what comes behind it, and its client would wait for ever.
LENGTHS = dict.fromkeys(b"123Icns", 4) | {ord("Z"): 5}

#: The kinds that are answered with a ReadyForQuery.
HAS_READY = frozenset({Kind.QUERY, Kind.FUNCTION_CALL, Kind.SYNC})
