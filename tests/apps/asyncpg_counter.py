"""An asyncpg program that counts its right and wrong answers and its errors, every setting at its default.

    python -m tests.apps.asyncpg_counter postgresql://... NUMBER EXECUTIONS

asyncpg counts statements by process, so several of these use the same names for other texts. No two executions have
the same answer, in any of them. Prints the tally as JSON.
"""

import asyncio
import sys
from typing import Any

import asyncpg

from pgshim.demo.program import Tally

TASKS = 4
STATEMENTS = 12
PATIENCE = 30.0


def question(number: int, which: int) -> str:
    """The text of a statement; its type is another one in the next process."""
    return [
        f"SELECT {number * STATEMENTS + which}::bigint * 1000000 + $1::int",
        f"SELECT '{number}:{which}:' || $1::int",
        f"SELECT ARRAY[{number}, {which}, $1::int]",
    ][(number + which) % 3]


def answer(number: int, which: int, turn: int) -> Any:
    return [
        (number * STATEMENTS + which) * 1_000_000 + turn,
        f"{number}:{which}:{turn}",
        [number, which, turn],
    ][(number + which) % 3]


async def main(url: str, number: int, executions: int) -> None:
    tally = Tally()
    turns = iter(range(executions))

    async def ask(pool: asyncpg.Pool) -> None:
        for turn in turns:
            which = turn % STATEMENTS
            asked = asyncio.wait_for(pool.fetchval(question(number, which), turn), PATIENCE)
            await tally.check(asked, answer(number, which, turn))

    async with asyncpg.create_pool(url, min_size=TASKS, max_size=TASKS) as pool:
        print("ready", flush=True)
        sys.stdin.readline()
        await asyncio.gather(*(ask(pool) for _ in range(TASKS)))
    print(tally.as_json())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
