"""Transparency: any client, through a session and a pooler, in any chunking and timing, gets what a server gives it.

The server is the one of `model`. The same conversation is had with one server directly, and with a session in front of
a pooler of three; the replies have to be the same, and the rows that were committed.
"""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from pgshim.protocol import Message, backend
from pgshim.protocol.backend import ErrorResponse, TransactionStatus
from pgshim.protocol.frontend import CopyData, CopyDone, CopyFail, Flush, Query, Sync
from pgshim.session.session import (
    ClientSettings,
    Limits,
    Policy,
    SharedTexts,
    frontend_rules,
)
from tests.session.messages import bind, close, close_portal, describe, describe_portal, execute, parse
from tests.session.model import RESULTS, Database, Server
from tests.session.pooler import Pooler
from tests.session.script import joined, split
from tests.session.twins import TwinDescriptions, TwinSession

Reply = Message | tuple[str, bytes]


def replies(stream: bytes) -> list[Reply]:
    """Backend messages; of an error the SQLSTATE."""
    found: list[Reply] = []
    for data in split(stream):
        message = backend.decode(data[0], data[5:])
        found.append(("error", message.sqlstate) if isinstance(message, ErrorResponse) else message)
    return found


def directly(messages: list[Message]) -> tuple[list[Reply], int]:
    """What a server answers, and how many rows there are then."""
    server = Server(Database())
    for message in messages:
        server.feed(message)
    assert not server.unflushed
    return replies(server.output), server.database.rows


def brief(messages: list[Message]) -> str:
    """A conversation in a line."""
    return "  ".join(
        f"{type(message).__name__} {'|'.join(str(value) for value in astuple(message)[:2])}"  # type: ignore[call-overload]
        for message in messages
    )


class Line:
    """A session between a client and a pooler; bytes are on their way until somebody moves them."""

    def __init__(
        self,
        *,
        is_serial: bool,
        begins_lazily: bool,
        descriptions: TwinDescriptions | None = None,
        texts: SharedTexts | None = None,
    ) -> None:
        self.database = Database()
        self.pooler = Pooler(self.database)
        settings = ClientSettings({}, {}, {}, {})
        rules = frontend_rules(1 << 20)
        self.session = TwinSession(
            Limits(),
            SharedTexts() if texts is None else texts,
            rules,
            settings,
            Policy(),
            is_serial=is_serial,
            begins_lazily=begins_lazily,
            descriptions=descriptions,
        )
        self.received = b""

    def client_sends(self, data: bytes) -> None:
        self.session.receive_from_client(data)
        self.move()

    def upstream_sends(self, size: int) -> None:
        data = self.pooler.give(size)
        if data:
            self.session.receive_from_upstream(data)
            self.move()

    def move(self) -> None:
        self.pooler.feed(self.session.take_upstream_output())
        self.received += self.session.take_client_output()

    def drain(self) -> None:
        while self.pooler.has_output:
            self.upstream_sends(1 << 20)


TEXTS = [text.encode() for text in RESULTS]
QUERIES = [
    *(*TEXTS, b"begin", b"begin", b"commit", b"rollback", b"copy t from stdin"),
    *(b"selec", b"select 1; select 2", b"select 1; deallocate a; select 2", b"deallocate a; deallocate a"),
    *(b"deallocate a; select 1/0; deallocate all", b"begin; insert", b"insert; fail", b"insert; commit; fail"),
    *(b"deallocate a; selec", b"deallocate a; deallocate nosuch; deallocate b", b"select 1; discard all"),
    *(b"copy t from stdin; select 1; copy t from stdin", b"insert; copy t from stdin"),
]
names = st.sampled_from([b"", b"a", b"b"])
texts = st.sampled_from(TEXTS)
portals = st.sampled_from([b"", b"p"])
data: st.SearchStrategy[list[Message]] = st.lists(st.sampled_from([CopyData(b"1\n"), CopyData(b"2\n")]), max_size=3)
data_and_syncs: st.SearchStrategy[list[Message]] = st.lists(
    st.sampled_from([CopyData(b"1\n"), Sync(), Flush()]), max_size=4
)

queries: st.SearchStrategy[list[Message]] = st.sampled_from(QUERIES).map(lambda text: [Query(text)])

#: What a client does; the more often a line is here, the more often it is done.
STEPS: list[st.SearchStrategy[list[Message]]] = [
    *[names.map(lambda name: [bind(name), execute()])] * 6,
    *[st.builds(lambda name, text: [close(name), parse(name, text)], names, texts)] * 4,
    *[queries] * 4,
    *[texts.map(lambda text: [parse(b"", text), bind(b""), describe_portal(), execute()])] * 3,
    *[st.builds(lambda name, text: [close(name), parse(name, text), describe(name)], names, texts)] * 2,
    st.builds(lambda name, portal: [bind(name, portal=portal), execute(portal)], names, portals),
    st.builds(lambda name, text: [parse(name, text)], names, st.just(b"selec") | texts),
    names.map(lambda name: [describe(name)]),
    names.map(lambda name: [close(name)]),
    portals.map(lambda portal: [execute(portal)]),
    portals.map(lambda portal: [describe_portal(portal)]),
    portals.map(lambda portal: [close_portal(portal)]),
    st.sampled_from([CopyData(b"x"), CopyDone(), CopyFail(b"x")]).map(lambda stray: [stray]),
]
endings: st.SearchStrategy[list[Message]] = st.sampled_from([[Sync()], [], [Sync()], [Flush()], [], [Sync(), Sync()]])


Conversation = list[list[Message]]


@st.composite
def copies(draw: st.DrawFn) -> list[Message]:
    """The data of a COPY, and its end."""
    if draw(st.booleans()):
        return [*draw(data_and_syncs), CopyDone()]
    # Behind the Syncs in front of it no client could tell how much of them was read before the COPY failed.
    return [*draw(data), CopyFail(b"no")]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """What a client may send, in bursts: it has all replies to one before it sends the next.

    It has two statements to begin with, ends each COPY before it goes on, and as every driver does, it waits for the
    server's word to begin one by Execute, and at the end of each.
    """
    bursts: Conversation = [[parse(b"a", draw(texts)), parse(b"b", draw(texts)), *draw(endings)]]
    server = Server(Database())
    for message in bursts[0]:
        server.feed(message)
    for _ in range(draw(st.integers(1, 10))):
        for message in (*draw(st.sampled_from(STEPS).flatmap(lambda step: step)), *draw(endings)):
            bursts[-1].append(message)
            server.feed(message)
            while server.copy_ended is not None:
                copy = draw(copies()) if server.is_query else [*draw(copies()), Sync()]
                if not server.is_query:
                    bursts.append([])
                bursts[-1] += copy
                for part in copy:
                    server.feed(part)
                if server.copy_ended is None:
                    bursts.append([])
    return [*bursts, [Sync()]]


def all_of(conversation: Conversation) -> list[Message]:
    return [message for burst in conversation for message in burst]


@st.composite
def schedules(draw: st.DrawFn) -> list[tuple[bool, int]]:
    """(whether the client moves, how many bytes)."""
    sizes = st.sampled_from([1, 3, 7, 20, 60, 1000])
    return draw(st.lists(st.tuples(st.booleans(), sizes), max_size=60))


def have(line: Line, conversation: Conversation, schedule: list[tuple[bool, int]], *, is_swept: bool) -> None:
    """Have the conversation as the schedule says, up to its end or that of the schedule."""
    moves = iter(schedule)
    for burst in conversation:
        rest = joined(tuple(burst))
        while rest:
            is_client, size = next(moves, (None, 0))
            if is_client is None:
                return
            if is_client:
                line.client_sends(rest[:size])
                rest = rest[size:]
            else:
                line.upstream_sends(size)
            if is_swept and line.session.is_pinning:
                line.session.end_idle_exchange()
                line.move()
        line.drain()


@settings(derandomize=True, max_examples=800, deadline=None)
@given(conversations(), schedules(), st.booleans(), st.booleans(), st.booleans())
def test_a_client_gets_what_a_server_gives_it(
    conversation: Conversation, schedule: list[tuple[bool, int]], is_serial: bool, begins_lazily: bool, is_swept: bool
) -> None:
    note(brief(all_of(conversation)))
    line = Line(is_serial=is_serial, begins_lazily=begins_lazily)
    have(line, conversation, [*schedule, *[(True, 10_000)] * 100], is_swept=is_swept)
    expected, rows = directly(all_of(conversation))
    assert replies(line.received) == expected
    assert line.database.rows == rows
    assert not line.session.is_busy
    assert line.session.backlog_size == 0


def described() -> tuple[TwinDescriptions, SharedTexts]:
    """What another client has been told of all texts."""
    descriptions, texts = TwinDescriptions(100, lambda: 0.0), SharedTexts()
    line = Line(is_serial=False, begins_lazily=False, descriptions=descriptions, texts=texts)
    asked = [text for text in TEXTS if text.startswith((b"select", b"insert"))]
    for text in asked:
        line.client_sends(joined((parse(b"", text), describe(b""), Sync())))
        line.drain()
    assert len(descriptions) == len(asked)
    return descriptions, texts


@settings(derandomize=True, max_examples=300, deadline=None)
@given(conversations(), schedules(), st.booleans(), st.booleans(), st.booleans())
def test_a_client_that_is_told_what_another_one_was_gets_what_a_server_gives_it(
    conversation: Conversation,
    schedule: list[tuple[bool, int]],
    is_serial: bool,
    begins_lazily: bool,
    is_swept: bool,
) -> None:
    note(brief(all_of(conversation)))
    descriptions, texts = described()
    line = Line(is_serial=is_serial, begins_lazily=begins_lazily, descriptions=descriptions, texts=texts)
    have(line, conversation, [*schedule, *[(True, 10_000)] * 100], is_swept=is_swept)
    expected, rows = directly(all_of(conversation))
    received = replies(line.received)
    parting = next((pair for pair in zip(received, expected, strict=False) if pair[0] != pair[1]), None)
    # In a failed block the Parse that is repeated fails, ahead of the Describe of what returns nothing.
    assume(parting != (("error", b"25P02"), backend.ParameterDescription(())))
    assert received == expected
    assert line.database.rows == rows
    assert not line.session.is_busy
    assert line.session.backlog_size == 0


@settings(derandomize=True, max_examples=300, deadline=None)
@given(conversations(), schedules(), st.booleans(), st.booleans())
def test_a_client_that_leaves_at_any_moment_leaves_nothing_behind(
    conversation: Conversation, schedule: list[tuple[bool, int]], is_serial: bool, begins_lazily: bool
) -> None:
    note(brief(all_of(conversation)))
    line = Line(is_serial=is_serial, begins_lazily=begins_lazily)
    have(line, conversation, schedule, is_swept=False)
    heard = line.received
    line.session.abandon()
    line.move()
    line.drain()
    assert line.received == heard
    assert line.session.is_broken or line.session.is_at_rest
    if not line.session.is_broken:
        assert line.pooler.server is None
        assert all(server.status is TransactionStatus.IDLE for server in line.pooler.servers)


@pytest.mark.parametrize("text", TEXTS)
def test_the_model_knows_each_of_its_texts(text: bytes) -> None:
    messages: list[Message] = [parse(b"a", text), bind(b"a"), describe_portal(), execute()]
    copy: list[Message] = [CopyDone()] if text.startswith(b"copy") else []
    answers, _ = directly([*messages, *copy, Sync(), Query(text), *copy])
    assert sum(isinstance(answer, backend.ReadyForQuery) for answer in answers) == 2
