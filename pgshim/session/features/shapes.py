"""Result shapes: a statement that no longer returns what the client was told must not be decoded as if it did.

PostgreSQL refuses a prepared statement whose result columns have changed ("cached plan must not change result type",
0A000, RevalidateCachedQuery). A statement that is parsed anew returns its new columns without a word, and a driver that
decodes by an earlier Describe reads garbage. So where a statement that the client has described is brought to a server
again, it is described there too, ahead of the Bind, and compared.

When it has changed, the batch must fail:

- its Sync has not gone up: it fails on the server, and that is all;
- it has, and the transaction goes on: the client gets 0A000, the block is made to fail, and what was sent behind it
  fails for the client as well (nothing that could end the transaction was let past);
- it has, and the server has committed: 0A000 if provably nothing was done, so that a driver may try again; else 40003.
"""

from __future__ import annotations

from functools import partial

from pgshim.protocol import hot
from pgshim.session.conversation import BAD_PARSE, Conversation
from pgshim.session.descriptions import OUTDATED, Description
from pgshim.session.outstanding import FAKE, SKIP, WATCH, Failure, Kind, Owed
from pgshim.session.statements import Statement

_PARAMETER_DESCRIPTION, _ROW_DESCRIPTION, _ERROR = b"tTE"

#: The routine in which a Bind fails that has format codes for another number of columns.
_OTHER_COLUMNS = b"\0RPortalSetResultFormat\0"

CHANGED = hot.error_response(
    "ERROR", b"0A000", "cached plan must not change result type", routine=b"RevalidateCachedQuery"
)

def _committed(what: str) -> bytes:
    return hot.error_response(
        "ERROR",
        b"40003",
        f"the statement was executed, but its {what} are no longer those that were described",
        "A schema change came between the statement's preparation and this execution. It has been committed; only its "
        "result could not be given. Prepare the statement again before the next execution, and do not repeat this one "
        "blindly.",
    )


COMMITTED = _committed("result columns")
#: The same for a statement that was described to another client.
COMMITTED_UNVERIFIED = _committed("parameters or result columns")
ABORTED = hot.error_response(
    "ERROR", b"25P02", "current transaction is aborted, commands ignored until end of transaction block"
)


def replay_for_bind(s: Conversation, statement: Statement) -> bool:
    """Bring a statement to the server, and have it compared; True when it is."""
    if statement.unverified is not None:
        _replay_unverified(s, statement, statement.unverified)
        return True
    s.replay(statement)
    if statement.told is None or not statement.text.verdict.has_result_check:
        return False
    s.send(hot.DESCRIBE_UNNAMED, _verification(s, statement))
    return True


def replay_for_describe(s: Conversation, statement: Statement) -> None:
    """Bring a statement to the server that the client asks to be described, with the parameter types that it knows."""
    if statement.unverified is not None:
        _replay_unverified(s, statement, statement.unverified)
    else:
        s.replay(statement)


def is_verified(statement: Statement) -> bool:
    """Whether a replay of it is compared."""
    is_told = statement.told is not None or statement.unverified is not None
    return is_told and statement.text.verdict.has_result_check


def _replay_unverified(s: Conversation, statement: Statement, told: Description) -> None:
    """Bring a statement to the server of which the client was told what another one had been.

    With the client's own parameter types first: the ones it was told would hide that they have changed.
    """
    if told is OUTDATED and s.status != hot.IN_FAILED_BLOCK:
        s.send(BAD_PARSE, Owed(Kind.PARSE, SKIP, error=CHANGED))
        s.slot = statement
        return
    own = statement.text.upstream_parse
    check = _Check(s, statement, told)
    s.verifies = True
    s.counts.replays += 1
    s.send(own, Owed(Kind.PARSE, SKIP, edit=check.on_error))
    s.send(hot.DESCRIBE_UNNAMED, Owed(Kind.VERIFICATION, WATCH, watch=check))
    s.slot = statement
    if statement.replay != own:
        s.replay(statement)
        if statement.told is not None:
            s.send(hot.DESCRIBE_UNNAMED, _verification(s, statement))


class _Check:
    """Reads what a server says of a statement of which the client was told what another one had been."""

    __slots__ = ("_conversation", "_has_same_parameters", "_statement", "_told")

    def __init__(self, s: Conversation, statement: Statement, told: Description) -> None:
        self._conversation = s
        self._statement = statement
        self._told = told
        self._has_same_parameters = False

    def __call__(self, type_code: int, message: bytes) -> bytes:
        """Read the description; the client does not see it."""
        s, told = self._conversation, self._told
        if type_code == _PARAMETER_DESCRIPTION:
            self._has_same_parameters = hot.read_parameter_oids(message, 0, len(message)) == told.parameters
            return b""
        shape = hot.read_shape(message, 0, len(message))[1] if type_code == _ROW_DESCRIPTION else None
        if self._has_same_parameters and shape == (told.shape.key if told.shape is not None else None):
            self._become(None)
            if s.descriptions is not None and s.status == hot.IDLE:
                s.descriptions.confirm(told)
            return b""
        if _fail_batch(s, COMMITTED_UNVERIFIED).in_autocommit is COMMITTED_UNVERIFIED:
            self._become(OUTDATED)
        return b""

    def _become(self, unverified: Description | None) -> None:
        if self._statement.unverified is self._told:
            self._statement.unverified = unverified

    def on_error(self, type_code: int, message: bytes) -> bytes:
        """The Parse has failed: as the client's own has not, so it gets the error now."""
        descriptions = self._conversation.descriptions
        if type_code == _ERROR and b"\0C25P02\0" not in message and descriptions is not None:
            descriptions.drop(self._told)
        return message


def _verification(s: Conversation, statement: Statement) -> Owed:
    s.verifies = True
    return Owed(Kind.VERIFICATION, WATCH, watch=partial(_compare, s, statement))


def expect_verification(s: Conversation, statement: Statement) -> None:
    """The Describe of `replay_for_bind` has gone up."""
    s.outstanding.append(_verification(s, statement))


def relies_on_portal(statement: Statement) -> bool:
    """Whether the client may decode by what it was told of an earlier portal, as PgJDBC does; most ask each time."""
    told = statement.told_of_portal
    return told is not None and statement.told is None and statement.text.verdict.has_result_check


def is_plainly_bound(statement: Statement, is_described: bool) -> bool:
    """Whether the Bind of a statement that is brought to the server goes up with its own result formats.

    And whether no Describe of pgshim's own has to follow it.
    """
    if statement.unverified is not None:
        return False
    if statement.told is not None:
        return statement.text.verdict.is_pure
    return statement.told_of_portal is None or (is_described and statement.text.verdict.is_pure)


def verify_portal(s: Conversation, portal: bytes, statement: Statement) -> None:
    """Ahead of the Execute of a portal that the client has not described: what it is, for a comparison."""
    s.undescribed.discard(portal)
    s.send(hot.describe_portal(portal), _verification(s, statement))


def as_changed(_: int, error: bytes) -> bytes:
    """The error of a Bind of such a portal; a server sees that the columns have changed before it counts formats."""
    return CHANGED if _OTHER_COLUMNS in error else error


#: The Bind of a portal whose columns the client may believe to know.
BIND_RELIANT = Owed(Kind.BIND, edit=as_changed)


def awaits_description(s: Conversation, statement: Statement) -> bool:
    """Whether a Bind has to wait for what the client is about to be told: it may have changed since it was asked."""
    return (
        not s.is_pure
        and s.slot is not statement
        and statement.text.verdict.has_result_check
        and any(owed.described is statement for owed in s.outstanding)
    )


def _compare(s: Conversation, statement: Statement, type_code: int, message: bytes) -> bytes:
    """Read the server's description; the client does not see it."""
    if type_code == _PARAMETER_DESCRIPTION:
        return b""
    told = statement.told or statement.told_of_portal
    shape = hot.read_shape(message, 0, len(message))[1] if type_code == _ROW_DESCRIPTION else None
    if told is not None and shape == told.key:
        told.description = message
    elif told is not None:
        _fail_batch(s)
    return b""


def _fail_batch(s: Conversation, committed: bytes = COMMITTED) -> Failure:
    """The batch at the head of the queue fails for the client; see the top of this module."""
    if s.descriptions is not None:
        s.descriptions.forget()  # A client that prepares anew is to be told what holds now.
    queue = s.outstanding
    sync = next((owed for owed in queue if owed.kind is Kind.SYNC), None)
    failure = Failure(CHANGED, CHANGED if sync is None or sync.is_pure else committed)
    if sync is None and not s.is_skipping:
        s.raise_error(CHANGED)
    _mark_failing(s, failure, is_one_batch=True)
    return failure


def _mark_failing(s: Conversation, failure: Failure, *, is_one_batch: bool) -> None:
    """Keep from the client what is still to come: of this batch, or of all that went up."""
    queue = s.outstanding
    has_begun = is_one_batch
    for index, owed in enumerate(queue):
        if owed.kind is Kind.VERIFICATION and is_one_batch and index == 0:
            continue
        if owed.kind is Kind.LOCAL_SYNC or (owed.action == FAKE and not has_begun) or owed.error == b"":
            continue
        queue[index] = _failing(owed, failure)
        has_begun = True
        if owed.has_ready:
            if is_one_batch:
                break
            failure = Failure(ABORTED, ABORTED)
            has_begun = False
    s.forget_slot()
    s.statements.forget_pending(queue.changes())


def _failing(owed: Owed, failure: Failure) -> Owed:
    """The same reply, not for the client's eyes. What pgshim would have answered itself is skipped with the rest."""
    if owed.action == FAKE:
        return Owed(Kind.LOCAL, FAKE)
    error = failure.in_block if owed.error else None
    return Owed(owed.kind, WATCH if owed.has_ready else SKIP, failure=failure, error=error)


def error_of_failing(owed: Owed, failure: Failure, error: bytes) -> bytes:
    """The ErrorResponse for a batch that fails anyway, now that the server has failed it: nothing was committed."""
    failure.is_told = True
    if owed.error is not None:
        return owed.error
    is_counted = b"C08P01\0" in error  # The Bind had a format code for each column that the client was told.
    is_early = owed.kind is Kind.PARSE or is_counted
    return failure.in_block if is_early or failure.in_autocommit == failure.in_block else error


def ready_of_failing(s: Conversation, failure: Failure) -> bytes:
    """What the client gets for the ReadyForQuery of such a batch."""
    is_in_block = s.status == hot.IN_BLOCK
    if is_in_block:
        s.status = hot.IN_FAILED_BLOCK
        if failure.in_block is not ABORTED:
            _fail_block(s)
    s.counts.note_ready(is_in_block=s.status != hot.IDLE)
    if failure.is_told:
        return hot.READY[s.status]
    error = failure.in_block if is_in_block else failure.in_autocommit
    s.counts.note_error(error)
    return error + hot.READY[s.status]


def _fail_block(s: Conversation) -> None:
    """Fail the transaction upstream, and for the client all that went up in the meantime."""
    _mark_failing(s, Failure(ABORTED, ABORTED), is_one_batch=False)
    if s.is_open:
        s.raise_error(ABORTED)
    else:
        s.send(BAD_PARSE, Owed(Kind.PARSE, SKIP, error=b""))
        s.sync_unseen()
    s.forget_slot()
