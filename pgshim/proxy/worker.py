"""What one of several processes is given at its fork: its number, and what it has in common with the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgshim.proxy.counters import Counters
    from pgshim.proxy.listen import Listener
    from pgshim.proxy.siblings import Siblings
    from pgshim.proxy.tls import Contexts
    from pgshim.settings import Settings


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the processes of --workers."""

    #: From 1. A worker that takes another's place has its number.
    number: int
    #: Made once, before the first fork: all show the same self-signed certificate, and take each other's TLS tickets.
    contexts: Contexts
    counters: Counters
    siblings: Siblings
    listeners: list[Listener]
    #: Of --metrics.
    metrics_listeners: list[Listener]
    #: The reading end of a pipe that nobody writes to: its end is the supervisor's.
    lifeline: int
    #: Whether it is to say what all of them would say at the start.
    is_first: bool

    def share_of(self, settings: Settings) -> Settings:
        """The settings with this worker's part of what there is once for all; the first ones take what is left."""
        return replace(settings, prewarm=(settings.prewarm + settings.workers - self.number) // settings.workers)
