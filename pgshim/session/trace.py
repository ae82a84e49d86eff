"""A trace of one connection: a line for each message and each leg of its way, and what became of it.

    F-->|   rewritten    63 Parse "__asyncpg_stmt_1__" <SELECT, 8 bytes> []
       |-->B rewritten   45 Parse "" <SELECT, 8 bytes> []
    F----->B              4 Sync

F is the frontend, the client; B the backend, the upstream; the bar is pgshim. The length is that of the protocol, as in
libpq's own trace: the type byte is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, StrEnum

from pgshim.protocol import backend, frontend
from pgshim.protocol.backend import BACKEND
from pgshim.protocol.frontend import FRONTEND
from pgshim.protocol.message import Message
from pgshim.protocol.startup import STARTUP
from pgshim.session.trace_text import broken, describe

#: A message, or its beginning, and how many bytes of it are still to come.
Piece = tuple[bytes, int]

#: Messages of the same type in a row that are told one by one, where there are many: rows, mostly.
MOST_IN_A_ROW = 10


class Leg(Enum):
    """A part of the way, or all of it: what passes as it came gets one line."""

    PASSES_UP = "F----->B"
    FROM_CLIENT = "F-->|   "
    TO_UPSTREAM = "   |-->B"
    PASSES_DOWN = "F<-----B"
    FROM_UPSTREAM = "   |<--B"
    TO_CLIENT = "F<--|   "


class Mark(StrEnum):
    """What became of a message."""

    #: It went on as it came.
    NONE = ""
    #: Another one went on in its place.
    REWRITTEN = "rewritten"
    #: Of pgshim's own, to the upstream.
    INJECTED = "injected"
    #: It went no further: the answer to something injected; what a server would skip.
    DROPPED = "dropped"
    #: Dealt with by pgshim alone; an answer of pgshim's.
    LOCAL = "local"
    #: It gets an error of pgshim's.
    REFUSED = "refused"
    #: It waits for replies, and gets another line when it goes on.
    HELD = "held"
    #: It ends the connection.
    ILLEGAL = "illegal"


_FROM_FRONTEND = frozenset({Leg.PASSES_UP, Leg.FROM_CLIENT, Leg.TO_UPSTREAM})

#: What is asked for -> what an AuthenticationResponse to it is.
_ANSWERS: dict[type[Message], type[Message]] = {
    backend.AuthenticationCleartextPassword: frontend.PasswordMessage,
    backend.AuthenticationMD5Password: frontend.PasswordMessage,
    backend.AuthenticationGSS: frontend.GSSResponse,
    backend.AuthenticationGSSContinue: frontend.GSSResponse,
    backend.AuthenticationSSPI: frontend.GSSResponse,
    backend.AuthenticationSASL: frontend.SASLInitialResponse,
    backend.AuthenticationSASLContinue: frontend.SASLResponse,
}

#: Their lengths would tell how long a password is.
_OF_SECRET_LENGTH = frozenset({frontend.AuthenticationResponse, frontend.PasswordMessage})


class Trace:
    """Writes the lines of one connection."""

    __slots__ = ("_answer", "_shows_values", "_write")

    def __init__(self, write: Callable[[str], None], *, shows_values: bool = False) -> None:
        self._write = write
        self._shows_values = shows_values
        #: What the next AuthenticationResponse is.
        self._answer: type[Message] = frontend.AuthenticationResponse

    def tell(self, leg: Leg, message: bytes, mark: Mark = Mark.NONE, missing: int = 0) -> None:
        """One message, or the beginning of one of which so many bytes are `missing`."""
        header = 4 if message[0] == 0 else 5
        body = message[header:]
        cls = self._class_of(leg, message, body)
        length = str(len(message) + missing - header + 4)
        if cls is None:
            text = f"<unknown message type 0x{message[0]:02x}>"
        else:
            self._answer = _ANSWERS.get(cls, self._answer)
            text = describe(cls, body, is_cut=missing > 0, shows_values=self._shows_values)
            if cls in _OF_SECRET_LENGTH:
                length = "-"
        self._line(leg, mark, length, text)

    def tell_all(self, leg: Leg, pieces: Sequence[Piece], mark: Mark = Mark.NONE) -> None:
        """Messages in a row; of many that pass at once the first ones."""
        for message, missing in pieces[:MOST_IN_A_ROW]:
            self.tell(leg, message, mark, missing)
        rest = pieces[MOST_IN_A_ROW:]
        if rest:
            length = sum(len(message) + missing - 1 for message, missing in rest)
            self._line(leg, mark, str(length), f"... {len(rest)} more")

    def tell_broken(self, leg: Leg, data: bytes, *, is_secret: bool = False) -> None:
        """Bytes in which no message can be found; `is_secret`: a password may be among them."""
        if data:
            self._line(leg, Mark.ILLEGAL, "-", broken(data, shows_values=self._shows_values and not is_secret))

    def _class_of(self, leg: Leg, message: bytes, body: bytes) -> type[Message] | None:
        if message[0] == 0:
            return STARTUP.find(0, body)
        if leg not in _FROM_FRONTEND:
            return BACKEND.find(message[0], body)
        found = FRONTEND.find(message[0], body)
        return self._answer if found is frontend.AuthenticationResponse else found

    def _line(self, leg: Leg, mark: Mark, length: str, text: str) -> None:
        self._write(f"{leg.value} {mark:9} {length:>6} {text}")

    # What became of a message, told from what came out for it.

    def tell_up(
        self, came: Piece, went: Sequence[Piece], its: int | None, mark: Mark = Mark.NONE, *, is_known: bool = False
    ) -> None:
        """A message of the client's, and what went up for it, of which the one at `its` is in its place.

        mark -- where nothing is: what became of it
        is_known -- it has been told before, when it was held back
        """
        if its is None or (went[its] != came and not is_known):
            self.tell(Leg.FROM_CLIENT, came[0], mark if its is None else Mark.REWRITTEN, came[1])
        for index, (message, missing) in enumerate(went):
            if index != its:
                self.tell(Leg.TO_UPSTREAM, message, Mark.INJECTED, missing)
            elif went[index] != came:
                self.tell(Leg.TO_UPSTREAM, message, Mark.REWRITTEN, missing)
            else:
                self.tell(Leg.TO_UPSTREAM if is_known else Leg.PASSES_UP, message, Mark.NONE, missing)

    def tell_down(self, came: Piece, given: Sequence[Piece], mark: Mark = Mark.DROPPED) -> None:
        """A message of the upstream's, and what the client was given when it came; `mark`: where that is not it."""
        its = given.index(came) if came in given else -1
        if its < 0:
            its = next((index for index, (message, _) in enumerate(given) if message[0] == came[0][0]), -1)
            self.tell(Leg.FROM_UPSTREAM, came[0], mark if its < 0 else Mark.REWRITTEN, came[1])
        for index, (message, missing) in enumerate(given):
            if index != its:
                self.tell(Leg.TO_CLIENT, message, Mark.LOCAL, missing)
            elif given[index] == came:
                self.tell(Leg.PASSES_DOWN, message, Mark.NONE, missing)
            else:
                self.tell(Leg.TO_CLIENT, message, Mark.REWRITTEN, missing)


class Splitter:
    """Splits what goes by in one direction into messages; the rest of one that was cut is passed over."""

    __slots__ = ("owed",)

    def __init__(self, owed: int = 0) -> None:
        self.owed = owed

    def split(self, data: bytes) -> list[Piece]:
        """The messages that begin in these bytes. A header is never cut."""
        pos, size, pieces = self.owed, len(data), []
        while pos < size:
            end = pos + 1 + int.from_bytes(data[pos + 1 : pos + 5], "big")
            pieces.append((data[pos:end], max(0, end - size)))
            pos = end
        self.owed = pos - size
        return pieces


