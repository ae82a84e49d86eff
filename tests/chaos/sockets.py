"""Cuts this process's own connections, whichever driver they are of."""

from __future__ import annotations

import ctypes
import os
import random
import socket
from collections.abc import Container
from contextlib import suppress

_LIBC = ctypes.CDLL(None, use_errno=True)
#: An address of the family AF_UNSPEC: connecting to it resets a TCP connection.
_NOWHERE = bytes(16)


def reset_some(ports: Container[int], share: float, rng: random.Random) -> int:
    """Sends RST on some of the connections to these ports; returns on how many. Linux only."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            # A duplicate cannot become another connection between the look and the act.
            descriptor = os.dup(int(name))
            try:
                count += _reset(descriptor, ports, share, rng)
            finally:
                os.close(descriptor)
    return count


def _reset(descriptor: int, ports: Container[int], share: float, rng: random.Random) -> bool:
    connection = socket.socket(fileno=descriptor)
    try:
        if connection.family != socket.AF_INET or connection.getpeername()[1] not in ports or rng.random() >= share:
            return False
        _LIBC.connect(descriptor, _NOWHERE, len(_NOWHERE))
        return True
    finally:
        connection.detach()
