"""What the tests of the asyncio drivers share: connections, a filled pool, programs that run at the same moment."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from pgshim.demo.processes import clean_environment

if TYPE_CHECKING:
    from tests.integration.conftest import Stack

ROOT = Path(__file__).parent.parent.parent
POOL_SIZE = 3
PROGRAM_SECONDS = 20.0
TEST_SECONDS = 20.0
# The process ids of the PgBouncers whose pool holds all its servers.
_filled: set[int] = set()


def run(main: Callable[..., Awaitable[Any]], stack: "Stack", *arguments: Any) -> None:
    """Runs one test, on a PgBouncer that has all its servers: consecutive transactions go to different ones."""

    async def filled() -> None:
        async with asyncio.timeout(TEST_SECONDS):
            await fill_pool(stack)
            await main(stack, *arguments)

    asyncio.run(filled())


async def fill_pool(stack: "Stack") -> None:
    """Makes PgBouncer open every server it may: one client alone would be given the same one again and again."""
    if stack.pgbouncer.pid in _filled:
        return
    url = stack.pgbouncer.endpoint(**stack.parameters).url
    async with AsyncExitStack() as held:
        for _ in range(POOL_SIZE):
            connection = await asyncpg.connect(url, statement_cache_size=0)
            held.push_async_callback(connection.close)
            await connection.execute("BEGIN")
            # PgBouncer drops the server of a client that leaves in a transaction.
            held.push_async_callback(connection.execute, "ROLLBACK")
    _filled.add(stack.pgbouncer.pid)


@asynccontextmanager
async def connected(stack: "Stack", **options: Any) -> AsyncIterator[asyncpg.Connection]:
    """An asyncpg connection to pgshim."""
    connection = await asyncpg.connect(stack.endpoint().url, **options)
    try:
        yield connection
    finally:
        # Without a timeout it waits for ever for the answer to a query that was cancelled.
        await connection.close(timeout=TEST_SECONDS / 2)


@asynccontextmanager
async def connected_directly(stack: "Stack") -> AsyncIterator[asyncpg.Connection]:
    """An asyncpg connection to PostgreSQL itself, to prepare and to inspect."""
    connection = await asyncpg.connect(stack.direct().url)
    try:
        yield connection
    finally:
        await connection.close()


async def in_transaction(connection: asyncpg.Connection, *steps: Sequence[Any], **options: Any) -> None:
    """Runs statements, each with its arguments behind it, in one transaction, which ends with the first error."""
    async with connection.transaction(**options):
        for sql, *arguments in steps:
            await connection.fetch(sql, *arguments)


async def on_the_server(stack: "Stack", sql: str) -> None:
    """Runs statements at PostgreSQL itself."""
    async with connected_directly(stack) as connection:
        await connection.execute(sql)


async def on_server_value(stack: "Stack", sql: str) -> Any:
    """The one value that a query gives at PostgreSQL itself."""
    async with connected_directly(stack) as connection:
        return await connection.fetchval(sql)


def sqlalchemy_url(stack: "Stack", driver: str) -> str:
    """The URL of pgshim as SQLAlchemy wants it for `asyncpg` or `psycopg`."""
    url = stack.endpoint().url.replace("postgresql://", f"postgresql+{driver}://", 1)
    if driver == "asyncpg":
        # Its dialect passes the parameters on as arguments of asyncpg.connect, which takes no CA file.
        address, _, _ = url.partition("?")
        return f"{address}?ssl=verify-full" if stack.ca else address
    return url


def certificate_environment(stack: "Stack") -> dict[str, str]:
    """Where drivers find the authority's certificate when their URL cannot name it."""
    return {"PGSSLROOTCERT": str(stack.ca)} if stack.ca else {}


def run_together(
    program: str,
    argument_lists: Sequence[Sequence[str]],
    environment: Mapping[str, str],
    *,
    seconds: float = PROGRAM_SECONDS,
) -> list[str]:
    """Runs `tests.apps.<program>` as one process for each list of arguments, all at once.

    Each prints `ready` and waits for a line before it begins. Returns what each printed after that; fails the
    test when one of them failed, with what it wrote to its standard error, or had not ended `seconds` later.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"tests.apps.{program}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=clean_environment(PYTHONASYNCIODEBUG="", **environment),
        )
        for arguments in argument_lists
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate(timeout=PROGRAM_SECONDS)[1]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [_output(process, seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _output(process: "subprocess.Popen[str]", seconds: float) -> str:
    output, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    return output
