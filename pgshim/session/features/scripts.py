"""A Query whose text goes up changed: with settings ahead of it, with a SET in it made a SET LOCAL, with a statement in
it that pgshim carries out itself.

The server answers a Query statement by statement, each with one CommandComplete. So the text is composed of steps, one
for each statement that goes up, and what the client gets of an answer is the step's business. A position in an error is
traced back to the client's text.
"""

from __future__ import annotations

from collections.abc import Callable

from pgshim.errors import UpstreamViolation
from pgshim.protocol import hot
from pgshim.session.outstanding import Effect

_ROW_DESCRIPTION, _COMMAND_COMPLETE, _ERROR, _NOTICE, _READY, _RUN = *b"TCENZ", 0


class Step:
    """One statement that goes up.

    is_own -- pgshim's own: the client sees nothing of it
    hides_rows -- the client's, carried out in another way: it sees the CommandComplete alone
    tag -- the command tag that the client gets, if not the server's
    effect -- called once it is carried out
    rows -- where its rows are kept
    is_begin -- nothing is committed behind it
    is_localized -- a SET that goes up as SET LOCAL: the warning about that is not the client's
    error -- what the client gets for the division by zero that stands for it
    """

    __slots__ = ("effect", "error", "hides_rows", "is_begin", "is_localized", "is_own", "rows", "tag")

    def __init__(
        self,
        *,
        is_own: bool = False,
        hides_rows: bool = False,
        is_begin: bool = False,
        is_localized: bool = False,
        tag: bytes = b"",
        effect: Effect | None = None,
        rows: bytearray | None = None,
        error: bytes | None = None,
    ) -> None:
        self.is_own = is_own
        self.hides_rows = hides_rows or is_own
        self.is_begin = is_begin
        self.is_localized = is_localized
        self.tag = tag
        self.effect = effect
        self.rows = rows
        self.error = error


def retag(tag: bytes, type_code: int, message: bytes) -> bytes | None:
    """A `Watch`: the client gets this command tag instead of the server's."""
    return hot.command_complete(tag) if type_code == _COMMAND_COMPLETE else None


FORWARDED = Step()
OWN = Step(is_own=True)

#: A statement that fails.
FAILURE = b"SELECT 1/0"


class Script:
    """The text as it goes up, its steps, and the reading of the answers."""

    __slots__ = ("_has_failed", "_index", "_is_behind", "_on_error", "_parts", "_position", "_sql", "hides_ready",
                 "rows", "steps", "withheld")  # fmt: skip

    def __init__(self, sql: bytes) -> None:
        self._sql = sql
        #: (text, where it stands in the client's; -1: it is pgshim's), in order.
        self._parts: list[tuple[bytes, int]] = []
        self._position = 0
        #: Whether the next of pgshim's own comes behind a statement, rather than ahead of one.
        self._is_behind = False
        self._index = 0
        self._has_failed = False
        self._on_error: Callable[[list[Step], int], None] | None = None
        self.steps: list[Step] = []
        #: Rows of the step that is being answered.
        self.rows = bytearray()
        #: Whether the ReadyForQuery is not the client's either.
        self.hides_ready = False
        #: The client's last CommandComplete, if it may only be given once what is pgshim's own has been carried out.
        self.withheld = b""

    # Composing it.

    def copy(self, end: int, step: Step | None = None) -> None:
        """The client's text goes up to here as it is; with a `step`, a statement ends here."""
        if end > self._position:
            self._parts.append((self._sql[self._position : end], self._position))
            self._position = end
        if step is not None:
            self.steps.append(step)
        self._is_behind = step is not None

    def put(self, sql: bytes, step: Step = OWN) -> None:
        """A statement of pgshim's own goes here."""
        self._parts.append((b";" + sql if self._is_behind else sql + b";", -1))
        self.steps.append(step)

    def replace(self, sql: bytes, end: int, step: Step) -> None:
        """A statement of the client's that ends here goes up in another form: if it fits, it takes the same place."""
        size = len(self._sql[self._position : end].decode("utf-8", "replace"))
        self._parts.append((sql.ljust(size), self._position if len(sql) <= size else -1))
        self._position = end
        self.steps.append(step)
        self._is_behind = True

    def insert(self, sql: bytes, position: int) -> None:
        """Something goes in here, and the client's text goes on behind `position`."""
        self._parts.append((sql, -1))
        self._position = position

    def on_error(self, act: Callable[[list[Step], int], None]) -> None:
        """What is done on an error; given the steps, and how many of them have been carried out."""
        self._on_error = act

    @property
    def is_changed(self) -> bool:
        """Whether anything but the client's text goes up, or anything is to be done about the answers."""
        return any(at < 0 for _, at in self._parts) or any(step is not FORWARDED for step in self.steps)

    def text(self) -> bytes:
        """The whole."""
        self.copy(len(self._sql))
        return b"".join(text for text, _ in self._parts)

    # Reading the answers.

    def __call__(self, type_code: int, message: bytes) -> bytes | None:
        """See `outstanding.Watch`. Raises UpstreamViolation."""
        if type_code == _READY:
            if self._index < len(self.steps) and not self._has_failed:
                raise UpstreamViolation("the upstream sent a ReadyForQuery before the end of a Query")
            return b"" if self.hides_ready else None
        step = self.steps[self._index] if self._index < len(self.steps) else FORWARDED
        if type_code == _COMMAND_COMPLETE:
            return self._complete(step, message)
        if type_code == _ERROR:
            self._has_failed = True
            if self._on_error is not None:
                self._on_error(self.steps, self._index)
            is_own = step.error is not None and b"\0C22012\0" in message
            return step.error if is_own else None
        if step.is_own or (step.hides_rows and type_code in (_ROW_DESCRIPTION, _RUN)):
            return b""
        return None

    def _complete(self, step: Step, message: bytes) -> bytes | None:
        self._index += 1
        if step.rows is not None:
            step.rows += self.rows
        self.rows.clear()
        if step.effect is not None:
            step.effect(message)
        is_last = self._index >= len(self.steps)
        if step.is_own:
            return self._released() if is_last else b""
        message = hot.command_complete(step.tag) if step.tag else message
        if step.is_begin:
            return message
        if all(later.is_own for later in self.steps[self._index :]) and not (is_last and not self.hides_ready):
            # A server commits before it says that the last statement has been carried out.
            self.withheld = message
            return b""
        return message

    def _released(self) -> bytes:
        if self.hides_ready:
            return b""
        withheld, self.withheld = self.withheld, b""
        return withheld

    def edit(self, type_code: int, message: bytes) -> bytes:
        """See `outstanding.Edit`: positions are in the text that went up."""
        step = self.steps[self._index] if self._index < len(self.steps) else FORWARDED
        if type_code == _NOTICE and (step.is_own or (step.is_localized and b"\0C25P01\0" in message)):
            return b""
        return hot.with_position(message, self._trace)

    def _trace(self, position: int) -> int | None:
        """Where the client's text has what stands at this position (characters from 1) of the one that went up."""
        before = 0
        for text, at in self._parts:
            size = len(text.decode("utf-8", "replace"))
            if position <= before + size:
                if at < 0:
                    return None
                return position - before + len(self._sql[:at].decode("utf-8", "replace"))
            before += size
        return len(self._sql.decode("utf-8", "replace")) + 1
