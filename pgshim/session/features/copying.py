"""COPY: what a client sends while the server may be reading copy data.

CopyData, CopyDone and CopyFail pass while a Query or Execute that may have started a COPY FROM STDIN is unanswered, the
server's CopyInResponse not awaited. At any other time a server ignores them, and a pooler would attach a server to the
client for them: they are dropped.
"""

from __future__ import annotations

from pgshim.session.conversation import Conversation
from pgshim.session.outstanding import COPY_DATA, Kind


def takes_copy_data(s: Conversation) -> bool:
    """Whether copy data from the client may be meant for the server."""
    if s.is_skipping or not s.outstanding.may_copy_in():
        return False
    last = s.outstanding[-1].kind
    if last in (Kind.SYNC, Kind.LOCAL_SYNC):
        # In COPY-in mode the server has read, and ignored, that Sync by the time it reads this.
        s.outstanding.append(COPY_DATA)
    if last is Kind.SYNC:
        s.is_open = True
        s.is_plain = s.is_pure = False
    return True


def on_copy_end(s: Conversation, buffer: bytes, start: int, end: int, missing: int) -> bool:
    """CopyDone, CopyFail."""
    s.passes_rest = takes_copy_data(s)
    if s.passes_rest:
        s.has_ended_copy = True
        s.is_unflushed = s.is_open
        s.to_upstream.append(buffer[start:end])
    return True
