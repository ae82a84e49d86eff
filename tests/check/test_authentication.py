"""The frontend's side of SCRAM and MD5, against messages of a server that is right, wrong, or somebody else."""

import pytest
from scramp import ScramMechanism

from pgshim.check.authentication import Authentication, md5_answer
from pgshim.check.failures import LoginFailure, PasswordNeeded
from pgshim.protocol import backend
from pgshim.protocol.frontend import PasswordMessage, SASLInitialResponse, SASLResponse


def authentication(password: str | None = "secret") -> Authentication:
    return Authentication("app", password, may_send_in_clear=False)


def test_a_password_that_is_no_text_is_not_sent() -> None:
    with pytest.raises(LoginFailure, match="not UTF-8"):
        authentication("p\udcff").answer(backend.AuthenticationMD5Password(b"salt"))


def exchange(ours: Authentication, password: str) -> str:
    """A SCRAM exchange with a server that knows `password`; its last word."""
    mechanism = ScramMechanism("SCRAM-SHA-256")
    server = mechanism.make_server(lambda user: mechanism.make_auth_info(password))
    first = ours.answer(backend.AuthenticationSASL((b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")))
    assert isinstance(first, SASLInitialResponse)
    assert first.data is not None
    server.set_client_first(first.data.decode())
    second = ours.answer(backend.AuthenticationSASLContinue(server.get_server_first().encode()))
    assert isinstance(second, SASLResponse)
    server.set_client_final(second.data.decode())
    final: str = server.get_server_final()
    return final


def test_a_server_that_proves_that_it_knows_the_password() -> None:
    ours = authentication()
    final = exchange(ours, "secret")
    assert ours.answer(backend.AuthenticationSASLFinal(final.encode())) is None
    assert ours.answer(backend.AuthenticationOk()) is None
    assert (ours.method, ours.mechanisms) == ("SCRAM-SHA-256", ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))


@pytest.mark.parametrize("final", [b"v=" + b"A" * 43 + b"=", b"nonsense", b"\xff"])
def test_a_server_that_does_not_is_not_believed(final: bytes) -> None:
    ours = authentication()
    exchange(ours, "secret")
    with pytest.raises(LoginFailure, match="did not prove") as raised:
        ours.answer(backend.AuthenticationSASLFinal(final))
    assert "verify-full" in raised.value.fix


def test_a_server_that_says_so_without_having_been_asked_is_not_believed() -> None:
    with pytest.raises(LoginFailure, match="did not prove"):
        authentication().answer(backend.AuthenticationSASLFinal(b"v=AAAA"))


@pytest.mark.parametrize("first", [b"r=somebody-elses,s=AAAA,i=4096", b"nonsense", b"\xff"])
def test_a_first_message_that_is_not_right(first: bytes) -> None:
    ours = authentication()
    ours.answer(backend.AuthenticationSASL((b"SCRAM-SHA-256",)))
    with pytest.raises(LoginFailure, match="is not right"):
        ours.answer(backend.AuthenticationSASLContinue(first))


def test_md5_as_md5sum_has_it() -> None:
    answer = authentication().answer(backend.AuthenticationMD5Password(b"\1\2\3\4"))
    assert answer == PasswordMessage(md5_answer("app", "secret", b"\1\2\3\4"))
    # printf secretapp | md5sum; the same of that, with `salt` behind it.
    assert md5_answer("app", "secret", b"salt") == b"md57f097e06031b34893c20e25a0e68242c"


def test_nothing_is_answered_without_a_password() -> None:
    for request in (backend.AuthenticationMD5Password(b"salt"), backend.AuthenticationSASL((b"SCRAM-SHA-256",))):
        ours = authentication(None)
        with pytest.raises(PasswordNeeded):
            ours.answer(request)
        assert not ours.has_answered
