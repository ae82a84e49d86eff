"""What is left of a text without its strings: every word that stands outside of them, and none that stands inside."""

from __future__ import annotations

import pytest

from pgshim.session.tokens import TokenKind, tokenize, without_strings

TEXTS = [
    b"set a = 'set b'",
    b"select 'it''s', e'it\\'s set', set_config(E'x', $$set_config$$, $a$ $$ 'set' $a$)",
    b"select 1 -- set 'a\nset b -- 'c'",
    b'select "a\'b", set',
    b"select x'1f', b'01', n'x', u&'d\\0061' uescape '!', set",
    b"select 'a'\n'set', set",
    b"select $1$2, a$b$, set $$set$$",
    b"",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("conforming", [True, False])
def test_words_outside_of_strings_are_left(text: bytes, conforming: bool) -> None:
    left = without_strings(text, conforming)
    tokens = tokenize(text, conforming)
    words = [text[start:end] for kind, start, end in tokens if kind in (TokenKind.WORD, TokenKind.QUOTED)]
    position = 0
    for word in words:
        position = left.index(word, position) + len(word)


@pytest.mark.parametrize(
    ("text", "conforming", "left"),
    [
        (b"set a = 'set b'", True, b"set a = ''"),
        (b"select 'a\\' || 'set'", True, b"select '' || ''"),
        (b"select 'a\\' || set'", False, b"select ''"),
        (b"select $$set$$, $a$'set'$a$", True, b"select '', ''"),
        (b"select 1 -- set\n, 2", True, b"select 1 ''\n, 2"),
        (b'select "set"', True, b'select "set"'),
    ],
)
def test_strings_and_comments_are_taken_out(text: bytes, conforming: bool, left: bytes) -> None:
    assert without_strings(text, conforming) == left
