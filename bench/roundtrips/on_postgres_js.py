"""postgres.js, by the program `tests/clients/node/round_trips.mjs`. The workaround is `prepare: false`."""

from __future__ import annotations

import json
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache

from bench.roundtrips import counting
from bench.roundtrips.counting import Case, Driver, Failed, Way
from pgshim.demo.processes import clean_environment
from tests.clients.programs import HERE, Node


@cache
def command() -> list[str]:
    """What runs the program. Raises CannotRun."""
    return Node("postgres.js", "node", "nodejs npm", "round_trips.mjs").build()


def _version() -> str:
    packages: dict[str, str] = json.loads((HERE / "node" / "package.json").read_text())["dependencies"]
    return packages["postgres"]


@asynccontextmanager
async def program(operation: str, way: Way) -> AsyncIterator[Process]:
    """The program, which does the operation at each line that it reads."""
    endpoint = way.endpoint
    environment = clean_environment(
        PGHOST=endpoint.host,
        PGPORT=str(endpoint.port),
        PGUSER=endpoint.user,
        PGPASSWORD=endpoint.password,
        PGDATABASE=endpoint.database,
        CLIENT_PREPARES=str(int(not way.is_workaround)),
    )
    process = await create_subprocess_exec(*command(), operation, stdin=PIPE, stdout=PIPE, env=environment)
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


async def ask(process: Process) -> None:
    """Have it done once. Raises Failed, with the error's name and code as the program gives them."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    await process.stdin.drain()
    answer = (await process.stdout.readline()).decode().strip()
    if answer != "done":
        raise Failed(answer or "the program ended")


def _case(name: str, operation: str, most: int, waits: int = 0) -> Case:
    def subject(way: Way) -> AbstractAsyncContextManager[Process]:
        return program(operation, way)

    return Case(name, subject, ask, most, waits)


DRIVER = Driver(
    "postgres.js",
    f"postgres.js {_version()}",
    [
        _case(counting.FETCH, "fetch", 1),
        _case(counting.FIRST_FETCH, "firstFetch", 2),
        _case(counting.TRANSACTION, "transaction", 2),
        _case(counting.TRANSACTION_OF_3, "transactionOf3", 4),
        # Its COMMIT is a prepared statement after the first few, and only a Query is answered without upstream.
        _case(counting.EMPTY, "emptyTransaction", 1),
        _case("3 queries at once", "atOnce", 1, waits=2),
        # What comes behind the first of them waits until it is known that the BEGIN has been carried out.
        _case("transaction with 3 queries at once", "transactionAtOnce", 3, waits=1),
        _case("multi-row values, 100 rows, the first", "firstRows", 2),
        _case("multi-row values, 100 rows", "rows", 1),
        _case(counting.CURSOR, "cursor", 5),
        _case(counting.POOL, "reserve", 1),
        _case(counting.CONNECTION, "connect", 7),
    ],
    (Failed,),
)
