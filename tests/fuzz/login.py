"""The login, from bytes of both sides in any order, and the session that follows.

Records: `o` what there is besides the pooler (the first one), `s` the body of the StartupMessage, `c` bytes of the
client's, `u` of the upstream's.
"""

from __future__ import annotations

from pgshim.errors import PgshimError
from pgshim.protocol import backend, frontend, startup
from pgshim.session.login import Login
from pgshim.session.plain import PlainSession
from pgshim.session.session import ClientSettings, Limits, Policy, Session, SharedTexts, frontend_rules
from pgshim.session.startup_check import AcceptedSettings
from pgshim.session.startup_request import Service
from tests.fuzz.inputs import unpack
from tests.fuzz.session import Stream

_EARLY = 256 * 1024


class Line:
    """One login, and what must hold at every moment."""

    def __init__(self, options: bytes, packet: bytes) -> None:
        flags = options[0] if options else 0
        service = Service(
            "session" if flags & 1 else "transaction",
            b"ref" if flags & 2 else b"",
            has_session_endpoint=bool(flags & 4),
            is_at_session_endpoint=bool(flags & 8),
        )
        self.login = Login(packet, service, AcceptedSettings() if flags & 16 else None)
        self.stage: Login | Session | PlainSession = self.login
        self.upward, self.downward = Stream(), Stream()
        request = self.login.take_upstream_output()
        sent = startup.decode(request)
        assert isinstance(sent, startup.StartupMessage)
        assert (sent.minor_version, sent.protocol_options) == (0, ())
        self.move()

    def move(self) -> None:
        for type_code, body in self.upward.feed(self.stage.take_upstream_output()):
            if self.stage is self.login:
                assert type_code in b"pXQ"
                if type_code == ord("Q"):
                    frontend.decode(type_code, body)
        for type_code, body in self.downward.feed(self.stage.take_client_output()):
            assert type_code in b"RSKZENv" or self.stage is not self.login
            if type_code == ord("S") and self.stage is self.login:
                backend.decode(type_code, body)
        if self.stage is self.login:
            assert self.downward.counts[ord("Z")] == self.login.is_complete

    def take(self, data: bytes, *, is_client: bool) -> bool:
        """False at the end of it."""
        try:
            self.stage.receive_from_client(data if is_client else b"")
            self.stage.receive_from_upstream(b"" if is_client else data)
        except PgshimError:
            self.move()
            if self.stage is self.login:
                assert not self.downward.is_inside, "an error cuts through a message"
            return False
        self.move()
        if self.stage is not self.login:
            return not self.stage.is_terminated
        assert len(self.login.leftover_client) <= _EARLY
        if self.login.is_complete:
            return self._start_session()
        return not (self.login.is_terminated or self.login.is_refused)

    def _start_session(self) -> bool:
        login = self.login
        if login.is_plain:
            self.stage = PlainSession()
        else:
            settings = ClientSettings(login.parameters, login.told, login.settings, login.startup)
            self.stage = Session(Limits(), SharedTexts(), frontend_rules(1 << 20), settings, Policy())
        early = login.leftover_client
        return self.take(login.leftover_upstream, is_client=False) and self.take(early, is_client=True)


def run(data: bytes) -> None:
    """Raises only on a fault."""
    records = unpack(data)
    options = records[0][1] if records and records[0][0] == ord("o") else b""
    body = next((payload for operation, payload in records if operation == ord("s")), b"")
    try:
        line = Line(options, (len(body) + 4).to_bytes(4, "big") + body)
    except PgshimError:
        return
    for operation, payload in records:
        if operation in b"cu" and not line.take(payload, is_client=operation == ord("c")):
            return
