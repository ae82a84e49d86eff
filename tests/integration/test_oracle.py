"""PostgreSQL is the oracle: the same bytes to it directly and through pgshim and PgBouncer bring the same messages."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pgshim.demo.processes import Endpoint
from tests.integration.conftest import Stack
from tests.oracle.begin_scripts import BEGIN_SCRIPTS
from tests.oracle.scripts import SCRIPTS
from tests.oracle.settings_scripts import SETTINGS_SCRIPTS
from tests.oracle.wire import collect, encode_burst, expected_readies, show

QUIET = 0.015
#: A server of its own has nothing more to say, where no ReadyForQuery tells.
SILENCE = 0.05

ALL = SCRIPTS | BEGIN_SCRIPTS | SETTINGS_SCRIPTS


@contextmanager
def raw_connection(endpoint: Endpoint) -> Iterator[socket.socket]:
    """A socket that a driver has logged in, and nobody else reads."""
    with psycopg.connect(endpoint.url, autocommit=True) as login:
        wire = socket.socket(fileno=login.pgconn.socket)
        try:
            wire.setblocking(True)
            yield wire
        finally:
            wire.setblocking(False)
            wire.detach()


def converse(
    endpoint: Endpoint, script: list[str], chunk: int = 1 << 20, expected: list[int] | None = None
) -> tuple[list[str], list[int]]:
    """What a server answers to a script, sent in chunks of so many bytes, and with how many messages to each burst.

    expected -- as many are waited for
    """
    shown: list[str] = []
    counts: list[int] = []
    with raw_connection(endpoint) as wire:
        for number, burst in enumerate(script):
            data = encode_burst(burst.removeprefix("!"))
            for at in range(0, len(data), chunk):
                wire.sendall(data[at : at + chunk])
            readies = expected_readies(burst.removeprefix("!"))
            if expected is None:
                answer = collect(wire, readies, QUIET if readies else SILENCE, 0.3)
            else:
                # Of a Sync that a COPY swallows there is no answer.
                answer = collect(wire, 0, QUIET, 3.0, messages=expected[number])
            lines = show(answer)
            counts.append(len(lines))
            if not burst.startswith("!"):
                shown += [f"> {burst}", *lines]
    return shown, counts


def without_wording(lines: list[str]) -> list[str]:
    """Without what may be worded differently: the statement's name in one error, a refusal that 18 words anew."""
    lines = [line.partition(", but prepared statement ")[0] for line in lines]
    return [line.replace("be executed within a pipeline", "run inside a transaction block") for line in lines]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("chunk", [1 << 20, 3])
def test_the_client_sees_what_a_server_of_its_own_would_show(plain_stack: Stack, name: str, chunk: int) -> None:
    expected, counts = converse(plain_stack.direct(), ALL[name])
    shown, _ = converse(plain_stack.endpoint(), ALL[name], chunk, counts)
    assert without_wording(shown) == without_wording(expected)


@pytest.mark.parametrize("name", ALL)
def test_the_same_on_the_newest_server(stack_18: Stack, name: str) -> None:
    expected, counts = converse(stack_18.direct(), ALL[name])
    shown, _ = converse(stack_18.endpoint(), ALL[name], expected=counts)
    assert without_wording(shown) == without_wording(expected)
