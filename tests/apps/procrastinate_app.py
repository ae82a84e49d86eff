"""Jobs of Procrastinate on psycopg. It knows nothing of pgshim.

    DATABASE_URL=postgresql://... procrastinate --app tests.apps.procrastinate_app.app worker

What was done is written into the table `job_done (kind, number, attempt, worker)`, and `job_running (lock)` is there.
"""

import asyncio
import os

import psycopg
from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy

URL = os.environ["DATABASE_URL"]
app = App(connector=PsycopgConnector(conninfo=URL))


async def note(kind: str, number: int, attempt: int = 0) -> None:
    async with await psycopg.AsyncConnection.connect(URL) as connection:
        await connection.execute(
            "INSERT INTO job_done (kind, number, attempt, worker) VALUES (%s, %s, %s, %s)",
            (kind, number, attempt, os.getpid()),
        )


@app.task(queue="sums")
async def add(a: int, b: int) -> int:
    await note("add", a + b)
    return a + b


@app.task(queue="sums", pass_context=True, retry=RetryStrategy(max_attempts=2))
async def fail_first(context: JobContext, number: int) -> None:
    attempt = context.job.attempts
    if attempt == 0:
        raise ZeroDivisionError
    await note("fail_first", number, attempt)


@app.task(queue="sums")
async def alone(lock: str, number: int) -> None:
    """Fails if another job of the same lock runs at the moment."""
    async with await psycopg.AsyncConnection.connect(URL, autocommit=True) as connection:
        await connection.execute("INSERT INTO job_running VALUES (%s)", (lock,))
        await asyncio.sleep(0.01)
        await connection.execute("DELETE FROM job_running WHERE lock = %s", (lock,))
    await note("alone", number)
