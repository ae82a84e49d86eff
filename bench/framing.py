"""What it costs to find a frame: a run of DataRows as a socket gives it, in chunks of 64 KiB."""

import time
from collections.abc import Iterator

from pgshim.protocol import hot
from pgshim.session.conversation import Limits
from pgshim.session.outstanding import EXECUTE
from pgshim.session.session import ClientSettings, Policy, Session, SharedTexts, frontend_rules

CHUNK = 64 * 1024
SECONDS = 0.5


def chunks(size: int) -> list[bytes]:
    """About 4 MiB of DataRows of `size` bytes each (type byte and length included), as whole chunks of a socket."""
    row = hot.message(ord("D"), b"\0\1" + (size - 11).to_bytes(4, "big") + bytes(size - 11))
    stream = row * (4 * 1024 * 1024 // size)
    return [stream[at : at + CHUNK] for at in range(0, len(stream), CHUNK)]


def microseconds_per_frame(size: int) -> float:
    """CPU time for each DataRow that a session forwards, best of several passes."""
    session = Session(Limits(), SharedTexts(), frontend_rules(1 << 24), ClientSettings({}, {}, {}, {}), Policy())
    session.outstanding.append(EXECUTE)
    parts = chunks(size)
    frames = 4 * 1024 * 1024 // size
    best = float("inf")
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        start = time.process_time()
        for part in parts:
            session.receive_from_upstream(part)
            session.take_client_output()
        best = min(best, time.process_time() - start)
    return best / frames * 1e6


def rows() -> Iterator[tuple[str, ...]]:
    """(bytes of a frame, us for each)."""
    for size in (30, 100, 1000, 8192):
        yield f"{size:,}", f"{microseconds_per_frame(size):.3f}"
