"""Bad clients in front of the real thing: what they are told, and what PgBouncer's servers are left with."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Iterator
from itertools import cycle

import psycopg
import pytest

from pgshim.demo.processes import Endpoint
from pgshim.protocol import hot
from pgshim.protocol.frontend import Bind, CopyData, Sync
from tests.hostile.test_client_lengths import MALFORMED, SAMPLES
from tests.integration.conftest import Stack
from tests.integration.support import fill_pool
from tests.integration.test_refusals import assert_nothing_leaked
from tests.oracle.wire import encode_burst, frames
from tests.proxy.world import error_fields

SECONDS = 20.0
#: What is answered before anything else is said.
FIRST = encode_burst("Q select 1")
TABLE = "hostile_client"


@pytest.fixture(scope="module")
def stack(plain_stack: Stack) -> Iterator[Stack]:
    with psycopg.connect(plain_stack.direct().url, autocommit=True) as direct:
        direct.execute(f"CREATE TABLE {TABLE} (a int)")
        asyncio.run(fill_pool(plain_stack))
        yield plain_stack
        direct.execute(f"DROP TABLE {TABLE}")


def taken_over(endpoint: Endpoint) -> socket.socket:
    """A socket that a driver has logged in, and that is nobody else's: who closes it says nothing."""
    login = psycopg.connect(endpoint.url, autocommit=True)
    mine = socket.socket(fileno=os.dup(login.pgconn.socket))
    theirs, other = socket.socketpair()
    with theirs, other:
        os.dup2(theirs.fileno(), login.pgconn.socket)
        login.close()
    mine.settimeout(SECONDS)
    return mine


def reset(wire: socket.socket) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def to_the_end(wire: socket.socket) -> bytes:
    stream = b""
    try:
        while data := wire.recv(1 << 20):
            stream += data
    except ConnectionResetError:
        pass
    return stream


Told = tuple[str, str, str]


def told(endpoint: Endpoint, said: bytes) -> list[Told]:
    """(type code, severity, SQLSTATE) of all that comes until the connection is closed; the client says no more."""
    with taken_over(endpoint) as wire:
        stream = b""
        if said.startswith(FIRST):
            # A server answers this before it reads on; pgshim ends the connection when it sees what is illegal.
            wire.sendall(FIRST)
            while not stream.endswith(hot.READY[hot.IDLE]):
                stream += wire.recv(4096)
        wire.sendall(said.removeprefix(FIRST))
        wire.shutdown(socket.SHUT_WR)
        found = []
        for type_code, body in frames(stream + to_the_end(wire)):
            fields = error_fields(body) if type_code == ord("E") else {}
            found.append((chr(type_code), fields.get("V", ""), fields.get("C", "")))
        return found


def bound(body: bytes) -> bytes:
    """A Bind whose body may say anything, of a statement with two parameters, in a batch that is whole."""
    bind = hot.message(ord("B"), b"\0s\0" + body)
    return encode_burst("P s|select $1::int, $2::text") + bind + encode_burst("E |  S  Q select 7")


ONE, TEXT = b"\0\0\0\x011", b"\0\0\0\3abc"
LIES_OF_BIND = {
    "fewer values than parameters": bound(b"\0\0\0\1" + ONE + b"\0\0"),
    "more values than parameters": bound(b"\0\0\0\3" + ONE + TEXT + TEXT + b"\0\0"),
    "more values than are there": bound(b"\0\0\0\3" + ONE + TEXT + b"\0\0"),
    "fewer values than are there": bound(b"\0\0\0\1" + ONE + TEXT + b"\0\0"),
    "65,535 values": bound(b"\0\0\xff\xff" + ONE + TEXT + b"\0\0"),
    "another number of formats": bound(b"\0\3\0\0\0\0\0\0\0\2" + ONE + TEXT + b"\0\0"),
    "65,535 formats": bound(b"\xff\xff\0\2" + ONE + TEXT + b"\0\0"),
    "a format that there is not": bound(b"\0\1\0\7\0\2" + ONE + TEXT + b"\0\0"),
    "a value longer than the message": bound(b"\0\0\0\2" + ONE + b"\0\0\xff\xffabc" + b"\0\0"),
    "a value of 2 GiB": bound(b"\0\0\0\2" + ONE + b"\x7f\xff\xff\xffabc" + b"\0\0"),
    "a value of a negative length": bound(b"\0\0\0\2" + ONE + b"\xff\xff\xff\xfeabc" + b"\0\0"),
    "another number of result formats": bound(b"\0\0\0\2" + ONE + TEXT + b"\0\3\0\0\0\0\0\0"),
    "65,535 result formats": bound(b"\0\0\0\2" + ONE + TEXT + b"\xff\xff"),
    "nothing behind the names": bound(b""),
    "no result formats": bound(b"\0\0\0\2" + ONE + TEXT),
    "more behind its end": bound(b"\0\0\0\2" + ONE + TEXT + b"\0\0" + b"more"),
}

COPY = f"Q copy {TABLE} from stdin  "
INSERT = f"P |insert into {TABLE} values (1)  B |  E |  "
WRONG_MOMENTS = {
    "a password": FIRST + SAMPLES[ord("p")],
    "a StartupMessage": FIRST + struct.pack("!II", 9, 3 << 16) + b"\0",
    "an SSLRequest": FIRST + struct.pack("!II", 8, 80877103),
    "a server's message": FIRST + hot.READY[hot.IDLE],
    "a Query amid copy data": encode_burst(COPY + "d 1\\n  Q select 1  c  Q select 7"),
    "a Parse amid copy data": encode_burst(COPY + "d 1\\n  P |select 1  c  Q select 7"),
    "an Execute amid copy data": encode_burst(COPY + "d 1\\n  E |  c  Q select 7"),
    "a FunctionCall amid copy data": encode_burst(COPY + "d 1\\n  F 1598|  c  Q select 7"),
    "a Terminate amid copy data": encode_burst(COPY + "d 1\\n  X"),
    "copy data that nobody asked for": encode_burst("d 1\\n  c  f no  Q select 7"),
    "the end of copy data twice": encode_burst(COPY + "f no  f no  c  Q select 7"),
    "a FunctionCall amid a batch": encode_burst("P |select 1  B |  E |  F 1598|  S  Q select 7"),
    "a FunctionCall of nothing that exists": encode_burst("F 4294967295|  Q select 7"),
    "a Terminate amid a batch": encode_burst(INSERT + "X"),
    "a Terminate amid a block": encode_burst(f"Q begin  Q insert into {TABLE} values (1)  X"),
    "a Sync of nothing": encode_burst("S  S  S  Q select 7"),
    "a Flush of nothing": encode_burst("H  H  Q select 7"),
    "an Execute of an unknown portal": encode_burst("E nosuch  S  Q select 7"),
    "a Bind of an unknown name": encode_burst("B |nosuch  E |  S  Q select 7"),
    "a length of 0": FIRST + b"Q\0\0\0\0",
    "a negative length": FIRST + b"S\xff\xff\xff\xff",
    "a length over the limit": FIRST + b"S\0\0\x27\x11",
}
ALL = {
    **WRONG_MOMENTS,
    **{name: said + Sync().encode() + encode_burst("Q select 7") for name, said in MALFORMED.items()},
    **{f"a Bind with {name}": said for name, said in LIES_OF_BIND.items()},
}


#: Where PostgreSQL closes the connection and says why in its log alone.
SILENT = {"a length of 0", "a negative length", "a length over the limit"}


def is_as_told(name: str, expected: list[Told], found: list[Told]) -> bool:
    """Whether it is what a server tells, or ends where the server finds a violation of the protocol."""
    if found == expected:
        return True
    if ALL[name].endswith(hot.TERMINATE):
        return found == expected[: len(found)]  # Whoever has said that is told nothing more.
    if not found or found[-1] != ("E", "FATAL", "08P01"):
        return False
    at = len(found) - 1
    is_error = at < len(expected) and expected[at][0] == "E" and expected[at][2] == "08P01"
    return found[:at] == expected[:at] and (is_error or (name in SILENT and at == len(expected)))


@pytest.mark.parametrize("name", ALL)
def test_what_is_illegal_is_told_as_a_server_tells_it(stack: Stack, name: str) -> None:
    expected = told(stack.direct(), ALL[name])
    found = told(stack.endpoint(), ALL[name])
    assert is_as_told(name, expected, found), (expected, found)
    with psycopg.connect(stack.endpoint().url) as good:
        assert good.execute(f"SELECT count(*), 'mine' FROM {TABLE}").fetchone() == (0, "mine")


def test_what_comes_behind_a_terminate_is_not_carried_out(stack: Stack) -> None:
    found = told(stack.endpoint(), encode_burst("Q select 1  X  " + f"Q insert into {TABLE} values (1)"))
    assert [each for each in found if each[0] == "E"] in ([], [("E", "FATAL", "08P01")])
    assert left_behind(stack) == 0


def left_behind(stack: Stack) -> int:
    """Rows, once no server of the pool is in a transaction or holds a lock any more."""
    end = time.monotonic() + SECONDS
    with psycopg.connect(stack.direct().url, autocommit=True) as direct:
        while True:
            states = direct.execute(
                "SELECT a.pid, a.state, a.query FROM pg_stat_activity a WHERE a.datname = current_database()"
                " AND a.pid <> pg_backend_pid() AND (a.state <> 'idle'"
                " OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid))"
            ).fetchall()
            if not states:
                break
            assert time.monotonic() < end, states
            time.sleep(0.02)
        found: int = direct.execute(f"SELECT count(*) FROM {TABLE}").fetchone()[0]  # type: ignore[index]
        return found


LARGE_BIND = Bind(b"", b"", (), (bytes(100_000),), ()).encode()
LINES = "select repeat('x', 1000) from generate_series(1, 100000)"
INTO = f"insert into {TABLE} values (1)"
#: What a client says, and how much of what it is told it reads: a number of messages.
VANISHING = {
    "amid a Query": (encode_burst(f"Q {INTO}")[:-3], 0),
    "amid a Parse": (encode_burst(f"Q begin  Q {INTO}  P |select 1")[:-3], 4),
    "amid a large Bind": (encode_burst(f"Q begin  Q {INTO}  P |select $1") + LARGE_BIND[:70_000], 4),
    "amid a block": (encode_burst(f"Q begin  Q {INTO}  Q lock table {TABLE}"), 6),
    "amid a block with settings": (encode_burst(f"Q set work_mem = '5MB'  Q begin  Q {INTO}"), 6),
    "amid a failed block": (encode_burst(f"Q begin  Q {INTO}  Q select 1/0"), 6),
    "amid a batch": (encode_burst(INSERT), 0),
    "amid a batch that was flushed": (encode_burst(INSERT + "H"), 3),
    "amid a batch that has failed": (encode_burst(INSERT + "P |selec  H"), 4),
    "amid a prepare": (encode_burst("P s|select 1  D S|s  H"), 3),
    "amid a portal": (encode_burst("Q begin  P |select generate_series(1, 1000)  B |  E |3  H"), 8),
    "amid a pipeline": (encode_burst(f"Q begin  Q {INTO}  " + "Q select pg_sleep(0.01)  " * 20), 6),
    "amid a statement that runs": (encode_burst(f"Q begin  Q {INTO}  Q select pg_sleep(0.3)"), 4),
    "with a lock of its own": (encode_burst(f"Q begin  Q select pg_advisory_xact_lock(815)  Q {INTO}"), 7),
    "ahead of copy data": (encode_burst(COPY), 1),
    "amid copy data": (encode_burst(COPY + "d 1\\n  d 2\\n"), 1),
    "amid a CopyData": (encode_burst(COPY) + CopyData(b"1\n" * 1000).encode()[:1000], 1),
    "amid copy data of an Execute": (encode_burst(f"P |copy {TABLE} from stdin  B |  E |  H  d 1\\n"), 3),
    "amid copy data of a block": (encode_burst(f"Q begin  Q {INTO}  " + COPY + "d 1\\n"), 5),
    "amid a COPY to the client": (encode_burst(f"Q copy ({LINES}) to stdout"), 3),
    "amid a large result": (encode_burst(f"Q {LINES}"), 3),
    "amid a large value": (encode_burst("Q select repeat('x', 30000000)"), 1),
    "amid a DO": (encode_burst(f"Q do $$begin {INTO}; perform pg_sleep(0.3); raise 'no'; end$$"), 0),
}  # fmt: skip


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["FIN", "RST"])
def test_a_client_that_vanishes_leaves_no_transaction_and_no_lock(stack: Stack, leave: object) -> None:
    with psycopg.connect(stack.endpoint().url, autocommit=True) as good:
        for number, (name, (said, count)) in enumerate(VANISHING.items()):
            wire = taken_over(stack.endpoint())
            wire.sendall(said)
            stream = b""
            while len(list(frames(stream))) < count:
                data = wire.recv(512)
                assert data, (name, stream)
                stream += data
            leave(wire)  # type: ignore[operator]
            assert good.execute(f"SELECT {number}").fetchone() == (number,)
            assert left_behind(stack) == 0, name
    assert_nothing_leaked(stack)


#: A conversation that commits nothing before its end.
CONVERSATION = encode_burst(
    f"Q set work_mem = '5MB'  P s|select $1::int  D S|s  S  B |s|1  E |  S  Q begin  {INSERT}S  B |s|2  E |  H"
    f"  Q savepoint a  Q select 1/0  Q rollback to a  {COPY}d 1\\n  c"
    "  Q declare c cursor for select 1  Q fetch c  Q rollback"
)


def test_a_client_that_vanishes_at_any_byte_leaves_no_transaction_and_no_lock(stack: Stack) -> None:
    ways = cycle([socket.socket.close, reset])
    with psycopg.connect(stack.endpoint().url, autocommit=True) as good:
        for size in range(len(CONVERSATION) + 1):
            wire = taken_over(stack.endpoint())
            wire.sendall(CONVERSATION[:size])
            next(ways)(wire)
            assert good.execute(f"SELECT {size}").fetchone() == (size,)
    assert left_behind(stack) == 0
    assert_nothing_leaked(stack)
