"""What servers have said of statements, for all connections of a process: a Describe need not be asked twice.

A description is known by all that it depends on: who asks, with which settings in force, and the text with its declared
parameter types. What it says may be out of date at any moment, since schemas are also changed by those who do not come
this way. So it is only ever told together with the duty to verify it (`features.shapes`); what is done here to keep it
fresh only saves clients an error.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgshim.session.statements import Shape

#: Seconds for which a description is told, from when a server has last confirmed it.
LIFETIME = 30.0

#: Bytes of the longest description that is kept: some 300 columns. The texts are no longer than `sql.LONG_TEXT`.
LONGEST = 16 * 1024


class Description:
    """What a server has said of a statement.

    key -- what it depends on
    parameters -- the parameters' type OIDs, four bytes each
    messages -- ParameterDescription, and RowDescription or NoData, as they came
    shape -- the result columns; None: it returns no rows
    expires -- when it is too old to be told
    """

    __slots__ = ("expires", "key", "messages", "parameters", "shape")

    def __init__(
        self, key: Hashable, parameters: bytes, messages: bytes, shape: Shape | None, expires: float = 0.0
    ) -> None:
        self.key = key
        self.parameters = parameters
        self.messages = messages
        self.shape = shape
        self.expires = expires


#: In place of a statement's description: it was wrong, and the statement has run all the same.
OUTDATED = Description(None, b"", b"", None)


class Descriptions:
    """The descriptions that were asked for or told last, at most so many; the one not used for longest goes first.

    clock -- seconds, from any moment on
    """

    __slots__ = ("_clock", "_descriptions", "_most", "generation", "hits")

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._descriptions: OrderedDict[Hashable, Description] = OrderedDict()
        #: Changes with each sign that a schema has changed: what was asked before it is not kept.
        self.generation = 0
        #: How many Describes were answered from here.
        self.hits = 0

    def __len__(self) -> int:
        return len(self._descriptions)

    def find(self, key: Hashable) -> Description | None:
        """The description, unless it is not known or too old."""
        found = self._descriptions.get(key)
        if found is not None and found.expires <= self._clock():
            del self._descriptions[key]
            return None
        return found

    def note_told(self, description: Description) -> None:
        """A client has been told this."""
        self.hits += 1
        self._descriptions.move_to_end(description.key)

    def keep(self, description: Description, generation: int) -> None:
        """A server has said this when asked in that generation."""
        if generation != self.generation or len(description.messages) > LONGEST:
            return
        description.expires = self._clock() + LIFETIME
        self._descriptions[description.key] = description
        self._descriptions.move_to_end(description.key)
        if len(self._descriptions) > self._most:
            self._descriptions.popitem(last=False)

    def confirm(self, description: Description) -> None:
        """A server has just said the same again."""
        if self._descriptions.get(description.key) is description:
            description.expires = self._clock() + LIFETIME

    def drop(self, description: Description) -> None:
        """A server has refused the statement."""
        self.generation += 1
        if self._descriptions.get(description.key) is description:
            del self._descriptions[description.key]

    def forget(self) -> None:
        """A schema may be changing, or has changed: whatever is known may be wrong."""
        self.generation += 1
        self._descriptions.clear()
