"""Conversations as message flows: what a client and an upstream say to a stage, and what it makes of that.

    script.frontend_sends(Parse(b"s", b"select 1", ()), Sync())
    script.upstream_receives(Parse(b"", b"select 1", ()), Sync())
    script.upstream_sends(ParseComplete(), IDLE)
    script.frontend_receives(ParseComplete(), IDLE)

A script is strict: whatever the stage gives out has to be received before the next thing is sent, and at the end.
Messages are those of the catalogue; a `Pattern` stands for one of which only some fields matter, bytes for themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Protocol, Self, TypeAlias

from pgshim.protocol import Message, backend, frontend, startup
from pgshim.protocol.backend import RowDescription
from pgshim.session.session import (
    ClientSettings,
    Descriptions,
    Limits,
    Policy,
    SharedTexts,
    frontend_rules,
)
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    IDLE,
    IN_BLOCK,
    Expected,
    Pattern,
    bind,
    describe,
    done,
    error,
    execute,
    parse,
    server_error,
)
from tests.session.twin_stages import TwinLogin
from tests.session.twins import TwinSession


class Stage(Protocol):
    """What a script drives: a Session, a Login, a PlainSession."""

    def receive_from_client(self, data: bytes) -> None: ...
    def receive_from_upstream(self, data: bytes) -> None: ...
    def take_client_output(self) -> bytes: ...
    def take_upstream_output(self) -> bytes: ...


class Script:
    """A stage between a client and an upstream."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._to_frontend = b""
        self._to_upstream = b""
        self._collect()

    def frontend_sends(self, *messages: Message | bytes) -> Self:
        """All in one write."""
        self.expects_nothing()
        self.stage.receive_from_client(joined(messages))
        self._collect()
        return self

    def upstream_sends(self, *messages: Message | bytes) -> Self:
        self.expects_nothing()
        try:
            self.stage.receive_from_upstream(joined(messages))
        finally:
            self._collect()
        return self

    def frontend_receives(self, *expected: Expected) -> Self:
        """Exactly this is what the client has been given since it last received something."""
        given, self._to_frontend = self._to_frontend, b""
        compare("frontend", given, expected, backend.decode)
        return self

    def upstream_receives(self, *expected: Expected) -> Self:
        """Exactly this is what has gone up, in one write."""
        given, self._to_upstream = self._to_upstream, b""
        compare("upstream", given, expected, frontend.decode)
        return self

    def upstream_answers(self, *messages: Message | bytes) -> Self:
        """The upstream sends what the client receives as it is."""
        return self.upstream_sends(*messages).frontend_receives(*messages)

    def gone_up(self) -> list[Message | bytes]:
        """What has gone up, for one who looks at it himself."""
        given, self._to_upstream = self._to_upstream, b""
        return [read(data, frontend.decode) for data in split(given)]

    def expects_nothing(self) -> None:
        """Nothing was given out that nobody has received."""
        self.frontend_receives()
        self.upstream_receives()

    def collects(self) -> Self:
        """Take what the stage gives out after it was told something that is no message."""
        self._collect()
        return self

    def forgets(self) -> Self:
        """Whatever has been given out does not matter."""
        self._to_frontend = self._to_upstream = b""
        return self

    def _collect(self) -> None:
        self._to_frontend += self.stage.take_client_output()
        self._to_upstream += self.stage.take_upstream_output()

    # Whole exchanges, for what a story begins with.

    def prepares(self, name: bytes, sql: bytes, *types: int) -> Self:
        """In autocommit: a statement that is not described."""
        self.frontend_sends(parse(name, sql, *types), frontend.Sync())
        self.upstream_receives(parse(b"", sql, *types), frontend.Sync())
        return self.upstream_answers(backend.ParseComplete(), IDLE)

    def describes(
        self, name: bytes, sql: bytes, *found: int, result: RowDescription | None = None, declared: tuple[int, ...] = ()
    ) -> Self:
        """In autocommit: a statement, and what it takes and returns."""
        self.frontend_sends(parse(name, sql, *declared), describe(name), frontend.Sync())
        self.upstream_receives(parse(b"", sql, *declared), describe(b""), frontend.Sync())
        told = backend.NoData() if result is None else result
        return self.upstream_answers(backend.ParseComplete(), backend.ParameterDescription(found), told, IDLE)

    def begins(self) -> Self:
        return self.queries(b"begin", done(b"BEGIN"), IN_BLOCK)

    def copies_in(self, sql: bytes = b"copy t from stdin") -> Self:
        """A Query that is a COPY: it goes up as an Execute, whose errors the server does not forget before the Sync."""
        self.frontend_sends(frontend.Query(sql)).upstream_receives(*self.copy_in(sql), frontend.Flush())
        answer = backend.CopyInResponse(0, ())
        return self.upstream_sends(backend.ParseComplete(), backend.BindComplete(), answer).frontend_receives(answer)

    @staticmethod
    def copy_in(sql: bytes = b"copy t from stdin") -> tuple[Message, ...]:
        """What goes up for it."""
        return parse(b"", sql), bind(b""), execute()

    def queries(self, sql: bytes, *answers: Message) -> Self:
        """A Query that passes with its answers."""
        self.frontend_sends(frontend.Query(sql))
        self.upstream_receives(frontend.Query(sql))
        return self.upstream_answers(*answers)

    def does_not_know(self, name: bytes) -> Self:
        """In autocommit: no statement of that name is there."""
        known_as = b'prepared statement "%s"' % name if name else b"unnamed prepared statement"
        self.frontend_sends(bind(name), execute(), frontend.Sync())
        self.upstream_receives(A_PARSE_THAT_FAILS, frontend.Sync())
        self.upstream_sends(server_error(b"42601"), IDLE)
        return self.frontend_receives(error(b"26000", known_as + b" does not exist"), IDLE)

    def knows(self, name: bytes, sql: bytes, *types: int) -> Self:
        """In autocommit: the statement is there, and is brought to the server with these parameter types."""
        self.frontend_sends(bind(name), execute(), frontend.Sync())
        self.upstream_receives(parse(b"", sql, *types), bind(b""), execute(), frontend.Sync())
        answers = backend.BindComplete(), done(), IDLE
        return self.upstream_sends(backend.ParseComplete(), *answers).frontend_receives(*answers)


NOTHING: Mapping[bytes, bytes] = MappingProxyType({})

#: ParameterStatus of a server at login.
REPORTED = {
    b"client_encoding": b"UTF8",
    b"DateStyle": b"ISO, MDY",
    b"TimeZone": b"UTC",
    b"is_superuser": b"off",
    b"session_authorization": b"app",
    b"application_name": b"",
}


class SessionScript(Script):
    """A script of a virtual session."""

    def __init__(
        self,
        *,
        texts: SharedTexts | None = None,
        is_serial: bool = False,
        begins_lazily: bool = False,
        standard_strings: bool = True,
        startup: Mapping[bytes, bytes] = NOTHING,
        policy: Policy | None = None,
        descriptions: Descriptions | None = None,
        identity: Hashable = (),
        **limits: int,
    ) -> None:
        of = Limits(**limits)
        base = REPORTED | {b"standard_conforming_strings": b"on" if standard_strings else b"off"}
        told = base | {name: startup[name.lower()] for name in base if name.lower() in startup}
        self.session = TwinSession(
            of,
            SharedTexts() if texts is None else texts,
            frontend_rules(of.max_message),
            ClientSettings(base, told, startup, {}),
            policy or Policy(),
            is_serial=is_serial,
            begins_lazily=begins_lazily,
            descriptions=descriptions,
            identity=identity,
        )
        super().__init__(self.session)


class LoginScript(Script):
    """A script that begins with what a StartupMessage brings."""

    def __init__(self, *parameters: tuple[bytes, bytes], minor_version: int = 0) -> None:
        self.login = TwinLogin(startup.StartupMessage(minor_version, parameters).encode())
        super().__init__(self.login)


#: What the fixture `start` is: SessionScript's options -> a script that is looked at once more at the end.
Start: TypeAlias = Callable[..., SessionScript]


# Bytes and messages.


def encoded(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.encode()


def joined(messages: tuple[Message | bytes, ...]) -> bytes:
    return b"".join(map(encoded, messages))


def split(stream: bytes) -> list[bytes]:
    """The messages of a stream, startup packets too; the last one may be cut off."""
    messages = []
    while stream:
        header = 1 if stream[0] else 0
        size = header + int.from_bytes(stream[header : header + 4], "big")
        messages.append(stream[: max(size, 1)])
        stream = stream[max(size, 1) :]
    return messages


def read(data: bytes, decode: Callable[[int, bytes], Message]) -> Message | bytes:
    """The message that this is; the bytes themselves if it is none, or is cut off."""
    try:
        return decode(data[0], data[5:]) if data[0] else startup.decode(data)
    except Exception:
        return data


def compare(side: str, given: bytes, expected: tuple[Expected, ...], decode: Callable[[int, bytes], Message]) -> None:
    rest = given
    for number, each in enumerate(expected):
        if isinstance(each, Pattern):
            first = split(rest)[:1]
            message = read(first[0], decode) if first else b""
            if isinstance(message, bytes) or not each.fits(message):
                fail(side, given, expected, number, decode)
            rest = rest[len(first[0]) :]
        else:
            data = encoded(each)
            if not rest.startswith(data):
                fail(side, given, expected, number, decode)
            rest = rest[len(data) :]
    if rest:
        fail(side, given, expected, len(expected), decode)


def fail(
    side: str, given: bytes, expected: tuple[Expected, ...], number: int, decode: Callable[[int, bytes], Message]
) -> None:
    def lines(messages: list[object]) -> str:
        return "".join(f"\n  {'>' if index == number else ' '} {message!r}" for index, message in enumerate(messages))

    received = [read(data, decode) for data in split(given)]
    raise AssertionError(
        f"the {side} should have received{lines([*expected]) or ' nothing'}\nand received"
        f"{lines([*received]) or ' nothing'}"
    )
