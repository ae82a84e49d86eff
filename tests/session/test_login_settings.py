"""A login that asks for settings: a server is asked once, and the client is told what they make of it."""

from __future__ import annotations

import pytest

from pgshim.errors import UpstreamViolation
from pgshim.protocol import Message
from pgshim.protocol.backend import AuthenticationCleartextPassword, ErrorResponse, NoticeResponse
from pgshim.protocol.frontend import PasswordMessage, Query, Terminate
from pgshim.protocol.startup import StartupMessage
from pgshim.session.startup_check import Accepted, AcceptedSettings
from pgshim.session.startup_request import Service
from tests.session.login_settings import (
    DATABASE,
    KEY,
    OK,
    SEARCH_PATH,
    USER,
    ZONE,
    SettingsScript,
    accepts,
    reports,
    sets,
)
from tests.session.messages import IDLE, IN_BLOCK, Pattern, columns, done, row, server_error
from tests.session.script import joined
from tests.session.twin_stages import TwinLogin

AT_ENDPOINT = Service(has_session_endpoint=True, is_at_session_endpoint=True)
NOTICE = NoticeResponse(((b"S", b"NOTICE"), (b"M", b"well")))


def test_the_end_of_the_login_waits_for_the_servers_verdict() -> None:
    script = SettingsScript(SEARCH_PATH, ZONE, (b"application_name", b"app"))
    script.upstream_receives(StartupMessage(0, (USER, DATABASE, (b"application_name", b"app"))))
    script.upstream_answers(OK)
    script.upstream_sends(*reports(TimeZone="GMT", server_version="15"), KEY).expects_nothing()
    script.upstream_sends(IDLE).upstream_receives(sets(SEARCH_PATH, ZONE))
    assert not script.login.is_complete
    script.upstream_sends(*accepts(b"app", b"UTC"))
    script.frontend_receives(*reports(TimeZone="UTC", server_version="15"), KEY, IDLE)
    login = script.login
    assert login.is_complete
    assert list(login.settings.items()) == [(b"search_path", b"app"), (b"timezone", b"UTC")]
    assert login.parameters == {b"TimeZone": b"GMT", b"server_version": b"15"}
    assert login.told == {b"TimeZone": b"UTC", b"server_version": b"15"}
    assert login.startup == {b"application_name": b"app"}
    assert (login.is_plain, login.is_at_session_endpoint, login.is_refused) == (False, False, False)


def test_without_settings_nothing_is_asked_and_nothing_waits() -> None:
    script = SettingsScript((b"application_name", b"app")).forgets()
    script.upstream_answers(OK).upstream_answers(*reports(TimeZone="GMT")).upstream_answers(KEY).upstream_answers(IDLE)
    assert (script.login.settings, script.login.told) == ({}, {b"TimeZone": b"GMT"})


def test_of_a_name_given_twice_the_later_value_stays_in_the_later_place() -> None:
    script = SettingsScript(ZONE, SEARCH_PATH, (b"TimeZone", b"cet")).logs_in()
    script.upstream_receives(sets(ZONE, SEARCH_PATH, (b"TimeZone", b"cet")))
    script.upstream_sends(*accepts(b"UTC", b"app", b"CET")).frontend_receives(KEY, IDLE)
    assert list(script.login.settings.items()) == [(b"search_path", b"app"), (b"timezone", b"CET")]


def test_settings_of_one_transaction_are_judged_and_forgotten() -> None:
    setting = (b"transaction_read_only", b"on")
    script = SettingsScript(setting).logs_in().upstream_receives(sets(setting))
    script.upstream_sends(*accepts(b"on")).frontend_receives(KEY, IDLE)
    assert script.login.settings == {}


def test_with_a_role_the_client_is_told_who_it_is() -> None:
    role = (b"role", b"bob")
    script = SettingsScript(role, ZONE).logs_in(*reports(is_superuser="on", session_authorization="alice"))
    script.upstream_receives(sets(ZONE, role, also=(b"is_superuser", b"session_authorization")))
    script.upstream_sends(*accepts(b"UTC", b"bob", b"off", b"alice"))
    script.frontend_receives(*reports(is_superuser="off", session_authorization="alice"), KEY, IDLE)
    assert list(script.login.settings) == [b"timezone", b"role"]


def test_session_authorization_is_a_setting_and_reported() -> None:
    setting = (b"session_authorization", b"bob")
    script = SettingsScript(setting).logs_in(*reports(session_authorization="alice"))
    script.upstream_receives(sets(setting, also=(b"is_superuser", b"session_authorization")))
    script.upstream_sends(*accepts(b"bob", b"off", b"bob"))
    script.frontend_receives(*reports(session_authorization="bob"), KEY, IDLE)
    assert script.login.settings == {b"session_authorization": b"bob"}


def test_notices_pass_and_a_parameter_status_amid_the_check_is_told_once() -> None:
    script = SettingsScript(ZONE).logs_in(*reports(TimeZone="GMT", DateStyle="ISO")).forgets()
    described, result, tag, ready = accepts(b"UTC")
    script.upstream_sends(NOTICE, described).frontend_receives(NOTICE)
    script.upstream_sends(*reports(TimeZone="Zulu", DateStyle="German"), result).expects_nothing()
    script.upstream_sends(tag, ready).frontend_receives(*reports(TimeZone="UTC", DateStyle="German"), KEY, IDLE)
    assert script.login.parameters == {b"TimeZone": b"Zulu", b"DateStyle": b"German"}


def test_what_the_client_sends_meanwhile_waits() -> None:
    script = SettingsScript(ZONE).logs_in().forgets()
    script.frontend_sends(Query(b"select 1")).expects_nothing()
    script.upstream_sends(*accepts(b"UTC"), NOTICE).frontend_receives(KEY, IDLE)
    assert script.login.leftover_client == Query(b"select 1").encode()
    assert script.login.leftover_upstream == NOTICE.encode()


def test_a_login_in_single_bytes_is_the_same() -> None:
    parameters = USER, DATABASE, ZONE
    stream = [AuthenticationCleartextPassword(), OK, *reports(TimeZone="GMT"), KEY, IDLE, *accepts(b"UTC")]
    given = []
    for size in (1, 10_000):
        login = TwinLogin(StartupMessage(0, parameters).encode())
        for byte in PasswordMessage(b"secret").encode():
            login.receive_from_client(bytes((byte,)))
        data, down, up = joined(tuple(stream)), b"", b""
        for pos in range(0, len(data), size):
            login.receive_from_upstream(data[pos : pos + size])
            down += login.take_client_output()
            up += login.take_upstream_output()
        assert login.is_complete
        given.append((down, up, login.settings, login.told))
    assert given[0] == given[1]
    wanted = AuthenticationCleartextPassword(), OK, *reports(TimeZone="UTC"), KEY, IDLE
    assert given[0][0] == joined(wanted)


# Refusals.


def fatal(**fields: str) -> ErrorResponse:
    codes = (b"S", b"FATAL"), (b"V", b"FATAL")
    return ErrorResponse((*codes, *((code.encode(), value.encode()) for code, value in fields.items())))


def test_a_setting_that_a_server_does_not_accept_is_the_end_of_the_connection() -> None:
    script = SettingsScript((b"nosuch", b"1")).logs_in().forgets()
    refusal = server_error(b"42704", b"unrecognized", P=b"8", W=b"PL/pgSQL", D=b"detail", H=b"hint", R=b"find_option")
    script.upstream_sends(refusal).expects_nothing()
    assert not script.login.is_refused
    script.upstream_sends(IDLE).upstream_receives(Terminate())
    script.frontend_receives(fatal(C="42704", M="unrecognized", D="detail", H="hint", R="find_option"))
    assert (script.login.is_refused, script.login.has_said_fatal, script.login.is_complete) == (True, True, False)
    script.upstream_sends(IDLE).expects_nothing()


def test_a_known_one_gets_a_hint() -> None:
    script = SettingsScript((b"log_connections", b"on")).logs_in().forgets()
    text = 'parameter "log_connections" cannot be set after connection start'
    script.upstream_sends(server_error(b"55P02", text.encode()), IDLE).upstream_receives(Terminate())
    script.frontend_receives(
        Pattern(
            "FATAL 55P02 with a hint",
            lambda message: (
                isinstance(message, ErrorResponse)
                and (message.severity, message.sqlstate) == (b"FATAL", b"55P02")
                and b"ALTER ROLE" in (message.hint or b"")
            ),
        )
    )


@pytest.mark.parametrize("severity", [b"FATAL", b"PANIC"])
def test_an_error_that_ends_the_connection_is_relayed_at_once(severity: bytes) -> None:
    script = SettingsScript(ZONE).logs_in().forgets()
    script.upstream_sends(server_error(b"57P01", b"bye", severity)).frontend_receives(fatal(C="57P01", M="bye"))
    assert (script.login.is_refused, script.login.has_said_fatal) == (True, True)


def test_so_is_one_of_an_old_pooler_that_knows_one_severity_only() -> None:
    script = SettingsScript(ZONE).logs_in().forgets()
    script.upstream_sends(ErrorResponse(((b"S", b"FATAL"), (b"C", b"08P01"), (b"M", b"bye"))))
    script.frontend_receives(fatal(C="08P01", M="bye"))


def test_a_refusal_is_not_remembered() -> None:
    cache = AcceptedSettings()
    for _ in range(2):
        script = SettingsScript(ZONE, cache=cache).logs_in().upstream_receives(sets(ZONE))
        script.upstream_sends(server_error(b"22023"), IDLE).forgets()


# Asked once.


def test_a_later_login_that_asks_for_the_same_costs_no_trip() -> None:
    cache = AcceptedSettings()
    first = SettingsScript(ZONE, SEARCH_PATH, cache=cache).logs_in().forgets()
    first.upstream_sends(*accepts(b"UTC", b"app")).forgets()
    first.login.settings.clear()
    second = SettingsScript(ZONE, SEARCH_PATH, (b"application_name", b"worker 2"), cache=cache)
    second.logs_in(*reports(TimeZone="GMT"))
    second.frontend_receives(*reports(TimeZone="UTC"), KEY, IDLE)
    assert second.login.is_complete
    assert second.login.settings == {b"timezone": b"UTC", b"search_path": b"app"}


@pytest.mark.parametrize(
    "parameters",
    [
        (SEARCH_PATH, ZONE),
        ((b"timezone", b"UTC"), SEARCH_PATH),
        (ZONE, SEARCH_PATH, (b"user", b"bob")),
        (ZONE, SEARCH_PATH, (b"database", b"x")),
        (ZONE, SEARCH_PATH, (b"client_encoding", b"latin1")),
        (ZONE, SEARCH_PATH, (b"options", b"reference=abc")),
    ],
)
def test_one_that_asks_for_anything_else_is_asked_again(parameters: tuple[tuple[bytes, bytes], ...]) -> None:
    cache = AcceptedSettings()
    SettingsScript(ZONE, SEARCH_PATH, cache=cache).logs_in().forgets().upstream_sends(*accepts(b"U", b"a")).forgets()
    other = SettingsScript(*parameters, cache=cache).logs_in()
    assert not other.login.is_complete
    other.forgets()


def test_what_is_remembered_is_bounded_and_what_is_used_stays() -> None:
    cache, accepted = AcceptedSettings(2), Accepted({}, {})
    cache.keep("a", accepted)
    cache.keep("b", accepted)
    assert cache.find("a") is accepted
    cache.keep("c", accepted)
    assert (cache.find("a"), cache.find("b"), cache.find("c")) == (accepted, None, accepted)


# The session endpoint, and session mode.


def test_at_the_session_endpoint_settings_are_put_in_force_for_good_each_time() -> None:
    cache = AcceptedSettings()
    for _ in range(2):
        script = SettingsScript(ZONE, service=AT_ENDPOINT, cache=cache)
        script.upstream_receives(StartupMessage(0, (USER, DATABASE)))
        script.logs_in(*reports(TimeZone="GMT", application_name="Supavisor"))
        script.upstream_receives(sets(ZONE, is_local=False))
        described, result, tag, ready = accepts(b"UTC")
        script.upstream_sends(described, result, tag, *reports(TimeZone="UTC"), ready)
        script.frontend_receives(*reports(TimeZone="UTC", application_name="Supavisor"), KEY, IDLE)
        assert (script.login.is_plain, script.login.is_at_session_endpoint) == (True, True)
        assert script.login.told == script.login.parameters


def test_in_session_mode_parameters_pass_as_they_came() -> None:
    script = SettingsScript(ZONE, service=Service("session"))
    script.upstream_receives(StartupMessage(0, (USER, DATABASE, ZONE))).upstream_answers(OK)
    script.upstream_answers(*reports(application_name="Supavisor"), KEY, IDLE)
    assert (script.login.is_plain, script.login.is_at_session_endpoint) == (True, False)


@pytest.mark.parametrize(("given", "told"), [(((b"application_name", b"app"),), "app"), ((), "")])
def test_supavisors_own_application_name_is_not_the_clients(given: tuple[tuple[bytes, bytes], ...], told: str) -> None:
    script = SettingsScript(*given).forgets().upstream_answers(OK)
    script.upstream_sends(*reports(application_name="Supavisor"))
    script.frontend_receives(*reports(application_name=told))
    assert script.login.parameters == {b"application_name": b"Supavisor"}
    assert script.login.told == {b"application_name": told.encode()}


ENCODING, NAME = (b"client_encoding", b"latin1"), (b"application_name", b"app")


def test_an_encoding_that_the_pooler_has_dropped_becomes_a_setting_of_the_session() -> None:
    """Supavisor's servers have their own, which it reports."""
    cache = AcceptedSettings()
    script = SettingsScript(ENCODING, cache=cache).logs_in(*reports(client_encoding="UTF8"))
    script.frontend_receives(*reports(client_encoding="UTF8"), KEY)
    script.upstream_receives(sets(ENCODING)).upstream_sends(*accepts(b"LATIN1"))
    script.frontend_receives(*reports(client_encoding="LATIN1"), IDLE)
    assert script.login.settings == {b"client_encoding": b"LATIN1"}
    # The next login knows the verdict already.
    again = SettingsScript(ENCODING, cache=cache).forgets().upstream_answers(OK)
    again.upstream_sends(*reports(client_encoding="UTF8"), KEY, IDLE)
    again.frontend_receives(*reports(client_encoding="UTF8"), KEY, *reports(client_encoding="LATIN1"), IDLE)
    assert again.login.settings == script.login.settings


def test_a_name_that_the_pooler_has_dropped_becomes_one_too() -> None:
    script = SettingsScript(NAME).logs_in(*reports(application_name="Supavisor"))
    script.frontend_receives(*reports(application_name="app"), KEY)
    script.upstream_receives(sets(NAME)).upstream_sends(*accepts(b"app"))
    script.frontend_receives(*reports(application_name="app"), IDLE)
    assert script.login.settings == {b"application_name": b"app"}


@pytest.mark.parametrize("reported", [{"application_name": "ap"}, {}])
def test_a_name_that_the_pooler_has_taken_costs_nothing(reported: dict[str, str]) -> None:
    script = SettingsScript(NAME).forgets().upstream_answers(OK)
    script.upstream_sends(*reports(**reported), KEY, IDLE).frontend_receives(*reports(**reported), KEY, IDLE)
    assert (script.login.is_complete, script.login.settings) == (True, {})


@pytest.mark.parametrize("reported", [{"client_encoding": "LATIN1"}, {}])
def test_an_encoding_that_the_pooler_has_taken_costs_nothing(reported: dict[str, str]) -> None:
    script = SettingsScript(ENCODING, cache=AcceptedSettings()).forgets().upstream_answers(OK)
    script.upstream_sends(*reports(**reported), KEY, IDLE).frontend_receives(*reports(**reported), KEY, IDLE)
    assert (script.login.is_complete, script.login.settings) == (True, {})


# Faults of the upstream.


@pytest.mark.parametrize(
    "replies",
    [
        (IDLE,),
        (columns(25), done(), IDLE),
        (row(b"a", b"b"), IDLE),
        (row(b"UTC"), IN_BLOCK),
        (row(b"UTC"), b"Z\0\0\0\4"),
        (row(None), IDLE),
        (KEY,),
        (OK,),
        (b"D\0\0\0\4",),
        (b"D\0\0\0\6\0\1",),
        (b"D\0\0\0\x0b\0\1\0\0\0\2a",),
        (b"D\0\0\0\x0c\0\1\0\0\0\1ab",),
        (b"D\0\0\0\x07\0\0a",),
        (b"A\0\0\0\4",),
    ],
)
def test_an_answer_that_is_none_is_a_fault(replies: tuple[Message | bytes, ...]) -> None:
    script = SettingsScript(ZONE).logs_in().forgets()
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(*replies)
    script.expects_nothing()
