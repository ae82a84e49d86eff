"""Procrastinate on psycopg (`tests.apps.procrastinate_app`), with its own commands.

Workers that poll go through the pooler. One that LISTENs needs a session: its LISTEN is refused by name, so that it
polls too, and works at the session endpoint.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote

import psycopg
import pytest

from tests.frameworks.servers import COMMAND_SECONDS, Servers, program_environment, run_command
from tests.integration.support import ROOT

APP = "tests.apps.procrastinate_app.app"
EACH = 20
WORKERS = 2
# No job is found by polling while a story lasts.
WITHOUT_POLLING = ["--fetch-job-polling-interval", "300"]

TABLES = """
    DROP TABLE IF EXISTS job_done, job_running;
    CREATE TABLE job_done (kind text, number int, attempt int, worker int);
    CREATE TABLE job_running (lock text PRIMARY KEY);
    TRUNCATE procrastinate_jobs CASCADE;
"""


def procrastinate(url: str, *command: str) -> "subprocess.CompletedProcess[str]":
    return run_command(["procrastinate", "--app", APP, *command], {"DATABASE_URL": url})


@dataclass(frozen=True)
class Worker:
    process: "subprocess.Popen[bytes]"
    # A pipe that nobody reads would stop it.
    log: IO[bytes]

    def end(self) -> str:
        """Tells it to end, as an operator does; it ends well. What it logged."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(COMMAND_SECONDS)
        self.log.seek(0)
        text = self.log.read().decode()
        assert code == 0, text
        return text


@contextmanager
def workers(url: str, count: int, *options: str) -> Iterator[list[Worker]]:
    """`procrastinate worker`, as often as wanted."""
    command = [sys.executable, "-m", "procrastinate", "--app", APP, "worker", "--concurrency", "4", *options]
    with ExitStack() as files:
        started = []
        for _ in range(count):
            log = files.enter_context(tempfile.TemporaryFile())
            environment = program_environment({"DATABASE_URL": url})
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=environment
            )
            files.callback(process.wait)
            files.callback(process.kill)
            started.append(Worker(process, log))
        yield started


def ask(servers: Servers, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(servers.direct().url, autocommit=True) as direct:
        cursor = direct.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def wait_until(is_so: Callable[[], bool], workers: list[Worker]) -> None:
    """Asks again and again, while all of the workers live."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while not is_so():
        assert [worker.process.poll() for worker in workers] == [None] * len(workers)
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def url(servers: Servers) -> str:
    """pgshim's, with Procrastinate's schema made through it."""
    pooled = servers.endpoint().url
    if ask(servers, "SELECT to_regclass('procrastinate_jobs') IS NULL") == [(True,)]:
        done = procrastinate(pooled, "schema", "--apply")
        assert done.returncode == 0, done.stderr
    ask(servers, TABLES)
    return pooled


def defer(url: str, numbers: range) -> None:
    """Several programs that defer at once."""
    for number in numbers:
        done = run_command(["tests.apps.procrastinate_jobs", str(number)], {"DATABASE_URL": url})
        assert (done.returncode, done.stdout) == (0, f"{4 * EACH}\n"), done.stderr


def check_what_was_done(servers: Servers, numbers: range) -> None:
    """Each job once, by its own arguments; those that failed, at their second attempt."""
    expected = [("add", 1000 * number + n, 0) for number in numbers for n in range(2 * EACH)]
    for kind, attempt in (("alone", 0), ("fail_first", 1)):
        expected += [(kind, 1000 * number + n, attempt) for number in numbers for n in range(EACH)]
    assert ask(servers, "SELECT kind, number, attempt FROM job_done ORDER BY 1, 2") == sorted(expected)
    states = "SELECT status::text, count(*)::int FROM procrastinate_jobs GROUP BY 1 ORDER BY 1"
    assert ask(servers, states) == [("succeeded", len(expected)), ("todo", len(numbers))]


def test_the_schema_is_made_and_its_health_checked(servers: Servers, url: str) -> None:
    done = procrastinate(url, "healthchecks")
    assert (done.returncode, "OK" in done.stdout) == (0, True), done.stdout + done.stderr


def defer_one(url: str, number: int) -> None:
    done = procrastinate(url, "defer", f"{APP.removesuffix('.app')}.add", json.dumps({"a": number, "b": 0}))
    assert done.returncode == 0, done.stderr


def has_done(servers: Servers, count: int) -> bool:
    return ask(servers, "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'") == [(count,)]


def test_two_workers_that_poll_do_every_job_once(servers: Servers, url: str) -> None:
    # A job whose lock another job has is found at a later poll.
    with workers(url, WORKERS, "--no-listen-notify", "--fetch-job-polling-interval", "0.2") as running:
        defer(url, range(1, 4))
        wait_until(lambda: has_done(servers, 3 * 4 * EACH), running)
        for worker in running:
            worker.end()
    check_what_was_done(servers, range(1, 4))
    assert ask(servers, "SELECT count(DISTINCT worker) FROM job_done") == [(WORKERS,)]


def test_a_worker_that_listens_is_refused_by_name_and_goes_on_polling(
    servers: Servers, url: str, record_property: Any
) -> None:
    with workers(url, 1, "--fetch-job-polling-interval", "0.5") as running:
        defer_one(url, 7)
        wait_until(lambda: has_done(servers, 1), running)
        # Procrastinate tells at the end what had become of its listener.
        log = running[0].end()
    assert "LISTEN needs a session of its own, which a transaction pooler does not give" in log
    assert f"connect to 127.0.0.1:{servers.session_port}, or with pgshim.session=on" in log
    record_property("refused", "LISTEN (0A000): the worker polls; at the session endpoint it listens")


@pytest.mark.parametrize("way", ["the listener", "pgshim.session"])
def test_a_worker_that_listens_works_at_the_session_endpoint(servers: Servers, url: str, way: str) -> None:
    session = servers.session().url
    if way == "pgshim.session":
        session = f"{url}?options={quote('-c pgshim.session=on')}"
    with workers(session, 1, *WITHOUT_POLLING) as running:
        listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN \"procrastinate_any%'"
        wait_until(lambda: ask(servers, listening) == [(1,)], running)
        for number in (1, 2, 3):
            defer_one(url, number)
            wait_until(lambda count=number: has_done(servers, count), running)
        running[0].end()
    assert ask(servers, "SELECT number FROM job_done ORDER BY 1") == [(1,), (2,), (3,)]
