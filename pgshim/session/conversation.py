"""The verbs by which features act on the state of a session (`pgshim.session.state`).

Features (`pgshim.session.features`) never see a socket or a buffer that goes to one.
"""

from __future__ import annotations

from functools import partial

from pgshim.protocol import hot
from pgshim.session.encodings import to_utf8
from pgshim.session.outstanding import (
    BIND_OWN,
    CHANGES_STATUS,
    CLOSE_OWN,
    EXECUTE_OWN,
    FAKE,
    LOCAL_SYNC,
    NOTHING,
    PARSE_OWN,
    PARSE_REPLAYED,
    SKIP,
    SYNC,
    SYNC_COPY,
    SYNC_PURE,
    SYNC_SKIPPED,
    WATCH,
    Kind,
    Owed,
    Withheld,
    edit_own,
)
from pgshim.session.state import Limits as Limits
from pgshim.session.state import State
from pgshim.session.statements import FINISHED, GONE, Change, Statement

#: A Parse that every server refuses with a syntax error: it makes the server fail where pgshim has to.
BAD_TEXT = b"pgshim raises an error of its own here"
BAD_PARSE = hot.parse_unnamed(BAD_TEXT + b"\0\0\0")

#: Bind and Execute of the unnamed statement and portal, without parameters, all rows.
BIND_UNNAMED = hot.bind_unnamed(b"", 6) + bytes(6)
EXECUTE_UNNAMED = hot.message(ord("E"), b"\0" + bytes(4))
#: What the unnamed portal is bound to when nothing more can come from it.
_NOT_RUNNING = (None, FINISHED, GONE)

_OWN_PORTAL = b"pgshim's own\0"
_BIND_OWN_PORTAL = hot.message(ord("B"), _OWN_PORTAL + bytes(7))
_EXECUTE_OWN_PORTAL = hot.message(ord("E"), _OWN_PORTAL + bytes(4))
_CLOSE_OWN_PORTAL = hot.message(ord("C"), b"P" + _OWN_PORTAL)

#: A division by zero: no syntax error, so that a failed block refuses it as it does everything.
_FAILING_QUERY = hot.query(b"SELECT 1/0")
_ROLLBACK = hot.query(b"ROLLBACK")

_ERROR, _READY = b"EZ"

def _replace_failure(error: bytes, type_code: int, message: bytes) -> bytes | None:
    return error if type_code == _ERROR and b"\0C22012\0" in message else None


def only_ready(type_code: int, message: bytes) -> bytes | None:
    """A `Watch` of a Query of pgshim's own whose ReadyForQuery is the client's."""
    return None if type_code == _READY else b""


class Conversation(State):
    """The verbs by which features act on a session."""

    __slots__ = ()

    @property
    def has_unverified(self) -> bool:
        """Whether something was executed of which it is not known yet that it may stand."""
        return self.verifies and self.outstanding.has_unverified()

    @property
    def is_pinning(self) -> bool:
        """Whether a pooler holds a server for nothing but Parse and Describe, all answered."""
        return self.is_open and self.is_plain and self.status == hot.IDLE and not self.outstanding

    # What features do.

    def send(self, message: bytes, owed: Owed) -> None:
        """Send a message of the extended-query protocol up."""
        if self.begin:
            self.begin_now()
        self.to_upstream.append(message)
        self.outstanding.append(owed)
        self.is_open = True
        self.is_unflushed = True

    def send_query(self, message: bytes, owed: Owed) -> None:
        """Send a Query or FunctionCall up: a batch of its own, unless one is open."""
        if self.begin:
            self.begin_now()
            self.riding = owed
            self.is_open = False
        elif self.is_pinning:
            # From PostgreSQL 18 on an open exchange would keep the Query's transaction open.
            self.sync_unseen()
        self.to_upstream.append(message)
        self.outstanding.append(owed)
        self.is_unflushed = False
        self.slot = self.slot_at_sync = None
        if self.portals:
            self.portals.pop(b"", None)  # It has one of its own.
        self.is_plain = False
        self.is_pure = False
        if not self.is_open:
            self.start_batch()
        self.batch += 1

    def begin_now(self) -> None:
        """Send the BEGIN that the client takes for done (`features.lazy_begin`), ahead of what goes up next."""
        (*statements, last), self.begin = self.begin, []
        self.awaits_begin = True
        for sql in statements:
            self.carry_out(sql)
        self.carry_out(last, Owed(Kind.EXECUTE, SKIP, edit=edit_own, effect=self._note_begin))
        self.is_in_force = True

    def _note_begin(self, message: bytes) -> None:
        self.awaits_begin = False

    def replay(self, statement: Statement) -> None:
        """Make the server's unnamed statement this one; the client does not see it."""
        self.counts.replays += 1
        self.send(statement.replay, PARSE_REPLAYED)
        self.slot = statement

    def carry_out(self, sql: bytes, owed: Owed = EXECUTE_OWN) -> None:
        """Send a statement of pgshim's own, in the transaction that is open; the client sees nothing of it."""
        self.send(hot.parse_unnamed(sql + b"\0\0\0"), PARSE_OWN)
        if self.portals.get(b"") in _NOT_RUNNING:
            self.send(BIND_UNNAMED, BIND_OWN)
            self.send(EXECUTE_UNNAMED, owed)
            self.has_own_portal = True
        else:
            # The client may have more rows to come from its own.
            self.send(_BIND_OWN_PORTAL, BIND_OWN)
            self.send(_EXECUTE_OWN_PORTAL, owed)
            self.send(_CLOSE_OWN_PORTAL, CLOSE_OWN)
        self.slot = None

    def fail_query(self, error: bytes) -> None:
        """Fail a Query or FunctionCall on the server, and give the client this ErrorResponse for it."""
        if self.is_at_rest_here and self.status == hot.IDLE:
            self.counts.note_error(error)
            self.answer_query(error, Change({b"": None}, self.batch))
        else:
            self.send_query(_FAILING_QUERY, Owed(Kind.QUERY, WATCH, watch=partial(_replace_failure, error)))

    @property
    def is_at_rest_here(self) -> bool:
        """Whether an answer of pgshim's own cannot overtake or cut through anything."""
        return not self.outstanding and (not self.is_open or self.is_plain) and not self.is_skipping

    def to_utf8(self, text: bytes) -> bytes:
        """What the server says, in UTF-8 as settings are kept."""
        return to_utf8(text, self.settings.shown(b"client_encoding", self.status) or b"")

    def ready(self) -> bytes:
        """A ReadyForQuery for the client, and ahead of it what it is to know of its settings by then."""
        news = self.settings.news(self.status) if self.settings.has_news else b""
        return news + hot.READY[self.status]

    def answer(self, message: bytes, change: Change) -> None:
        """Answer the client without upstream, in the message's place in the pipeline."""
        self.statements.announce(change)
        self.outstanding.append(Owed(Kind.LOCAL, FAKE, answer=message, change=change))
        self.give_answers()

    def define(self) -> None:
        """What goes up may change a schema: from when it runs, or from the end of its transaction."""
        if self.descriptions is not None:
            self.descriptions.forget()
            self.defines = True

    def drop_unnamed(self) -> Change | None:
        """A Query drops the unnamed statement; None where there is none."""
        if self.statements.find(b"", self.batch) is None:
            return None
        change = Change({b"": None}, self.batch)
        self.statements.announce(change)
        return change

    def answer_query(self, messages: bytes, change: Change) -> None:
        """Answer a Query without upstream, with nothing in flight."""
        self.answer(messages, change)
        self.batch += 1
        self.outstanding.append(LOCAL_SYNC)
        self.give_answers()

    def raise_error(self, error: bytes) -> None:
        """Fail the batch on the server, and give the client this ErrorResponse for it.

        An error that only the client saw would leave the server to commit what the batch has done so far.
        """
        self.send(BAD_PARSE, Owed(Kind.PARSE, SKIP, error=error))
        self.is_skipping = True

    def refuse(self, sqlstate: bytes, text: str, hint: str = "", *, routine: bytes = b"") -> bool:
        """`raise_error` from the parts of the error; True, for a message that is thereby dealt with."""
        self.raise_error(hot.error_response("ERROR", sqlstate, text, hint, routine=routine))
        return True

    def sync(self) -> None:
        """End what is open upstream with the client's Sync, or answer it if nothing is."""
        if not self.is_open and not self.outstanding and not self.is_skipping:
            batch, trip = self.trip_of_sync
            self.counts.trips[trip if batch == self.batch else "sync"] += 1
        self.batch += 1
        self.drawing.note(None)
        has_failed = self.is_skipping
        self.is_skipping = False
        if self.portals and self.status == hot.IDLE and not self.has_begun_amid:
            self.portals.clear()  # They end with the transaction.
        if not self.is_open or self.copy_query is not None:
            self.outstanding.append(LOCAL_SYNC)
            self.give_answers()
        elif self.is_wrapped:
            self.end_wrapped(NOTHING, has_failed=has_failed)
        else:
            self.send_sync(SYNC_PURE if self.is_pure else SYNC_COPY if self.has_copy else SYNC)

    def end_wrapped(self, wrapped: Withheld, *, has_failed: bool = False) -> None:
        """End what is open, a block of pgshim's own, with its COMMIT; the ReadyForQuery is the client's."""
        self.holds_all = True
        if not has_failed:
            self.portals.clear()
            self.carry_out(b"COMMIT", Owed(Kind.EXECUTE, SKIP, edit=edit_own, effect=self.end_transaction))
        self.send_sync(Owed(Kind.SYNC, effect=CHANGES_STATUS, wrapped=wrapped))

    def end_query(self) -> None:
        """End what is open upstream, for a Query of the client's that went up as extended-query messages."""
        self.batch += 1
        self.send_sync(SYNC_COPY)

    def end_transaction(self, message: bytes) -> None:
        """COMMIT, ROLLBACK or PREPARE TRANSACTION has been carried out; the tag says which."""
        self.settings.end_transaction(is_committed=not message.startswith(b"ROLLBACK", 5))

    def roll_back_wrapped(self) -> None:
        """A block of pgshim's own has failed: it ends before the client hears of it."""
        self.settings.end_transaction(is_committed=False)
        owed = Owed(Kind.QUERY, WATCH, watch=only_ready, edit=edit_own, effect=CHANGES_STATUS)
        self.send_query(_ROLLBACK, owed)

    def sync_unseen(self) -> None:
        """End what is open upstream with a Sync of pgshim's own."""
        self.send_sync(SYNC_SKIPPED)

    def send_sync(self, owed: Owed) -> None:
        """End what is open upstream."""
        if not self.to_upstream:
            # Supavisor mistakes a segment that starts with a Sync for one that a client sent while idle.
            self.to_upstream.append(hot.FLUSH)
        self.to_upstream.append(hot.SYNC)
        self.outstanding.append(owed)
        self.slot_at_sync = self.slot
        self.slot = None
        self.is_open = False
        self.is_unflushed = False
        self.start_batch()

    def end_amid_batch(self) -> None:
        """A Query amid a batch has ended the transaction: what comes behind it has waited for that."""
        self.is_open = self.is_unflushed = False
        self.start_batch()

    def flush(self) -> None:
        """Have the server answer what it was sent; nothing if it has no reason to wait."""
        if self.is_unflushed:
            self.to_upstream.append(hot.FLUSH)
            self.is_unflushed = False

    def forget_slot(self) -> None:
        """An error came: what the server's unnamed statement is cannot be told."""
        self.slot = self.slot_at_sync = None

    def give_answers(self) -> None:
        """Give the client the answers of pgshim's own whose turn has come."""
        queue = self.outstanding
        while queue and queue[0].action == FAKE:
            owed = queue.popleft()
            if owed.change is not None:
                self.statements.settle(owed.change)
            if owed.kind is Kind.LOCAL_SYNC:
                self.to_client.append(self.ready())
                self.counts.note_ready(is_in_block=self.status != hot.IDLE)
            elif owed.answer:
                self.to_client.append(owed.answer)

    def drop_to_sync(self) -> None:
        """The server skips what it was sent up to the next Sync."""
        if not self.outstanding.drop_to_sync():
            self.is_skipping = True
        self.forget_slot()
        self.statements.forget_pending(self.outstanding.changes())
