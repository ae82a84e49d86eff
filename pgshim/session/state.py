"""The state of one virtual session: every field, with its rule.

The replies that are owed are not state of their own: they are the queue (`pgshim.session.outstanding`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgshim.protocol import hot
from pgshim.session.client_settings import Call, ClientSettings
from pgshim.session.counts import Counts
from pgshim.session.descriptions import Descriptions
from pgshim.session.drawing import Drawing
from pgshim.session.outstanding import Outstanding, Owed
from pgshim.session.refusal import Policy
from pgshim.session.statements import SharedTexts, Statement, Statements

if TYPE_CHECKING:
    from pgshim.session.features.shared import Held

#: A handler of `pgshim.session.features`.
Handler = Callable[[Any, bytes, int, int, int], bool]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask a session to hold (contract: bytes; beyond it 54000 and 53400)."""

    max_message: int = 16 * 1024 * 1024
    max_statements: int = 10_000
    max_statement_bytes: int = 64 * 1024 * 1024


class State:
    """One client's conversation with one upstream connection."""

    __slots__ = (
        "awaits_begin",
        "batch",
        "begin",
        "begins_lazily",
        "copy_query",
        "counts",
        "defines",
        "descriptions",
        "drawing",
        "ended_copies",
        "has_copy",
        "has_executed",
        "has_begun_amid",
        "has_ended_amid",
        "has_own_portal",
        "handlers",
        "has_sql_prepared",
        "held",
        "holds_all",
        "identity",
        "is_copying_in",
        "is_in_force",
        "is_open",
        "is_plain",
        "is_pure",
        "is_skipping",
        "is_unflushed",
        "is_wrapped",
        "limits",
        "local_now",
        "outstanding",
        "parsed_at",
        "passes_rest",
        "policy",
        "portals",
        "ready_count",
        "riding",
        "setting_portals",
        "settings",
        "slot",
        "slot_at_sync",
        "standard_strings",
        "statements",
        "status",
        "substituted_batch",
        "texts",
        "to_client",
        "to_upstream",
        "trip_of_sync",
        "undescribed",
        "verifies",
    )

    def __init__(
        self,
        limits: Limits,
        texts: SharedTexts,
        settings: ClientSettings,
        policy: Policy,
        *,
        begins_lazily: bool,
        counts: Counts,
    ) -> None:
        self.limits = limits
        self.texts = texts
        self.settings = settings
        self.policy = policy
        self.counts = counts
        self.outstanding = Outstanding()
        self.statements = Statements()
        #: Portal name -> the statement that was bound to it. Ends with the transaction.
        self.portals: dict[bytes, Statement] = {}
        #: Portals whose columns the client is taken to know from another execution: it has not asked yet.
        self.undescribed: set[bytes] = set()
        #: Whether pgshim has used the unnamed portal since the client last bound one.
        self.has_own_portal = False
        #: The last batch in which a statement was bound that pgshim carries out itself.
        self.substituted_batch = -1
        #: The transaction status of the last ReadyForQuery.
        self.status = hot.IDLE
        #: The BEGIN that the client has been answered and no server has seen, and the settings that belong to it.
        self.begin: list[bytes] = []
        #: How many ReadyForQuery of upstream's the client has been given: none has been since, if it is the same.
        self.ready_count = 0
        #: Whether such a BEGIN has gone up, and is not carried out yet.
        self.awaits_begin = False
        #: The Query or FunctionCall that went up with it, until it is answered.
        self.riding: Owed | None = None
        #: Whether there is any such.
        self.begins_lazily = begins_lazily
        #: The number of the batch that the client is sending: up to its Sync, or one Query.
        self.batch = 0
        #: A batch, and what saved the round trip if its Sync is answered here.
        self.trip_of_sync = (-1, "sync")
        #: What the server's unnamed statement is, once all that was sent has been carried out; None: not known.
        self.slot: Statement | None = None
        #: What it was at the last Sync: still true when that Sync's ReadyForQuery says T and nothing was sent since.
        self.slot_at_sync: Statement | None = None
        #: Whether anything went up since the last Sync that went up.
        self.is_open = False
        #: Whether something went up that the server need not answer before a Flush or Sync.
        self.is_unflushed = False
        #: Whether what is open is made up of Parse and Describe alone.
        self.is_plain = True
        #: Whether all that was executed in it provably has no effect.
        self.is_pure = True
        #: Whether an Execute went up in this batch.
        self.has_executed = False
        #: Whether a COPY may be among the Executes of this batch.
        self.has_copy = False
        #: Whether the client's messages are dropped up to its Sync, as the server does after an error.
        self.is_skipping = False
        #: Whether the server has said CopyInResponse for the head of the queue.
        self.is_copying_in = False
        #: The Execute that stands for a Query of the client's, until it is answered (`features.copying`).
        self.copy_query: Owed | None = None
        #: How many CopyDone and CopyFail went up for what is not answered yet.
        self.ended_copies = 0
        #: Whether the rest of a large message from the client goes up.
        self.passes_rest = True
        #: Whether the client ever used SQL's own PREPARE, whose names only a server knows.
        self.has_sql_prepared = False
        #: Whether any Describe of pgshim's own went up since nothing was outstanding.
        self.verifies = False
        #: standard_conforming_strings: how the client's texts are read.
        self.standard_strings = settings.shown(b"standard_conforming_strings", hot.IDLE) != b"off"
        #: Whether the transaction at the end of what was sent has the client's settings in force, or needs none.
        self.is_in_force = False
        #: Whether the batch that is open has ended a transaction, or begun a block: `status` is not that of its end.
        self.has_ended_amid = self.has_begun_amid = False
        #: Whether a block of pgshim's own is to end, and nothing may go up before it has.
        self.holds_all = False
        #: Whether the batch that is open is in a transaction block of pgshim's own.
        self.is_wrapped = False
        #: Settings that the batch has changed for itself (SET LOCAL) before the client's own were brought into force.
        self.local_now: dict[bytes, None] = {}
        #: Portal name -> what its calls of set_config change for the session.
        self.setting_portals: dict[bytes, list[Call]] = {}
        #: What ran, as far as it matters to currval().
        self.drawing = Drawing()
        #: What other clients have been told of statements; None: nothing is shared with them.
        self.descriptions: Descriptions | None = None
        #: Who the client is, as far as a text may mean something else for others.
        self.identity: Hashable = ()
        #: The generation of descriptions in which the last Parse went up.
        self.parsed_at = 0
        #: Whether the transaction may change a schema.
        self.defines = False
        #: Type code -> what deals with a message.
        self.handlers: Mapping[int, Handler] = {}
        #: A Parse that is held back until what follows it is there.
        self.held: Held | None = None
        self.to_client: list[bytes] = []
        self.to_upstream: list[bytes] = []

    def start_batch(self) -> None:
        """What is known of a batch before its first message."""
        self.is_plain = True
        self.is_pure = True
        self.has_executed = self.has_copy = False
        self.is_in_force = False
        self.has_ended_amid = self.has_begun_amid = False
        self.is_wrapped = False
        if self.local_now:
            self.local_now.clear()
