"""What is said of a feature that needs a session of its own, and what becomes of it."""

from __future__ import annotations

import pytest

from pgshim.errors import ConfigurationError
from pgshim.protocol.backend import ErrorResponse, NoticeResponse
from pgshim.session.hazards import Feature, Hazard
from pgshim.session.refusal import ALLOW, REFUSE, WARN, Policy

LISTEN = Hazard(Feature.LISTEN, "LISTEN")


def refusal(hazard: Hazard, policy: Policy | None = None, severity: str = "ERROR") -> ErrorResponse:
    data = (policy or Policy()).error(hazard, severity)
    error = ErrorResponse.decode(data[5:])
    assert (data[:1], error.encode()) == (b"E", data)
    return error


def test_features_are_refused_warned_of_or_allowed() -> None:
    assert Policy().on(Feature.LISTEN) == REFUSE
    assert Policy(unsafe=WARN).on(Feature.LISTEN) == WARN
    allowing = Policy(allowed=frozenset({"listen"}))
    assert (allowing.on(Feature.LISTEN), allowing.on(Feature.LOAD)) == (ALLOW, REFUSE)


def test_a_feature_has_to_be_called_by_its_name() -> None:
    assert Feature.named("advisory-locks") == "advisory-locks"
    with pytest.raises(ConfigurationError, match=r"'locks' is no feature .* give one of advisory-locks, computed-"):
        Feature.named("locks")


@pytest.mark.parametrize("feature", list(Feature))
def test_every_feature_has_a_message_that_names_it_and_a_way_out(feature: Feature) -> None:
    error = refusal(Hazard(feature, "What it is"))
    assert (error.severity, error.sqlstate) == (b"ERROR", b"0A000")
    assert (error.message or b"").startswith(b"What it is ")
    hint = error.hint or b""
    assert hint.endswith(b"To let it through, --allow %b." % feature.encode())
    assert b". For a session of its own, start pgshim with --session-upstream HOST:PORT" in hint


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        (Feature.LISTEN, b"needs a session of its own"),
        (Feature.FUNCTION_CALL, b"settings that this session has in force"),
        (Feature.DO_SETTING, b"cannot be followed by pgshim"),
        (Feature.NO_BLOCK, b"cannot run through a transaction pooler"),
    ],
)
def test_the_message_says_why(feature: Feature, reason: bytes) -> None:
    assert reason in (refusal(Hazard(feature, "It")).message or b"")


def test_the_way_to_the_session_endpoint_is_the_one_that_there_is() -> None:
    listening = Policy(session_listen="127.0.0.1:6433", has_session_endpoint=True)
    assert b"connect to 127.0.0.1:6433, or with pgshim.session=on" in (refusal(LISTEN, listening).hint or b"")
    by_parameter = refusal(LISTEN, Policy(has_session_endpoint=True)).hint or b""
    assert b"connect with pgshim.session=on among the startup parameters" in by_parameter
    assert b"--session-upstream" not in by_parameter


def test_a_refused_connection_is_told_so_with_its_own_severity() -> None:
    assert refusal(LISTEN, severity="FATAL").severity == b"FATAL"


def test_what_is_let_through_gets_a_warning_that_says_so() -> None:
    data = Policy(unsafe=WARN).notice(LISTEN)
    notice = NoticeResponse.decode(data[5:])
    assert (data[:1], notice.encode()) == (b"N", data)
    fields = dict(notice.fields)
    assert (fields[b"S"], fields[b"V"], fields[b"C"]) == (b"WARNING", b"WARNING", b"01000")
    assert fields[b"M"].startswith(b"LISTEN needs a session")
    assert fields[b"M"].endswith(b"it was let through")
