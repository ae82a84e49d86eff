"""Markdown files as the tests read them: fenced blocks with their marks, links, the anchors of headings."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent.parent
#: Beside those with a dot in front, such as .venv.
_NOT_OURS = {"build", "dist", "node_modules", "target"}
_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block: ```LANGUAGE MARK NAME=VALUE. A mark without a value has the empty one."""

    page: Path
    line: int
    language: str
    marks: dict[str, str]
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Link:
    page: Path
    line: int
    target: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def files() -> list[Path]:
    """Every Markdown file of the repository, without what was built or installed there."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _NOT_OURS]
        found += [Path(folder, name) for name in names if name.endswith(".md")]
    return sorted(found)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks, in their order."""
    found = []
    for token in _PARSER.parse(page.read_text()):
        if token.type == "fence":
            language, *words = token.info.split() or [""]
            marks = dict((*word.split("=", 1), "")[:2] for word in words)
            found.append(Block(page, _line(token), language, marks, token.content))
    return found


def links(page: Path) -> list[Link]:
    """The links and pictures, as they are written."""
    found = []
    for token in _PARSER.parse(page.read_text()):
        for child in token.children or ():
            target = child.attrGet("href") if child.type == "link_open" else child.attrGet("src")
            if child.type in ("link_open", "image"):
                found.append(Link(page, _line(token), str(target)))
    return found


def codes(page: Path) -> list[str]:
    """What stands between backticks within a line."""
    children = (child for token in _PARSER.parse(page.read_text()) for child in token.children or ())
    return [child.content for child in children if child.type == "code_inline"]


def anchors(page: Path) -> set[str]:
    """What a link may have behind its `#`, as GitHub makes it of the headings."""
    tokens = _PARSER.parse(page.read_text())
    seen: Counter[str] = Counter()
    found = set()
    for token, following in zip(tokens, tokens[1:], strict=False):
        if token.type == "heading_open":
            title = "".join(child.content for child in following.children or ())
            slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


def _line(token: Token) -> int:
    assert token.map is not None
    return token.map[0] + 1
