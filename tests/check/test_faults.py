"""Faults of the check itself, and servers that nobody foresaw: a line, never a traceback."""

import asyncio
import json
import socket
from collections.abc import Callable
from unittest.mock import AsyncMock, Mock

import pytest

from pgshim.check import look, reach, run
from pgshim.check.course import Course
from pgshim.check.failures import Lost
from pgshim.check.report import Level, Remark, Report
from pgshim.check.url import read_url
from pgshim.check.wire import Wire
from pgshim.demo.servers import PgBouncer
from pgshim.protocol import backend
from pgshim.protocol.frontend import Sync
from tests.check.conftest import answering, checked

SECRET = "hunter2"

READY = backend.AuthenticationOk().encode() + backend.ReadyForQuery(b"I").encode()


async def fails(course: Course) -> bool:
    raise ValueError(SECRET)


def with_fault(steps: tuple[tuple[str, Callable[..., object]], ...], name: str) -> tuple[tuple[str, object], ...]:
    assert name in dict(steps)
    return tuple((each, fails if each == name else step) for each, step in steps)


def course_of(pooler: PgBouncer) -> tuple[Course, list[tuple[str, Remark]]]:
    lines: list[tuple[str, Remark]] = []
    report = Report(show=lambda section, remark: lines.append((section, remark)))
    return Course(read_url(pooler.endpoint().url, {}), report), lines


def test_a_fault_is_a_line_and_the_check_goes_on(pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "STEPS", with_fault(look.STEPS, look.SPEED))
    course, lines = course_of(pooler)
    asyncio.run(run.check(course))
    (problem,) = [(section, one) for section, one in lines if one.level is Level.PROBLEM]
    assert problem[0] == look.SPEED
    assert "ValueError in pgshim.check.run, line" in problem[1].text
    assert "please report it" in problem[1].fix
    assert SECRET not in course.report.as_json()
    assert (course.report.exit_code, course.mode.mode.value) == (1, "transaction")
    assert [str(error) for error in course.unforeseen] == [SECRET]


@pytest.mark.parametrize("name", [reach.ADDRESS, reach.TLS, reach.LOGIN])
def test_without_a_way_on_it_ends_there(name: str, pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "STEPS", with_fault(reach.STEPS, name))
    course, lines = course_of(pooler)
    asyncio.run(run.check(course))
    assert (lines[-1][0], lines[-1][1].level, course.report.exit_code) == (name, Level.PROBLEM, 1)


def test_a_fault_of_the_verdict_is_a_line(pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "come_to_a_verdict", Mock(side_effect=KeyError(SECRET)))
    course, lines = course_of(pooler)
    asyncio.run(run.check(course))
    assert (lines[-1][0], course.report.exit_code) == (look.VERDICT, 1)


def test_json_is_printed_after_a_fault(
    pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(look, "STEPS", with_fault(look.STEPS, look.SERVER))
    assert run.run_check(read_url(pooler.endpoint().url, {}), is_json=True) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["exit_code"], data["findings"][0]["section"]) == (1, "server")


def test_the_tests_see_a_fault(pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "STEPS", with_fault(look.STEPS, look.SERVER))
    with pytest.raises(ValueError, match=SECRET):
        checked(pooler.endpoint().url)


def test_a_socket_that_is_gone_when_it_is_used(pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> socket.socket:
        raise ConnectionRefusedError

    monkeypatch.setattr("pgshim.check.wire.connect", refused)
    found = checked(f"postgresql://app@/app?host={pooler.directory}&port={pooler.port}")
    (problem,) = found.problems
    assert "could not connect" in problem.text


def test_a_connection_that_breaks_under_a_write() -> None:
    wire = Wire(Mock(), Mock(drain=AsyncMock(side_effect=ConnectionResetError)), Mock())
    with pytest.raises(Lost):
        asyncio.run(wire.write_now(Sync()))
    assert wire.is_lost


@pytest.mark.parametrize("row", [(b"not a number",), (None,), ()], ids=["word", "null", "no column"])
def test_a_server_that_answers_all_with_the_same_row(row: tuple[bytes | None, ...]) -> None:
    """Every probe meets it, and none has a fault."""
    reply = backend.DataRow(row).encode() + backend.ReadyForQuery(b"I").encode()
    with answering(b"N", READY, *[reply] * 100) as port:
        found = checked(f"postgresql://u:p@127.0.0.1:{port}/d")
    assert "could not be found out" in found.text


@pytest.mark.parametrize(
    "reply", [b"\xff" * 40, b"D\0\0\0\x06\0\x09", b"Z\0\0\0\x04", b"S\0\0\0\x05x", b"R\0\0\0\x09\0\0\0\x0a\xff"]
)
@pytest.mark.parametrize("is_logged_in", [False, True])
def test_a_server_that_answers_with_rubbish(reply: bytes, is_logged_in: bool) -> None:
    with answering(b"N", *[READY] * is_logged_in, reply) as port:
        found = checked(f"postgresql://u:p@127.0.0.1:{port}/d?connect_timeout=2")
    assert found.data["login"]["is_successful"] is is_logged_in
    assert "protocol" in found.text


def test_what_a_server_says_does_not_steer_the_terminal(pooler: PgBouncer, capsys: pytest.CaptureFixture[str]) -> None:
    message = backend.ErrorResponse(((b"S", b"FATAL"), (b"C", b"28000"), (b"M", b"go \x1b[2J away")))
    with answering(b"N", message.encode()) as port:
        assert run.run_check(read_url(f"postgresql://u:p@127.0.0.1:{port}/d", {}), is_json=False) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "go ?[2J away" in out
