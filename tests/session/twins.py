"""A session that goes the short way where it can (`pgshim.session.express`), beside one that always goes the long way.

The other one is traced besides, so that each story also says that a trace changes nothing. Both are told the same; they
must say the same, fail the same, and be in the same state. Every story of this folder is told to such a pair.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

from pgshim.errors import PgshimError
from pgshim.protocol.framing import FrameRules
from pgshim.session.client_settings import ClientSettings
from pgshim.session.conversation import Limits
from pgshim.session.counts import Counts
from pgshim.session.descriptions import Descriptions
from pgshim.session.express import Express
from pgshim.session.refusal import Policy
from pgshim.session.session import Session
from pgshim.session.statements import SharedTexts
from pgshim.session.trace import Trace
from pgshim.session.traced import TracedSession

#: What only the short way has, what is the same object for both, what is compared by its bytes, and what only means
#: something in the middle of a message or of the reading of one buffer.
_APART = {
    *(*Express.__slots__, *TracedSession.__slots__),
    *("texts", "policy", "limits", "_rules", "to_client", "to_upstream", "passes_rest", "descriptions", "lead"),
}


class TwinDescriptions(Descriptions):
    """What sessions share with each other, and their twins with theirs."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        super().__init__(most, clock)
        self.twin = Descriptions(most, clock)
        self.twin_texts = SharedTexts()


class TwinSession(Session):
    """The pair, as one session."""

    def __init__(
        self, limits: Limits, texts: SharedTexts, rules: FrameRules, settings: ClientSettings, policy: Policy,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(limits, texts, rules, settings, policy, **options)
        shared = options.get("descriptions")
        twins = SharedTexts() if shared is None else shared.twin_texts
        options["descriptions"] = None if shared is None else shared.twin
        #: The trace of the twin.
        self.lines: list[str] = []
        trace = Trace(self.lines.append)
        self.twin = TracedSession(limits, twins, rules, deepcopy(settings), policy, trace=trace, **options)
        #: How many reads went the short way.
        self.passed = self._compared = 0

    def receive_from_client(self, data: bytes) -> None:
        self._do(lambda session: Session.receive_from_client(session, data), self.pass_from_client, data)

    def receive_from_upstream(self, data: bytes) -> None:
        self._do(lambda session: Session.receive_from_upstream(session, data), self.pass_from_upstream, data)

    def _do(self, act: Callable[[Session], None], short: Callable[[bytes], bytes | None], data: bytes) -> None:
        expected = failure(lambda: act(self.twin))
        output = short(data) if data else None
        if output is None:
            error = failure(lambda: act(self))
            assert repr(error) == repr(expected)
        else:
            self.passed += 1
            (self.to_client if short == self.pass_from_upstream else self.to_upstream).append(output)
            assert expected is None
        self._compare()
        if output is None and error is not None:
            raise error

    def take_client_output(self) -> bytes:
        return self._same(Session.take_client_output(self), self.twin.take_client_output())

    def take_upstream_output(self) -> bytes:
        return self._same(Session.take_upstream_output(self), self.twin.take_upstream_output())

    @staticmethod
    def _same(ours: bytes, theirs: bytes) -> bytes:
        assert ours == theirs
        return ours

    def abandon(self) -> None:
        super().abandon()
        self.twin.abandon()
        self._compare()

    def end_idle_exchange(self) -> None:
        super().end_idle_exchange()
        self.twin.end_idle_exchange()

    def _compare(self) -> None:
        for name in ("is_busy", "is_answering", "is_idle", "is_inside_reply", "is_pinning"):
            assert getattr(self, name) == getattr(self.twin, name), name
        assert b"".join(self.to_client) == b"".join(self.twin.to_client)
        assert b"".join(self.to_upstream) == b"".join(self.twin.to_upstream)
        if self.passed > self._compared and not self.awaits_express:
            self._compared = self.passed
            ours, theirs = state(self), state(self.twin)
            assert ours == theirs, {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def failure(act: Callable[[], None]) -> PgshimError | None:
    try:
        act()
    except PgshimError as error:
        return error
    return None


def slots(value: object) -> list[str]:
    return [name for each in type(value).__mro__ for name in vars(each).get("__slots__", ()) if name != "__weakref__"]


def state(value: object) -> dict[str, Any]:
    """All that is known of an object with slots, in values that can be compared."""
    return {name: shown(getattr(value, name)) for name in slots(value) if name not in _APART}


def shown(value: Any) -> Any:
    if isinstance(value, Session):
        return None
    if isinstance(value, partial):
        return value.func, [shown(each) for each in value.args]
    if isinstance(value, dict):
        return {key: shown(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, deque)):
        return [shown(each) for each in value]
    if isinstance(value, Exception):
        return repr(value)
    if isinstance(value, Counts):
        return {name: number for name, number in value.totals().items() if number}
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    if hasattr(type(value), "__slots__") and type(value).__module__.startswith("pgshim"):
        return type(value).__name__, state(value)
    return value
