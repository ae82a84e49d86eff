"""PostgreSQL in miniature: what a session is tried against.

A server understands a handful of texts, and of the protocol all that is needed to be an oracle for statements, names,
portals, errors, transactions, COPY and the order of replies.
"""

from __future__ import annotations

from collections.abc import Callable

from pgshim.protocol import Message
from pgshim.protocol.backend import (
    BindComplete,
    CloseComplete,
    CommandComplete,
    CopyInResponse,
    DataRow,
    EmptyQueryResponse,
    NoData,
    ParameterDescription,
    ParseComplete,
    ReadyForQuery,
    RowDescription,
    TransactionStatus,
)
from pgshim.protocol.frontend import (
    Bind,
    Close,
    CopyData,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    Flush,
    Parse,
    Query,
    Sync,
    Target,
)
from tests.session.messages import columns, server_error

ROLLBACKS = frozenset({"commit", "rollback"})
#: Text -> what it returns; None: no rows.
RESULTS: dict[str, RowDescription | None] = {
    **dict.fromkeys(("", "begin", "commit", "rollback", "insert", "fail", "copy t from stdin")),
    **dict.fromkeys(("discard all", "discard plans")),
    **dict.fromkeys(f"deallocate {name}" for name in ("all", "a", "b", "nosuch")),
    **{f"select {number}": columns(23) for number in (*range(4), "1/0")},
    "select": columns(),
    "select 'x'": columns(25),
}


class SqlError(Exception):
    """An ErrorResponse, by its SQLSTATE."""


class Database:
    """What all servers share: the number of rows that were committed."""

    def __init__(self) -> None:
        self.rows = 0


class Server:
    """One backend process; takes whole messages, and gives bytes when it flushes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.statements: dict[bytes, str] = {}
        self.portals: dict[bytes, str] = {}
        #: The explicit block: I, T or E.
        self.status = TransactionStatus.IDLE
        #: Rows that the transaction has inserted.
        self.inserted = 0
        self.is_skipping = False
        #: Whether anything came since the last Sync or Query.
        self.has_open_batch = False
        self.has_executed = False
        #: What goes on when the data of a COPY has ended.
        self.copy_ended: Callable[[], None] | None = None
        #: Whether the COPY is a Query's.
        self.is_query = False
        self.unflushed = b""
        self.output = b""

    def feed(self, message: Message) -> None:
        if self.copy_ended is not None:
            self._copy(message)
        elif isinstance(message, Sync):
            self.is_skipping = False
            if self.status is TransactionStatus.IDLE:
                self._end_transaction(is_commit=True)
            self._ready()
        elif not self.is_skipping and not isinstance(message, CopyData | CopyDone | CopyFail):
            self.is_query = isinstance(message, Query)
            if isinstance(message, Query):
                self._query([text.strip().lower() for text in message.query.decode().split(";")])
            else:
                self.has_open_batch |= not isinstance(message, Flush)
                self._extended(message)

    def _say(self, *messages: Message) -> None:
        self.unflushed += b"".join(message.encode() for message in messages)

    def flush(self) -> None:
        self.output += self.unflushed
        self.unflushed = b""

    def _ready(self) -> None:
        self.has_open_batch = self.has_executed = False
        self._say(ReadyForQuery(self.status))
        self.flush()

    def _fail(self, error: SqlError) -> None:
        self._say(server_error(str(error).encode()))
        self.flush()
        self.inserted = 0
        self.portals.clear()
        if self.status is TransactionStatus.IN_TRANSACTION:
            self.status = TransactionStatus.FAILED

    def _end_transaction(self, *, is_commit: bool) -> None:
        if is_commit:
            self.database.rows += self.inserted
        self.inserted = 0
        self.portals.clear()

    # Queries.

    def _query(self, texts: list[str]) -> None:
        self.statements.pop(b"", None)
        todo = [text for text in texts if text]
        try:
            if any(text not in RESULTS for text in todo):
                raise SqlError("42601")
            if not todo:
                self._say(EmptyQueryResponse())
        except SqlError as error:
            self._fail(error)
            self._ready()
            return
        self._go_on(todo, len(todo))

    def _go_on(self, todo: list[str], count: int) -> None:
        """The rest of a Query; COPY comes back here."""
        try:
            while todo:
                text = todo.pop(0)
                self._check_block(text)
                if text == "discard all" and (count > 1 or self.has_executed or self.status != TransactionStatus.IDLE):
                    raise SqlError("25001")
                result = RESULTS[text]
                if result is not None and text != "select 1/0":
                    self._say(result)
                if text == "copy t from stdin":
                    self._say(CopyInResponse(0, ()))
                    self.flush()
                    self.copy_ended = lambda: self._go_on(todo, count)
                    return
                self._run(text)
        except SqlError as error:
            self._fail(error)
        else:
            if self.status is TransactionStatus.IDLE:
                self._end_transaction(is_commit=True)
        self._ready()

    def _check_block(self, text: str) -> None:
        if self.status is TransactionStatus.FAILED and text not in ROLLBACKS:
            raise SqlError("25P02")

    def _run(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        tag = text.upper()
        match word:
            case "select" if text == "select 1/0":
                raise SqlError("22012")
            case "select":
                self._say(DataRow((rest.encode(),) if rest else ()))
                tag = "SELECT 1"
            case "fail":
                raise SqlError("22012")
            case "insert":
                self.inserted += 1
                tag = "INSERT 0 1"
            case "begin":
                self.status = TransactionStatus.IN_TRANSACTION
            case "commit" | "rollback":
                is_commit = text == "commit" and self.status is not TransactionStatus.FAILED
                self._end_transaction(is_commit=is_commit)
                tag = "COMMIT" if is_commit else "ROLLBACK"
                self.status = TransactionStatus.IDLE
            case "discard" if rest == "all":
                self._deallocate("all")
            case "deallocate":
                tag = "DEALLOCATE ALL" if rest == "all" else "DEALLOCATE"
                self._deallocate(rest)
        self._say(CommandComplete(tag.encode()))

    def _deallocate(self, name: str) -> None:
        if name == "all":
            self.statements = {key: text for key, text in self.statements.items() if not key}
        elif self.statements.pop(name.encode(), None) is None:
            raise SqlError("26000")

    # The extended protocol.

    def _extended(self, message: Message) -> None:
        try:
            match message:
                case Parse(name, query):
                    self._on_parse(name, query.decode().strip().lower())
                case Bind(portal, name):
                    text = self._statement(name)
                    self._check_block(text)
                    if portal and portal in self.portals:
                        raise SqlError("42P03")
                    self.portals[portal] = text
                    self._say(BindComplete())
                case Describe(Target.STATEMENT, name):
                    self._say(*self._describe(self._statement(name), ParameterDescription(())))
                case Describe(_, name):
                    self._say(*self._describe(self._portal(name)))
                case Execute(portal):
                    self._execute(self._portal(portal))
                case Close(target, name):
                    (self.statements if target is Target.STATEMENT else self.portals).pop(name, None)
                    self._say(CloseComplete())
                case Flush():
                    self.flush()
        except SqlError as error:
            self._fail(error)
            self.is_skipping = True

    def _on_parse(self, name: bytes, text: str) -> None:
        if not name:
            self.statements.pop(b"", None)
        if text not in RESULTS:
            raise SqlError("42601")
        self._check_block(text)
        if name in self.statements:
            raise SqlError("42P05")
        self.statements[name] = text
        self._say(ParseComplete())

    def _statement(self, name: bytes) -> str:
        if name not in self.statements:
            raise SqlError("26000")
        return self.statements[name]

    def _portal(self, name: bytes) -> str:
        if name not in self.portals:
            raise SqlError("34000")
        return self.portals[name]

    def _describe(self, text: str, *first: Message) -> tuple[Message, ...]:
        result = RESULTS[text]
        if result is None:
            return *first, NoData()
        self._check_block(text)
        return *first, result

    def _execute(self, text: str) -> None:
        self._check_block(text)
        if text == "discard all" and (self.has_executed or self.status is not TransactionStatus.IDLE):
            raise SqlError("25001")
        if not text:
            self._say(EmptyQueryResponse())
        elif text == "copy t from stdin":
            self._say(CopyInResponse(0, ()))
            self.flush()
            self.copy_ended = lambda: None
            self.is_skipping = False
        else:
            self._run(text)
        self.has_executed = True

    # COPY.

    def _copy(self, message: Message) -> None:
        """Data; Sync and Flush are ignored."""
        ended = self.copy_ended
        assert ended is not None
        if isinstance(message, CopyDone):
            self.copy_ended = None
            self._say(CommandComplete(b"COPY 1"))
            ended()
        elif isinstance(message, CopyFail):
            self.copy_ended = None
            self._fail(SqlError("57014"))
            if self.is_query:
                self._ready()
            else:
                self.is_skipping = True
        else:
            assert isinstance(message, CopyData | Sync | Flush), f"{message} while copying"
