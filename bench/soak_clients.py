"""What the clients of the soak do: each is a loop until the end, and each answer is compared."""

import asyncio
import contextlib
import itertools
import random
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from bench.load import Connection, ask
from bench.outcome import NotMet
from pgshim.demo.processes import Endpoint

#: What is copied in, and what comes out.
ROWS = [(row, "." * 200) for row in range(2000)]
COPIED = b"".join(f"{row}\t{note}\n".encode() for row, note in ROWS)

#: Seconds. The notice says that the server is at it.
LONG = 60
LONG_QUERY = f"DO $$ BEGIN RAISE NOTICE 'running'; PERFORM pg_sleep({LONG}); END $$"

#: pgshim keeps 8,192.
WARM_TEXTS = 9000
WARM_CLIENTS = 10

SSL_REQUEST = struct.pack("!II", 8, 80877103)


@dataclass
class Site:
    """Where the clients work, how much they have done, what went wrong."""

    endpoint: Endpoint
    #: An asyncpg pool that many of them use, once there is one.
    pool: Any = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    operations: int = 0
    clients: int = 0
    faults: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.asynccontextmanager
    async def client(self, **options: object) -> AsyncIterator[Connection]:
        """A connection of its own, closed as it should be."""
        connection = await asyncpg.connect(self.endpoint.url, timeout=60, **options)
        self.clients += 1
        try:
            yield connection
        finally:
            if not connection.is_closed():
                await connection.close(timeout=30)

    async def repeat(self, turn: Callable[["Site"], Awaitable[None]]) -> None:
        """Turn after turn until the end; what goes wrong is noted."""
        while not self.over.is_set():
            try:
                await turn(self)
            except (NotMet, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                self.faults.append(f"{turn.__name__}: {error!r}")
                await asyncio.sleep(0.1)
            self.operations += 1


    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Note what no client heard of; asyncpg forgets futures of connections that are terminated."""
        error = context.get("exception")
        if not isinstance(error, asyncpg.ConnectionDoesNotExistError):
            self.faults.append(f"{context['message']}: {error!r}")


async def expect_error(code: str, work: Awaitable[object]) -> None:
    """Raise NotMet unless it fails with this SQLSTATE."""
    try:
        await work
    except asyncpg.PostgresError as error:
        if error.sqlstate != code:
            raise
        return
    raise NotMet(f"no error {code} came")


async def warm_up(site: Site) -> None:
    """Use more texts than pgshim keeps verdicts on, so that what grows afterwards is not this."""
    async with site.client(statement_cache_size=0) as connection:
        for _ in range(WARM_TEXTS // WARM_CLIENTS):
            await connection.fetchval(f"SELECT {next(site.numbers)} + $1::int", 1)


async def use_pool(site: Site) -> None:
    """A web request: one query, or a transaction that is committed or taken back."""
    async with site.pool.acquire() as connection:
        for which in range(3):
            await ask(connection, which)
        if random.random() < 0.5:
            transaction = connection.transaction()
            await transaction.start()
            for which in (1, 2):
                await ask(connection, which)
            async with connection.transaction():
                await ask(connection, 0)
            await (transaction.commit() if random.random() < 0.5 else transaction.rollback())


async def reconnect(site: Site) -> None:
    """A script: comes, asks, among others things that nobody has asked before, and leaves."""
    async with site.client() as connection:
        for which in range(3):
            await ask(connection, which)
        number = next(site.numbers)
        if await connection.fetchval(f"SELECT {number} + $1::int", 1) != number + 1:
            raise NotMet("a new statement brought a wrong answer")
        statement = await connection.prepare(f"SELECT '{number}' || $1::text", name=f"mine {number}")
        if await statement.fetchval("!") != f"{number}!":
            raise NotMet("a named statement brought a wrong answer")
        await connection.execute("DEALLOCATE ALL")


async def copy(site: Site) -> None:
    """Some thousand rows in and out, and a COPY that its own client breaks off."""
    async with site.pool.acquire() as connection, connection.transaction():
        await connection.execute("CREATE TEMP TABLE soak_copy (id int, note text) ON COMMIT DROP")
        await connection.copy_records_to_table("soak_copy", records=ROWS)
        found: list[bytes] = []

        async def take(data: bytes) -> None:
            found.append(data)

        await connection.copy_from_query("SELECT id, note FROM soak_copy ORDER BY id", output=take)
        if b"".join(found) != COPIED:
            raise NotMet("COPY brought other rows than it took")

        async def broken() -> AsyncIterator[bytes]:
            yield b"1\tone\n"
            raise LookupError("the source has ended")

        with contextlib.suppress(LookupError):
            async with connection.transaction():
                await connection.copy_to_table("soak_copy", source=broken())
        if await connection.fetchval("SELECT count(*) FROM soak_copy") != len(ROWS):
            raise NotMet("a COPY that was broken off has left rows")


async def err(site: Site) -> None:
    """Errors at all stages, of the server's and of pgshim's own, inside of transactions and outside."""
    async with site.pool.acquire() as connection:
        await expect_error("42601", connection.fetchval("SELEC $1::int", 1))
        await expect_error("42P01", connection.execute("SELECT * FROM nowhere"))
        await expect_error("22012", connection.fetchval("SELECT 1 / $1::int", 0))
        await expect_error("0A000", connection.execute("LISTEN soak"))
        await expect_error("22012", connection.executemany("SELECT 1 / $1::int", [(1,), (0,), (2,)]))
        transaction = connection.transaction()
        await transaction.start()
        await ask(connection, 0)
        await expect_error("22012", connection.fetchval("SELECT 1 / $1::int", 0))
        await expect_error("25P02", connection.fetchval("SELECT $1::int", 1))
        await transaction.rollback()
        await ask(connection, 0)


async def cancel(site: Site) -> None:
    """Queries that their client gives up: one that is known to run, and one that may be anywhere on its way."""
    async with site.client() as connection:
        is_running = asyncio.Event()
        connection.add_log_listener(lambda *_: is_running.set())
        start = time.monotonic()
        query = asyncio.create_task(connection.execute(LONG_QUERY))
        await is_running.wait()
        query.cancel()
        await asyncio.gather(query, return_exceptions=True)
        await ask(connection, 0)
        if time.monotonic() - start > LONG / 2:
            raise NotMet("a query that runs was not cancelled")
        with contextlib.suppress(TimeoutError):
            await connection.fetchval("SELECT pg_sleep($1::float8)", 0.05, timeout=random.random() * 0.05)
        await ask(connection, 0)


async def change_settings(site: Site) -> None:
    """Settings at connect, of the session, of a transaction; none of them may be seen by others."""
    number = next(site.numbers)
    name = f"soak {number}"
    async with site.client(server_settings={"search_path": f"soak_{number % 7}, public", "work_mem": "1MB"}) as own:
        await own.execute(f"SET application_name = '{name}'; SET statement_timeout = '59s'")
        async with own.transaction():
            await own.execute(f"SET LOCAL work_mem = '{number % 50 + 2}MB'")
            found = await own.fetchrow("SELECT current_setting($1), current_setting('work_mem')", "application_name")
            if tuple(found) != (name, f"{number % 50 + 2}MB"):
                raise NotMet(f"settings are {tuple(found)}")
        if await own.fetchval("SHOW work_mem") != "1MB" or await own.fetchval("SHOW statement_timeout") != "59s":
            raise NotMet("a setting has not lasted")
    async with site.pool.acquire() as other:
        found = await other.fetchrow("SELECT current_setting('application_name'), current_setting('statement_timeout')")
        if found[0].startswith("soak") or found[1] != "0":
            raise NotMet(f"a setting of somebody else's is seen: {tuple(found)}")


async def _vanish_in_transaction(connection: Connection) -> None:
    await connection.transaction().start()
    await ask(connection, 1)
    connection.terminate()


async def _vanish_in_query(connection: Connection) -> None:
    text = random.choice(["SELECT pg_sleep(0.2)", "SELECT repeat('z', 8000) FROM generate_series(1, 2000)"])
    query = asyncio.create_task(connection.fetch(text))
    await asyncio.sleep(random.random() * 0.02)
    connection.terminate()
    await asyncio.gather(query, return_exceptions=True)


async def _vanish_in_copy(connection: Connection) -> None:
    await connection.transaction().start()
    await connection.execute("CREATE TEMP TABLE soak_vanish (id int, note text) ON COMMIT DROP")

    async def source() -> AsyncIterator[bytes]:
        for row in range(20):
            yield f"{row}\t{'x' * 1000}\n".encode()
        connection.terminate()
        yield b"21\tone too many\n"

    # asyncpg writes to a transport that it has itself taken away.
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, AttributeError):
        await connection.copy_to_table("soak_vanish", source=source())


async def vanish(site: Site) -> None:
    """A client that is gone in the middle of something."""
    async with site.client() as connection:
        await random.choice([_vanish_in_transaction, _vanish_in_query, _vanish_in_copy])(connection)


async def arrive_only(site: Site) -> None:
    """A port scan: what connects, and never gets as far as to log in."""
    reader, writer = await asyncio.open_connection(site.endpoint.host, site.endpoint.port)
    user = b"\0\3\0\0user\0" + site.endpoint.user.encode() + b"\0\0"
    said = random.choice([b"", SSL_REQUEST, b"GET / HTTP/1.1\r\n\r\n", b"\0\0\1\0\0\3", _packet(user)])
    writer.write(said)
    await writer.drain()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(0.1):
            await reader.read(100)
    writer.transport.abort()
    await asyncio.sleep(0.05)


def _packet(body: bytes) -> bytes:
    return (len(body) + 4).to_bytes(4, "big") + body


#: How many clients of each kind there are.
CLIENTS: dict[Callable[[Site], Awaitable[None]], int] = {
    use_pool: 24,
    reconnect: 4,
    copy: 2,
    err: 4,
    cancel: 2,
    change_settings: 3,
    vanish: 3,
    arrive_only: 2,
}
