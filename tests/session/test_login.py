"""The login: relayed end to end, in protocol 3.0, without channel binding."""

from __future__ import annotations

import pytest

from pgshim.errors import FeatureNotSupported
from pgshim.protocol import Message
from pgshim.protocol.backend import (
    AuthenticationCleartextPassword,
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
    BackendKeyData,
    NegotiateProtocolVersion,
    NoticeResponse,
    ParameterStatus,
)
from pgshim.protocol.frontend import PasswordMessage, Query, SASLInitialResponse, SASLResponse, Terminate
from pgshim.protocol.startup import StartupMessage
from tests.session.messages import IDLE, Pattern, server_error
from tests.session.script import LoginScript, joined

USER = (b"user", b"alice"), (b"database", b"shop")
KEY = BackendKeyData(7, b"keys")
PROTOCOL_3_0 = 196608


#: What goes up for a client that gives no application_name.
NAMELESS = (b"application_name", b" ")


@pytest.fixture
def script() -> LoginScript:
    script = LoginScript(*USER)
    script.upstream_receives(StartupMessage(0, (*USER, NAMELESS)))
    return script


def with_hint_of(reason: Message, part: bytes) -> Pattern:
    """The same error, with a hint that says this."""

    def fits(message: Message) -> bool:
        hint: bytes | None = getattr(message, "hint", None)
        return hint is not None and part in hint and message == reason.with_field(b"H", hint)  # type: ignore[attr-defined]

    return Pattern(f"{reason!r} with a hint on {part!r}", fits)


# Relayed as it is.


def test_a_login_without_a_password_is_relayed(script: LoginScript) -> None:
    assert not script.login.is_complete
    script.upstream_answers(AuthenticationOk(), ParameterStatus(b"TimeZone", b"UTC"), ParameterStatus(b"a", b"b"), KEY)
    assert not script.login.is_complete
    script.upstream_answers(IDLE)
    assert script.login.is_complete
    assert script.login.parameters == {b"TimeZone": b"UTC", b"a": b"b"}
    assert script.login.backend_key == b"\0\0\0\x07keys"
    assert (script.login.user, script.login.database) == (b"alice", b"shop")
    assert (script.login.leftover_client, script.login.leftover_upstream) == (b"", b"")


@pytest.mark.parametrize("request_message", [AuthenticationCleartextPassword(), AuthenticationMD5Password(b"salt")])
def test_a_password_is_relayed(script: LoginScript, request_message: Message) -> None:
    script.upstream_answers(request_message)
    script.frontend_sends(PasswordMessage(b"secret")).upstream_receives(PasswordMessage(b"secret"))
    script.upstream_answers(AuthenticationOk(), KEY, IDLE)
    assert script.login.is_complete


def test_scram_is_relayed_end_to_end(script: LoginScript) -> None:
    script.upstream_answers(AuthenticationSASL((b"SCRAM-SHA-256",)))
    first = SASLInitialResponse(b"SCRAM-SHA-256", b"n,,n=,r=x")
    script.frontend_sends(first).upstream_receives(first)
    script.upstream_answers(AuthenticationSASLContinue(b"r=xy,s=z,i=4096"))
    script.frontend_sends(SASLResponse(b"c=biws,r=xy,p=q")).upstream_receives(SASLResponse(b"c=biws,r=xy,p=q"))
    script.upstream_answers(AuthenticationSASLFinal(b"v=w"), AuthenticationOk(), KEY, IDLE)
    assert script.login.is_complete


def test_a_login_in_single_bytes_is_the_same(script: LoginScript) -> None:
    for byte in PasswordMessage(b"secret").encode()[:-1]:
        script.frontend_sends(bytes((byte,))).expects_nothing()
    script.frontend_sends(b"\0").upstream_receives(PasswordMessage(b"secret"))
    stream = joined((AuthenticationOk(), ParameterStatus(b"a", b"b"), KEY, IDLE))
    given_out = b""
    for byte in stream:
        script.upstream_sends(bytes((byte,)))
        given_out += script.login.take_client_output()
        script.forgets()
    assert script.login.is_complete
    assert script.login.parameters == {b"a": b"b"}


def test_without_a_database_it_is_that_of_the_users_name() -> None:
    assert LoginScript((b"user", b"alice")).login.database == b"alice"
    login = LoginScript().login
    assert (login.user, login.database) == (b"", b"")


def test_a_notice_during_login_is_relayed(script: LoginScript) -> None:
    script.upstream_answers(NoticeResponse(((b"S", b"WARNING"), (b"M", b"collation"))), AuthenticationOk())


def test_an_upstream_that_negotiates_is_relayed(script: LoginScript) -> None:
    script.upstream_answers(NegotiateProtocolVersion(PROTOCOL_3_0, ()), AuthenticationOk())


def test_a_key_of_protocol_3_2_is_kept_whole(script: LoginScript) -> None:
    script.upstream_answers(AuthenticationOk(), BackendKeyData(1, b"k" * 32), IDLE)
    assert script.login.backend_key == b"\0\0\0\1" + b"k" * 32


def test_an_upstream_without_a_key_is_served(script: LoginScript) -> None:
    script.upstream_answers(AuthenticationOk(), IDLE)
    assert (script.login.is_complete, script.login.backend_key) == (True, None)


# What is changed.


def test_channel_binding_is_taken_out_of_the_offer(script: LoginScript) -> None:
    script.upstream_sends(AuthenticationSASL((b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")))
    script.frontend_receives(AuthenticationSASL((b"SCRAM-SHA-256",)))


def test_an_offer_without_it_is_relayed_as_it_came(script: LoginScript) -> None:
    script.upstream_answers(b"R\0\0\0\x18\0\0\0\x0aSCRAM-SHA-256\0x\0")


def test_an_upstream_that_insists_on_channel_binding_is_refused_with_a_hint(script: LoginScript) -> None:
    with pytest.raises(FeatureNotSupported, match="channel binding") as caught:
        script.upstream_sends(AuthenticationSASL((b"SCRAM-SHA-256-PLUS",)))
    assert caught.value.hint
    script.expects_nothing()


def test_a_client_of_protocol_3_2_is_negotiated_down() -> None:
    script = LoginScript(*USER, minor_version=2)
    script.frontend_receives(NegotiateProtocolVersion(PROTOCOL_3_0, ()))
    script.upstream_receives(StartupMessage(0, (*USER, NAMELESS)))


def test_protocol_options_are_negotiated_away() -> None:
    script = LoginScript((b"_pq_.a", b"1"), *USER, (b"_pq_.b", b""), minor_version=0)
    script.frontend_receives(NegotiateProtocolVersion(PROTOCOL_3_0, (b"_pq_.a", b"_pq_.b")))
    script.upstream_receives(StartupMessage(0, (*USER, NAMELESS)))


def test_startup_parameters_go_up_in_one_write_as_they_came() -> None:
    parameters = (*USER, (b"application_name", b"x"), (b"client_encoding", b"'utf-8'"), (b"options", b"reference=abc"))
    LoginScript(*parameters).upstream_receives(StartupMessage(0, parameters)).expects_nothing()


@pytest.mark.parametrize("value", [b"true", b"database", b"on", b"1", b"yes"])
def test_a_replication_connection_is_refused(value: bytes) -> None:
    with pytest.raises(FeatureNotSupported, match="replication") as caught:
        LoginScript(*USER, (b"replication", value))
    assert "directly" in caught.value.hint


@pytest.mark.parametrize("value", [b"false", b"off", b"0", b"no", b"FALSE"])
def test_a_connection_that_wants_no_replication_is_not(value: bytes) -> None:
    LoginScript(*USER, (b"replication", value)).forgets()


@pytest.mark.parametrize(
    "encoding",
    [
        *(b"SJIS", b"sjis", b"Shift_JIS", b"BIG5", b"big-5", b"GBK", b"GB18030", b"UHC", b"JOHAB", b"SHIFT_JIS_2004"),
        *(b"Mskanji", b"windows949", b"WIN936", b"Windows-950", b"'gbk'"),
    ],
)
def test_an_encoding_whose_characters_may_hold_quotes_is_refused(encoding: bytes) -> None:
    with pytest.raises(FeatureNotSupported, match="client_encoding") as caught:
        LoginScript(*USER, (b"client_encoding", encoding))
    assert "UTF8" in caught.value.hint


@pytest.mark.parametrize("encoding", [b"UTF8", b"utf-8", b"'utf-8'", b"LATIN1", b"EUC_JP", b"win1252", b"auto", b""])
def test_other_encodings_are_not(encoding: bytes) -> None:
    LoginScript(*USER, (b"client_encoding", encoding)).forgets()


# Refusals of the upstream.


def test_a_refusal_passes_as_it_came(script: LoginScript) -> None:
    assert not script.login.has_said_fatal
    script.upstream_answers(server_error(b"3D000", b'database "x" does not exist', b"FATAL"))
    assert script.login.has_said_fatal


def test_a_known_refusal_gets_a_hint(script: LoginScript) -> None:
    refusal = server_error(b"XX000", b"Tenant or user not found", b"FATAL")
    script.upstream_sends(refusal).frontend_receives(with_hint_of(refusal, b"postgres.<project-ref>"))


def test_a_client_that_insists_on_channel_binding_is_told_the_way_out(script: LoginScript) -> None:
    refusal = server_error(b"28000", b"channel binding check failed", b"FATAL")
    script.upstream_sends(refusal).frontend_receives(with_hint_of(refusal, b"channel_binding=disable"))


# What comes behind.


def test_what_the_client_sends_before_it_knows_that_it_need_not_log_in_is_left_too(script: LoginScript) -> None:
    script.frontend_sends(Query(b"select 1"), Terminate()).expects_nothing()
    script.upstream_answers(AuthenticationOk(), KEY, IDLE)
    assert script.login.leftover_client == Query(b"select 1").encode() + Terminate().encode()
    assert not script.login.is_terminated


def test_what_the_client_sends_behind_its_login_is_left_for_the_next_stage(script: LoginScript) -> None:
    script.upstream_answers(AuthenticationOk(), KEY)
    script.frontend_sends(Query(b"select 1"), b"Q\0").expects_nothing()
    script.upstream_answers(IDLE)
    assert script.login.leftover_client == Query(b"select 1").encode() + b"Q\0"


def test_what_the_upstream_sends_behind_is_left_for_the_next_stage(script: LoginScript) -> None:
    status = ParameterStatus(b"application_name", b"Supavisor")
    script.upstream_sends(AuthenticationOk(), KEY, IDLE, status, b"N\0")
    script.frontend_receives(AuthenticationOk(), KEY, IDLE)
    assert script.login.leftover_upstream == status.encode() + b"N\0"


def test_a_client_may_leave_in_the_middle(script: LoginScript) -> None:
    script.upstream_answers(AuthenticationCleartextPassword()).frontend_sends(Terminate()).expects_nothing()
    assert script.login.is_terminated
    assert not script.login.is_complete


def test_nothing_is_relayed_behind_terminate(script: LoginScript) -> None:
    script.frontend_sends(Terminate(), PasswordMessage(b"x")).expects_nothing()
