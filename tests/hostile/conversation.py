"""One conversation between a client, pgshim and a server, as PostgreSQL 15 carried on its part of it.

It has a login by SCRAM, a named statement, a block that fails, COPY in and out, a notice, and a setting that pgshim
brings along. Each connection has a token of its own in its rows, as long as all others', so that all conversations
have the same length and no reply can be taken for another client's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pgshim.protocol import Message, hot
from pgshim.protocol.backend import (
    AuthenticationOk,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
    BackendKeyData,
    BindComplete,
    CloseComplete,
    CommandComplete,
    CopyData,
    CopyDone,
    CopyInResponse,
    CopyOutResponse,
    FieldDescription,
    NoticeResponse,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
    RowDescription,
)
from pgshim.protocol.frontend import Parse, Query, SASLInitialResponse, SASLResponse, Sync
from pgshim.protocol.startup import StartupMessage
from tests.session.messages import FAILED, IDLE, IN_BLOCK, bind, close, describe, execute, row, server_error

#: The exchange of RFC 7677.
_OFFER = AuthenticationSASL((b"SCRAM-SHA-256",))
_FIRST = SASLInitialResponse(b"SCRAM-SHA-256", b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
_NONCE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDqWa2RaTCAfuxFIlj)hNlF$k0"
_CHALLENGE = AuthenticationSASLContinue(_NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
_PROOF = SASLResponse(b"c=biws," + _NONCE + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
_SIGNATURE = AuthenticationSASLFinal(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


#: Stands for the token.
_TOKEN = b"@@@@"


@dataclass(frozen=True)
class Turn:
    """What a client sends at once, and what comes of it; whole messages.

    goes_up -- the type codes of what pgshim sends upstream for it; "startup" for the StartupMessage
    """

    client_sends: tuple[bytes, ...]
    goes_up: str
    upstream_answers: tuple[bytes, ...]
    client_gets: tuple[bytes, ...]

    @property
    def is_query(self) -> bool:
        """Whether upstream gets it as a Query."""
        return self.goes_up == "Q"

    @property
    def is_login(self) -> bool:
        return self.goes_up in ("startup", "p")

    @property
    def fails(self) -> bool:
        """Whether it leaves a failed block."""
        return hot.READY[hot.IN_FAILED_BLOCK] in self.upstream_answers

    def of(self, token: bytes) -> Turn:
        """The turn of the client with this token."""

        def tell(messages: tuple[bytes, ...]) -> tuple[bytes, ...]:
            return tuple(message.replace(_TOKEN, token) for message in messages)

        return Turn(tell(self.client_sends), self.goes_up, tell(self.upstream_answers), tell(self.client_gets))


def _turn(sends: list[Message], goes_up: str, answers: list[Message], gets: list[Message] | None = None) -> Turn:
    return Turn(encoded(sends), goes_up, encoded(answers), encoded(answers if gets is None else gets))


def encoded(messages: list[Message]) -> tuple[bytes, ...]:
    return tuple(message.encode() for message in messages)


def column(name: bytes, type_oid: int, size: int, table: int = 0) -> RowDescription:
    """A RowDescription of one column."""
    return RowDescription((FieldDescription(name, table, int(table > 0), type_oid, size, -1, 0),))


def _login() -> list[Turn]:
    startup = StartupMessage(0, ((b"user", b"alice"), (b"database", _TOKEN)))
    key = BackendKeyData(4242, _TOKEN)
    settings = [
        ParameterStatus(name, value)
        for name, value in ((b"client_encoding", b"UTF8"), (b"server_version", b"15.18"), (b"TimeZone", b"Etc/UTC"))
    ]
    return [
        _turn([startup], "startup", [_OFFER]),
        _turn([_FIRST], "p", [_CHALLENGE]),
        _turn([_PROOF], "p", [_SIGNATURE, AuthenticationOk(), *settings, key, IDLE]),
    ]


_PARSED: list[Message] = [ParseComplete(), ParameterDescription((23,)), column(b"a", 23, 4)]


def _statements() -> list[Turn]:
    """A statement that is prepared, executed, and fails in a block behind an execution that succeeds."""
    sql = Parse(b"s", b"select %b/$1::int as a" % _TOKEN, ())
    once = [bind(b"s", b"1"), execute()]
    rows = [BindComplete(), row(_TOKEN), CommandComplete(b"SELECT 1")]
    error = server_error(b"22012", b"division by zero", R=b"int4div")
    return [
        _turn([sql, describe(b"s"), Sync()], "PDS", [*_PARSED, IDLE]),
        _turn([*once, Sync()], "PDBES", [*_PARSED, *rows, IDLE], [*rows, IDLE]),
        _turn([Query(b"begin")], "Q", [CommandComplete(b"BEGIN"), IN_BLOCK]),
        _turn(
            [*once, bind(b"s", b"0"), execute(), Sync()],
            "PDBEBES",
            [*_PARSED, *rows, error, FAILED],
            [*rows, error, FAILED],
        ),
        _turn([Query(b"rollback")], "Q", [CommandComplete(b"ROLLBACK"), IDLE]),
    ]


def _copies() -> list[Turn]:
    data = CopyData(_TOKEN + b"\n")
    end = [CommandComplete(b"COPY 1"), IDLE]
    ready = CopyInResponse(0, (0,))
    return [
        _turn([Query(b"copy t from stdin")], "PBEH", [ParseComplete(), BindComplete(), ready], [ready]),
        _turn([data, CopyDone()], "dcS", end),
        _turn([Query(b"copy t to stdout")], "Q", [CopyOutResponse(0, (0,)), data, CopyDone(), *end]),
    ]


def _settings() -> list[Turn]:
    """A notice, a SET, and what pgshim sends along because of it."""
    notice = NoticeResponse(((b"S", b"NOTICE"), (b"V", b"NOTICE"), (b"C", b"00000"), (b"M", b"n")))
    shown: list[Message] = [column(b"TimeZone", 25, -1), row(b"UTC"), CommandComplete(b"SHOW")]
    rows = [row(_TOKEN), CommandComplete(b"SELECT 1")]
    injected = [row(b"UTC"), CommandComplete(b"SELECT 1")]
    table = column(b"a", 25, -1, 16384)
    return [
        _turn([Query(b"do $$begin raise notice 'n'; end$$")], "Q", [notice, CommandComplete(b"DO"), IDLE]),
        _turn(
            [Query(b"set timezone to 'UTC'")],
            "Q",
            [CommandComplete(b"SET"), *shown, IDLE],
            [CommandComplete(b"SET"), ParameterStatus(b"TimeZone", b"UTC"), IDLE],
        ),
        _turn(
            [bind(b"s", b"1"), execute(), Sync()],
            "PBEPDBES",
            [ParseComplete(), BindComplete(), *injected, *_PARSED, BindComplete(), *rows, IDLE],
            [BindComplete(), *rows, IDLE],
        ),
        _turn(
            [Query(b"select a from t")],
            "Q",
            [column(b"set_config", 25, -1), *injected, table, *rows, IDLE],
            [table, *rows, IDLE],
        ),
        _turn([close(b"s"), Sync()], "", [], [CloseComplete(), IDLE]),
    ]


_CONVERSATION = (*_login(), *_statements(), *_copies(), *_settings())


@cache
def conversation(token: str) -> tuple[Turn, ...]:
    """The conversation of the client with this token: four digits."""
    return tuple(turn.of(token.encode()) for turn in _CONVERSATION)


@cache
def all_answers(token: str) -> tuple[bytes, ...]:
    """All that the upstream says, turn by turn."""
    return tuple(b"".join(turn.upstream_answers) for turn in conversation(token))


@cache
def all_replies(token: str) -> tuple[bytes, ...]:
    """All that the client gets, message by message."""
    return tuple(message for turn in conversation(token) for message in turn.client_gets)


def type_code_of(message: bytes) -> str:
    return chr(message[0])


def fatal(sqlstate: bytes, text: str) -> bytes:
    """An ErrorResponse with which an upstream ends a connection: as poolers send it, without a hint."""
    return hot.error_response("FATAL", sqlstate.encode(), text)
