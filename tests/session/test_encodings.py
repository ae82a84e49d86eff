"""Names of encodings, and text that comes from one to UTF-8."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import ParameterStatus
from pgshim.session.encodings import mentions_unsafe, official_name, to_utf8
from tests.session.script import LoginScript


@pytest.mark.parametrize(
    ("name", "official"),
    [
        (b"utf-8", b"UTF8"),
        (b"'utf-8'", b"UTF8"),
        (b"Unicode", b"UTF8"),
        (b"latin1", b"LATIN1"),
        (b"iso-8859-15", b"LATIN9"),
        (b"windows-1252", b"WIN1252"),
        (b"koi8", b"KOI8R"),
        (b"shift_jis_2004", b"SHIFT_JIS_2004"),
        (b"bogus", b"bogus"),
    ],
)
def test_an_encoding_has_one_name_however_it_is_spelt(name: bytes, official: bytes) -> None:
    assert official_name(name) == official


def test_the_client_is_told_that_name_whatever_the_pooler_gives_back() -> None:
    script = LoginScript((b"user", b"app"), (b"client_encoding", b"latin9")).forgets()
    script.upstream_sends(ParameterStatus(b"client_encoding", b"latin9"))
    script.frontend_receives(ParameterStatus(b"client_encoding", b"LATIN9"))


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("é".encode("latin-1"), b"LATIN1", "é"),
        ("€".encode("iso8859-15"), b"latin9", "€"),
        ("日".encode("euc_jp"), b"EUC_JP", "日"),
        ("é".encode(), b"UTF8", "é"),
        (b"plain", b"LATIN1", "plain"),
    ],
)
def test_text_comes_to_utf_8(text: bytes, encoding: bytes, found: str) -> None:
    assert to_utf8(text, encoding) == found.encode()


def test_unsafe_encodings_are_found_in_any_spelling() -> None:
    assert mentions_unsafe(b"set client_encoding to 'Shift-JIS 2004'")
    assert mentions_unsafe(b"set names 'gb18030'")
    assert not mentions_unsafe(b"set client_encoding to 'latin1'")
