"""An app with asyncpg, as a process, because it has to be where pgshim is: `client.py HOST PORT USER DATABASE STORY`.

The password is in PGPASSWORD. It says on stdout what it has done, and waits for a line on stdin where it says so.
"""

import asyncio
import os
import sys

import asyncpg


async def main(host: str, port: str, user: str, database: str, story: str) -> None:
    tls = {"ssl": "require"} if story == "tls" else {}
    connection = await asyncpg.connect(
        host=host, port=int(port), user=user, database=database, password=os.environ["PGPASSWORD"], timeout=20, **tls
    )
    if story == "session":
        # Of what needs a session of its own, something that pgshim refuses elsewhere.
        await connection.execute("LISTEN news")
        print("done", flush=True)
    elif story in ("queries", "tls"):
        # Named statements, over and over, on whatever server comes next.
        for number in range(20):
            assert await connection.fetchval("SELECT $1::int + 1", number) == number + 1
        print("done", flush=True)
    elif story == "transaction":
        async with connection.transaction():
            await connection.execute("SELECT 1")
            print("begun", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            await connection.execute("SELECT 2")
        print("committed", flush=True)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
