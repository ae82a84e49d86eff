"""The scanner: a table of its rules, and PostgreSQL's own scanner (pglast) as the oracle of where tokens end.

Where the two truly differ, and the tests know of it:
- pglast reads with standard_conforming_strings on; the rules for `off` are held by tables and by the likeness to E''.
- pglast is PostgreSQL 18's scanner. Texts that it refuses (`1abc`, `""`, a bad escape in E'') are not compared;
  older servers refuse fewer of them, and read `0x1F` and `1_000` as a number and an alias.
"""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pglast.parser import Error, scan

from pgshim.session.tokens import TokenKind, lexemes, outline, tokenize, truncate_name, unquote, unquote_unicode

CORPUS = [
    "SELECT 1",
    "select a.id, \"b\".\"c d\", count(*) FROM t AS x WHERE a >= $1 AND b <> 'it''s' ORDER BY 1 -- done",
    "/* one /* two */ 'still' */ select /**/ 1 /***/ + /*/ x */ 2 //* y */ 3",
    "select 'a'\n  'b', 'c' 'd', 'e'\r\n\t\f'f', 'g'  \n--x\n\n'h'",
    r"select E'a\'b\\', e'x''y\n' 'z', E'a'" + "\n" + r"'b\'c'",
    "select B'01' 'x', b'1''0', X'1F', x'aF'\n'00'",
    "select N'abc', n'it''s', u&'d\\0061t' , U&'x'\n'y''z', u& 'a', U&\"d\\0061t\"\"x\" UESCAPE '!'",
    "select $$a'b$$, $x$ $$ $y$ $x$, $x1_é$;$x1_é$, $1, $23, a$b$c, $ 1, $x + $1",
    'select "a""b", "A;b", "--c", "/*d", e"x", b"y", u"z", _a1$, été, "日本"',
    "select 1, 1.5, .5, 5., 1e5, 1.5E-3, .5e+1, 1..10, 1...5, 0x1F, 0o17, 0b01, 1_000, 1_0.0_1, 1.5.3",
    "select a=-1, a*-1, a<-b, a@-1, a?-b, a+-+-1, a-+*b, a||-b, a!=-1, a ->> 'x' #>> b, 1+++2, a<=>b, a=>b, a:=b",
    "select a::int, b[1:2], c[:], d..e, f.*, -(1), not true, a%b, a^b, a&b, a|b, ~a, `a",
    "a+--b\n-c, a*/**/b, a/*x*/*b, ---d\n, a@--e\n, a<--f\n1, a/-/*c*/-b",
    "select {x}, a\\b, \x01;;;",
    "insert into t(a,b) values ($1,'é''日'),(2,E'\\\\');update t set a=a+1;;delete from t",
    "do $body$ begin perform 'x'; end $body$; select '--', '/*', \"--\" /* ' */ , 'x'",
    "\v\f\t\r\n select\v1",
]


def postgres_tokens(text: str) -> list[tuple[int, int]]:
    """The spans of PostgreSQL's tokens in bytes."""
    at = [0]
    for character in text:
        at.append(at[-1] + len(character.encode()))
    return [(at[token.start], at[token.end + 1]) for token in scan(text)]


def first_words(text: bytes) -> list[tuple[bytes, int, int]] | None:
    """What an outline should say, from the tokens: each statement's first word, its start, and where it ends."""
    found = lexemes(text)
    if found is None:
        return None
    statements = []
    first = True
    stops = [start for _, word, start, _ in found if word == b";"] + [len(text)]
    for _, word, start, _ in found:
        if first and word != b";":
            stop = next(place for place in stops if place >= start)
            name = re.match(rb"[a-z_\x80-\xff][a-z0-9_$\x80-\xff]*|.", text[start:].lower(), re.DOTALL)
            assert name is not None
            statements.append((name[0], start, start + len(text[start:stop].rstrip())))
        first = word == b";"
    return statements


def agrees(text: str) -> bool:
    """Whether both scanners refuse a text, or cut it in the same places; True too if only PostgreSQL refuses."""
    data = text.encode()
    tokens = tokenize(data)
    assert b"".join(data[start:end] for _, start, end in tokens) == data
    assert [token[1] for token in tokens] == [0, *(token[2] for token in tokens)][: len(tokens)]
    ours = [token[1:] for token in tokens if token[0] is not TokenKind.SPACE]
    try:
        theirs = postgres_tokens(text)
    except Error:
        return True
    assert all(token[0] is not TokenKind.ERROR for token in tokens)
    assert outline(data) == first_words(data)
    return ours == theirs


@pytest.mark.parametrize("text", CORPUS)
def test_the_corpus_is_cut_as_postgresql_cuts_it(text: str) -> None:
    scan(text)
    assert agrees(text)


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(
    st.sampled_from(CORPUS),
    st.lists(
        st.tuples(
            st.integers(0, 120),
            st.integers(0, 6),
            st.sampled_from(["", *"'\"\\$;(-/*+@eEuUxn&1.:é \n", "/*", "*/", "--", "$$", "$x$", "E'", "U&'", "::"]),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_mutations_of_the_corpus_are_cut_as_postgresql_cuts_them(text: str, edits: list[tuple[int, int, str]]) -> None:
    for place, removed, inserted in edits:
        place %= len(text) + 1
        text = text[:place] + inserted + text[place + removed :]
    assert agrees(text)


SPELLINGS = [
    # text, tokens with standard_conforming_strings on, and off
    (rb"'a\'", [rb"'a\'"], None),
    (rb"'a\'b'", None, [rb"'a\'b'"]),
    (rb"'a\' 'b\'", [rb"'a\'", rb"'b\'"], None),
    (rb"'a\\' x", [rb"'a\\'", b"x"], [rb"'a\\'", b"x"]),
    (rb"'a\''' x", [rb"'a\'''", b"x"], None),
    (rb"'a\'' x", None, [rb"'a\''", b"x"]),
    (rb"'a\'b''' x", None, [rb"'a\'b'''", b"x"]),
    (b"'a'\n'\\'b' x", None, [b"'a'\n'\\'b'", b"x"]),
    (rb"E'\' ' x", [rb"E'\' '", b"x"], [rb"E'\' '", b"x"]),
    (rb"N'\' x", [b"n", rb"'\'", b"x"], None),
    (rb"B'1\' x", [rb"B'1\'", b"x"], [rb"B'1\'", b"x"]),
    (b"U&'a' x", [b"U&'a'", b"x"], None),
    (b'U&"a" x', [b'U&"a"', b"x"], [b'U&"a"', b"x"]),
    (b"$$\\$$ x", [b"$$\\$$", b"x"], [b"$$\\$$", b"x"]),
    # a string goes on behind a comment of this kind
    (b"'a' -- ' \n -- ' \n 'b' x", [b"'a' -- ' \n -- ' \n 'b'", b"x"], [b"'a' -- ' \n -- ' \n 'b'", b"x"]),
    (b"'a' -- 'b'", [b"'a'"], [b"'a'"]),
    (b"'a'\n'b", None, None),
    (b"a /* /* */", None, None),
    (b"$a$ $b$", None, None),
    (b'"a', None, None),
    (b"x'1", None, None),
    (b"e'1", None, None),
    (b'u&"1', None, None),
    (b"ABC Abc", [b"abc", b"abc"], [b"abc", b"abc"]),
    (b"\xc4A \xff", [b"\xc4a", b"\xff"], [b"\xc4a", b"\xff"]),
    (b"1_0$a$ 0x1$a$", [b"1", b"_0$a$", b"0", b"x1$a$"], [b"1", b"_0$a$", b"0", b"x1$a$"]),
    (b"-- only", [], []),
    (b"", [], []),
]


@pytest.mark.parametrize(("text", "conforming", "escaping"), SPELLINGS)
def test_a_text_is_read_with_the_setting_of_its_session(
    text: bytes, conforming: list[bytes] | None, escaping: list[bytes] | None
) -> None:
    for setting, expected in ((True, conforming), (False, escaping)):
        found = lexemes(text, setting)
        if expected is None:
            assert found is None
        else:
            assert found is not None
            folded = [text[s:e].lower() if kind is TokenKind.WORD else text[s:e] for kind, _, s, e in found]
            assert folded == expected


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(st.text("'\\a\n -", max_size=12))
def test_with_the_setting_off_a_plain_string_is_read_like_an_escape_string(body: str) -> None:
    plain = tokenize(b"'" + body.encode(), False)[0]
    escape = tokenize(b"E'" + body.encode(), False)[0]
    assert (plain[0], plain[2] + 1) == (escape[0], escape[2])


def test_every_kind_of_token_is_told_apart() -> None:
    text = b'a \'b\' "c" U&"d" 1 $1 + ( --e\n/*f*/ "g'
    assert [kind.name for kind, _, _ in tokenize(text) if kind is not TokenKind.SPACE] == [
        *("WORD", "STRING", "QUOTED", "UNICODE_QUOTED", "NUMBER", "PARAMETER", "OPERATOR", "CHARACTER"),
        *("COMMENT", "BLOCK_COMMENT", "ERROR"),
    ]


@pytest.mark.parametrize("piece", [b"+", b"a", b"'", b"/*", b"$a$", b"-- \n", b"'a'\n--\n", b"(", b"\\'", b'"', b" "])
def test_no_repetition_makes_the_scanner_slow(piece: bytes) -> None:
    text = piece * (20_000 // len(piece))  # in quadratic time this would take minutes
    for setting in (True, False):
        assert tokenize(text, setting)[-1][2] == len(text)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"a" * 63, b"a" * 63),
        (b"a" * 64, b"a" * 63),
        (b"a" * 62 + "é".encode(), b"a" * 62),
        (b"a" * 60 + "😀".encode(), b"a" * 60),
        ("é".encode() * 40, "é".encode() * 31),
        (b"\x80" * 70, b"\x80" * 63),
    ],
)
def test_a_name_is_cut_at_63_bytes_and_not_inside_of_a_character(name: bytes, kept: bytes) -> None:
    assert truncate_name(name) == kept


def test_a_quoted_name_loses_its_quotes() -> None:
    assert unquote(b'"a""B"') == b'a"B'


@pytest.mark.parametrize(
    ("quoted", "escape", "name"),
    [
        (rb'U&"d\0061t\+000061"', b"\\", b"data"),
        (rb'u&"a\\b""c"', b"\\", b'a\\b"c'),
        (rb'U&"d!0061t!!\"', b"!", b"dat!\\"),
        (rb'U&"\D83D\DE00"', b"\\", "😀".encode()),
        ('U&"é"'.encode(), b"\\", "é".encode()),
        (rb'U&"\D83D"', b"\\", None),
        (rb'U&"\0000"', b"\\", None),
        (rb'U&"\00zz"', b"\\", None),
        (rb'U&"\+FFFFFF"', b"\\", None),
        (b'U&"a\\"', b"\\", None),
        (b'U&"\xff"', b"\\", None),
        (b'U&"a"', b"a", None),
        (b'U&"a"', b"", None),
        (b'U&"a"', b"!!", None),
        (b'U&"a"', b"\xc3", None),
    ],
)
def test_a_unicode_name_is_decoded_or_refused(quoted: bytes, escape: bytes, name: bytes | None) -> None:
    assert unquote_unicode(quoted, escape) == name
