"""What a client asks for in its StartupMessage, and what of it goes up.

A pooler is given `user`, `database`, `application_name`, `client_encoding` and Supavisor's `options=reference=<ref>`;
everything else is a setting of the session, which a server has to judge (`startup_check`). As in
`process_startup_options`, those in `options` come first, and of two values the later one stays.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass

from pgshim.errors import FeatureNotSupported, InvalidParameterValue, InvalidSwitch
from pgshim.protocol.startup import StartupMessage
from pgshim.session import startup_options, startup_refusals
from pgshim.session.encodings import official_name

#: The startup parameter by which a client chooses the session endpoint; never sent on.
CHOICE = b"pgshim.session"

#: What goes up as application_name of a client that gives none: PgBouncer leaves that of the client before on the
#: server else, and takes no empty one.
NAMELESS = b" "

_OWN_PARAMETERS = frozenset({b"user", b"database", b"options", b"replication"})
_APPLICATION_NAME, _CLIENT_ENCODING = b"application_name", b"client_encoding"
_NOT_SETTINGS = frozenset({_APPLICATION_NAME, _CLIENT_ENCODING, CHOICE})
#: At connect a role does not decide what else may be set, but later it does: these come last.
_ROLES = frozenset({b"role", b"session_authorization"})

#: Supavisor decodes %3D there.
_REFERENCE = re.compile(rb"reference(?:=|%3D).", re.IGNORECASE | re.DOTALL)

_WORDS = {b"true": True, b"yes": True, b"on": True, b"1": True, b"false": False, b"no": False, b"off": False,
          b"0": False}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Service:
    """What a client that connects may have; `mode` is --upstream-mode."""

    mode: str = "transaction"
    #: Goes behind a user name that has none; empty: nothing does.
    tenant: bytes = b""
    has_session_endpoint: bool = False
    #: The client came by --session-listen.
    is_at_session_endpoint: bool = False


@dataclass(frozen=True, slots=True)
class StartupRequest:
    """What a client asks for, and what becomes of it."""

    #: The StartupMessage that goes up.
    packet: bytes
    #: With the tenant.
    user: bytes
    database: bytes
    #: (application_name, client_encoding) as given, of which there may be none.
    startup: tuple[tuple[bytes, bytes], ...] = ()
    #: (name, value) of all other settings, as the client wrote them, in the order in which they are put in force.
    settings: tuple[tuple[bytes, bytes], ...] = ()
    is_at_session_endpoint: bool = False
    #: The session changes nothing.
    is_plain: bool = False
    #: Supavisor's, in `options`; empty: none.
    reference: bytes = b""

    @property
    def key(self) -> Hashable:
        """What a server's verdict on the settings depends on."""
        return self.user, self.database, self.reference, dict(self.startup).get(_CLIENT_ENCODING), self.settings


def read_request(message: StartupMessage, service: Service) -> StartupRequest:
    """What the client asks for. Raises FeatureNotSupported, InvalidSwitch, InvalidParameterValue."""
    startup_refusals.refuse_replication(message.parameter(b"replication"))
    user = message.parameter(b"user") or b""
    database = message.parameter(b"database") or user
    sent_user = _with_tenant(user, service.tenant)
    if service.mode == "session" and not service.is_at_session_endpoint:
        return StartupRequest(_plain_packet(message, service.tenant), sent_user, database, is_plain=True)
    given, reference = _read_settings(message)
    last = {name.lower(): value for name, value in given}
    is_session = _goes_to_session(last.get(CHOICE), service)
    settings = tuple(
        sorted(
            (item for item in given if item[0].lower() not in _NOT_SETTINGS),
            key=lambda item: item[0].lower() in _ROLES,
        )
    )
    if not is_session:
        startup_refusals.refuse_encoding(last.get(_CLIENT_ENCODING, b""))
    startup_refusals.refuse_without_effect(settings, is_pooled=not is_session)
    startup = tuple((name, last[name]) for name in (_APPLICATION_NAME, _CLIENT_ENCODING) if name in last)
    # Without a database a pooler takes the user's name: not with the tenant behind it.
    sent_database = database if service.tenant else message.parameter(b"database") or b""
    named = () if is_session or last.get(_APPLICATION_NAME) else ((_APPLICATION_NAME, NAMELESS),)
    sent = (b"user", sent_user), (b"database", sent_database), *startup, *named, (b"options", reference)
    # Supavisor stumbles over empty values.
    packet = StartupMessage(0, tuple(item for item in sent if item[1])).encode()
    return StartupRequest(packet, sent_user, database, startup, settings, is_session, is_session, reference)


def as_reported(name: bytes, value: bytes) -> bytes:
    """What a server would have said where PgBouncer gives back what it was given: the value of a ParameterStatus."""
    if name == _CLIENT_ENCODING:
        return official_name(value)
    return b"" if name == _APPLICATION_NAME and value == NAMELESS else value


def _read_settings(message: StartupMessage) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """((name, value) of all settings in a server's order, Supavisor's reference or nothing)."""
    switches, operands = startup_options.read_switches(message.parameter(b"options") or b"")
    given = [setting for switch in switches for setting in startup_options.settings_of(*switch)]
    for name, value in message.parameters:
        if name not in _OWN_PARAMETERS and not name.startswith(b"_pq_."):
            given.append((name, value))
    for operand in operands:
        if not _REFERENCE.match(operand):
            raise startup_options.invalid_argument(operand)
    return given, operands[-1] if operands else b""


def _goes_to_session(choice: bytes | None, service: Service) -> bool:
    chosen = choice is not None and _as_boolean(choice)
    if chosen and not (service.has_session_endpoint or service.is_at_session_endpoint):
        raise FeatureNotSupported(
            "pgshim has no session endpoint to which pgshim.session could take this connection",
            hint="Start pgshim with --session-upstream=ADDRESS, or leave pgshim.session out.",
        )
    return chosen or service.is_at_session_endpoint


def _with_tenant(user: bytes, tenant: bytes) -> bytes:
    """The user name for a pooler that finds a project by it: Supabase's are `role.reference`."""
    return user + b"." + tenant if tenant and user and b"." not in user else user


def _as_boolean(value: bytes) -> bool:
    """As `parse_bool`: any beginning of a word that is no beginning of another's. Raises InvalidParameterValue."""
    text = value.lower()
    meanings = {meaning for word, meaning in _WORDS.items() if text and word.startswith(text)}
    if len(meanings) != 1:
        raise InvalidParameterValue(f'parameter "{CHOICE.decode()}" requires a Boolean value')
    return meanings.pop()


# --upstream-mode=session: as it came.


def _plain_packet(message: StartupMessage, tenant: bytes) -> bytes:
    """The StartupMessage as it came, in protocol 3.0, with the tenant, and without what is meant for pgshim alone."""
    parameters = []
    for name, value in message.parameters:
        if name.startswith(b"_pq_.") or name.lower() == CHOICE:
            continue
        if name == b"user":
            value = _with_tenant(value, tenant)
        elif name == b"options" and CHOICE in value.lower().replace(b"\\", b""):
            value = _without_choice(value)
        parameters.append((name, value))
    user = message.parameter(b"user")
    if tenant and user and message.parameter(b"database") is None:
        parameters.append((b"database", user))
    return StartupMessage(0, tuple(parameters)).encode()


def _without_choice(options: bytes) -> bytes:
    try:
        switches, operands = startup_options.read_switches(options)
    except InvalidSwitch:
        return options
    kept = [b"-" + letter + value for letter, value in switches if not _is_choice(letter, value)]
    return startup_options.joined(kept + operands)


def _is_choice(letter: bytes, value: bytes) -> bool:
    return letter in (b"c", b"-") and value.partition(b"=")[0].lower() == CHOICE
