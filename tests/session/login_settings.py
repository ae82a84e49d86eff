"""What tests of a login with settings are made of."""

from __future__ import annotations

import pglast

from pgshim.protocol import Message
from pgshim.protocol.backend import AuthenticationOk, BackendKeyData, ParameterStatus
from pgshim.protocol.frontend import Query
from pgshim.protocol.startup import StartupMessage
from pgshim.session.startup_check import AcceptedSettings
from pgshim.session.startup_request import Service
from tests.session.messages import IDLE, Pattern, columns, done, row
from tests.session.script import Script
from tests.session.twin_stages import TwinLogin

USER, DATABASE = (b"user", b"alice"), (b"database", b"shop")
KEY = BackendKeyData(7, b"keys")
OK = AuthenticationOk()
SEARCH_PATH, ZONE = (b"search_path", b"app"), (b"timezone", b"utc")
POOLER = Service()


def reports(**values: str) -> tuple[ParameterStatus, ...]:
    return tuple(ParameterStatus(name.encode(), value.encode()) for name, value in values.items())


def sets(*settings: tuple[bytes, bytes], also: tuple[bytes, ...] = (), is_local: bool = True) -> Pattern:
    """The Query that has a server judge these settings, in this order."""

    def fits(message: Message) -> bool:
        if not isinstance(message, Query):
            return False
        (statement,) = pglast.parse_sql(message.query.decode("ascii"))
        found = []
        for target in statement.stmt.targetList:  # type: ignore[attr-defined]
            call = target.val
            schema, name = (part.sval for part in call.funcname)
            assert schema == "pg_catalog"
            constants = [argument.val for argument in call.args]
            found.append((name, *(getattr(each, "sval", None) or getattr(each, "boolval", "") for each in constants)))
        wanted = [("set_config", name.decode(), value.decode(), is_local) for name, value in settings]
        return found == wanted + [("current_setting", name.decode()) for name in also]

    return Pattern(f"a check of {settings!r} {also!r}", fits)


def accepts(*values: bytes) -> tuple[Message, ...]:
    return columns(*[25] * len(values)), row(*values), done(), IDLE


class SettingsScript(Script):
    def __init__(
        self,
        *parameters: tuple[bytes, bytes],
        service: Service = POOLER,
        cache: AcceptedSettings | None = None,
    ) -> None:
        self.login = TwinLogin(StartupMessage(0, (USER, DATABASE, *parameters)).encode(), service, cache)
        super().__init__(self.login)

    def logs_in(self, *status: ParameterStatus) -> SettingsScript:
        """Up to where a login without settings would be complete."""
        self.forgets().upstream_answers(OK)
        self.upstream_sends(*status, KEY, IDLE)
        return self
