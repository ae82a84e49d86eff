"""pgshim between a bad upstream and many clients, of which some are treated well and must never notice the others."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pgshim.protocol import hot
from pgshim.proxy.server import Server
from tests.hostile.conversation import all_replies, conversation, type_code_of
from tests.hostile.upstream import HostileUpstream
from tests.proxy.world import Client, error_fields, listening, pgshim, until

#: Seconds in which every connection comes to its end, on a slow and busy machine.
BOUND = 20.0

#: Connections at a time.
WIDTH = 32

_SECRETS = ("select", "copy t", "raise notice", "c=biws", "division by zero")


@dataclass
class Heard:
    """What a client has received."""

    token: str
    messages: list[bytes] = field(default_factory=list)
    #: The beginning of a message that has not ended.
    rest: bytes = b""
    is_closed: bool = False

    def take(self, data: bytes) -> None:
        data = self.rest + data
        while len(data) >= 5 and len(data) >= (end := 1 + int.from_bytes(data[1:5], "big")):
            self.messages.append(data[:end])
            data = data[end:]
        self.rest = data

    def __str__(self) -> str:
        shown = ["".join(map(type_code_of, self.before_fatal)), *map(repr, self.before_fatal[-3:])]
        return " ".join([self.token, *shown, repr(self.rest), "closed" * self.is_closed, str(self.fatal)])

    def count(self, type_code: str) -> int:
        return sum(message[0] == ord(type_code) for message in self.messages)

    @property
    def fatal(self) -> dict[str, str]:
        """The fields of the FATAL with which it ends; empty: with none."""
        if not self.messages or type_code_of(self.messages[-1]) != "E":
            return {}
        fields = error_fields(self.messages[-1][5:])
        return fields if fields["S"] == "FATAL" else {}

    @property
    def before_fatal(self) -> list[bytes]:
        return self.messages[:-1] if self.fatal else self.messages

    @property
    def is_whole(self) -> bool:
        """Whether this is the conversation to its end, and nothing else."""
        return self.messages == list(all_replies(self.token)) and not self.rest


class Talk:
    """One client of the conversation, on a bare socket: what was sent before a reset is still read."""

    def __init__(self, token: str) -> None:
        self.heard = Heard(token)
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.loop = asyncio.get_running_loop()

    async def play(self, server: Server) -> Heard:
        """Say the client's part, each turn when the one before is answered; until its end, or that of the connection.

        After the last turn, or when the upstream falls silent, the caller has to close.
        """
        address = server.listeners[0].address
        await self.loop.sock_connect(self.sock, (address.host, address.port))
        expected: Counter[str] = Counter()
        for turn in conversation(self.heard.token):
            gets = [type_code_of(message) for message in turn.client_gets]
            expected.update(gets)
            with suppress(ConnectionError):  # What it has been told is still to be read.
                await self.loop.sock_sendall(self.sock, b"".join(turn.client_sends))
            while self.heard.count(gets[-1]) < expected[gets[-1]]:
                if not await self.read():
                    return self.heard
        return self.heard

    async def read(self) -> bool:
        """Take what comes next; False at the end."""
        try:
            data = await self.loop.sock_recv(self.sock, 65536)
        except ConnectionError:
            data = b""
        self.heard.take(data)
        self.heard.is_closed = not data
        return bool(data)

    def leave(self) -> None:
        """Go away with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def play_to_the_end(self, server: Server) -> Heard:
        """The same, and then until pgshim closes."""
        try:
            async with asyncio.timeout(BOUND):
                await self.play(server)
                while not self.heard.is_closed:
                    await self.read()
        except TimeoutError:
            raise AssertionError(f"no end for {self.heard!s}") from None
        finally:
            self.sock.close()
        return self.heard

    async def play_whole(self, server: Server) -> Heard:
        """The same for a conversation that nobody cuts short: the client ends it."""
        try:
            async with asyncio.timeout(BOUND):
                heard = await self.play(server)
                with suppress(ConnectionError):
                    await self.loop.sock_sendall(self.sock, hot.TERMINATE)
                while not heard.is_closed:
                    await self.read()
        finally:
            self.sock.close()
        return heard


@dataclass
class Arena:
    server: Server
    upstream: HostileUpstream
    #: How many answers of its own each client that is treated well has had.
    answers: Counter[str] = field(default_factory=Counter)

    async def others_are_served(self, rounds: int = 3) -> None:
        """Wait until that many more answers have come to those who are treated well."""
        wanted = {name: count + rounds for name, count in self.answers.items()}
        await until(lambda: all(self.answers[name] >= count for name, count in wanted.items()), BOUND)


@asynccontextmanager
async def arena(
    upstream: HostileUpstream | None = None, *, welcomes: bool = True, **options: Any
) -> AsyncIterator[Arena]:
    """pgshim in front of a bad upstream, with two clients beside that must never notice.

    welcomes -- whether new connections are treated well; else only one that is there from the beginning
    At the end of the block every client must have gone: pgshim has to have nothing left then, no connection, no task,
    no upstream, and nothing to complain of.
    """
    upstream = upstream or HostileUpstream()
    options.setdefault("upstream_tls", "disable")
    with watched() as troubles:
        async with listening(upstream), pgshim(upstream, **options) as server:
            before = asyncio.all_tasks()
            place = Arena(server, upstream)
            async with asyncio.TaskGroup() as group:
                is_over = asyncio.Event()
                group.create_task(_ask_tokens(place, is_over))
                if welcomes:
                    group.create_task(_talk_again_and_again(place, is_over))
                await until(lambda: place.answers["tokens"])
                yield place
                is_over.set()
            await until(
                lambda: not (server.connections or server.departures or server.greetings or upstream.open), BOUND
            )
            await until(lambda: asyncio.all_tasks() <= before, BOUND)
        assert upstream.surprises == []
    assert troubles == []


async def _ask_tokens(place: Arena, is_over: asyncio.Event) -> None:
    """A client whose every answer must be its own."""
    client = await Client.logged_in(place.server)
    for number in itertools.count():
        text = b"select 'mine %d'" % number
        async with asyncio.timeout(BOUND):
            client.send(hot.query(text))
            answer = [await client.read() for _ in "DCZ"]
        assert [type_code for type_code, _ in answer] == ["D", "C", "Z"], answer
        assert answer[0][1][6:] == text
        place.answers["tokens"] += 1
        if is_over.is_set():
            break
        await asyncio.sleep(0.02)
    client.send(hot.TERMINATE)
    assert await client.is_closed()


async def _talk_again_and_again(place: Arena, is_over: asyncio.Event) -> None:
    """A client that must always hear the whole conversation."""
    while not (is_over.is_set() and place.answers["conversations"]):
        heard = await Talk("1000").play_whole(place.server)
        assert heard.is_whole, str(heard)
        place.answers["conversations"] += 1
        await asyncio.sleep(0.02)


class watched(logging.Handler):  # noqa: N801  # a context manager
    """What is logged and what the event loop complains of: a list of what should not be there."""

    def __enter__(self) -> list[object]:
        self.troubles: list[object] = []
        self.loop = asyncio.get_running_loop()
        self.handler = self.loop.get_exception_handler()
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        logging.getLogger().addHandler(self)
        self.level_before = logging.getLogger("pgshim").level
        logging.getLogger("pgshim").setLevel(logging.DEBUG)
        return self.troubles

    def __exit__(self, *_: object) -> None:
        logging.getLogger("pgshim").setLevel(self.level_before)
        logging.getLogger().removeHandler(self)
        self.loop.set_exception_handler(self.handler)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        is_telling = record.name.startswith("pgshim") and any(secret in text for secret in _SECRETS)
        if record.exc_info or record.levelno >= logging.ERROR or is_telling:
            self.troubles.append(text)


def quickly(story: Coroutine[Any, Any, None]) -> None:
    """Run a story of very many connections without the debug mode of asyncio, which would take most of the time."""
    with asyncio.Runner(debug=False) as runner:
        runner.run(story)


async def each(cases: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do all of them, some at a time; the first failures are told when all have ended."""
    room = asyncio.Semaphore(WIDTH)
    failures: list[str] = []

    async def one(case: Callable[[], Awaitable[None]]) -> None:
        async with room:
            try:
                await case()
            except AssertionError as error:
                failures.append(str(error))

    async with asyncio.TaskGroup() as group:
        for case in cases:
            group.create_task(one(case))
    assert not failures, "\n".join([f"{len(failures)} failures", *failures[:20]])
