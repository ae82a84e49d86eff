"""A TCP relay that counts round trips: turnarounds, in which a client sends and then waits for an answer.

Plaintext PostgreSQL only, for it looks for the first ReadyForQuery: what comes before that is a connection's
start-up, and is counted apart.
"""

import asyncio
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from pgshim.demo.processes import LOOPBACK

READY_FOR_QUERY = ord("Z")
# SSLRequest and GSSENCRequest are answered by one byte that is no message.
ENCRYPTION_REQUESTS = (struct.pack("!II", 8, 80877103), struct.pack("!II", 8, 80877104))
# The one message that nobody waits for an answer to.
TERMINATE = b"X" + struct.pack("!I", 4)


@dataclass
class Count:
    """Connections that were made, and turnarounds up to and after their first ReadyForQuery."""

    connections: int = 0
    startup: int = 0
    queries: int = 0


class Conversation:
    """One connection's part in the count.

    A turnaround begins when the client sends, and the server has spoken since the client last began one. So
    messages that share a write, and writes that follow each other with no answer between, are one.
    """

    def __init__(self, count: Count) -> None:
        self.count = count
        # The server has spoken since the client last began a turnaround.
        self.server_spoke = True
        self.is_started = False
        # One-byte answers to encryption requests that are still to come.
        self.single_bytes = 0
        # What of the server's stream, before the first ReadyForQuery, is not read yet.
        self.unread = bytearray()

    def client_sent(self, data: bytes) -> None:
        if data in ENCRYPTION_REQUESTS and not self.is_started:
            self.single_bytes += 1
        if not self.server_spoke or data == TERMINATE:
            return
        self.server_spoke = False
        if self.is_started:
            self.count.queries += 1
        else:
            self.count.startup += 1

    def server_sent(self, data: bytes) -> None:
        self.server_spoke = True
        if not self.is_started:
            self.unread += data
            self.is_started = self._finds_ready_for_query()

    def _finds_ready_for_query(self) -> bool:
        while self.single_bytes and self.unread:
            del self.unread[0]
            self.single_bytes -= 1
        while len(self.unread) >= 5:
            type_code, length = struct.unpack_from("!BI", self.unread)
            if len(self.unread) <= length:
                return False
            if type_code == READY_FOR_QUERY:
                return True
            del self.unread[: length + 1]
        return False


class Relay:
    """A relay in front of `host:port`, in a thread with an event loop of its own, for a `with` statement."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.host = LOOPBACK
        self.port = 0
        self.count = Count()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def take(self) -> Count:
        """The count since the last `take`, and starts a new one. Connections keep running."""
        taken = Count(**vars(self.count))
        self.count.connections = self.count.startup = self.count.queries = 0
        return taken

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._accepting: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._ending.wait()
        server.close()
        # Not by cancelling: Python 3.11 logs a traceback for each cancelled connection.
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._accepting)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        self.count.connections += 1
        conversation = Conversation(self.count)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, server_writer}
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, server_writer, conversation.client_sent))
                pumps.create_task(_pump(server_reader, writer, conversation.server_sent))
        except* OSError:
            pass  # One side went away; both are closed below.
        finally:
            self._writers -= {writer, server_writer}
            writer.close()
            server_writer.close()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, observe: Callable[[bytes], None]
) -> None:
    while data := await reader.read(65536):
        observe(data)
        writer.write(data)
        await writer.drain()
    writer.write_eof()
