"""Who owns a file descriptor: whoever closes one twice may close another client's."""

import asyncio
import gc
import os
from typing import Any, cast

from pgshim.addresses import Address
from pgshim.proxy.tls import Contexts
from pgshim.proxy.upstream import Upstream
from pgshim.settings import Settings
from tests.proxy.conftest import Run
from tests.proxy.world import ScriptedUpstream, listening


class _GoneAlready(asyncio.Protocol):
    """A client that has left while its upstream was being connected."""

    descriptor = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.descriptor = transport.get_extra_info("socket").fileno()
        cast(asyncio.Transport, transport).abort()


def test_an_upstream_that_nobody_wants_any_more_is_closed_once(run: Run) -> None:
    async def story() -> None:
        async with listening(ScriptedUpstream()) as scripted:
            address = Address("127.0.0.1", scripted.port)
            settings = Settings(address, (Address("127.0.0.1", 0),), upstream_tls="disable")
            protocol = _GoneAlready()
            made: list[Any] = [*await Upstream(settings, address, Contexts(settings)).connect(lambda: protocol)]
            files = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]
            try:
                assert protocol.descriptor in files, "it is closed, and its number is another's now"
                made.clear()
                gc.collect()
                for file in files:
                    os.fstat(file)
            finally:
                for file in files:
                    os.close(file)

    run(story())
