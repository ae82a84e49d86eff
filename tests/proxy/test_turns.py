"""One client must not keep the loop for itself, however fast it sends."""

import asyncio
import socket

from pgshim.protocol import hot
from pgshim.proxy.connection import Connection
from tests.proxy.conftest import Run
from tests.proxy.world import READY, ScriptedUpstream, listening, pgshim, port_of, startup

#: Both loops read at most 256 KiB at once.
TWO_READS = 512 * 1024


class Counter(asyncio.Protocol):
    """Stands before a connection, and counts what its client's reads bring in one turn of the loop."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.in_turn = self.most = self.total = 0

    def data_received(self, data: bytes) -> None:
        self.in_turn += len(data)
        self.total += len(data)
        self.most = max(self.most, self.in_turn)
        self.connection.data_received(data)

    def eof_received(self) -> bool:
        return self.connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.connection.resume_writing()


async def logged_in(port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, startup())
    said = b""
    while not said.endswith(READY):
        said += await loop.sock_recv(client, 4096)
    client.setblocking(True)
    return client


def test_a_long_message_is_read_in_turns(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as upstream, pgshim(upstream, upstream_mode="session") as server:
            with await logged_in(port_of(server)) as client:
                (connection,) = server.connections
                assert connection.flow.client is not None
                counter = Counter(connection)
                connection.flow.client.set_protocol(counter)
                message = hot.message(ord("d"), bytes(32 * 1024 * 1024))
                # From a thread: it sends on while pgshim reads.
                sending = asyncio.create_task(asyncio.to_thread(client.sendall, message))
                while counter.total < len(message):
                    await asyncio.sleep(0)
                    counter.in_turn = 0
                await sending
                assert counter.most <= TWO_READS

    run(story())
