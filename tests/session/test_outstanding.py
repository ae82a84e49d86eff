"""The queue of replies owed, as a person who debugs it sees it."""

from __future__ import annotations

from pgshim.session.outstanding import FAKE, FORWARD, SKIP, Kind, Outstanding, Owed


def test_a_reply_owed_shows_what_it_is_and_what_becomes_of_it() -> None:
    queue = Outstanding([Owed(Kind.PARSE, SKIP), Owed(Kind.LOCAL, FAKE), Owed(Kind.SYNC, FORWARD)])
    assert repr(list(queue)) == "[<Owed PARSE SKIP>, <Owed LOCAL FAKE>, <Owed SYNC FORWARD>]"
