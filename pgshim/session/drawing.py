"""Whether nextval() may have been called in the running transaction: only then has currval() a value of the client's.

What ran is only noted; it is looked into when a client asks for currval() or lastval(), which few do.
"""

from __future__ import annotations

from pgshim.session.pieces import ENDS
from pgshim.session.sql import Kind, Verdict, verdict

#: So much of a transaction is noted; a longer one may have called anything.
_MOST = 64
_LONGEST = 64 * 1024


class Drawing:
    """What a client ran since it was last outside of a transaction with nothing in flight."""

    __slots__ = ("_ran", "is_certain")

    def __init__(self) -> None:
        #: In order: a text or its verdict; None where a batch ends.
        self._ran: list[bytes | Verdict | None] = []
        #: It is taken for granted.
        self.is_certain = False

    def __bool__(self) -> bool:
        return bool(self._ran) or self.is_certain

    def clear(self) -> None:
        """The client is outside of a transaction."""
        self._ran.clear()
        self.is_certain = False

    def note(self, what: bytes | Verdict | None) -> None:
        """A statement runs (its verdict), or a whole Query (its text); None: a batch ends."""
        if len(self._ran) >= _MOST or (type(what) is bytes and len(what) > _LONGEST):
            self._ran.clear()
            self.is_certain = True
        else:
            self._ran.append(what)

    def may_have_drawn(self, text: bytes = b"", *, standard_strings: bool) -> bool:
        """Whether something in the transaction may have called nextval(); `text`: what runs in it ahead."""
        if self.is_certain:
            return True
        has_drawn = is_in_block = False
        for what in self._ran:
            if what is None:
                has_drawn &= is_in_block
                continue
            found = verdict(what, standard_strings) if isinstance(what, bytes) else what
            whole = what if isinstance(what, bytes) else b""
            has_drawn, is_in_block = _run(found, whole, standard_strings, has_drawn, is_in_block)
            has_drawn &= is_in_block or whole == b""
        return _run(verdict(text, standard_strings), text, standard_strings, has_drawn, is_in_block)[0]


def _run(
    found: Verdict, text: bytes, standard_strings: bool, has_drawn: bool, is_in_block: bool
) -> tuple[bool, bool]:
    for piece in found.statements:
        if piece.kind is Kind.BEGIN:
            is_in_block = True
        elif piece.kind in ENDS:
            has_drawn, is_in_block = False, piece.chains
        elif len(found.statements) == 1:
            has_drawn |= found.may_draw
        else:
            has_drawn |= verdict(text[piece.start : piece.end], standard_strings).may_draw
    return has_drawn, is_in_block
