"""protocol: bytes <-> messages of PostgreSQL's frontend/backend protocol, versions 3.0 and 3.2.

The catalogue, in the way of Go's pgproto3, every message declared once with construct:

    frontend.decode(type_code, body)   what a frontend sends: `frontend.Parse`, `frontend.Bind`, ...
    backend.decode(type_code, body)    what a backend sends: `backend.DataRow`, `backend.ErrorResponse`, ...
    startup.decode(packet)             the untyped packets that come first: `startup.StartupMessage`, ...
    message.encode()                   a message's bytes, type code and length included

    >>> from pgshim.protocol import frontend
    >>> frontend.Parse(statement=b"s1", query=b"select $1", parameter_types=(25,)).encode()
    b'P\\x00\\x00\\x00\\x17s1\\x00select $1\\x00\\x00\\x01\\x00\\x00\\x00\\x19'
    >>> frontend.decode(ord("C"), b"Ss1\\x00")
    Close(target=<Target.STATEMENT: b'S'>, name=b's1')

Whatever is decoded encodes to the same bytes; bytes that are no message raise a ProtocolViolation. The hot
paths do not come here: `framing` finds messages in a stream, `hot` reads the few fields a session goes by.
This room is pure: it knows no sockets, no event loop, no clock and no log.
"""

from pgshim.protocol import backend, frontend, startup
from pgshim.protocol.message import Message

__all__ = ["Message", "backend", "frontend", "startup"]
