"""Every relative link of every Markdown file leads to something, its anchor included."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs import markdown
from tests.docs.markdown import ROOT


@pytest.mark.parametrize("page", markdown.files(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = [f"{link.where}: {link.target}" for link in markdown.links(page) if not _leads_somewhere(link)]
    assert not broken


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            targets = [_file(link) for link in markdown.links(page)]
            ahead += [path for path in targets if path is not None and path.suffix == ".md" and path.exists()]
    lost = {page for page in markdown.files() if page.is_relative_to(ROOT / "docs")} - reached
    assert not lost


def test_anchors_are_made_as_on_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `--two`, three!\n\n## Twice\n\n## Twice\n\n## CPU per query (us)\n")
    assert markdown.anchors(page) == {"one---two-three", "twice", "twice-1", "cpu-per-query-us"}


def _leads_somewhere(link: markdown.Link) -> bool:
    path = _file(link)
    if path is None:
        # Of the others only the form is looked at: the tests need no network.
        return urlsplit(link.target).scheme == "https"
    if not path.exists() or not path.is_relative_to(ROOT):
        return False
    anchor = urlsplit(link.target).fragment
    return not anchor or anchor in markdown.anchors(path)


def _file(link: markdown.Link) -> Path | None:
    """The file of the repository that it leads to; None: it leads out of it."""
    parts = urlsplit(link.target)
    if parts.scheme:
        return None
    return (link.page.parent / unquote(parts.path)).resolve() if parts.path else link.page
