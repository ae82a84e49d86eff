"""The short way for what most apps send most of the time, with nothing else in flight.

A read of a client's that is one Query of an ordinary text, or one batch `[Parse] Bind [Describe] Execute Sync` of an
ordinary statement; and a read of an upstream's that is the whole answer to it. Both are dealt with in one go, without
frames, handlers or a queue: a third of the time of the gates. Whatever is out of the ordinary gets None before anything
has been changed, and goes the long way.

While an answer is awaited, the queue of replies owed does not show it yet: `_settle_express` puts there what the long
way would have. Each way into a session that is not this one does that first. `tests/session/test_express.py` holds that
both ways leave the same bytes and the same state.
"""

from __future__ import annotations

from struct import Struct

from pgshim.protocol import hot
from pgshim.protocol.framing import FrameRules
from pgshim.session.answers import READY, READY_SIZE, behind_description, is_answer_to_execute, is_answer_to_query
from pgshim.session.backend_gate import BackendGate
from pgshim.session.client_settings import ClientSettings
from pgshim.session.conversation import Limits
from pgshim.session.counts import Counts
from pgshim.session.features import prepared, shapes
from pgshim.session.ordinary import is_ordinary
from pgshim.session.outstanding import BIND, EXECUTE, PARSE_REPLAYED, QUERY, SYNC, SYNC_PURE, WATCH, Kind, Owed
from pgshim.session.refusal import Policy
from pgshim.session.statements import Change, SharedTexts, Statement

_QUERY, _BIND, _PARSE = b"QBP"

_GOOD_STATUS = frozenset(b"IT")

#: Longer reads (bytes) are not worth the hurry.
_MOST_FROM_CLIENT = 16 * 1024
_MOST_FROM_UPSTREAM = 64 * 1024

_HEADER = Struct("!BI")
_pack_header = _HEADER.pack
_read_length = Struct("!xI").unpack_from

_EXECUTE = b"E\0\0\0\x09\0"
#: What follows the Bind, up to the number of rows -> whether the portal is described.
_TAILS = {_EXECUTE: False, b"D\0\0\0\x06P\0" + _EXECUTE: True}
#: The rest: the number of rows, and the Sync.
_TAIL_SIZE = 4 + len(hot.SYNC)

_PARSED_AND_BOUND = hot.PARSE_COMPLETE + hot.BIND_COMPLETE
_PARSED_AND_DESCRIBED = hot.PARSE_COMPLETE + b"t"


class Express(BackendGate):
    """Both directions of a session, the short way."""

    __slots__ = ("_awaited", "_is_described", "_is_parsed", "_is_replayed", "_is_verified", "_most_from_client")

    def __init__(
        self, limits: Limits, texts: SharedTexts, rules: FrameRules, settings: ClientSettings, policy: Policy,
        *, is_serial: bool, begins_lazily: bool, counts: Counts,
    ) -> None:  # fmt: skip
        super().__init__(
            limits, texts, rules, settings, policy, is_serial=is_serial, begins_lazily=begins_lazily, counts=counts
        )
        #: The text of the Query, or the statement of the batch, that went up this way and is not answered yet.
        self._awaited: bytes | Statement | None = None
        #: Of the batch: whether the client's Parse is in it, or its statement is replayed, and verified; whether its
        #: portal is described.
        self._is_parsed = self._is_replayed = self._is_verified = self._is_described = False
        self._most_from_client = min(_MOST_FROM_CLIENT, limits.max_message)

    # From the client.

    def pass_from_client(self, data: bytes) -> bytes | None:
        """What goes up for a read that is an ordinary batch; None: it has to go the long way."""
        settings = self.settings
        if (
            self._awaited is not None
            or self.outstanding
            or self.is_open
            or self.begin
            or self.held is not None
            or self.defines
            or self.status == hot.IN_FAILED_BLOCK
            or settings.is_active
            or settings.has_news
            or self.is_skipping
            or self.is_terminated
            or len(data) > self._most_from_client
            or not self._frontend.is_between_messages
            or not self._backend.is_between_messages
        ):
            return None
        type_code = data[0]
        if type_code == _QUERY:
            return self._pass_query(data)
        if type_code == _BIND:
            return self._pass_bind(data)
        return self._pass_parse(data) if type_code == _PARSE else None

    def _pass_query(self, data: bytes) -> bytes | None:
        last = len(data) - 1
        if last < 5 or _read_length(data)[0] != last or data.find(b"\0", 5) != last:
            return None
        sql = data[5:-1]
        if not is_ordinary(sql):
            return None
        self._awaited = sql
        self.slot = self.slot_at_sync = None
        if self.portals:
            self.portals.pop(b"", None)
        self.batch += 1
        return data

    def _pass_bind(self, data: bytes) -> bytes | None:
        if len(data) < 8 or data[5]:
            return None
        bind_end = 1 + _read_length(data)[0]
        is_described = _TAILS.get(data[bind_end:-_TAIL_SIZE])
        name_end = data.find(b"\0", 6, bind_end)
        if is_described is None or name_end < 0 or not data.endswith(hot.SYNC):
            return None
        statement = self.statements.settled(data[6:name_end])
        if statement is None or not statement.text.is_ordinary:
            return None
        is_replayed = self.slot is not statement
        told = statement.told
        if is_replayed and not shapes.is_plainly_bound(statement, is_described):
            return None
        if not self._note_batch(statement, is_described):
            return None
        self._is_parsed, self._is_replayed = False, is_replayed
        self._is_verified = is_verified = is_replayed and told is not None
        if name_end == 6:
            self.counts.replays += is_replayed
        elif is_replayed and statement.is_used:
            self.counts.again += 1
        else:
            self.counts.note_bind(statement, is_replayed=is_replayed, has_own_trip=True)
        if not is_replayed:
            return data if name_end == 6 else b"%b\0\0%b" % (
                _pack_header(_BIND, bind_end - name_end + 5), data[name_end + 1 :]
            )
        return b"%b%b%b\0\0%b" % (
            statement.replay,
            hot.DESCRIBE_UNNAMED if is_verified else b"",
            _pack_header(_BIND, bind_end - name_end + 5),
            data[name_end + 1 :],
        )

    def _pass_parse(self, data: bytes) -> bytes | None:
        if len(data) < 16 or data[5] or not self.standard_strings:
            return None
        parse_end = 1 + _read_length(data)[0]
        if data[parse_end : parse_end + 1] != b"B" or len(data) < parse_end + 7:
            return None
        bind_end = parse_end + 1 + _read_length(data, parse_end)[0]
        is_described = _TAILS.get(data[bind_end:-_TAIL_SIZE])
        if is_described is None or not data.endswith(hot.SYNC) or data[parse_end + 5] or data[parse_end + 6]:
            return None
        text = self.texts.recent(data[:parse_end])
        if text is None or not text.is_ordinary:
            return None
        statement = Statement(text)
        if not self._note_batch(statement, is_described):
            return None
        self._is_parsed = True
        self._is_replayed = self._is_verified = False
        return data

    def _note_batch(self, statement: Statement, is_described: bool) -> bool:
        """The batch goes up; False: it cannot this way."""
        if self.undescribed or self.setting_portals:
            return False
        if self.status == hot.IN_BLOCK:
            if len(self.portals) >= prepared.MAX_PORTALS:
                return False
            self.portals[b""] = statement
        self._awaited = statement
        self._is_described = is_described
        self.has_own_portal = False
        self.slot_at_sync = statement
        self.slot = None
        self.batch += 1
        return True

    # From upstream.

    def pass_from_upstream(self, data: bytes) -> bytes | None:
        """What the client gets for a read that is the whole answer to an ordinary batch; None: the long way."""
        awaited = self._awaited
        if awaited is None or len(data) > _MOST_FROM_UPSTREAM or not data.startswith(READY, -READY_SIZE):
            return None
        status = data[-1]
        if status not in _GOOD_STATUS or self.settings.has_news:
            return None
        if type(awaited) is bytes:
            if not is_answer_to_query(data):
                return None
            start = 0
            self.statements.drop_unnamed()
        else:
            assert isinstance(awaited, Statement)
            start = self._start_of_answer(data, awaited)
            if start < 0:
                return None
            if self._is_parsed:
                self.statements.put_unnamed(awaited)
        self.status = status
        if status == hot.IN_BLOCK:
            self._note_drawing(awaited)
            self.slot = self.slot_at_sync
            self.counts.in_block += 1
        else:
            self.counts.transactions += 1
            if self.portals or self.drawing:
                self.portals.clear()
                self.drawing.clear()
        self._awaited = None
        self.ready_count += 1
        return data[start:] if start else data

    def _start_of_answer(self, data: bytes, statement: Statement) -> int:
        """Where in the answer to the batch begins what is the client's; -1: it is none, or not an ordinary one."""
        start, pos = 0, 5
        if self._is_verified:
            told = statement.told
            if told is None or not data.startswith(_PARSED_AND_DESCRIBED):
                return -1
            start = 6 + _read_length(data, 5)[0]
            description = told.description
            if not description or not data.startswith(description, start):
                return -1
            start += len(description)
            if not data.startswith(hot.BIND_COMPLETE, start):
                return -1
            pos = start + 5
        elif self._is_replayed or self._is_parsed:
            if not data.startswith(_PARSED_AND_BOUND):
                return -1
            start, pos = (5 if self._is_replayed else 0), 10
        elif not data.startswith(hot.BIND_COMPLETE):
            return -1
        if self._is_described:
            pos = behind_description(data, pos, statement)
        return start if pos >= 0 and is_answer_to_execute(data, pos) else -1

    # Back to the long way.

    def receive_from_client(self, data: bytes) -> None:
        """Take the next bytes from the client. Raises ProtocolViolation: the connection cannot go on."""
        if self._awaited is not None:
            self._settle_express()
        super().receive_from_client(data)

    def receive_from_upstream(self, data: bytes) -> None:
        """Take the next bytes from upstream. Raises UpstreamViolation: no reply can be trusted any more."""
        if self._awaited is not None:
            self._settle_express()
        super().receive_from_upstream(data)

    @property
    def awaits_express(self) -> bool:
        """Whether what went up the short way is not answered yet."""
        return self._awaited is not None

    def _settle_express(self) -> None:
        """Owe the client what went up the short way, as if it had gone the long way."""
        awaited, self._awaited = self._awaited, None
        assert awaited is not None
        self._note_drawing(awaited)
        queue = self.outstanding
        batch = self.batch - 1
        if isinstance(awaited, bytes):
            if self.statements.settled(b"") is None:
                queue.append(QUERY)
            else:
                change = Change({b"": None}, batch)
                self.statements.announce(change)
                queue.append(Owed(Kind.QUERY, WATCH, change=change))
            return
        if self._is_parsed:
            change = Change({b"": awaited}, batch)
            self.statements.announce(change)
            queue.append(Owed(Kind.PARSE, WATCH, change=change))
        elif self._is_replayed:
            queue.append(PARSE_REPLAYED)
            if self._is_verified:
                shapes.expect_verification(self, awaited)
        is_reliant = self._is_replayed and shapes.relies_on_portal(awaited)
        queue.append(shapes.BIND_RELIANT if is_reliant else BIND)
        if self._is_described:
            queue.append(prepared.owed_for_portal(awaited))
        queue.append(EXECUTE)
        queue.append(SYNC_PURE if awaited.text.verdict.is_pure else SYNC)

    def _note_drawing(self, awaited: bytes | Statement) -> None:
        if isinstance(awaited, bytes):
            self.drawing.note(awaited)
        else:
            self.drawing.note(awaited.text.verdict)
            self.drawing.note(None)
