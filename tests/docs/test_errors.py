"""docs/errors.md has every SQLSTATE, message and HINT that is written in pgshim's source, and no others.

Both are read from the syntax trees: the arguments of whatever makes an error, and the SQLSTATEs of the classes.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from pgshim import errors
from pgshim.errors import PgshimError
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "errors.md"
#: That of an option, which no client sees, and that of the class of all.
NOT_FOR_CLIENTS = {"F0000", "XX000"}
_CLASSES = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, PgshimError)}
_MAKERS = {"error_response", "refuse", "with_hint", "_committed", *_CLASSES} - {"ConfigurationError", "PgshimError"}
#: Where parts of errors are put together before they are given to one of these.
_PARTS = {"text", "hint", "reason", "_HINTS", "_ALTERNATIVES", "_OUT_OF_STEP", "_TERMINATION_HINT"}
#: They write the log, a trace, or what belongs to a command of its own.
_NO_ERRORS = {"demo", "check", "run", "run.py", "departure.py", "prewarm.py", "trace.py", "trace_text.py"}
#: Shorter pieces of a text are punctuation, or names.
_SHORTEST = 14


def test_the_sqlstates_are_those_of_the_source() -> None:
    written = set(re.findall(r"^## ([0-9A-Z]{5}) ", PAGE.read_text(), re.MULTILINE))
    assert written == set(_sqlstates()) - NOT_FOR_CLIENTS
    listed = re.findall(r"^\| \[`([0-9A-Z]{5})`\]", PAGE.read_text(), re.MULTILINE)
    assert listed == sorted(written), "the table above has them in their order"


def test_every_message_and_hint_of_the_source_is_there() -> None:
    page = _plain(PAGE.read_text() + (ROOT / "docs" / "session-features.md").read_text())
    missing = [f"{where}: {piece}" for where, piece in _texts() if _plain(piece) not in page]
    assert not missing


def test_the_source_is_read_at_all() -> None:
    texts = [piece for _, piece in _texts()]
    assert any("idle-session timeout" in piece for piece in texts)
    assert len(texts) > 100


def _plain(text: str) -> str:
    """Without what Markdown adds, each run of white space one space."""
    return " ".join(re.sub(r"[`\\]", "", text).split())


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "pgshim").rglob("*.py")):
        if _NO_ERRORS.isdisjoint(path.relative_to(ROOT / "pgshim").parts):
            yield path, ast.parse(path.read_text())


def _sqlstates() -> Iterator[str]:
    for _, tree in _trees():
        for node in ast.walk(tree):
            given: list[ast.expr] = []
            if isinstance(node, ast.Assign) and _names(node) == ["sqlstate"]:
                given = [node.value]
            elif isinstance(node, ast.Call) and _called(node) in ("error_response", "notice_response", "refuse"):
                given = node.args[:2]
            for value in given:
                is_bytes = isinstance(value, ast.Constant) and isinstance(value.value, bytes)
                if is_bytes and re.fullmatch(rb"(?=.*\d)[0-9A-Z]{5}", value.value):  # type: ignore[union-attr]
                    yield value.value.decode()  # type: ignore[union-attr]


def _texts() -> Iterator[tuple[str, str]]:
    """(where, piece) of each constant piece of a message or HINT."""
    for path, tree in _trees():
        for node in ast.walk(tree):
            is_part = isinstance(node, ast.Assign | ast.AnnAssign) and not _PARTS.isdisjoint(_names(node))
            if (isinstance(node, ast.Call) and _called(node) in _MAKERS) or is_part:
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                        piece = inner.value.strip(" :;,.\"'")
                        if len(piece) >= _SHORTEST:
                            yield f"{path.relative_to(ROOT)}:{inner.lineno}", piece


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _names(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = [name for target in targets for name in ast.walk(target)]
    return [name.id for name in names if isinstance(name, ast.Name)]
