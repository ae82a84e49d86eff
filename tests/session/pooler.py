"""A transaction pooler in front of servers of `model`.

It gives its client a server for one transaction only, and hands each on with the unnamed statement of somebody else.
"""

from __future__ import annotations

from pgshim.protocol import backend, frontend
from pgshim.protocol.backend import ReadyForQuery, TransactionStatus
from tests.session.model import Database, Server
from tests.session.script import split

#: What a server has nothing to do for when it comes first (a Sync alone goes up behind a Flush).
NOTHING = frontend.Sync | frontend.Flush | frontend.CopyData | frontend.CopyDone | frontend.CopyFail
#: The unnamed statement that another client has left.
FOREIGN = "select 3"


class Pooler:
    """Gives its client a server for one transaction, and then another one."""

    def __init__(self, database: Database, *, size: int = 3) -> None:
        self.servers = [Server(database) for _ in range(size)]
        self.turn = 0
        self.server: Server | None = None
        self._from_client = b""
        self._seen = b""

    def feed(self, data: bytes) -> None:
        self._from_client += data
        while len(whole := self._take(self._from_client)):
            self._from_client = self._from_client[len(whole) :]
            message = frontend.decode(whole[0], whole[5:])
            if self.server is None:
                is_sync = self._from_client.startswith(frontend.Sync().encode())
                assert is_sync or not isinstance(message, NOTHING), f"a server is taken for nothing: {message}"
                self.turn = (self.turn + 1) % len(self.servers)
                self.server = self.servers[self.turn]
                self.server.statements = {b"": FOREIGN}
            self.server.feed(message)

    @property
    def has_output(self) -> bool:
        return self.server is not None and bool(self.server.output)

    def give(self, size: int) -> bytes:
        """The next bytes for the client; at the end of its transaction the server is taken away."""
        server = self.server
        if server is None:
            return b""
        data, server.output = server.output[:size], server.output[size:]
        self._seen += data
        while len(whole := self._take(self._seen)):
            self._seen = self._seen[len(whole) :]
            message = backend.decode(whole[0], whole[5:])
            is_idle = isinstance(message, ReadyForQuery) and message.status is TransactionStatus.IDLE
            if is_idle and not server.output and not self._seen and server.copy_ended is None:
                assert not server.has_open_batch, "a batch was begun on a server that is given away"
                self.server = None
        return data

    @staticmethod
    def _take(stream: bytes) -> bytes:
        """The first message, if all of it is there."""
        first = split(stream[: 5 + int.from_bytes(stream[1:5], "big")])[:1] if len(stream) >= 5 else []
        return first[0] if first and len(first[0]) == 1 + int.from_bytes(first[0][1:5], "big") else b""
