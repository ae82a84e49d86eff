"""The replies that upstream owes, in pipeline order.

Theory. A PostgreSQL server answers messages strictly in the order in which they came. So every message that goes up and
that has a reply of its own adds one `Owed` to the end of one queue, and every backend message belongs to the queue's
head: it completes the head, belongs within it, or the upstream is out of order. What is to become of a reply is the
head's `action`, decided when the message was sent:

    FORWARD   the client gets it as it came
    SKIP      pgshim asked for it: the client never sees it
    WATCH     a feature reads it on its way and says what the client gets (`Owed.watch`)
    FAKE      nothing was sent: the client gets `Owed.answer` when all that is in front of it has been answered

An ErrorResponse in answer to an extended-query message makes the server skip to the next Sync; so all that is owed up
to the next SYNC is dropped with it. An `Owed` that carries an `error` turns the server's error into that one. What else
is known of messages in flight (`Conversation.copy_query`, `ended_copies`, `verifies`) only saves a look through the
queue, or counts copy data, which no reply answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from pgshim.protocol import hot
from pgshim.session.replies import COMPLETES as COMPLETES
from pgshim.session.replies import HAS_READY, REPLIES
from pgshim.session.replies import Kind as Kind

if TYPE_CHECKING:
    from pgshim.session.statements import Change, Statement

FORWARD, SKIP, WATCH, FAKE = range(4)

class Withheld(Protocol):
    """Something of which the last CommandComplete waits for a COMMIT."""

    withheld: bytes


#: Reads a reply on its way: (type code, whole message) -> what the client gets instead (None: the message as it is).
#: Asked with type code 0 and no message, it says whether a run of DataRow or CopyData passes.
Watch = Callable[[int, bytes], "bytes | None"]


#: Turns an ErrorResponse or NoticeResponse (type code, whole message) into what the client gets; empty: nothing.
Edit = Callable[[int, bytes], bytes]

#: Given the CommandComplete, notes what the statement has done.
Effect = Callable[[bytes], None]


#: Bytes of rows that are kept: the value of a setting.
_MOST_ROWS = 512 * 1024


class Owed:
    """One reply, or group of replies, that upstream owes; see the top of this module."""

    __slots__ = (
        "action",
        "answer",
        "change",
        "described",
        "edit",
        "effect",
        "error",
        "failure",
        "has_ready",
        "is_pure",
        "kind",
        "may_copy",
        "may_copy_in",
        "replies",
        "rows",
        "watch",
        "wrapped",
    )

    def __init__(
        self,
        kind: Kind,
        action: int = FORWARD,
        *,
        change: Change | None = None,
        watch: Watch | None = None,
        edit: Edit | None = None,
        effect: Effect | None = None,
        rows: bytearray | None = None,
        wrapped: Withheld | None = None,
        error: bytes | None = None,
        answer: bytes = b"",
        may_copy: bool = False,
        may_copy_in: bool = False,
        is_pure: bool = False,
        failure: Failure | None = None,
        described: Statement | None = None,
    ) -> None:
        self.kind = kind
        self.action = action
        self.replies = REPLIES[kind]
        self.has_ready = kind in HAS_READY
        #: What becomes of the client's statements once this is answered.
        self.change = change
        self.watch = watch
        #: What the client gets for an error or a notice in answer to this.
        self.edit = edit
        #: What becomes of the client's settings, or of its transaction, once this is answered.
        self.effect = effect
        #: SYNC: it ends a block of pgshim's own, and this is what the block is for.
        self.wrapped = wrapped
        #: Where the rows are kept that the client does not get.
        self.rows = rows
        #: The ErrorResponse that the client gets instead of the server's.
        self.error = error
        self.answer = answer
        #: Whether it may be a COPY, in or out.
        self.may_copy = may_copy or may_copy_in
        #: Whether the server may enter COPY-in mode for it.
        self.may_copy_in = may_copy_in
        #: SYNC: whether all that was executed since the one before provably had no effect.
        self.is_pure = is_pure
        #: The batch that this belongs to has to fail, though the server does not know it yet.
        self.failure = failure
        #: DESCRIBE_STATEMENT: the statement whose description the client is waiting for.
        self.described = described

    def keep_rows(self, buffer: bytes, start: int, end: int) -> None:
        """Keep rows that the client does not get; beyond any that was asked for, none of them."""
        if self.rows is not None:
            self.rows += buffer[start:end]
            if len(self.rows) > _MOST_ROWS:
                self.rows.clear()
                self.rows = None

    def __repr__(self) -> str:
        return f"<Owed {self.kind.name} {('FORWARD', 'SKIP', 'WATCH', 'FAKE')[self.action]}>"


class Failure:
    """A batch that must fail for the client: the errors it gets, once it is known how the server ended it.

    in_block -- when the transaction goes on (ReadyForQuery says T): it is made to fail
    in_autocommit -- when the server has committed
    """

    __slots__ = ("in_autocommit", "in_block", "is_told")

    def __init__(self, in_block: bytes, in_autocommit: bytes) -> None:
        self.in_block = in_block
        self.in_autocommit = in_autocommit
        #: Whether the client has had an ErrorResponse for this batch.
        self.is_told = False


_ERROR = ord("E")


def CHANGES_STATUS(message: bytes) -> None:  # noqa: N802  # a marker, told by identity
    """The effect of what begins or ends a transaction block and changes no setting."""


def edit_own(type_code: int, message: bytes) -> bytes:
    """Of what pgshim itself sent: notices are not the client's, and an error has no place in the client's text."""
    return hot.without_position(message) if type_code == _ERROR else b""


def edit_replayed(type_code: int, message: bytes) -> bytes:
    """Of a statement that the client has sent before: its notices have been given then."""
    return message if type_code == _ERROR else b""


class Nothing:
    """A block in which nothing is withheld."""

    withheld = b""


NOTHING = Nothing()


# What has no state of its own is shared by all connections.
PARSE_OWN = Owed(Kind.PARSE, SKIP, edit=edit_own)
BIND_OWN = Owed(Kind.BIND, SKIP, edit=edit_own)
EXECUTE_OWN = Owed(Kind.EXECUTE, SKIP, edit=edit_own)
PARSE_SKIPPED = Owed(Kind.PARSE, SKIP)
PARSE_REPLAYED = Owed(Kind.PARSE, SKIP, edit=edit_replayed)
BIND = Owed(Kind.BIND)
DESCRIBE_PORTAL = Owed(Kind.DESCRIBE_PORTAL)
EXECUTE = Owed(Kind.EXECUTE)
BIND_SKIPPED = Owed(Kind.BIND, SKIP)
EXECUTE_COPY_IN = Owed(Kind.EXECUTE, WATCH, may_copy_in=True)
EXECUTE_COPY_OUT = Owed(Kind.EXECUTE, WATCH, may_copy=True)
CLOSE = Owed(Kind.CLOSE)
CLOSE_OWN = Owed(Kind.CLOSE, SKIP)
QUERY = Owed(Kind.QUERY)
#: One whose COPY has failed; its ReadyForQuery is still to come.
QUERY_COPIED = Owed(Kind.QUERY, may_copy=True)
FUNCTION_CALL = Owed(Kind.FUNCTION_CALL)
SYNC = Owed(Kind.SYNC)
#: Of a batch with a COPY in it, which may have been answered before.
SYNC_COPY = Owed(Kind.SYNC, may_copy=True)
SYNC_PURE = Owed(Kind.SYNC, is_pure=True)
SYNC_SKIPPED = Owed(Kind.SYNC, SKIP)
COPY_DATA = Owed(Kind.COPY_DATA, FAKE)
LOCAL_SYNC = Owed(Kind.LOCAL_SYNC, FAKE)


class Outstanding(deque[Owed]):
    """The queue."""

    __slots__ = ()

    def owes_ready(self) -> bool:
        """Whether a ReadyForQuery is still to come."""
        return any(owed.has_ready for owed in reversed(self))  # Mostly the last one.

    def has_unverified(self) -> bool:
        """Whether something was executed of which it is not known yet that it may stand."""
        return any(owed.kind is Kind.VERIFICATION or owed.failure is not None for owed in self)

    def drop_to_sync(self) -> bool:
        """Drop what the server skips after an error; False when its Sync has not been sent yet."""
        while self:
            if self[0].kind is Kind.SYNC:
                return True
            self.popleft()
        return False

    def drop_swallowed_syncs(self, *, has_failed: bool) -> None:
        """Drop the Syncs that the server read, and ignored, while the head was in COPY-in mode.

        Those are the ones in front of the end of the data (the last COPY_DATA). When the COPY failed, how much the
        server had read is not known; an error in the data comes behind its beginning (the first COPY_DATA).
        """
        markers = [index for index, owed in enumerate(self) if owed.kind is Kind.COPY_DATA]
        if not markers:
            return
        last = markers[0] if has_failed else markers[-1]
        swallowed = (Kind.SYNC, Kind.LOCAL_SYNC, Kind.COPY_DATA)
        kept = [owed for index, owed in enumerate(self) if index > last or owed.kind not in swallowed]
        self.clear()
        self.extend(kept)

    def changes_settings(self) -> bool:
        """Whether something in the queue may change the client's settings."""
        return any(owed.effect is not None and owed.effect is not CHANGES_STATUS for owed in self)

    def changes_status(self) -> bool:
        """Whether something in the queue may change the client's settings, or begin or end a transaction block."""
        return any(owed.effect is not None for owed in self)

    def has_copy_data(self) -> bool:
        """Whether copy data has gone up for something that is still to be answered."""
        return COPY_DATA in self and any(owed.may_copy_in for owed in self)

    def may_copy(self) -> bool:
        """Whether a COPY may be under way, or come to be, for something in the queue."""
        return any(owed.may_copy for owed in self)

    def ends_with_query(self) -> bool:
        """Whether the last thing sent is a Query or a FunctionCall."""
        last = next((owed.kind for owed in reversed(self) if owed.kind is not Kind.LOCAL), None)
        return last in (Kind.QUERY, Kind.FUNCTION_CALL)


    def changes(self) -> Iterator[Change]:
        """The changes to the client's statements that are not settled yet, oldest first."""
        return (owed.change for owed in self if owed.change is not None)
