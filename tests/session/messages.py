"""The messages that story tests are made of, with the values that most of them have, and patterns for the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pglast

from pgshim.protocol import Message, backend
from pgshim.protocol.backend import ErrorResponse, FieldDescription, ReadyForQuery, RowDescription, TransactionStatus
from pgshim.protocol.frontend import Bind, Close, Describe, Execute, Parse, Query, Target
from pgshim.session.statements import SUBSTITUTE

IDLE = ReadyForQuery(TransactionStatus.IDLE)
IN_BLOCK = ReadyForQuery(TransactionStatus.IN_TRANSACTION)
FAILED = ReadyForQuery(TransactionStatus.FAILED)


class Pattern:
    """Stands for any message that fits."""

    def __init__(self, name: str, fits: Callable[[Message], bool]) -> None:
        self.name = name
        self.fits = fits

    def __repr__(self) -> str:
        return f"<{self.name}>"


Expected: TypeAlias = Message | Pattern | bytes


# Messages, with the values that most of them have.


def parse(name: bytes, sql: bytes, *types: int) -> Parse:
    return Parse(name, sql, types)


def bind(name: bytes, *values: bytes | None, portal: bytes = b"", results: tuple[int, ...] = ()) -> Bind:
    return Bind(portal, name, (), values, results)


def execute(portal: bytes = b"", limit: int = 0) -> Execute:
    return Execute(portal, limit)


def describe(name: bytes) -> Describe:
    return Describe(Target.STATEMENT, name)


def describe_portal(name: bytes = b"") -> Describe:
    return Describe(Target.PORTAL, name)


def close(name: bytes) -> Close:
    return Close(Target.STATEMENT, name)


def close_portal(name: bytes) -> Close:
    return Close(Target.PORTAL, name)


def columns(*types: int, names: str = "abcdefgh", typmod: int = -1, table: int = 0, form: int = 0) -> RowDescription:
    """A RowDescription with a column for each type OID."""
    return RowDescription(
        tuple(
            FieldDescription(name.encode(), table, 0, oid, -1, typmod, form)
            for name, oid in zip(names, types, strict=False)
        )
    )


def row(*values: bytes | None) -> backend.DataRow:
    return backend.DataRow(values)


def done(tag: bytes = b"SELECT 1") -> backend.CommandComplete:
    return backend.CommandComplete(tag)


def server_error(sqlstate: bytes, text: bytes = b"no", severity: bytes = b"ERROR", **fields: bytes) -> ErrorResponse:
    """An ErrorResponse as a server sends it; further fields by their code."""
    return ErrorResponse(
        (
            (b"S", severity),
            (b"V", severity),
            (b"C", sqlstate),
            (b"M", text),
            *((code.encode(), value) for code, value in fields.items()),
        )
    )


# Patterns.


def error(sqlstate: bytes, text: bytes | None = None, *, routine: bytes | None = None, hint: bytes = b"") -> Pattern:
    """An ErrorResponse of severity ERROR with this SQLSTATE; text and routine exactly, of the hint a part."""

    def fits(message: Message) -> bool:
        return (
            isinstance(message, ErrorResponse)
            and (message.severity, message.sqlstate) == (b"ERROR", sqlstate)
            and (message.get(b"S"), message.get(b"V")) == (b"ERROR", b"ERROR")
            and text in (None, message.message)
            and routine in (None, message.routine)
            and hint in (message.hint or b"")
        )

    return Pattern(f"ERROR {sqlstate.decode()} {text!r} routine={routine!r} hint={hint!r}", fits)


def is_refused_by_every_server(sql: bytes) -> bool:
    try:
        pglast.parse_sql(sql.decode())
    except pglast.parser.ParseError:
        return True
    return False


A_PARSE_THAT_FAILS = Pattern(
    "Parse of '' with a syntax error",
    lambda message: isinstance(message, Parse) and not message.statement and is_refused_by_every_server(message.query),
)
A_HARMLESS_PARSE = Pattern(
    "Parse of '' with what stands for a DEALLOCATE",
    lambda message: isinstance(message, Parse) and not message.statement and message.query == SUBSTITUTE,
)


def harmless_query() -> Pattern:
    """A Query without the DEALLOCATE."""

    def fits(message: Message) -> bool:
        return (
            isinstance(message, Query)
            and b"deallocate" not in message.query.lower()
            and b"discard all" not in message.query.lower()
        )

    return Pattern("Query without DEALLOCATE", fits)
