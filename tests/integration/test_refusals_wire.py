"""Refusals message by message: pipelines with several Syncs, the moment of nextval(), FunctionCall."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.integration.conftest import Stack
from tests.integration.test_refusals import assert_nothing_leaked
from tests.oracle.wire import collect, encode_burst, expected_readies, frames

_STATEMENT = "CREATE TABLE IF NOT EXISTS refusals_wire (id serial, a int); TRUNCATE refusals_wire RESTART IDENTITY"
INSERT = "insert into refusals_wire (a) values (1)"
LOCK = "select pg_advisory_lock(1)"
LAST = "select lastval()"


@contextmanager
def wire(url: str) -> Iterator[socket.socket]:
    """A socket that a driver has logged in."""
    with psycopg.connect(url, autocommit=True) as login, socket.socket(fileno=os.dup(login.pgconn.socket)) as found:
        found.setblocking(True)
        yield found


def say(connection: socket.socket, burst: str) -> str:
    """What is answered: type codes, `!` and SQLSTATE, `=` and the values of rows, the status; no ParameterStatus."""
    connection.sendall(encode_burst(burst))
    said = []
    for type_code, body in frames(collect(connection, expected_readies(burst), 0.02)):
        code = chr(type_code)
        if code == "E":
            code = "!" + next(field[1:].decode() for field in body.split(b"\0") if field[:1] == b"C")
        elif code == "D":
            code = "=" + body[6:].decode()
        elif code == "Z":
            code = body.decode()
        if code != "S":
            said.append(code)
    return " ".join(said)


def execute(*statements: str) -> str:
    return "  ".join(f"P |{sql}  B |  E" for sql in statements)


@pytest.fixture(params=["plain_stack", "stack_18"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Those that speak no TLS."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def client(stack: Stack) -> Iterator[socket.socket]:
    with psycopg.connect(stack.direct().url, autocommit=True) as direct:
        direct.execute(_STATEMENT)
    with wire(stack.endpoint().url) as found:
        yield found
        assert say(found, "Q rollback") in ("C I", "N C I")
        assert say(found, "Q select 7") == "T =7 C I"
    assert_nothing_leaked(stack)


def rows(stack: Stack) -> int:
    with psycopg.connect(stack.direct().url) as direct:
        found: int = direct.execute("SELECT count(*) FROM refusals_wire").fetchone()[0]  # type: ignore[index]
        return found


DONE = "1 2 C"


@pytest.mark.parametrize(
    ("burst", "answer"),
    [
        (f"Q {LOCK}", "!0A000 I"),
        (f"Q {INSERT}; {LOCK}; {INSERT}", "C !0A000 I"),
        (f"{execute(LOCK)}  S", "!0A000 I"),
        (f"{execute(INSERT, LOCK, INSERT)}  S", f"{DONE} !0A000 I"),
        (f"P s|{LOCK}  D S|s  S", "!0A000 I"),
        (f"P s|{LOCK}  D S|s  H  S", "!0A000 I"),
        (f"Q select 1  {execute(INSERT, LOCK)}  S  Q select 2", f"T =1 C I {DONE} !0A000 I T =2 C I"),
        (f"Q select 1  Q {INSERT}; {LOCK}  Q select 2", "T =1 C I C !0A000 I T =2 C I"),
        (f"{execute('select 1')}  S  {execute(INSERT, LOCK)}  S  {execute('select 2')}  S",
         f"1 2 =1 C I {DONE} !0A000 I 1 2 =2 C I"),
        (f"Q begin  Q {INSERT}  Q {LOCK}  Q select 2  Q commit", "C T C T !0A000 E !25P02 E C I"),
        (f"{execute('begin')}  S  {execute(INSERT)}  S  {execute(LOCK)}  S  {execute(INSERT)}  S  Q commit",
         f"{DONE} T {DONE} T !0A000 E !25P02 E C I"),
        (f"{execute('begin', INSERT, LOCK, 'commit')}  S  Q rollback", f"{DONE} {DONE} !0A000 E C I"),
        (f"Q begin; {INSERT}; {LOCK}; commit  Q {LOCK}  Q commit", "C C !0A000 E !25P02 E C I"),
        (f"Q begin; {INSERT}; selec  Q begin; {INSERT}; select 1/0  Q rollback; {LOCK}",
         "!42601 I C C !22012 E C !0A000 I"),
        (f"Q select 1/0; {LOCK}", "!22012 I"),
        (f"Q {LOCK}; 'unfinished", "!42601 I"),
    ],
)  # fmt: skip
def test_a_refusal_is_in_its_place(client: socket.socket, stack: Stack, burst: str, answer: str) -> None:
    assert say(client, burst) == answer
    assert say(client, "Q rollback") in ("C I", "N C I")
    assert rows(stack) == 0


@pytest.mark.parametrize(
    ("burst", "answer"),
    [
        (f"Q {INSERT}; {LAST}", "C T =1 C I"),
        (f"{execute(INSERT, LAST)}  S", f"{DONE} 1 2 =1 C I"),
        (f"Q begin  Q {INSERT}  Q {LAST}  Q commit", "C T C T T =1 C T C I"),
        (f"{execute('begin')}  S  {execute(INSERT)}  S  {execute(LAST)}  S  {execute('commit')}  S",
         f"{DONE} T {DONE} T 1 2 =1 C T {DONE} I"),
        (f"Q begin; {INSERT}; {LAST}; commit", "C C T =1 C C I"),
        ("Q begin; copy refusals_wire (a) from stdin  d 1\\n  c  Q select lastval(); commit", "C G C T T =1 C C I"),
        (f"{execute(INSERT)}  S  {execute(LAST)}  S", f"{DONE} I 1 2 !0A000 I"),
        (f"Q {INSERT}  Q {LAST}", "C I !0A000 I"),
        (f"Q begin  Q {INSERT}  Q commit  Q {LAST}", "C T C T C I !0A000 I"),
        (f"{execute('begin')}  S  {execute(INSERT)}  S  {execute('commit')}  S  {execute(LAST)}  S",
         f"{DONE} T {DONE} T {DONE} I 1 2 !0A000 I"),
        (f"Q begin  Q select count(*) from refusals_wire  Q {LAST}", "C T T =0 C T !0A000 E"),
        (f"Q select 1; {LAST}", "T =1 C !0A000 I"),
        (f"{execute('begin')}  S  {execute(LAST)}  S", f"{DONE} T 1 2 !0A000 E"),
    ],
)  # fmt: skip
def test_lastval_hangs_on_the_transaction(client: socket.socket, burst: str, answer: str) -> None:
    assert say(client, burst) == answer


def test_a_function_call_is_refused(client: socket.socket, stack: Stack) -> None:
    assert say(client, "F 2880|1") == "!0A000 I"
    assert say(client, f"Q begin  Q {INSERT}  F 2882|1  F 2882|1  Q commit") == "C T C T !0A000 E !25P02 E C I"
    assert say(client, "Q select 1  F 1599|0.5  Q select 2") == "T =1 C I !0A000 I T =2 C I"
    assert say(client, "F 2559") == "!0A000 I"
    assert say(client, f"Q begin  Q {INSERT}") == "C T C T"
    assert say(client, "F 2559  Q rollback") == "V T C I"
    assert say(client, "F 1598") == "V I"
    assert say(client, "Q set search_path = public") == "C I"
    assert say(client, "F 1598") == "!0A000 I"
    assert say(client, "Q begin  F 1598  Q commit") == "C T V T C I"
    assert say(client, "Q reset search_path  F 1598") == "C I V I"
    assert rows(stack) == 0
