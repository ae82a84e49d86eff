"""A client on the wire, and what it has been answered."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct

from psycopg import pq

from pgshim.protocol import backend
from tests.differential.script import WHOLE, Step

_HEADER = Struct("!BI")
# With what a server of its own has answered a moment ago, a client waits that long for the same through pgshim.
PATIENCE = 3.0
#: Whether a server has nothing more to say, where no ReadyForQuery tells: it sleeps, and is silent for that long.
SILENCE = 0.01
READY, COPY_IN, ERROR = ord("Z"), ord("G"), ord("E")
#: What may come at any moment: NoticeResponse, ParameterStatus, NotificationResponse.
ASYNCHRONOUS = frozenset(b"NSA")


class Player:
    """A logged-in client that writes bursts and keeps all that it reads. Raises ConnectionError."""

    def __init__(self, url: str, login: str) -> None:
        joined = "&" if "?" in url else "?"
        self._login = pq.PGconn.connect(f"{url}{joined}application_name=differential&{login}".encode())
        if self._login.status != pq.ConnStatus.OK:
            raise ConnectionError(self._login.error_message.decode(errors="replace"))
        self._wire = socket.socket(fileno=os.dup(self._login.socket))
        self._wire.setblocking(True)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        #: (type code, body) of each whole message.
        self.messages: list[tuple[int, bytes]] = []
        self._parsed = 0
        #: ReadyForQuery that are expected in all.
        self.readies = 0
        self.is_gone = False

    def close(self) -> None:
        self._wire.close()
        self._login.finish()

    def write(self, data: bytes, cut: int = WHOLE) -> None:
        """Writes so many bytes at a time, and reads along when the other side does not take more."""
        with suppress(ConnectionError):
            for at in range(0, len(data), cut):
                part = memoryview(data)[at : at + cut]
                while part:
                    readable, writable, _ = select.select([self._wire], [self._wire], [], PATIENCE)
                    assert readable or writable, "the other side neither reads nor writes"
                    if writable:
                        part = part[self._wire.send(part[: 1 << 16], socket.MSG_DONTWAIT) :]
                    elif not self._read():
                        return

    def _read(self) -> bool:
        try:
            data = self._wire.recv(1 << 20)
        except ConnectionError:
            data = b""
        self.received += data
        self.is_gone = self.is_gone or not data
        if data:
            self._parse()
        return bool(data)

    def _parse(self) -> None:
        while len(self.received) - self._parsed >= 5:
            type_code, length = _HEADER.unpack_from(self.received, self._parsed)
            end = self._parsed + 1 + length
            if end > len(self.received):
                return
            self.messages.append((type_code, bytes(self.received[self._parsed + 5 : end])))
            self._parsed = end

    @property
    def rest(self) -> bytes:
        """The beginning of a message that is not whole."""
        return bytes(self.received[self._parsed :])

    @property
    def count(self) -> int:
        """How many messages have come that do not come at any moment."""
        return sum(type_code not in ASYNCHRONOUS for type_code, _ in self.messages)

    @property
    def is_in_copy(self) -> bool:
        """Whether the server's last word is that it takes copy data."""
        last = next(self._last_words(), None)
        return last is not None and last[0] == COPY_IN

    @property
    def status(self) -> int:
        """The transaction status that was told last."""
        return next((body[0] for type_code, body in self._last_words() if type_code == READY), ord("I"))

    def _last_words(self) -> Iterator[tuple[int, bytes]]:
        return (message for message in reversed(self.messages) if message[0] not in ASYNCHRONOUS)

    @property
    def is_answered(self) -> bool:
        ready = sum(type_code == READY for type_code, _ in self.messages)
        return not self.rest and (ready >= self.readies or self.is_in_copy)

    def read_all(self, step: Step) -> None:
        """Reads what a server of its own has to say to a burst, and to those before it."""
        ends_copy = any(message[0] in "cf" for message in step.messages)
        while not self.is_gone:
            is_done = self.is_answered and step.messages[-1][0] in "SQF" and not (ends_copy and self.is_in_copy)
            if select.select([self._wire], [], [], 0.0 if is_done else SILENCE)[0]:
                self._read()
            elif is_done or self._is_asleep():
                break
        if not self.is_in_copy:
            self.readies = sum(type_code == READY for type_code, _ in self.messages)

    def _is_asleep(self) -> bool:
        """Whether the server waits for its client (or for a lock, of which scripts ask none that another holds)."""
        for _ in range(2):
            state = Path(f"/proc/{self._login.backend_pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state != "S" or select.select([self._wire], [], [], SILENCE)[0]:
                return False
        return True

    def read_up_to(self, count: int) -> None:
        """Reads until so many messages have come, for as long as its patience lasts, and what else is there."""
        end = time.monotonic() + PATIENCE
        while not self.is_gone:
            wait = end - time.monotonic() if self.count < count or self.rest else 0.0
            if not select.select([self._wire], [], [], max(wait, 0.0))[0]:
                return
            self._read()


def shown(player: Player) -> list[str]:
    """All that a client has been told, a line for each message, without what legitimately differs.

    Those are the source file and line of an error, the OIDs of what was created here, and where among its neighbours a
    ParameterStatus stands.
    """
    lines: list[str] = []
    statuses: list[str] = []
    for type_code, body in player.messages:
        message = backend.decode(type_code, body)
        if isinstance(message, backend.ParameterStatus):
            statuses.append(repr(message))
            continue
        lines += sorted(statuses)
        statuses.clear()
        lines.append(_shown(message))
    lines += sorted(statuses)
    if player.rest:
        lines.append(f"cut off: {player.rest[:80]!r}")
    return [*lines, "(closed)"] if player.is_gone else lines


_UNTOLD = frozenset("FL")
#: OIDs from here on are those of what was created in the database.
FIRST_OWN_OID = 16384


def _shown(message: object) -> str:
    if isinstance(message, backend.ErrorResponse | backend.NoticeResponse):
        fields = [(code.decode(), value.decode(errors="replace")) for code, value in message.fields]
        told = [f"{code}={value}" for code, value in fields if code not in _UNTOLD]
        return f"{type(message).__name__}({', '.join(told)})"
    if isinstance(message, backend.RowDescription):
        columns = [
            (each.name, _oid(each.table_oid), each.column_number, _oid(each.type_oid), each.type_modifier, each.format)
            for each in message.fields
        ]
        return f"RowDescription({columns})"
    if isinstance(message, backend.ParameterDescription):
        return f"ParameterDescription({[_oid(oid) for oid in message.parameter_types]})"
    text = repr(message)
    return text if len(text) < 2000 else f"{text[:100]}...{len(text)}...{text[-100:]}"


def _oid(oid: int) -> int | str:
    return oid if oid < FIRST_OWN_OID else "own"
