"""Any chunking of the same bytes, in both directions, gives the client the same bytes.

The conversations are those of the story tests that hold the most: each is a list of what client and upstream say in
turn, a batch at a time (`test_transparency` has pipelines). What goes up may differ by Flush messages, which do nothing
there, for no write may start with a Sync.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    CopyInResponse,
    NoticeResponse,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
    PortalSuspended,
)
from pgshim.protocol.frontend import CopyData, CopyDone, Flush, Query, Sync
from tests.session.messages import (
    FAILED,
    IDLE,
    IN_BLOCK,
    bind,
    close,
    columns,
    describe,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, joined, split

CLIENT, UPSTREAM = True, False
Turn = tuple[bool, tuple[Message, ...]]

PURE, WRITING = b"select a from t", b"insert into t values ($1) returning a"
PREPARED = ParseComplete(), ParameterDescription((23,)), columns(23)
NOTICE = NoticeResponse(((b"S", b"NOTICE"), (b"M", b"hi")))
LARGE = b"v" * 70_000

CONVERSATIONS: list[list[Turn]] = [
    [
        (CLIENT, (parse(b"s", PURE), describe(b"s"), Sync())),
        (UPSTREAM, (*PREPARED, IDLE)),
        (CLIENT, (bind(b"s"), execute(), close(b"x"), Sync())),
        (UPSTREAM, (*PREPARED, NOTICE, BindComplete(), row(b"1"), done(), IDLE)),
        (CLIENT, (Query(b"select 1"),)),
        (UPSTREAM, (columns(23), row(b"2"), done(), IDLE)),
        (CLIENT, (bind(b"s"), execute(), close(b"s"), Sync())),
        (UPSTREAM, (*PREPARED[:2], columns(25), BindComplete(), NOTICE, row(b"x"), NOTICE, row(b"y"), done(), IDLE)),
    ],
    [
        (CLIENT, (parse(b"w", WRITING), describe(b"w"), Sync())),
        (UPSTREAM, (*PREPARED, IDLE)),
        (CLIENT, (Query(b"begin"),)),
        (UPSTREAM, (done(b"BEGIN"), IN_BLOCK)),
        (CLIENT, (bind(b"w", b"1"), execute(), Sync())),
        (UPSTREAM, (*PREPARED[:2], columns(25), BindComplete(), row(b"x"), done(), IN_BLOCK)),
        (UPSTREAM, (server_error(b"42601"), FAILED)),
        (CLIENT, (Query(b"rollback"),)),
        (UPSTREAM, (done(b"ROLLBACK"), IDLE)),
        (CLIENT, (bind(b"w", LARGE, portal=b"p"), execute(b"p", 1), Sync())),
        (UPSTREAM, (*PREPARED, BindComplete(), row(LARGE), PortalSuspended(), IDLE)),
    ],
    [
        (CLIENT, (Query(b"copy t from stdin"), CopyData(b"1\n"), CopyData(LARGE), CopyDone())),
        (UPSTREAM, (ParseComplete(), BindComplete(), CopyInResponse(0, ()), done(b"COPY 2"), IDLE)),
        (CLIENT, (CopyData(b"stray"), CopyDone(), parse(b"c", b"copy t from stdin"), bind(b"c"), execute(), Flush())),
        (UPSTREAM, (ParseComplete(), BindComplete(), CopyInResponse(0, ()))),
        (CLIENT, (CopyData(b"1\n"), CopyDone(), Sync(), CopyData(b"stray"), Sync())),
        (UPSTREAM, (done(b"COPY 1"), ParameterStatus(b"a", b"b"), IDLE)),
    ],
    [
        (CLIENT, (parse(b"a", b"select 1"), Sync())),
        (UPSTREAM, (ParseComplete(), IDLE)),
        (CLIENT, (bind(b"nosuch"), execute(), Sync())),
        (UPSTREAM, (server_error(b"42601"), IDLE)),
        (CLIENT, (Query(b"deallocate a; select 2; deallocate nosuch"),)),
        (UPSTREAM, (columns(), row(), done(), columns(23), row(b"2"), done())),
        (UPSTREAM, (server_error(b"22012"), IDLE)),
        (CLIENT, (Query(b"deallocate all"), Sync(), Query(b"x"))),
        (UPSTREAM, (server_error(b"XX000", LARGE), IDLE)),
    ],
]


def had(conversation: list[Turn], cuts: list[int]) -> tuple[bytes, list[bytes]]:
    """(what the client received, the messages but Flush that went up), with each turn cut at these places."""
    session = SessionScript().session
    received = sent = b""
    for is_client, messages in conversation:
        stream = joined(messages)
        places = sorted({cut for cut in cuts if cut < len(stream)})
        for start, end in zip([0, *places], [*places, len(stream)], strict=True):
            if is_client:
                session.receive_from_client(stream[start:end])
            else:
                session.receive_from_upstream(stream[start:end])
            received += session.take_client_output()
            sent += session.take_upstream_output()
    assert not session.is_busy
    return received, [message for message in split(sent) if message != Flush().encode()]


small = st.integers(1, 200)
cuts = st.lists(small, max_size=40) | st.lists(small | st.integers(200, 80_000), max_size=40)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.integers(0, len(CONVERSATIONS) - 1), cuts)
def test_any_chunking_gives_the_same_output(number: int, places: list[int]) -> None:
    assert had(CONVERSATIONS[number], places) == had(CONVERSATIONS[number], [])


def test_single_bytes_give_the_same_output() -> None:
    for conversation in CONVERSATIONS:
        if all(len(message.encode()) < 10_000 for _, messages in conversation for message in messages):
            assert had(conversation, list(range(1000))) == had(conversation, [])
