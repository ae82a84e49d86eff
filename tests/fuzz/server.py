"""A server that answers whatever it is sent: what a session is tried against when its client does as it likes.

It knows no tables: every text that is not malformed has an answer of the right kind. It keeps what of a server's state
the protocol shows: statements, portals, the transaction status, the skip to Sync, COPY. A pooler is in front of it:
with each ReadyForQuery that says I it forgets its statements, as another server would not have them.
"""

from __future__ import annotations

from collections.abc import Callable

from pgshim.errors import MalformedMessage
from pgshim.protocol import Message, backend, frontend
from pgshim.protocol.backend import TransactionStatus as Status
from pgshim.session.pieces import Statement as Piece
from pgshim.session.sql import Kind, judge
from tests.session.messages import columns, row, server_error

#: The text of an error that no client may see: pgshim has bound a statement that is not there.
LOST = b"this server has no such statement"

_ENDS = frozenset({Kind.COMMIT, Kind.ROLLBACK, Kind.ROLLBACK_TO})
_ROWS = frozenset({Kind.SELECT, Kind.SHOW, Kind.EXPLAIN, Kind.FETCH})
_UTILITIES = (b"create", b"drop", b"alter", b"vacuum", b"grant", b"analyze", b"truncate", b"import", b"checkpoint")


class Refused(Exception):
    """An ErrorResponse: SQLSTATE and text."""

    def __init__(self, sqlstate: bytes, text: bytes = b"no") -> None:
        super().__init__(sqlstate, text)
        self.sqlstate = sqlstate
        self.text = text


class Server:
    """Takes whole messages, and keeps in `output` what it has flushed.

    executed -- called with each statement, and its text, that is carried out
    """

    def __init__(self, executed: Callable[[bytes, Piece], None]) -> None:
        self._executed = executed
        self.statements: dict[bytes, bytes] = {}
        self.portals: dict[bytes, bytes] = {}
        self.status = Status.IDLE
        self.is_skipping = False
        #: What goes on when the data of a COPY has ended; `True` is for one that failed.
        self._copy_ended: Callable[[bool], None] | None = None
        #: SQLSTATEs with which the next statements fail.
        self.failures: list[bytes] = []
        self._unflushed: list[bytes] = []
        self.output = b""
        #: It has closed the connection.
        self.is_gone = False
        self.conforming = True

    def feed(self, type_code: int, body: bytes) -> None:
        """Take one message."""
        if self.is_gone:
            return
        if self._copy_ended is not None:
            self._copy(type_code)
        elif type_code == ord("S"):
            self.is_skipping = False
            self._ready()
        elif not self.is_skipping and type_code not in b"dcf":
            is_simple = type_code in b"QF"
            try:
                self._take(frontend.decode(type_code, body))
            except (Refused, MalformedMessage) as error:
                self._fail(error if isinstance(error, Refused) else Refused(b"08P01"))
                self.is_skipping = not is_simple
                if is_simple:
                    self._ready()

    def _say(self, *messages: Message) -> None:
        self._unflushed += [message.encode() for message in messages]

    def _flush(self) -> None:
        self.output += b"".join(self._unflushed)
        self._unflushed.clear()

    def _ready(self) -> None:
        if self.status is Status.IDLE:
            self.portals.clear()
            self.statements.clear()
        self._say(backend.ReadyForQuery(self.status))
        self._flush()

    def _fail(self, error: Refused) -> None:
        self._say(server_error(error.sqlstate, error.text))
        self._flush()
        self.portals.clear()
        if self.status is Status.IN_TRANSACTION:
            self.status = Status.FAILED

    def _take(self, message: Message) -> None:
        match message:
            case frontend.Query(sql):
                self.statements.pop(b"", None)
                self._query(sql, self._read(sql))
            case frontend.FunctionCall():
                self._check(None)
                self._say(backend.FunctionCallResponse(b"1"))
                self._ready()
            case frontend.Parse(name, sql):
                self._parse(name, sql)
            case frontend.Bind(portal, name):
                text = self._of(self.statements, name, b"26000", LOST)
                self._check(self._only(text))
                if portal and portal in self.portals:
                    raise Refused(b"42P03")
                self.portals[portal] = text
                self._say(backend.BindComplete())
            case frontend.Describe(frontend.Target.STATEMENT, name):
                text = self._of(self.statements, name, b"26000", LOST)
                self._say(backend.ParameterDescription(()), self._description(text))
            case frontend.Describe(_, name):
                self._say(self._description(self._of(self.portals, name, b"34000")))
            case frontend.Execute(portal, limit):
                self._execute(self._of(self.portals, portal, b"34000"), limit)
            case frontend.Close(target, name):
                (self.statements if target is frontend.Target.STATEMENT else self.portals).pop(name, None)
                self._say(backend.CloseComplete())
            case frontend.Flush():
                self._flush()
            case _:
                raise AssertionError(f"no server takes {message!r}")

    @staticmethod
    def _of(known: dict[bytes, bytes], name: bytes, sqlstate: bytes, text: bytes = b"no") -> bytes:
        if name not in known:
            raise Refused(sqlstate, text)
        return known[name]

    # What a text is.

    def _read(self, sql: bytes) -> tuple[Piece, ...]:
        pieces = judge(sql, self.conforming).statements
        for piece in pieces:
            word = sql[piece.start :][:12].lower()
            if piece.kind is Kind.UNKNOWN or (piece.kind is Kind.UTILITY and not word.startswith(_UTILITIES)):
                raise Refused(b"42601", b'syntax error at or near "%b"' % word)
        return pieces

    def _only(self, sql: bytes) -> Piece | None:
        pieces = self._read(sql)
        return pieces[0] if pieces else None

    def _check(self, piece: Piece | None) -> None:
        if self.status is Status.FAILED and (piece is None or piece.kind not in _ENDS):
            raise Refused(b"25P02")

    def _parse(self, name: bytes, sql: bytes) -> None:
        if not name:
            self.statements.pop(b"", None)
        if len(self._read(sql)) > 1:
            raise Refused(b"42601", b"cannot insert multiple commands into a prepared statement")
        self._check(self._only(sql))
        if name in self.statements:
            raise Refused(b"42P05")
        self.statements[name] = sql
        self._say(backend.ParseComplete())

    def _description(self, sql: bytes) -> Message:
        piece = self._only(sql)
        if piece is None or piece.kind not in _ROWS:
            return backend.NoData()
        self._check(piece)
        return columns(23)

    # What it does.

    def _query(self, sql: bytes, pieces: tuple[Piece, ...]) -> None:
        if not pieces:
            self._say(backend.EmptyQueryResponse())
        self._go_on(sql, list(pieces))

    def _go_on(self, sql: bytes, todo: list[Piece]) -> None:
        """The rest of a Query; COPY comes back here."""
        try:
            while todo:
                piece = todo.pop(0)
                self._check(piece)
                if piece.kind in _ROWS:
                    self._say(columns(23))
                if self._carry_out(sql, piece, 0, lambda has_failed: self._resume(sql, todo, has_failed)):
                    return
        except Refused as error:
            self._fail(error)
        self._ready()

    def _resume(self, sql: bytes, todo: list[Piece], has_failed: bool) -> None:
        if has_failed:
            self._ready()
        else:
            self._go_on(sql, todo)

    def _execute(self, sql: bytes, limit: int) -> None:
        piece = self._only(sql)
        if piece is None:
            self._say(backend.EmptyQueryResponse())
            return
        self._check(piece)
        self._carry_out(sql, piece, limit, self._after_execute)

    def _after_execute(self, has_failed: bool) -> None:
        self.is_skipping = has_failed

    def _carry_out(self, sql: bytes, piece: Piece, limit: int, then: Callable[[bool], None]) -> bool:
        """One statement; True if it is a COPY that waits for its data."""
        text = sql[piece.start : piece.end]
        self._executed(sql, piece)
        if b"1/0" in text:
            raise Refused(b"22012")
        if self.failures:
            raise Refused(self.failures.pop(0))
        if piece.kind is Kind.COPY_FROM_STDIN:
            self._say(backend.CopyInResponse(0, ()))
            self._flush()
            self._copy_ended = then
            return True
        if piece.kind is Kind.COPY and b"stdout" in text.lower():
            self._say(backend.CopyOutResponse(0, ()), backend.CopyData(b"1\n"), backend.CopyDone())
        if piece.kind in _ROWS:
            self._say(row(b"1"))
            if limit:
                self._say(backend.PortalSuspended())
                return False
        self._say(backend.CommandComplete(self._tag(piece)))
        return False

    def _tag(self, piece: Piece) -> bytes:
        """The command tag; what begins and ends a block does so."""
        match piece.kind:
            case Kind.BEGIN:
                self.status = Status.IN_TRANSACTION
                return b"BEGIN"
            case Kind.COMMIT | Kind.ROLLBACK | Kind.PREPARE_TRANSACTION:
                has_failed = piece.kind is Kind.ROLLBACK or self.status is Status.FAILED
                if piece.chains and self.status is Status.IDLE:
                    raise Refused(b"25P01")
                self.status = Status.IN_TRANSACTION if piece.chains else Status.IDLE
                self.portals.clear()
                return b"ROLLBACK" if has_failed else piece.kind.replace("_", " ").upper().encode()
            case Kind.SAVEPOINT | Kind.RELEASE | Kind.ROLLBACK_TO:
                if self.status is Status.IDLE:
                    raise Refused(b"25P01")
                self.status = Status.IN_TRANSACTION
                return b"ROLLBACK" if piece.kind is Kind.ROLLBACK_TO else piece.kind.upper().encode()
        return piece.kind.upper().encode()

    def _copy(self, type_code: int) -> None:
        """Data and its end; Sync and Flush are ignored, and anything else ends the connection."""
        ended = self._copy_ended
        assert ended is not None
        if type_code in b"dSH":
            return
        self._copy_ended = None
        if type_code == ord("c"):
            self._say(backend.CommandComplete(b"COPY 1"))
            ended(False)
        elif type_code == ord("f"):
            self._fail(Refused(b"57014"))
            ended(True)
        else:
            self.output += backend.ErrorResponse(
                ((b"S", b"FATAL"), (b"V", b"FATAL"), (b"C", b"08P01"), (b"M", b"protocol synchronization was lost"))
            ).encode()
            self.is_gone = True
