"""A deliberately bad upstream: it plays its part of `conversation`, except for what a test has given it to say."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from pgshim.protocol import hot, startup
from tests.hostile.conversation import all_answers, conversation
from tests.proxy.world import READY, ScriptedUpstream, command_complete, read_message, reset


class Ending(Enum):
    """What the upstream does when it has said all it has to say."""

    CLOSE = auto()
    RESET = auto()
    #: Reads on, and says nothing more.
    SILENCE = auto()


@dataclass(frozen=True)
class Part:
    """What an upstream says on one connection, turn by turn, and how it ends.

    A turn comes when as many messages have come up as in the recorded conversation.
    """

    answers: tuple[bytes, ...]
    ending: Ending = Ending.CLOSE

    @classmethod
    def cut(cls, token: str, size: int, ending: Ending) -> Self:
        """The first `size` bytes of what a server says, with the end right behind them."""
        answers = []
        for answer in all_answers(token):
            answers.append(answer[:size])
            size -= len(answer)
            if size <= 0:
                break
        return cls(tuple(answers), ending)

    @classmethod
    def until(cls, token: str, turn: int, answer: bytes) -> Self:
        """What a server says up to a turn, some of it, and nothing more."""
        return cls((*all_answers(token)[:turn], answer), Ending.SILENCE)

    @classmethod
    def changed(cls, token: str, turn: int, answer: bytes, ending: Ending = Ending.CLOSE) -> Self:
        """What a server says, but for one turn, the last one before the end."""
        return cls((*all_answers(token)[:turn], answer), ending)

    @classmethod
    def with_turn(cls, token: str, turn: int, answer: bytes) -> Self:
        """What a server says to the end, but for one turn."""
        answers = list(all_answers(token))
        answers[turn] = answer
        return cls(tuple(answers), Ending.SILENCE)


@dataclass(frozen=True)
class Reception:
    """What an upstream says to the first packet of a connection, or before it has come."""

    answer: bytes
    ending: Ending = Ending.CLOSE
    is_at_once: bool = False


class HostileUpstream(ScriptedUpstream):
    """Every client finds its own part: the database that it names is its token.

    Tokens without a part are treated well: with the conversation, or, under `trusted`, with answers to any Query.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.parts: dict[str, Part] = {}
        #: What whoever connects is told in answer to the first packet, whatever that is; None: the usual.
        self.reception: Reception | None = None
        #: How many were told that.
        self.receptions = 0
        #: The answer to the question of whether a client's settings are accepted; None: the usual.
        self.check_answer: bytes | None = None
        #: Tokens of the conversations that have come to the end of their part.
        self.played: set[str] = set()
        #: What came up in another way than in the recorded conversation.
        self.surprises: list[str] = []
        #: Connections that are open.
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            if self.reception is None:
                await super().serve(reader, writer)
            else:
                self.receptions += 1
                await self._receive(self.reception, reader, writer)
        finally:
            self.open -= 1

    async def _receive(
        self, reception: Reception, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if not reception.is_at_once:
                await self._packet(reader)
            writer.write(reception.answer)
            self._end(reception.ending, writer)
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        token = (startup.StartupMessage.decode(self.startups[-1][4:]).parameter(b"database") or b"").decode()
        if not token.isdigit():
            await super().log_in(reader, writer)
            return
        part = self.parts.get(token) or Part(all_answers(token), Ending.SILENCE)
        for turn, answer in zip(conversation(token), part.answers, strict=False):
            if turn.goes_up != "startup":
                types = [(await read_message(reader))[0] for _ in turn.goes_up]
                if "" in types:
                    return
                if "".join(types) != turn.goes_up:
                    self.surprises.append(f"{token}: {types} instead of {turn.goes_up}")
            writer.write(answer)
        self.played.add(token)
        self._end(part.ending, writer)

    @staticmethod
    def _end(ending: Ending, writer: asyncio.StreamWriter) -> None:
        if ending is Ending.RESET:
            reset(writer)
        elif ending is Ending.CLOSE:
            writer.write_eof()

    async def _answer(self, text: bytes, writer: asyncio.StreamWriter) -> None:
        """A Query is answered with a row that is its text, unless told otherwise."""
        if self.check_answer is not None and text.startswith(b"SELECT pg_catalog.set_config("):
            writer.write(self.check_answer)
            return
        if text in self.answers:
            await super()._answer(text, writer)
            return
        row = hot.message(ord("D"), b"\0\x01" + len(text).to_bytes(4, "big") + text)
        writer.write(row + command_complete() + READY)
