"""A libpq program that pipelines and prepares nothing, with answers of its own. It knows nothing of pgshim.

    python -m tests.apps.pipeline_client postgresql://... NUMBER

Like postgres.js, it sends each request as it comes, a batch with a Sync of its own, and does not wait for the replies
to those before it. NUMBER is part of every answer, so that several of these can tell theirs apart.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from psycopg import pq

ROUNDS = 15
CONNECTIONS = 4
BATCHES = 6


def work(url: str, number: int, which: int) -> None:
    connection = pq.PGconn.connect(url.encode())
    assert connection.status == pq.ConnStatus.OK, connection.error_message
    connection.enter_pipeline_mode()
    for turn in range(ROUNDS):
        marks = [f"{number}:{which}:{turn}:{n}".encode() for n in range(BATCHES)]
        for mark in marks:
            connection.send_query_params(b"SELECT $1::text", [mark])
            connection.pipeline_sync()
            connection.flush()
            # The app has something else to do.
            time.sleep(0.0007)
        for mark in marks:
            result = connection.get_result()
            assert result is not None
            assert result.status == pq.ExecStatus.TUPLES_OK, connection.error_message
            found = result.get_value(0, 0)
            assert found == mark, f"{mark!r} was answered {found!r}"
            assert connection.get_result() is None
            synced = connection.get_result()
            assert synced is not None
            assert synced.status == pq.ExecStatus.PIPELINE_SYNC
    connection.finish()


def main(url: str, number: int) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda which: work(url, number, which), range(CONNECTIONS)))
    print(f"{number}: every answer right")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
