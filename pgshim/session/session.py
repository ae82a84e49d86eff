"""The virtual session: bytes in and bytes out, in both directions; no socket and no clock.

Its state and verbs are in `conversation`, the two gates in `frontend_gate` and `backend_gate`; here is what the
connection asks of it, and how it ends when the client is gone.
"""

from __future__ import annotations

from collections.abc import Hashable

from pgshim.protocol import hot
from pgshim.protocol.framing import FrameRules
from pgshim.session.client_settings import ClientSettings
from pgshim.session.conversation import Limits
from pgshim.session.counts import Counts
from pgshim.session.descriptions import Descriptions
from pgshim.session.express import Express
from pgshim.session.features import copying, shared
from pgshim.session.frontend_gate import frontend_rules
from pgshim.session.outstanding import QUERY
from pgshim.session.plain import PlainSession
from pgshim.session.refusal import Policy
from pgshim.session.statements import SharedTexts

_COPY_FAIL = ord("f")


class Session(Express):
    """One client's virtual session over one upstream connection, from its first ReadyForQuery on.

    descriptions -- what it shares with other clients of the same upstream, with those of the same `identity`
    """

    __slots__ = ("is_abandoned", "is_broken")

    def __init__(
        self,
        limits: Limits,
        texts: SharedTexts,
        rules: FrameRules,
        settings: ClientSettings,
        policy: Policy,
        *,
        is_serial: bool = False,
        begins_lazily: bool = False,
        descriptions: Descriptions | None = None,
        identity: Hashable = (),
        counts: Counts | None = None,
    ) -> None:
        super().__init__(
            limits,
            texts,
            rules,
            settings,
            policy,
            is_serial=is_serial,
            begins_lazily=begins_lazily,
            counts=counts or Counts(),
        )
        if shared.may_share(policy):
            self.descriptions = descriptions
            self.identity = identity
        #: The client is gone.
        self.is_abandoned = False
        #: The upstream stream cannot be brought to an end in order.
        self.is_broken = False

    def receive_from_upstream(self, data: bytes) -> None:
        """Take the next bytes from upstream. Raises UpstreamViolation: no reply can be trusted any more."""
        super().receive_from_upstream(data)
        if self.is_abandoned:
            if self.is_copying_in:
                self._fail_copy()
            self._roll_back()

    def take_client_output(self) -> bytes:
        """What is to be written to the client now."""
        if self.is_abandoned:
            self.to_client.clear()
        return self._joined(self.to_client)

    def take_upstream_output(self) -> bytes:
        """What is to be written to the upstream now."""
        return self._joined(self.to_upstream)

    def _joined(self, parts: list[bytes]) -> bytes:
        if len(parts) == 1:
            return parts.pop()
        joined = b"".join(parts)
        parts.clear()
        return joined

    @property
    def is_inside_reply(self) -> bool:
        """Whether the client has been given the beginning of a message, and not yet its end."""
        if self._is_broken_off or not self._backend.is_inside_passed:
            return False
        return self._passes_backend_rest if self._backend.is_continuing else self._passes_rows(b"", 0, 0, 0)

    @property
    def is_busy(self) -> bool:
        """Whether upstream owes replies, or will, for what the client has sent."""
        return bool(self.outstanding) or self._backlog is not None or self.awaits_express

    @property
    def is_answering(self) -> bool:
        """Whether upstream will go on answering though the client sends nothing more."""
        if self.is_copying_in and not self.ended_copies:
            return False
        return self.outstanding.owes_ready() or self._backlog is not None or self.awaits_express

    @property
    def is_idle(self) -> bool:
        """Whether the client can be disconnected without cutting through anything."""
        is_amid = self.is_open or self.is_skipping or self.held is not None
        return self.status == hot.IDLE and not self.is_busy and not is_amid

    def end_idle_exchange(self) -> None:
        """Let go of that server; what the client prepared is replayed when it goes on."""
        self.sync_unseen()

    # A client that is gone.

    def abandon(self) -> None:
        """The client is gone: undo upstream what it left unfinished, so that the pooler keeps its server."""
        self.is_abandoned = True
        if self.awaits_express:
            self._settle_express()
        if self.begin:
            self.begin, self.status = [], hot.IDLE
        self._backlog = None
        self.backlog_size = 0
        if self._frontend.is_inside_passed:
            self.is_broken = True
            return
        self._fail_copy()
        if self.is_open:
            if self.outstanding or not self.is_skipping:
                # Its Sync alone would commit what it had no time to.
                self.raise_error(b"")
            self.sync_unseen()
        self._roll_back()

    def _fail_copy(self) -> None:
        """End the data of a COPY; a Query may have another one behind that which the client has ended."""
        if not self.ended_copies and copying.takes_copy_data(self):
            copying.end_copy(self, hot.message(_COPY_FAIL, b"the client is gone\0"))
            if self.is_copying_in:
                self.outstanding.drop_swallowed_syncs(has_failed=False)

    def _roll_back(self) -> None:
        if not self.outstanding and not self.is_open and self.status != hot.IDLE:
            self.send_query(hot.query(b"ROLLBACK"), QUERY)

    @property
    def is_at_rest(self) -> bool:
        """Whether upstream, after `abandon`, has nothing left to do for this client."""
        return not self.outstanding and self.status == hot.IDLE


__all__ = [
    "ClientSettings",
    "Counts",
    "Descriptions",
    "Limits",
    "PlainSession",
    "Policy",
    "Session",
    "SharedTexts",
    "frontend_rules",
]
