"""Bytes for each CPU second of the process in the middle: large results and COPY, both ways.

    client -> X -> PgBouncer -> PostgreSQL        X: socat, a bare relay, a bare relay that scans, pgshim

A frame is a row, its type and length included. A client that counts bytes and looks at nothing drives all four, in
rounds that take turns; what counts is the least CPU of the rounds. "us/frame" is what pgshim takes beyond the bare
relay, by frame.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from bench.chain import BareRelay, Relay, Socat, pooler_of, postgres_server, shim_of
from bench.machine import family_cpu_seconds, peak_kib, reset_peak, resident_kib
from bench.outcome import NotMet
from pgshim.demo.processes import Endpoint
from pgshim.demo.servers import PgshimProcess
from pgshim.protocol import hot
from pgshim.protocol.frontend import CopyDone, Query
from pgshim.protocol.startup import StartupMessage

MIB = 1024 * 1024
SIZES = (100, 1_000, 8_192, 65_536)
#: Rounds, by the size of a frame: more where there is an aim.
ROUNDS = {100: 3, 1_000: 3, 8_192: 9, 65_536: 9}
#: MiB in one round, by the size of a frame: small ones take longer.
VOLUMES = {100: 64, 1_000: 192, 8_192: 512, 65_536: 512}
#: pgshim's share of the bare relay's throughput that is aimed at, from this size of a frame on.
AIM, AIM_FROM = 0.9, 8_192
#: How much more than before may be resident (KiB): two buffers of 256 KiB in each direction, and malloc's slack.
GROWTH = 8 * 1024

COLUMNS = SOCAT, RELAY, SCAN, SHIM = "socat", "relay", "scanning", "pgshim"

_READ = 1 << 20
_READY = b"Z\0\0\0\5I"


@dataclass(frozen=True)
class Way:
    """Something in the middle: its process, and where to connect."""

    pid: int
    endpoint: Endpoint


class Client:
    """A blocking client that a pooler trusts, and that believes whatever it is told."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._socket = socket.create_connection((endpoint.host, endpoint.port))
        self._buffer = bytearray(_READ)
        parameters = ((b"user", endpoint.user.encode()), (b"database", endpoint.database.encode()))
        self._socket.sendall(StartupMessage(0, parameters).encode())
        self.read_to_ready()

    def read_to_ready(self) -> int:
        """Read up to a ReadyForQuery; returns the number of bytes. Raises NotMet."""
        count, end = 0, b""
        while not end.endswith(_READY):
            size = self._socket.recv_into(self._buffer)
            if not size:
                raise NotMet("the connection was closed")
            count += size
            end = (end + self._buffer[max(0, size - len(_READY)) : size])[-len(_READY) :]
        return count

    def ask(self, sql: bytes) -> int:
        """A Query; the number of bytes that came for it."""
        self._socket.sendall(Query(sql).encode())
        return self.read_to_ready()

    def copy_in(self, sql: bytes, block: bytes, times: int) -> int:
        """COPY FROM STDIN of a block of CopyData again and again; the number of bytes sent."""
        self._socket.sendall(Query(sql).encode())
        self._socket.recv(_READ)
        for _ in range(times):
            self._socket.sendall(block)
        self._socket.sendall(CopyDone().encode())
        self.read_to_ready()
        return len(block) * times

    def close(self) -> None:
        self._socket.close()


def copy_out(client: Client, size: int, frames: int) -> int:
    """COPY TO STDOUT; a CopyData has five bytes of header, and a line its end."""
    text = f"COPY (SELECT repeat('x', {size - 6}) FROM generate_series(1, {frames})) TO STDOUT"
    return client.ask(text.encode())


def select(client: Client, size: int, frames: int) -> int:
    """A SELECT; a DataRow of one column has eleven bytes beside the value."""
    return client.ask(f"SELECT repeat('x', {size - 11}) FROM generate_series(1, {frames})".encode())


def copy_in(client: Client, size: int, frames: int) -> int:
    """COPY FROM STDIN into a table that stores nothing of it."""
    row = hot.message(ord("d"), b"y" * (size - 6) + b"\n")
    at_once = max(1, 256 * 1024 // size)
    return client.copy_in(b"COPY bench_sink FROM STDIN WHERE false", row * at_once, frames // at_once)


KINDS = {"COPY TO STDOUT": copy_out, "SELECT": select, "COPY FROM STDIN": copy_in}


def sample(way: Way, kind: str, size: int) -> tuple[float, int, int]:
    """(CPU seconds for each byte, bytes, KiB that were resident beyond those before) of one round."""
    client = Client(way.endpoint)
    frames = VOLUMES[size] * MIB // size
    resident = resident_kib(way.pid)
    reset_peak(way.pid)
    before = family_cpu_seconds(way.pid)
    moved = KINDS[kind](client, size, frames)
    used = family_cpu_seconds(way.pid) - before
    grown = peak_kib(way.pid) - resident
    client.close()
    if moved < 0.9 * frames * size:
        raise NotMet(f"{kind}: {moved} bytes came, not {frames * size}")
    return used / moved, moved, grown


def row(kind: str, size: int, cost: dict[str, float], grown: int) -> tuple[str, ...]:
    """A line of the table, of CPU seconds by byte."""
    rates = (f"{1 / cost[name] / MIB:,.0f}" for name in COLUMNS)
    share = cost[RELAY] / cost[SHIM]
    each = (cost[SHIM] - cost[RELAY]) * size * 1e6
    scan = (cost[SCAN] - cost[RELAY]) * size * 1e6
    mark = "" if share >= AIM or size < AIM_FROM else " (below)"
    return kind, f"{size:,}", *rates, f"{share:.2f}{mark}", f"{scan:.3f}", f"{each:.3f}", f"{grown / 1024:.1f}"


def rows(*, quick: bool = False) -> Iterator[tuple[str, ...]]:
    """(kind, bytes of a frame, MiB by CPU second of each, pgshim/relay, us/frame of the scan and pgshim, MiB more)."""
    with ExitStack() as stack:
        run = stack.enter_context
        postgres = run(postgres_server())
        pooler = run(pooler_of(postgres))
        middle: dict[str, Relay | PgshimProcess] = {
            SOCAT: run(Socat(pooler)),
            RELAY: run(BareRelay(pooler, scans=False)),
            SCAN: run(BareRelay(pooler, scans=True)),
            SHIM: run(shim_of(pooler)),
        }
        ways = {name: Way(process.pid, process.endpoint()) for name, process in middle.items()}
        Client(pooler.endpoint()).ask(b"CREATE UNLOGGED TABLE bench_sink (filler text)")
        for kind in KINDS:
            for size in (8_192,) if quick else SIZES:
                cost = dict.fromkeys(COLUMNS, float("inf"))
                most = 0
                for _ in range(1 if quick else ROUNDS[size]):
                    for name, way in ways.items():
                        found, _, grown = sample(way, kind, size)
                        cost[name] = min(cost[name], found)
                        most = max(most, grown) if name == SHIM else most
                yield row(kind, size, cost, most)
                if most > GROWTH:
                    raise NotMet(f"{kind}: pgshim's memory grew by {most / 1024:.1f} MiB; the bound is 8 MiB")
