"""The experiments against a pooler that does as each of the worse ones would: it is scripted, query by query."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from struct import Struct
from typing import Any

import pytest

from pgshim.check import experiments, parameters
from pgshim.check.course import Course
from pgshim.check.experiments import Kept, Mode, Statements
from pgshim.check.failures import CheckFailure
from pgshim.check.look import look_at_pipelines, look_at_statements
from pgshim.check.network import Attempt
from pgshim.check.report import Level, Report
from pgshim.check.run import check
from pgshim.check.url import read_url
from pgshim.protocol import backend, frontend
from pgshim.protocol.backend import TransactionStatus
from pgshim.proxy.upstream import Endpoint
from tests.check.conftest import TEST_SECONDS

_HEADER = Struct("!BI")


class Pooler:
    """Lets everybody in, and answers each query with what `answer` returns: a value, an error, or None: not at all."""

    def __init__(self, answer: Callable[[int, str], str | Exception | None], *, lost_after: int = 1000) -> None:
        self.answer = answer
        #: Of each connection's batches so many are answered.
        self.lost_after = lost_after
        self.connections = 0
        self.tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        number, batches, parsed = self.connections, 0, ""
        try:
            length = int.from_bytes(await reader.readexactly(4))
            await reader.readexactly(length - 4)
            key = backend.BackendKeyData(number, b"abcd").encode()
            ready = backend.ReadyForQuery(TransactionStatus.IDLE).encode()
            writer.write(backend.AuthenticationOk().encode() + key + ready)
            while True:
                type_code, length = _HEADER.unpack(await reader.readexactly(5))
                message = frontend.decode(type_code, await reader.readexactly(length - 4))
                if isinstance(message, frontend.Parse):
                    parsed = message.query.decode()
                elif isinstance(message, frontend.Bind) and message.statement:
                    parsed = "Bind " + message.statement.decode()
                elif isinstance(message, frontend.Query):
                    parsed = message.query.decode()
                elif isinstance(message, frontend.Terminate):
                    return
                if not isinstance(message, frontend.Query | frontend.Sync):
                    continue
                batches += isinstance(message, frontend.Sync)
                result = self.answer(number, parsed)
                if result is not None and batches <= self.lost_after:
                    writer.write(_reply(result) + ready)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _reply(result: str | Exception) -> bytes:
    if isinstance(result, Exception):
        fields = ((b"S", b"ERROR"), (b"C", b"XX000"), (b"M", str(result).encode()))
        return backend.ErrorResponse(fields).encode()
    return backend.DataRow((result.encode(),)).encode() + backend.CommandComplete(b"SELECT 1").encode()


def at(pooler: Pooler, test: Callable[[Course], Awaitable[Any]]) -> Any:
    """Runs a test with a course whose connections go to the pooler."""

    async def limited() -> Any:
        server = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        course = Course(read_url(f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable", {}), Report())
        course.attempt = Attempt(course.target.addresses[0], Endpoint(2, ("127.0.0.1", port)))
        try:
            async with asyncio.timeout(TEST_SECONDS):
                return await test(course)
        finally:
            if course.wire is not None:
                await course.wire.close()
            server.close()
            # Every connection has been closed, whatever became of it.
            if pooler.tasks:
                _, open_ones = await asyncio.wait(pooler.tasks, timeout=5)
                assert not open_ones

    return asyncio.run(limited())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAITING", "PATIENCE", "PIPELINED"):
        monkeypatch.setattr(experiments, name, 0.3)
    monkeypatch.setattr(parameters, "PATIENCE", 0.3)


async def _mode(course: Course) -> experiments.PoolMode:
    return await experiments.find_mode(await course.again(), course.connect)


def test_a_client_that_wanders_is_in_transaction_mode() -> None:
    turns = iter(range(100, 200))
    found = at(Pooler(lambda number, sql: str(next(turns)) if "pid" in sql else "settled"), _mode)
    assert found.mode is Mode.TRANSACTION
    assert "several servers" in found.evidence


def test_a_client_that_waits_for_anothers_transaction_is_in_transaction_mode() -> None:
    held: list[int] = []

    def answer(number: int, sql: str) -> str | None:
        if sql == "BEGIN":
            held.append(number)
        if sql == "ROLLBACK":
            held.clear()
        return None if held and number not in held else ("42" if number == 1 else "43") if "pid" in sql else "settled"

    found = at(Pooler(answer), _mode)
    assert found.mode is Mode.TRANSACTION
    assert "waits" in found.evidence


def test_an_error_that_is_no_mode_is_raised() -> None:
    with pytest.raises(CheckFailure, match="disk full"):
        at(Pooler(lambda number, sql: ValueError("disk full") if sql == "BEGIN" else "42"), _mode)


@pytest.mark.parametrize(("lost_after", "is_fine"), [(1000, True), (2, False), (0, False)])
def test_replies_that_are_lost_in_a_pipeline(lost_after: int, is_fine: bool) -> None:
    pooler = Pooler(lambda number, sql: sql.removeprefix("SELECT "), lost_after=lost_after)
    pooler.answer = lambda number, sql: "42" if "pid" in sql else sql.removeprefix("SELECT ")
    found = at(pooler, lambda course: experiments.pipeline(course.connect, in_several_writes=True))
    assert (found.in_one_write, found.in_several_writes) == (is_fine, is_fine)
    assert found.has_failed is not is_fine


def test_lost_replies_are_a_problem_where_pgshim_is_not_needed() -> None:
    async def look(course: Course) -> Report:
        course.mode = experiments.PoolMode(Mode.SESSION, "")
        await look_at_pipelines(course)
        return course.report

    report = at(Pooler(lambda number, sql: "42", lost_after=0), look)
    (finding,) = report.findings
    assert finding["level"] == Level.PROBLEM
    assert "in one write" in finding["text"]


def test_a_parse_with_a_name_that_is_refused() -> None:
    def answer(number: int, sql: str) -> str | Exception:
        return ValueError("no names here") if "pgshim check" in sql else "42"

    async def prepare(course: Course) -> Statements:
        return await experiments.prepare(await course.again())

    found = at(Pooler(answer), prepare)
    assert found.kept is Kept.NOT
    assert "no names here" in found.evidence


@pytest.mark.parametrize(
    ("result", "follows", "level"), [("1", True, Level.NOTE), (ValueError("26000"), False, Level.WARNING)]
)
def test_whether_a_statement_that_is_kept_works_elsewhere(result: str | Exception, follows: bool, level: Level) -> None:
    async def look(course: Course) -> Report:
        course.mode = experiments.PoolMode(Mode.TRANSACTION, "")
        course.statements = Statements(Kept.BY_POOLER, "it is called x_1 on the server", "s", "text", "x_1", 41)
        await look_at_statements(course)
        return course.report

    report = at(Pooler(lambda number, sql: result if sql == "Bind s" else "42"), look)
    assert report.data["prepared_statements"]["follow"] is follows
    assert report.findings[0]["level"] == level


def test_where_there_is_no_second_server_it_is_not_known() -> None:
    async def follow(course: Course) -> bool | None:
        found = Statements(Kept.BY_POOLER, "", "s", "text", "x_1", 42)
        return await experiments.follow(found, await course.again(), course.connect)

    assert at(Pooler(lambda number, sql: "42"), follow) is None


def test_a_server_that_never_answers_a_query_ends_in_words_not_in_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgshim.check.experiments.process_id.__defaults__", (0.2,))
    monkeypatch.setattr("pgshim.check.wire.Wire.query.__defaults__", (0.2,))

    async def whole(course: Course) -> Report:
        await check(course)
        return course.report

    report = at(Pooler(lambda number, sql: None), whole)
    texts = [finding["text"] for finding in report.findings]
    assert any("could not be found out: no answer within" in text for text in texts)
    assert "recommendation" in report.data
