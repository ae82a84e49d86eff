"""What a text of SQL does, as far as its tokens show: the statements in it, their kinds, and what it may do.

`verdict` is the front door. Its answers are cached, so a text seen before costs one look-up. Every doubt is
settled on the careful side: what cannot be scanned may end a transaction, and what is not known to be
harmless is not pure.
"""

import re
from dataclasses import dataclass, replace

from pgshim.session.builtins import has_no_effect
from pgshim.session.kinds import Kind as Kind
from pgshim.session.kinds import kind_of_first_word, split
from pgshim.session.pieces import CONTROL, DRAWING, SELECTING, is_notable, read_statement
from pgshim.session.pieces import Statement as Statement
from pgshim.session.pieces import localize as localize
from pgshim.session.tokens import lexemes, outline, without_strings

LONG_TEXT = 16 * 1024
"""Bytes. A longer text is only skimmed: its statements and kinds are known, but it is never called pure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that is known about a text."""

    kind: Kind
    statements: tuple[Statement, ...]
    # One statement whose result columns PostgreSQL holds against those of its first use (0A000).
    has_result_check: bool
    # One query that provably has no effect: it may be run again, or its result be thrown away.
    is_pure: bool
    # It may end a transaction, or begin one: it must not overtake an Execute whose result is not verified.
    may_end_transaction: bool
    # The server may answer with CopyInResponse.
    may_copy_in: bool
    # A COPY is in it, in or out.
    may_copy: bool
    # A DEALLOCATE, DISCARD ALL or DISCARD PLANS is in it.
    deallocates: bool
    # A SET, RESET or set_config is in it.
    touches_settings: bool
    # Something that needs a session of its own is in it.
    has_hazards: bool
    # It may begin or end a transaction block, or change its savepoints.
    has_control: bool
    # All of it is nothing but resets.
    is_local_reset: bool
    # One statement that may call nextval().
    may_draw: bool
    # It may change what a text means: define, alter or drop something, or give or take rights.
    may_define: bool
    # What a server says of it may be told to other clients of the same kind.
    is_shareable: bool


_QUERIES = frozenset({Kind.SELECT, Kind.DML})
_COPYING = frozenset({Kind.COPY, Kind.COPY_FROM_STDIN})
#: What is in these no text shows.
_DEFINING = frozenset({Kind.UNKNOWN, Kind.CALL, Kind.DO, Kind.COMMIT_PREPARED})
_DEALLOCATING = frozenset({Kind.DEALLOCATE, Kind.DISCARD_ALL, Kind.DISCARD_PLANS})
_TRANSACTION_CONTROL = CONTROL | {
    Kind.UNKNOWN,
    Kind.COMMIT_PREPARED,
    Kind.ROLLBACK_PREPARED,
    Kind.CALL,
    Kind.DO,
}


def _read(text: bytes, conforming: bool) -> tuple[list[Statement], bool]:
    """The statements of a text, and whether it provably has no effect."""
    scanned = lexemes(text, conforming)
    parts = None if scanned is None else split(scanned)
    if parts is None:
        return [Statement(Kind.UNKNOWN, 0, len(text))], False
    has_words = is_notable(text)
    statements = [read_statement(text, part, conforming, has_words=has_words) for part in parts]
    is_query = len(parts) == 1 and statements[0].kind is Kind.SELECT
    return statements, is_query and has_no_effect(parts[0])


def _skim(text: bytes, conforming: bool) -> tuple[list[Statement], bool]:
    """The same of a long text, whose every token would cost too much: nothing is proved of it."""
    parts = outline(text, conforming)
    if parts is None:
        return [Statement(Kind.UNKNOWN, 0, len(text))], False
    if is_notable(without_strings(text, conforming)):
        return _read(text, conforming)[0], False
    statements = []
    for word, start, end in parts:
        if word == b"create" and len(parts) > 1:
            return _read(text, conforming)[0], False  # semicolons may be in it
        kind = kind_of_first_word(word)
        if kind is not None and kind not in CONTROL:
            defines = kind in SELECTING and b"into" in text[start:end].lower()
            statements.append(Statement(kind, start, end, defines=defines))
            continue
        for part in _read(text[start:end], conforming)[0]:
            statements.append(replace(part, start=start + part.start, end=start + part.end))
    return statements, False


def _are_local_resets(statements: list[Statement]) -> bool:
    """Whether all are; DISCARD ALL is one only by itself, since a server refuses it beside others."""
    if len(statements) > 1 and any(statement.kind is Kind.DISCARD_ALL for statement in statements):
        return False
    return bool(statements) and all(statement.is_local_reset for statement in statements)


def judge(text: bytes, standard_conforming_strings: bool = True) -> Verdict:
    """The verdict on a text, worked out anew."""
    read = _read if len(text) <= LONG_TEXT else _skim
    statements, is_pure = read(text, standard_conforming_strings)
    kinds = {statement.kind for statement in statements}
    only = Kind.MULTIPLE if len(statements) > 1 else statements[0].kind if statements else Kind.EMPTY
    return Verdict(
        kind=only,
        statements=tuple(statements),
        has_result_check=only in _QUERIES,
        is_pure=is_pure,
        may_end_transaction=only is Kind.MULTIPLE or only in _TRANSACTION_CONTROL,
        may_copy_in=Kind.COPY_FROM_STDIN in kinds or (only is Kind.UNKNOWN and b"copy" in text.lower()),
        may_copy=not kinds.isdisjoint(_COPYING) or (only is Kind.UNKNOWN and b"copy" in text.lower()),
        deallocates=not kinds.isdisjoint(_DEALLOCATING),
        touches_settings=any(part.assignment is not None or part.set_configs for part in statements),
        has_hazards=any(part.hazards for part in statements),
        has_control=not kinds.isdisjoint(CONTROL),
        is_local_reset=_are_local_resets(statements),
        may_define=not kinds.isdisjoint(_DEFINING) or any(part.defines for part in statements),
        is_shareable=len(statements) == 1 and statements[0].is_shareable and (is_pure or only is Kind.DML),
        may_draw=(only in DRAWING and not is_pure) or (only is Kind.UTILITY and b"nextval" in text.lower()),
    )


#: What is known of one, in memory.
_BYTES_OF_A_STATEMENT = 512


class VerdictCache:
    """Verdicts on the texts seen last, bounded in number and in bytes of text; the oldest goes first."""

    __slots__ = ("_conforming", "_verdicts", "max_bytes", "max_text_size", "max_texts", "size")

    def __init__(
        self,
        standard_conforming_strings: bool,
        *,
        max_texts: int = 8192,
        max_bytes: int = 8 * 1024 * 1024,
        max_text_size: int = 64 * 1024,
    ) -> None:
        self._conforming = standard_conforming_strings
        self._verdicts: dict[bytes, Verdict] = {}
        self.max_texts = max_texts
        self.max_bytes = max_bytes
        # Larger ones are judged each time: seldom seen twice, they would push out those that are.
        self.max_text_size = max_text_size
        # Bytes of the texts held, and of what is known of their statements beyond the first of each.
        self.size = 0

    def __len__(self) -> int:
        return len(self._verdicts)

    def __contains__(self, text: bytes) -> bool:
        return text in self._verdicts

    def verdict(self, text: bytes) -> Verdict:
        """The verdict on a text: one look-up when it was seen before."""
        found = self._verdicts.get(text)
        if found is not None:
            return found
        made = judge(text, self._conforming)
        size = _size(text, made)
        if size <= self.max_text_size:
            self._verdicts[text] = made
            self.size += size
            while self.size > self.max_bytes or len(self._verdicts) > self.max_texts:
                oldest = next(iter(self._verdicts))
                self.size -= _size(oldest, self._verdicts.pop(oldest))
        return made


def _size(text: bytes, verdict: Verdict) -> int:
    return len(text) + _BYTES_OF_A_STATEMENT * max(len(verdict.statements) - 1, 0)


_CONFORMING = VerdictCache(True)
_ESCAPING = VerdictCache(False, max_texts=1024, max_bytes=1024 * 1024)


def verdict(text: bytes, standard_conforming_strings: bool = True) -> Verdict:
    """The verdict on a text as a server with this setting reads it; all connections share the cache."""
    return (_CONFORMING if standard_conforming_strings else _ESCAPING).verdict(text)


#: What begins most texts, and changes no schema unless INTO stands in it, or another statement behind it.
_HARMLESS = re.compile(
    rb"\s*(?i:(?P<query>select|with|values|table|\()|insert|update|delete|begin|start|end|rollback|savepoint"
    rb"|release|set|reset|show|fetch|copy|commit(?=[\s;]*\Z))(?!\w)"
)


def may_define(text: bytes, standard_conforming_strings: bool = True) -> bool:
    """`Verdict.may_define` of a text that need not be looked at closely for it: most texts of Queries are seen once."""
    found = _HARMLESS.match(text)
    is_one = found is not None and b";" not in text.rstrip(b"; \t\n\r")
    if found is not None and is_one and (found["query"] is None or b"into" not in text.lower()):
        return False
    return verdict(text, standard_conforming_strings).may_define
