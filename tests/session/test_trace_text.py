"""What a trace says of one message, and what it never says."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgshim.protocol import Message, backend, frontend, startup
from pgshim.protocol.fields import Content, content_of
from pgshim.session.sql import LONG_TEXT
from pgshim.session.trace import Leg, Trace
from pgshim.session.trace_text import MOST_OF_A_MESSAGE, broken, describe, kind_of
from tests.protocol.samples import BACKEND, FRONTEND, STARTUP
from tests.protocol.strategies import instances

CLASSES = sorted(
    {cls for catalogue in (startup.STARTUP, frontend.FRONTEND, backend.BACKEND) for cls in catalogue},
    key=lambda cls: cls.__name__,
)


def body_of(message: Message) -> bytes:
    data = message.encode()
    return data[5 if data[0] else 4 :]


def line(message: Message, *, shows_values: bool = False) -> str:
    return describe(type(message), body_of(message), shows_values=shows_values)


@pytest.mark.parametrize(
    ("message", "hidden", "shown"),
    [
        (frontend.Query(b"select 1"), "Query <SELECT, 8 bytes>", 'Query "select 1"'),
        (frontend.Query(b"create table t()"), "Query <CREATE, 16 bytes>", 'Query "create table t()"'),
        (frontend.Query(b""), "Query <EMPTY, 0 bytes>", 'Query ""'),
        (frontend.Query(b"a;" * 5), f"Query <{'UTILITY; ' * 4}..., 10 bytes>", f'Query "{"a;" * 5}"'),
        (
            frontend.Query(b"create user x PASSWORD 'hunter2'"),
            "Query <CREATE, 32 bytes>",
            "Query <CREATE, 32 bytes>",
        ),
        (
            frontend.Bind(b"p", b"s", (1,), (b"\0\1", None, b""), ()),
            'Bind "p" "s" [1] [<2 bytes>, NULL, <0 bytes>] []',
            'Bind "p" "s" [1] ["\\x00\\x01", NULL, ""] []',
        ),
        (
            startup.StartupMessage(2, ((b"user", b"a"), (b"x", b"1"))),
            'StartupMessage 3.2 ["user"="a", "x"=<1 byte>]',
            'StartupMessage 3.2 ["user"="a", "x"="1"]',
        ),
        (startup.CancelRequest(7, b"keys"), "CancelRequest 7 <secret>", "CancelRequest 7 <secret>"),
        (frontend.PasswordMessage(b"p"), "PasswordMessage <secret>", "PasswordMessage <secret>"),
        (
            backend.ErrorResponse(((b"S", b"FEHLER"), (b"V", b"ERROR"), (b"C", b"23505"), (b"M", b"twice"))),
            "ErrorResponse ERROR 23505",
            'ErrorResponse ERROR 23505 M="twice"',
        ),
        (backend.ErrorResponse(((b"S", b"not a word"),)), 'ErrorResponse "not a word"', 'ErrorResponse "not a word"'),
        (
            backend.ParameterStatus(b"TimeZone", b"UTC"),
            'ParameterStatus "TimeZone"="UTC"',
            'ParameterStatus "TimeZone"="UTC"',
        ),
        (backend.ParameterStatus(b"x", b"y"), 'ParameterStatus "x"=<1 byte>', 'ParameterStatus "x"="y"'),
        (
            backend.NotificationResponse(9, b"channel", b"load"),
            'NotificationResponse 9 "channel" <4 bytes>',
            'NotificationResponse 9 "channel" "load"',
        ),
    ],
)
def test_a_line(message: Message, hidden: str, shown: str) -> None:
    assert line(message) == hidden
    assert line(message, shows_values=True) == shown


@pytest.mark.parametrize("message", [message for table in (STARTUP, FRONTEND, BACKEND) for message, _ in table])
def test_every_message_is_called_by_its_name_and_cut_anywhere(message: Message) -> None:
    body = body_of(message)
    name = type(message).__name__
    assert describe(type(message), body).split()[0] == name
    for size in range(len(body)):
        assert describe(type(message), body[:size], is_cut=True, shows_values=True).split()[0] == name


# What stays hidden.

MARKER = b"hidden7c1f"


def holding(cls: type[Message], *, is_secret_only: bool) -> Message | None:
    """A message of this class with the marker wherever there may be a value; None: nowhere."""
    values: dict[str, Any] = {}
    hides = False
    for each in fields(cls):  # type: ignore[arg-type]
        content, annotation = content_of(each.type), str(each.type)
        is_hidden = not each.repr or (not is_secret_only and content is not Content.NAME)
        mark = MARKER if is_hidden else b"n"
        hides |= is_hidden
        if content is Content.SETTINGS:
            values[each.name] = ((b"a", mark), (b"b", mark))
        elif content is Content.DIAGNOSTIC:
            values[each.name] = ((b"V", b"ERROR"), (b"M", mark), (b"D", mark), (b"?", mark))
        elif "tuple[bytes" in annotation:
            values[each.name] = (mark, mark)
        elif "bytes" in annotation and "tuple" not in annotation:
            values[each.name] = mark[:4] if "Bytes(4)" in annotation or "<Bytes" in annotation else mark
        elif "tuple" in annotation:
            values[each.name] = ()
        elif "Target" in annotation:
            values[each.name] = frontend.Target.PORTAL
        elif "TransactionStatus" in annotation:
            values[each.name] = backend.TransactionStatus.IDLE
        else:
            values[each.name] = 1
    return cls(**values) if hides else None


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("shows_values", [False, True])
def test_no_value_is_shown_unless_it_is_asked_for_and_no_secret_ever(cls: type[Message], shows_values: bool) -> None:
    message = holding(cls, is_secret_only=shows_values)
    if message is not None:
        body = body_of(message)
        for size in range(len(body) + 1):
            said = describe(cls, body[:size], is_cut=size < len(body), shows_values=shows_values)
            assert "hidden" not in said
            assert MARKER[:4].decode() not in said


@given(st.sampled_from(CLASSES).flatmap(instances), st.booleans())
def test_a_line_is_one_line_of_what_can_be_printed(message: Message, shows_values: bool) -> None:
    assert line(message, shows_values=shows_values).isprintable()


@given(st.sampled_from(CLASSES), st.binary(max_size=60), st.booleans(), st.booleans())
def test_any_bytes_have_a_line(cls: type[Message], body: bytes, is_cut: bool, shows_values: bool) -> None:
    assert describe(cls, body, is_cut=is_cut, shows_values=shows_values).isprintable()


def is_anothers(text: bytes) -> bool:
    """Whether it is not what pgshim itself sends, nor a word that may be one of the trace's own."""
    return b"\0" not in text and not text.startswith(b"pgshim ") and not re.fullmatch(rb"[A-Za-z_ ]*", text)


@given(
    st.binary(min_size=8, max_size=40).filter(is_anothers), st.lists(st.binary(min_size=8).filter(is_anothers))
)
def test_random_texts_and_values_do_not_appear(text: bytes, values: list[bytes]) -> None:
    messages = [
        frontend.Query(text),
        frontend.Parse(b"s", text, ()),
        frontend.Bind(b"", b"s", (), tuple(values), ()),
        backend.DataRow(tuple(values)),
        frontend.CopyData(b"".join(values)),
        backend.NotificationResponse(1, b"c", text),
        backend.NoticeResponse(((b"M", text),)),
    ]
    lines: list[str] = []
    trace = Trace(lines.append)
    for message in messages:
        leg = Leg.PASSES_UP if type(message) in frontend.FRONTEND else Leg.PASSES_DOWN
        trace.tell(leg, message.encode())
    assert len(lines) == len(messages)
    # Nothing but words of the trace's own, lengths and the kinds of statements.
    own = r'[A-Za-z]+|"[sc]?"|\d+|<(?:[A-Z_]+[;,] )*(?:\.\.\., )?\d+ bytes?>|[][<>|,-]|\.\.\.'
    assert all(re.fullmatch(rf"(?:{own}|\s)+", re.sub(r"<[^>]*>", "", said)) for said in lines)
    for value in (text, *values):
        assert not any(repr(value)[2:-1] in said for said in lines)


# What is large.


def test_a_large_message_is_shown_by_its_head() -> None:
    query = frontend.Query(b"select 1 " + b"x" * MOST_OF_A_MESSAGE)
    assert line(query) == "Query ..."
    shown = line(query, shows_values=True)
    assert shown.startswith('Query "select 1 xxx')
    assert len(shown) < 1100
    assert "hunter2" not in line(frontend.Query(b"PASSWORD 'hunter2' " + query.query), shows_values=True)
    bound = frontend.Bind(b"", b"s", (), (b"v" * MOST_OF_A_MESSAGE,), ())
    assert line(bound, shows_values=True) == 'Bind "" "s" [] ...'


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b'a"b', r'"a\"b"'),
        (b"a\n\x1b[2J", r'"a\n\x1b[2J"'),
        (b"\xff", r'"\xff"'),
        ("é".encode(), '"é"'),
    ],
)
def test_a_name_is_one_line_between_quotes(name: bytes, said: str) -> None:
    assert line(frontend.Parse(name, b"select 1", ())) == f"Parse {said} <SELECT, 8 bytes> []"


def test_a_long_value_is_cut() -> None:
    assert line(backend.DataRow((b"v" * 200,)), shows_values=True) == f'DataRow ["{"v" * 80}"... 200 bytes]'


def test_the_kind_of_a_long_text_is_not_looked_for() -> None:
    assert kind_of(b"select " + b"x" * LONG_TEXT) == ""


def test_bytes_in_which_there_is_no_message() -> None:
    assert broken(b"\0\1", shows_values=False) == "<no message> 00 01"
    assert broken(b"hunter2", shows_values=False) == "<no message> 68 75 6e 74 65 ..."
    assert broken(b"a" * 65, shows_values=True) == f"<no message> {' '.join(['61'] * 64)} ..."
