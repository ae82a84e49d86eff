"""What has to be true of what a client has heard, whatever its upstream has done."""

from __future__ import annotations

from collections.abc import Iterable

from tests.hostile.arena import Heard
from tests.hostile.conversation import all_replies, type_code_of

#: SQLSTATE of what pgshim says of an upstream.
LOST, VIOLATION, UNREACHABLE = "08006", "08P01", "08001"


def check_fatal(heard: Heard, *sqlstates: str) -> None:
    """It ends with a FATAL of pgshim's that says what is wrong and what can be done."""
    fields = heard.fatal
    assert fields, str(heard)
    assert fields["V"] == "FATAL"
    assert fields["C"] in sqlstates, str(heard)
    assert fields["M"]
    assert fields.get("H"), str(heard)
    assert not heard.rest


def check_prefix(heard: Heard) -> None:
    """All but a FATAL at the end is the beginning of the true conversation, whole or cut inside a row."""
    replies = all_replies(heard.token)
    got = heard.before_fatal
    assert tuple(got) == replies[: len(got)], str(heard)
    if heard.rest:
        assert not heard.fatal
        assert replies[len(got)].startswith(heard.rest), str(heard)
        assert heard.rest[:1] in (b"D", b"d"), str(heard)


def is_own(message: bytes) -> bool:
    """Whether it is what pgshim makes of replies that are in order: a changed shape, or what the setting is now."""
    is_status = message.startswith(b"TimeZone\0", 5) and message.count(b"\0", 5) == 2
    return is_status or b"\0Mcached plan must not change" in message


def check_sound(heard: Heard, sent: Iterable[bytes]) -> None:
    """Nothing is invented: each message was sent by upstream or belongs to the conversation, which has an end."""
    said = b"".join(sent)
    replies = all_replies(heard.token)
    for message in heard.before_fatal:
        assert message in said or message in replies or is_own(message), (message, str(heard))
    assert heard.rest in said, str(heard)
    assert heard.count("Z") <= sum(type_code_of(reply) == "Z" for reply in replies), str(heard)
    assert heard.is_closed, str(heard)
