"""The virtual session: a client that does as it likes, an upstream that answers rightly or says anything.

Records: `o` options (the first one), `c` bytes of the client's, `b` the same one at a time; `s` the server's answers, a
number of bytes of them or all; `e` the SQLSTATE of the next statement's error; `u` bytes in the name of the upstream,
`w` a sweep of an idle exchange, `a` the end of the client.
"""

from __future__ import annotations

from pgshim.errors import PgshimError
from pgshim.protocol import backend, frontend, hot
from pgshim.session.assignments import Scope
from pgshim.session.hazards import Feature
from pgshim.session.pieces import Statement as Piece
from pgshim.session.session import ClientSettings, Limits, Policy, SharedTexts, frontend_rules
from tests.fuzz.inputs import unpack
from tests.fuzz.server import LOST, Server
from tests.session.script import REPORTED
from tests.session.twins import TwinDescriptions, TwinSession

_STARTUPS: tuple[dict[bytes, bytes], ...] = (
    {},
    {b"work_mem": b"8MB"},
    {b"datestyle": b"German, DMY", b"role": b"someone", b"app.user": b"it's"},
    {b"standard_conforming_strings": b"off"},
)
_SMALL = Limits(max_message=400, max_statements=5, max_statement_bytes=500)
_NEEDS_SESSION = frozenset({Feature.LISTEN, Feature.ADVISORY_LOCK, Feature.WITH_HOLD, Feature.PREPARE, Feature.LOAD})

#: No client may be told of what pgshim does of its own.
_NOT_FOR_CLIENTS = (LOST, b'near "pgshim raise"')
#: What asks for a reply -> the reply.
_ASKING = {ord("P"): ord("1"), ord("B"): ord("2"), ord("C"): ord("3"), ord("D"): ord("t")}


class Stream:
    """Counts the messages of a stream, and takes it apart."""

    def __init__(self) -> None:
        self._rest = b""
        self.counts = [0] * 256

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(type code, body) of what is whole now."""
        stream = self._rest + data
        pos = 0
        whole = []
        while len(stream) - pos >= 5:
            length = int.from_bytes(stream[pos + 1 : pos + 5], "big")
            assert length >= 4, f"a length of {length}"
            if pos + 1 + length > len(stream):
                break
            whole.append((stream[pos], stream[pos + 5 : pos + 1 + length]))
            self.counts[stream[pos]] += 1
            pos += 1 + length
        self._rest = stream[pos:]
        return whole

    @property
    def is_inside(self) -> bool:
        """Whether the rest of a message is still to come."""
        return bool(self._rest)


class Line:
    """One session between its client and its upstream, and what must hold at every moment."""

    def __init__(self, options: bytes) -> None:
        flags = options[0] if options else 0
        limits = _SMALL if flags & 16 else Limits()
        startup = _STARTUPS[flags >> 5 & 3]
        policies = Policy(), Policy("warn"), Policy("allow"), Policy(is_strict=True)
        self.policy = policies[flags >> 2 & 3]
        base = REPORTED | {b"standard_conforming_strings": b"off" if flags & 2 else b"on"}
        told = base | {name: startup[name.lower()] for name in base if name.lower() in startup}
        settings = ClientSettings(base, told, startup, {})
        rules = frontend_rules(limits.max_message)
        descriptions = TwinDescriptions(4, lambda: 0.0) if flags & 128 else None
        self.session = TwinSession(
            limits,
            SharedTexts(),
            rules,
            settings,
            self.policy,
            is_serial=bool(flags & 1),
            descriptions=descriptions,
        )
        self.server = Server(self._executed)
        self.server.conforming = not flags & 2
        self.is_plain_reading = not flags & 2 and b"standard_conforming_strings" not in startup
        self.sent, self.upward, self.downward = Stream(), Stream(), Stream()
        self._is_malformed = False
        #: The upstream has said what no server says.
        self.is_garbled = False
        self.is_over = False
        self._is_abandoned = False
        self._fed = 0

    # What happens.

    def client_sends(self, data: bytes) -> None:
        self._fed += len(data)
        self.is_plain_reading &= b"conforming" not in data.lower()
        if not self._is_malformed:
            try:
                self.sent.feed(data)
            except AssertionError:
                self._is_malformed = True
        try:
            self.session.receive_from_client(data)
        except PgshimError as error:
            self._fail(error)
        self._move()

    def upstream_sends(self, data: bytes) -> None:
        if not data:
            return
        try:
            self.session.receive_from_upstream(data)
        except PgshimError as error:
            self._fail(error)
        self._move()

    def answer(self, size: int) -> None:
        data, self.server.output = self.server.output[:size], self.server.output[size:]
        self.upstream_sends(data)

    def drain(self) -> None:
        while self.server.output and not self.is_over:
            self.answer(len(self.server.output))

    def abandon(self) -> None:
        """The client is gone, or has been sent away."""
        if not self._is_abandoned:
            self._is_abandoned = True
            self.session.abandon()
            self._move()

    def _fail(self, error: PgshimError) -> None:
        """As the connection does: what there is to write is written, then a FATAL, unless a reply is cut off."""
        self._move()
        assert error.message
        assert len(error.sqlstate) == 5
        if self._is_abandoned:
            self.is_over = True
            return
        assert self.session.is_inside_reply == self.downward.is_inside
        self.is_over = self.is_garbled
        self.abandon()

    # What must hold.

    def _move(self) -> None:
        was_inside = self.upward.is_inside
        up = self.session.take_upstream_output()
        assert was_inside or not up.startswith(hot.SYNC), "a write that starts with Sync"
        for type_code, body in self.upward.feed(up):
            self._check_upward(type_code, body)
            self.server.feed(type_code, body)
        down = self.session.take_client_output()
        assert not (down and self._is_abandoned), "something for a client that is gone"
        for type_code, body in self.downward.feed(down):
            assert type_code in b"123ACDEGHINSTVWZcdnst", f"a client gets {chr(type_code)!r}"
            if not self.is_garbled:
                backend.decode(type_code, body)
                assert not any(text in body for text in _NOT_FOR_CLIENTS), body
        self._check_counts()
        assert 0 <= self.session.backlog_size <= self._fed

    def _check_upward(self, type_code: int, body: bytes) -> None:
        assert type_code in b"QPBEDCHSFcfd", f"what goes up is {chr(type_code)!r}"
        if type_code in b"cf":
            return  # A server does not look into them.
        if type_code in b"BF":
            assert type_code == ord("F") or body.split(b"\0", 2)[1] == b"", "a Bind of a name"
            return
        message = frontend.decode(type_code, body)
        if isinstance(message, frontend.Parse):
            assert message.statement == b""
        elif isinstance(message, frontend.Describe | frontend.Close):
            assert message.name == b"" or message.target is frontend.Target.PORTAL

    def _check_counts(self) -> None:
        """No reply that nobody asked for."""
        if self._is_malformed:
            return
        sent, had = self.sent.counts, self.downward.counts
        # Of a large one the beginning counts.
        asked = sum(sent[code] for code in b"QFS") + self.sent.is_inside
        assert had[ord("Z")] <= asked, f"{had[ord('Z')]} ReadyForQuery for {asked}"
        for asking, reply in _ASKING.items():
            # What an upstream says twice amid a reply passes.
            is_amid = self.is_garbled and reply == ord("t")
            assert is_amid or had[reply] <= sent[asking] + self.sent.is_inside, f"too many {chr(reply)!r}"

    def _executed(self, sql: bytes, piece: Piece) -> None:
        """Something is carried out: what stays behind on a server must not be."""
        if self.policy.unsafe != "refuse" or not self.is_plain_reading:
            return
        assignment = piece.assignment
        assert assignment is None or assignment.scope is Scope.LOCAL, sql
        assert not any(call.is_local is False for call in piece.set_configs), sql
        for hazard in piece.hazards:
            assert hazard.feature not in _NEEDS_SESSION or hazard.is_reference, (sql, hazard)

    def finish(self) -> None:
        """The client sends what ends its batch; then nothing is owed any more, and the server is at rest."""
        self.drain()
        if not (self.is_over or self._is_abandoned or self.is_garbled or self.server.is_gone):
            self._finish_client()
        self.abandon()
        self.drain()
        if not (self.is_garbled or self.server.is_gone or self.session.is_broken):
            assert self.session.is_at_rest, "the upstream is not at rest"
            assert self.server.status is backend.TransactionStatus.IDLE
            assert not self.upward.is_inside

    def _finish_client(self) -> None:
        if self._is_malformed or self.sent.is_inside or self.session.is_terminated:
            return
        for ending in (hot.SYNC, frontend.CopyFail(b"x").encode() + hot.SYNC):
            if not self._is_abandoned:
                self.client_sends(ending)
                self.drain()
        if not (self._is_abandoned or self.server.is_gone):
            assert not self.session.is_busy, "replies are owed that nobody will give"
            assert self.session.backlog_size == 0


def run(data: bytes) -> None:
    """Raises only on a fault."""
    records = unpack(data)
    line = Line(records[0][1] if records and records[0][0] == ord("o") else b"")
    for operation, payload in records:
        if line.is_over or line.session.is_broken:
            break
        match chr(operation):
            case "c" if not line.session.is_abandoned:
                line.client_sends(payload)
            case "b" if not line.session.is_abandoned:
                for start in range(min(len(payload), 300)):
                    if not (line.is_over or line.session.is_abandoned):
                        line.client_sends(payload[start : start + 1])
            case "s":
                line.answer(int.from_bytes(payload[:2], "big") or 1 << 30)
            case "e" if len(payload) == 5 and payload.isalnum():
                line.server.failures.append(payload)
            case "u":
                line.is_garbled = True
                line.upstream_sends(payload)
            case "w" if line.session.is_pinning:
                line.session.end_idle_exchange()
                line._move()
            case "a":
                line.abandon()
    if not line.is_over:
        line.finish()
