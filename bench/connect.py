"""What a client without a pool of its own waits for: connect, one fetch, close, with a pooler that is far away.

The way to the pooler takes 20 ms in each direction, by a relay. TCP's own round trip it cannot delay, because the
kernel accepts at once: so what a connection sends in its first 40 ms is held back as long as it would have taken.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import asyncpg
import trustme

from pgshim.demo.processes import LOOPBACK
from pgshim.demo.servers import PgBouncer, PgshimProcess, PostgresServer, TlsFiles

#: Seconds in each direction.
DELAY = 0.02

WARM = 4
TIMES = 15

#: Seconds between two of them, in which the warm connection that was taken is replaced.
REST = 0.3


class Distance:
    """A relay that delays, in a thread with an event loop of its own, for a `with` statement."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="distance", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._is_over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_over = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_listening.set()
        await self._is_over.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(3 * DELAY)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = self._loop.time()
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        both = {writer, far_writer}
        self._writers |= both
        up = self._pump(reader, far_writer, accepted + 2 * DELAY)
        await asyncio.gather(up, self._pump(far_reader, writer, 0), return_exceptions=True)
        self._writers -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, not_before: float) -> None:
        """What is read is written DELAY later, and nothing is taken to be sent before `not_before`."""
        while data := await reader.read(65536):
            self._loop.call_at(max(self._loop.time(), not_before) + DELAY, writer.write, data)
        self._loop.call_later(DELAY, writer.close)


async def _milliseconds(url: str) -> float:
    """The median of connect and one fetch."""
    taken = []
    for _ in range(TIMES):
        await asyncio.sleep(REST)
        before = time.perf_counter()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT 1") == 1
        taken.append(time.perf_counter() - before)
        connection.terminate()
    return statistics.median(taken) * 1000


def _certificate(folder: Path) -> TlsFiles:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", LOOPBACK)
    files = TlsFiles(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.ca)
    return files


def rows() -> Iterator[tuple[str, ...]]:
    """(pooler, ms without --prewarm, ms with it, round trips saved)."""
    with tempfile.TemporaryDirectory(prefix="pgshim-") as folder, PostgresServer() as postgres:
        certificate = _certificate(Path(folder))
        for name, tls in (("in clear", None), ("with TLS", certificate)):
            found = []
            for size in (0, WARM):
                with ExitStack() as servers:
                    pooler = servers.enter_context(PgBouncer(postgres, client_tls=tls))
                    distance = servers.enter_context(Distance(pooler.port))
                    options = ["--prewarm", str(size)]
                    if tls is not None:
                        options += ["--upstream-tls", "verify-full", "--upstream-ca", str(tls.ca)]
                    shim = servers.enter_context(
                        PgshimProcess(pooler, upstream_address=f"localhost:{distance.port}", options=options)
                    )
                    found.append(asyncio.run(_milliseconds(shim.endpoint().url)))
            saved = (found[0] - found[1]) / (2 * DELAY * 1000)
            yield name, f"{found[0]:.0f}", f"{found[1]:.0f}", f"{saved:.1f}"
