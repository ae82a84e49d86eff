"""A batch whose messages come apart while an earlier answer is still owed: none of it may reach another server.

A pooler gives a server back at the ReadyForQuery it expects, even if the next batch has begun to arrive there.
"""

import asyncio
import os
import socket
import time

import psycopg
import pytest

from tests.integration.conftest import Stack
from tests.integration.support import fill_pool
from tests.oracle.wire import collect, encode_burst, show

SLOW = "P |select pg_sleep(0.08)::text  B |  E  S"


@pytest.mark.parametrize(
    "parts",
    [
        ["P |select 'mine'::text", "B |  E  S"],
        ["P |select 'mine'::text  B |", "E  S"],
        ["P mine|select 'mine'::text  D S|mine  H", "B |mine  E  S"],
        ["P |insert into split values ('mine') returning note  B |  E", "S"],
        ["P |select 'mine'::text  B |  E  H", "S"],
    ],
    ids=" / ".join,
)
def test_what_comes_in_parts_behind_an_unanswered_batch_is_answered_as_by_a_server(
    plain_stack: Stack, parts: list[str]
) -> None:
    asyncio.run(fill_pool(plain_stack))
    answers = []
    with psycopg.connect(plain_stack.direct().url, autocommit=True) as inspector:
        for endpoint in (plain_stack.direct(), plain_stack.endpoint()):
            inspector.execute("DROP TABLE IF EXISTS split")
            inspector.execute("CREATE TABLE split (note text)")
            # psycopg logs in; the messages are ours.
            with psycopg.connect(endpoint.url, autocommit=True) as login:
                connection = socket.socket(fileno=os.dup(login.pgconn.socket))
                with connection:
                    connection.settimeout(5)
                    connection.sendall(encode_burst(SLOW))
                    time.sleep(0.03)
                    for part in parts:
                        connection.sendall(encode_burst(part))
                        # The slow batch is answered in between.
                        time.sleep(0.12)
                    answers.append(show(collect(connection, readies=2, quiet=0.1)))
            count = inspector.execute("SELECT count(*) FROM split").fetchone()
            assert count == ("insert" in parts[0],)
    assert answers[0] == answers[1]
    # Nobody else finds what was left on a server.
    for _ in range(3):
        with psycopg.connect(plain_stack.endpoint().url, autocommit=True) as other:
            assert [other.execute("SELECT 7").fetchone() for _ in range(4)] == [(7,)] * 4
