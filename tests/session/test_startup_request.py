"""What of a StartupMessage goes up, what becomes a setting, what is refused."""

from __future__ import annotations

import pytest

from pgshim.errors import FeatureNotSupported, InvalidParameterValue, InvalidSwitch
from pgshim.protocol.startup import StartupMessage
from pgshim.session.startup_request import Service, StartupRequest, read_request

Pair = tuple[bytes, bytes]
USER, DATABASE = (b"user", b"alice"), (b"database", b"shop")
POOLER = Service()
WITH_ENDPOINT = Service(has_session_endpoint=True)
AT_ENDPOINT = Service(has_session_endpoint=True, is_at_session_endpoint=True)
SESSION_MODE = Service("session")


def request(*parameters: Pair, service: Service = POOLER) -> StartupRequest:
    return read_request(StartupMessage(0, parameters), service)


NAMELESS = (b"application_name", b" ")


def goes_up(*parameters: Pair, service: Service = POOLER) -> tuple[Pair, ...]:
    """All but the blank that stands for an application_name."""
    packet = StartupMessage.decode(request(*parameters, service=service).packet[4:])
    assert packet.minor_version == 0
    return tuple(item for item in packet.parameters if item != NAMELESS)


def options(text: bytes, service: Service = POOLER) -> StartupRequest:
    return request(USER, DATABASE, (b"options", text), service=service)


# Through a pooler.


def test_a_pooler_is_given_what_it_understands_and_the_rest_are_settings() -> None:
    parameters = (
        (b"jit", b"off"), USER, (b"application_name", b"app"), (b"Search_Path", b"a"), DATABASE,
        (b"client_encoding", b"utf8"), (b"options", b"-c work_mem=1MB reference=abc --jit=on"),
    )  # fmt: skip
    found = request(*parameters)
    startup = (b"application_name", b"app"), (b"client_encoding", b"utf8")
    assert goes_up(*parameters) == (USER, DATABASE, *startup, (b"options", b"reference=abc"))
    assert found.settings == ((b"work_mem", b"1MB"), (b"jit", b"on"), (b"jit", b"off"), (b"Search_Path", b"a"))
    assert found.startup == startup
    assert (found.user, found.database) == (b"alice", b"shop")
    assert (found.is_plain, found.is_at_session_endpoint) == (False, False)


def test_without_a_database_none_goes_up() -> None:
    assert goes_up(USER) == (USER,)
    assert request(USER).database == b"alice"


def test_what_is_empty_does_not_go_up() -> None:
    assert goes_up(USER, (b"database", b""), (b"application_name", b"")) == (USER,)
    assert request(USER, (b"application_name", b"")).startup == ((b"application_name", b""),)


def test_application_name_and_client_encoding_in_options_go_up_unless_the_packet_has_its_own() -> None:
    text = b"-c Application_Name=x --client-encoding=latin1"
    assert goes_up(USER, (b"options", text)) == (USER, (b"application_name", b"x"), (b"client_encoding", b"latin1"))
    named = (b"application_name", b"y")
    assert goes_up(USER, named, (b"options", b"-c application_name=x")) == (USER, named)


def test_of_options_given_twice_the_last_count() -> None:
    assert request((b"options", b"-c a=1"), (b"options", b"-c b=2")).settings == ((b"b", b"2"),)


def test_no_replication_and_protocol_options_are_no_settings() -> None:
    assert goes_up(USER, (b"replication", b"false"), (b"_pq_.x", b"y")) == (USER,)
    assert request(USER, (b"replication", b"false"), (b"_pq_.x", b"y")).settings == ()


def test_roles_come_behind_all_other_settings() -> None:
    found = options(b"-c role=a -c jit=off -c session_authorization=b -c work_mem=1MB")
    assert [name for name, _ in found.settings] == [b"jit", b"work_mem", b"role", b"session_authorization"]


@pytest.mark.parametrize("reference", [b"reference=abc", b"reference%3Dabc", b"Reference%3dabc"])
def test_supavisors_reference_passes_as_it_came(reference: bytes) -> None:
    assert goes_up(USER, (b"options", reference)) == (USER, (b"options", reference))


@pytest.mark.parametrize("text", [b"foo", b"reference", b"reference=", b"-- -c", b"-z"])
def test_options_that_are_no_command_line_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidSwitch, match="invalid command-line argument for server process: "):
        options(text)


# The tenant.


@pytest.mark.parametrize("service", [Service(tenant=b"ref"), Service("session", tenant=b"ref")])
def test_the_tenant_goes_behind_a_user_name_without_a_dot(service: Service) -> None:
    assert goes_up(USER, DATABASE, service=service) == ((b"user", b"alice.ref"), DATABASE)
    assert goes_up((b"user", b"a.b"), DATABASE, service=service) == ((b"user", b"a.b"), DATABASE)
    assert goes_up(USER, service=service) == ((b"user", b"alice.ref"), (b"database", b"alice"))
    assert goes_up(DATABASE, service=service) == (DATABASE,)
    found = request(USER, service=service)
    assert (found.user, found.database) == (b"alice.ref", b"alice")


# The session endpoint.


@pytest.mark.parametrize("value", [b"on", b"ON", b"true", b"t", b"yes", b"y", b"1"])
def test_a_client_can_choose_the_session_endpoint(value: bytes) -> None:
    for found in (
        request(USER, (b"pgshim.session", value), (b"jit", b"off"), service=WITH_ENDPOINT),
        options(b"-c jit=off -c PgShim.Session=" + value, WITH_ENDPOINT),
    ):
        assert found.is_at_session_endpoint
        assert found.is_plain
        assert found.settings == ((b"jit", b"off"),)
        assert b"pgshim" not in found.packet


@pytest.mark.parametrize("value", [b"off", b"of", b"false", b"F", b"no", b"n", b"0"])
def test_a_client_that_does_not_is_like_others(value: bytes) -> None:
    assert request(USER, (b"pgshim.session", value)) == request(USER)
    assert request(USER, (b"pgshim.session", value), service=AT_ENDPOINT).is_at_session_endpoint


@pytest.mark.parametrize("value", [b"", b"o", b"2", b"onn", b"maybe"])
def test_a_choice_that_is_no_boolean_is_refused_in_a_servers_words(value: bytes) -> None:
    with pytest.raises(InvalidParameterValue, match='^parameter "pgshim.session" requires a Boolean value$'):
        request(USER, (b"pgshim.session", value), service=WITH_ENDPOINT)


def test_a_session_endpoint_that_is_not_there_is_named() -> None:
    with pytest.raises(FeatureNotSupported, match="session endpoint") as caught:
        request(USER, (b"pgshim.session", b"on"))
    assert "--session-upstream" in caught.value.hint


def test_a_client_of_the_session_listener_is_there_in_any_mode() -> None:
    for mode in ("transaction", "session"):
        service = Service(mode, has_session_endpoint=True, is_at_session_endpoint=True)
        found = request(USER, (b"jit", b"off"), (b"client_encoding", b"sjis"), service=service)
        assert (found.is_at_session_endpoint, found.is_plain) == (True, True)
        assert found.settings == ((b"jit", b"off"),)


# --upstream-mode=session.


def test_in_session_mode_all_passes_as_it_came_but_the_choice() -> None:
    parameters = (b"jit", b"off"), USER, (b"client_encoding", b"sjis"), (b"options", b"what -z ever \\"), DATABASE
    found = request(*parameters, (b"_pq_.x", b""), (b"Pgshim.Session", b"on"), service=SESSION_MODE)
    assert goes_up(*parameters, (b"_pq_.x", b""), (b"pgshim.session", b"on"), service=SESSION_MODE) == parameters
    assert (found.is_plain, found.is_at_session_endpoint, found.settings) == (True, False, ())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (b"-c pgshim.session=on", b""),
        (rb"-e --Pgshim.Session=on -c a=b\ c reference=x", rb"-e -ca=b\ c reference=x"),
        (rb"-c a=pgshim.session", rb"-ca=pgshim.session"),
        (b"-z -c pgshim.session=on", b"-z -c pgshim.session=on"),
    ],
)
def test_in_session_mode_the_choice_is_taken_out_of_options(text: bytes, left: bytes) -> None:
    assert goes_up(USER, (b"options", text), service=SESSION_MODE) == (USER, (b"options", left))


# What cannot work.


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        (b"idle_session_timeout", b"5s", "--idle-timeout"),
        (b"Idle_Session_Timeout", b" 0.5 min", "--idle-timeout"),
        (b"idle_session_timeout", b"0x0f", "--idle-timeout"),
        (b"session_preload_libraries", b"auto_explain", "ALTER ROLE"),
        (b"local_preload_libraries", b"x", "ALTER ROLE"),
        (b"seed", b"0.5", "random"),
    ],
)
def test_settings_that_would_not_do_what_they_are_for_are_refused(name: bytes, value: bytes, part: str) -> None:
    with pytest.raises(FeatureNotSupported, match=f'"{name.decode().lower()}"') as caught:
        request(USER, (name, value))
    assert part in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((b"idle_session_timeout", value) for value in (b"0", b" 0s", b"0x0", b"00.0", b"-1", b"bogus", b"")),
        *((b"session_preload_libraries", b" "), (b"role", b"x"), (b"default_transaction_read_only", b"on")),
    ],
)
def test_others_are_for_the_server_to_judge(name: bytes, value: bytes) -> None:
    assert request(USER, (name, value)).settings == ((name, value),)


def test_at_the_session_endpoint_all_works_but_libraries() -> None:
    found = options(b"-c idle_session_timeout=5s -c seed=0.5", AT_ENDPOINT)
    assert len(found.settings) == 2
    with pytest.raises(FeatureNotSupported, match="local_preload_libraries"):
        options(b"-c local_preload_libraries=x", AT_ENDPOINT)


def test_an_unsafe_encoding_in_options_is_refused_too() -> None:
    with pytest.raises(FeatureNotSupported, match="client_encoding sjis"):
        options(b"-c client_encoding=sjis")


# Another client's name.


@pytest.mark.parametrize("parameters", [(USER,), (USER, (b"application_name", b""))])
def test_a_client_without_a_name_does_not_get_that_of_the_one_before(parameters: tuple[Pair, ...]) -> None:
    packet = StartupMessage.decode(request(*parameters).packet[4:])
    assert packet.parameters == (USER, NAMELESS)
    endpoint = StartupMessage.decode(request(*parameters, service=AT_ENDPOINT).packet[4:])
    assert endpoint.parameters == (USER,)
