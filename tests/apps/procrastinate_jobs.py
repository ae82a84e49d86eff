"""Defers jobs in each of Procrastinate's ways. It knows nothing of pgshim.

    DATABASE_URL=postgresql://... python -m tests.apps.procrastinate_jobs NUMBER

Jobs of the numbers NUMBER * 1000 and up; prints how many.
"""

import asyncio
import sys

from procrastinate.exceptions import AlreadyEnqueued

from tests.apps.procrastinate_app import add, alone, app, fail_first

EACH = 20


async def main(number: int) -> None:
    first = number * 1000
    async with app.open_async():
        one_by_one = [add.defer_async(a=first, b=n) for n in range(EACH)]
        ids = set(await asyncio.gather(*one_by_one))
        assert len(ids) == EACH
        ids |= set(await add.batch_defer_async(*({"a": first, "b": EACH + n} for n in range(EACH))))
        assert len(ids) == 2 * EACH
        for n in range(EACH):
            await alone.configure(lock=f"lock {n % 2}").defer_async(lock=f"lock {n % 2}", number=first + n)
            await fail_first.defer_async(number=first + n)
        only = add.configure(queueing_lock=f"only {number}", schedule_in={"hours": 1})
        await only.defer_async(a=0, b=-1)
        try:
            await only.defer_async(a=0, b=-1)
        except AlreadyEnqueued:
            pass
        else:
            raise AssertionError("deferred twice under one queueing lock")
    print(4 * EACH)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
