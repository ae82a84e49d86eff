"""What a virtual session makes of each frontend message, one file a feature.

A handler gets the conversation and a message as (buffer, start, end, missing): the message, type byte included, is
`buffer[start:end]`; `missing` is the number of its bytes that are still to come (only of a message that is too large to
be held). It returns True when the message has been dealt with, and False when it has to wait for replies.
"""

from __future__ import annotations

from pgshim.session.features import copying, execution, prepared
from pgshim.session.state import Handler

#: Type code -> handler.
HANDLERS: dict[int, Handler] = {
    ord("P"): prepared.on_parse,
    ord("B"): prepared.on_bind,
    ord("D"): prepared.on_describe,
    ord("C"): prepared.on_close,
    ord("E"): execution.on_execute,
    ord("Q"): execution.on_query,
    ord("F"): execution.on_function_call,
    ord("H"): execution.on_flush,
    ord("S"): execution.on_sync,
    ord("c"): copying.on_copy_end,
    ord("f"): copying.on_copy_end,
}
