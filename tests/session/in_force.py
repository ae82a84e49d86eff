"""What the stories of settings have in common: the statements that pgshim adds of its own, and the answers to them."""

from __future__ import annotations

from pgshim.protocol import Message
from pgshim.protocol.backend import BindComplete, CloseComplete, NoticeResponse, ParameterStatus, ParseComplete
from pgshim.protocol.frontend import Query, Sync
from tests.session.messages import IDLE, IN_BLOCK, bind, close_portal, columns, done, execute, parse, row
from tests.session.script import SessionScript

TEXT = 25
WORK_MEM = {b"work_mem": b"8MB"}

#: What a server says of a SET LOCAL outside of a block.
LOCAL_WARNING = NoticeResponse(
    ((b"S", b"WARNING"), (b"C", b"25P01"), (b"M", b"SET LOCAL can only be used in transaction blocks"))
)


#: What stands for RESET ALL: one of those that it sets back.
ONE_OF_ALL = b"SET LOCAL cursor_tuple_fraction TO DEFAULT"


def notice(position: bytes) -> NoticeResponse:
    return NoticeResponse(((b"S", b"NOTICE"), (b"C", b"00000"), (b"M", b"well"), (b"P", position)))


NOTICE = notice(b"9")


def setting(name: bytes, value: bytes) -> ParameterStatus:
    return ParameterStatus(name, value)


def select(settings: dict[bytes, bytes]) -> bytes:
    """What brings plain values into force outside of a block."""
    return b"SELECT " + b",".join(b"pg_catalog.set_config('%b','%b',true)" % each for each in settings.items())


def local(name: bytes, value: bytes) -> bytes:
    """What does so in a block."""
    return b"SET LOCAL %b TO '%b'" % (name, value)


def show(name: bytes) -> bytes:
    return b'SHOW "%b"' % name


def own(*statements: bytes) -> tuple[Message, ...]:
    """Statements of pgshim's own, in the extended-query protocol."""
    return tuple(message for sql in statements for message in (*said(sql),))


def said(sql: bytes) -> tuple[Message, ...]:
    """A statement without a name, executed."""
    return parse(b"", sql), bind(b""), execute()


def own_beside(*statements: bytes) -> tuple[Message, ...]:
    """The same while the client may have more rows to come from its unnamed portal."""
    name = b"pgshim's own"
    return tuple(
        message
        for sql in statements
        for message in (parse(b"", sql), bind(b"", portal=name), execute(name), close_portal(name))
    )


#: What a client gets for one.
SAID = (ParseComplete(), BindComplete())


def carried_out(*tags: bytes) -> tuple[Message, ...]:
    """The server's answers to statements of pgshim's own that return nothing, or nothing of interest."""
    return tuple(message for tag in tags for message in (*SAID, done(tag)))


def shown(*values: bytes) -> tuple[Message, ...]:
    """The server's answers to SHOWs in the extended-query protocol."""
    return tuple(message for value in values for message in (*SAID, row(value), done(b"SHOW")))


def shown_beside(*values: bytes) -> tuple[Message, ...]:
    """The same where they have a portal of their own."""
    return tuple(message for value in values for message in (*shown(value), CloseComplete()))


def told(*values: bytes) -> tuple[Message, ...]:
    """The same of a Query."""
    return tuple(message for value in values for message in (columns(TEXT), row(value), done(b"SHOW")))


#: The answer to the SELECT that is ahead of a Query's text.
SELECTED = (columns(TEXT), row(b"x"), done())
#: The same in the extended-query protocol.
INJECTED = (*SAID, row(b"x"), done())


def sets(script: SessionScript, name: bytes, value: bytes) -> SessionScript:
    """The first SET of a session, in autocommit."""
    script.frontend_sends(Query(b"set %b to '%b'" % (name, value)))
    script.upstream_receives(Query(b"SET LOCAL %b to '%b';SHOW \"%b\"" % (name, value, name)))
    script.upstream_sends(done(b"SET"), *told(value), IDLE).frontend_receives(done(b"SET"), IDLE)
    return script


def has_in_force(script: SessionScript, settings: dict[bytes, bytes]) -> SessionScript:
    """In autocommit: exactly these are brought to the next server."""
    script.frontend_sends(Query(b"select 1"))
    if settings:
        script.upstream_receives(Query(select(settings) + b";select 1"))
        script.upstream_sends(*SELECTED)
    else:
        script.upstream_receives(Query(b"select 1"))
    script.upstream_answers(columns(TEXT), row(b"1"), done(), IDLE)
    return script


def begins(script: SessionScript, *statements: bytes, sql: bytes = b"begin") -> SessionScript:
    """A BEGIN in the extended-query protocol, and the SET LOCALs behind it."""
    script.frontend_sends(*said(sql), Sync())
    script.upstream_receives(*own(sql, *statements), Sync())
    script.upstream_sends(*SAID, done(b"BEGIN"), *carried_out(*[b"SET"] * len(statements)), IN_BLOCK)
    return script.frontend_receives(*SAID, done(b"BEGIN"), IN_BLOCK)
