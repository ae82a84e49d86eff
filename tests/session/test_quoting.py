"""Names and constants: what is read and what is written is held against PostgreSQL's own parser (pglast)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import parse_sql

from pgshim.session.quoting import quote_literal, quote_name, read_name, read_string, set_local, split_list
from pgshim.session.tokens import lexemes

STRINGS = [
    *("'a'", "''", "'it''s'", "''''", "'a'\n'b'", "'a''' -- it's\n \n '''b'", "$$a'b\\$$", "$tag$ $$ 'x' $tag$"),
    *("E'a'", "e'\\b\\f\\n\\r\\t\\'\\\\\\a'", "E'\\x41\\x4a2\\101\\60\\0601'", "E'\\u0041\\U00000042'", "E'\\xg'"),
    *("E'a''b' --\n'\\'c'", "E'\\10'\n'1'", "E'a\nb\\\nc'"),
    *("U&'a'", "u&'\\0061''\"\\+000062\\\\'", "U&'d!0061' uescape '!'", "U&'d!!\\' UESCAPE E'!'", "U&'a\\00'\n'61'"),
]
UNKNOWN = [
    *("'é'", "'a\\b'", "E'\\x80'", "E'\\u00e9'", "E'\\377'", "E'\\000'", "$$é$$", "U&'\\00e9'", "U&'\\zz'"),
    *("U&'a' uescape ''", "U&'a' uescape 'ab'", "U&'a' uescape 'é'", "E'\\U00010000'", "U&'a' uescape '\\'"),
]
# A value, and the constant written for it.
LITERALS = {
    "": b"''",
    "app, public": b"'app, public'",
    "it's": b"'it''s'",
    "a\\b": b"E'a\\\\b'",
    "it's\\": b"E'it''s\\\\'",
    "é日": b"E'\\u00e9\\u65e5'",
    "😀1": b"E'\\U0001f6001'",
    "a\nb\t\x01\x7f": b"E'a\\x0ab\\x09\\x01\\x7f'",
    '"a"': b"'\"a\"'",
}
# A name, and the identifier written for it.
NAMES = {
    "work_mem": b"work_mem",
    "a$1": b"a$1",
    "A": b'"A"',
    "a b": b'"a b"',
    'a"b': b'"a""b"',
    "user": b'"user"',
    "left": b'"left"',
    "system_user": b'"system_user"',
    "role": b"role",
    "é": b'U&"\\+0000e9"',
    'é\\"😀': b'U&"\\+0000e9\\\\""\\+01f600"',
}
LISTS = {
    "": [],
    " \t": [],
    "a": ["a"],
    '"$user", public': ["$user", "public"],
    ' A ,b\n, "C d","e""f"': ["a", "b", "C d", 'e"f'],
    '""': [""],
    "$user,é": ["$user", "é"],
    'a"b': ['a"b'],
    **dict.fromkeys(("a,", ",a", "a,,b", "a b", '"a', '"a"b', '"a" b', ",", '"a""'), None),
}


def value_by_postgres(constant: bytes) -> str:
    tree: Any = parse_sql("SELECT " + constant.decode())[0].stmt
    value: str = tree.targetList[0].val.val.sval
    return value


@pytest.mark.parametrize("spelling", STRINGS)
def test_a_constant_is_read_as_postgres_reads_it(spelling: str) -> None:
    text = spelling.encode()
    found = lexemes(text) or []
    assert read_string(text, found, 0) == (value_by_postgres(text).encode(), len(found))


@pytest.mark.parametrize("spelling", UNKNOWN)
def test_of_other_constants_only_the_end_is_known(spelling: str) -> None:
    text = spelling.encode()
    found = lexemes(text) or []
    assert read_string(text, found, 0) == (None, len(found))


def test_the_value_is_not_known_where_a_setting_decides_on_it() -> None:
    text = rb"'it\'s'"
    assert read_string(text, lexemes(text, False) or [], 0) == (None, 1)


@pytest.mark.parametrize("spelling", ["", "a", '"a"', "b'1'", "X'1f'", "1", "$1"])
def test_what_is_no_string_is_none(spelling: str) -> None:
    assert read_string(spelling.encode(), lexemes(spelling.encode()) or [], 0) is None


@pytest.mark.parametrize(
    ("spelling", "name", "size"),
    [
        ("Abc", b"abc", 1),
        ('"A ""b"', b'A "b', 1),
        ('U&"\\0061B" x', b"aB", 1),
        ("U&\"!0061\" uescape '!' x", b"a", 3),
        ("x" * 70, b"x" * 63, 1),
    ],
)
def test_a_name_is_read_as_the_server_knows_it(spelling: str, name: bytes, size: int) -> None:
    assert read_name(spelling.encode(), lexemes(spelling.encode()) or [], 0) == (name, size)


@pytest.mark.parametrize("spelling", ["", "select", "left", '""', 'U&"\\zz"', "U&\"a\" uescape U&'!'", "'a'", "1", "."])
def test_what_is_no_name_is_none(spelling: str) -> None:
    assert read_name(spelling.encode(), lexemes(spelling.encode()) or [], 0) is None


def test_which_keywords_are_names_depends_on_the_place() -> None:
    assert read_name(b"left", lexemes(b"left") or [], 0, frozenset()) == (b"left", 1)


@pytest.mark.parametrize(("value", "constant"), LITERALS.items())
def test_a_value_is_written_as_a_constant(value: str, constant: bytes) -> None:
    assert quote_literal(value.encode()) == constant


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_postgres_reads_the_value_that_was_written(value: str) -> None:
    constant = quote_literal(value.encode())
    assert constant.isascii()
    assert value_by_postgres(constant) == value


def test_bytes_that_are_not_utf_8_are_written_in_octal() -> None:
    assert quote_literal(b"a\xff'\xc3") == b"E'a\\377''\\303'"


@pytest.mark.parametrize(("name", "identifier"), NAMES.items())
def test_a_name_is_quoted_if_it_has_to_be(name: str, identifier: bytes) -> None:
    assert quote_name(name.encode()) == identifier
    tree: Any = parse_sql(f"SAVEPOINT {identifier.decode()}")[0].stmt
    assert tree.savepoint_name == name


def test_a_name_that_is_not_utf_8_is_written_as_it_is() -> None:
    assert quote_name(b'a"\xff') == b'"a""\xff"'


@pytest.mark.parametrize(("value", "elements"), LISTS.items())
def test_a_list_is_split(value: str, elements: list[str] | None) -> None:
    assert split_list(value.encode()) == (None if elements is None else [element.encode() for element in elements])


@pytest.mark.parametrize(
    ("name", "value", "statement"),
    [
        (b"work_mem", b"4MB", b"SET LOCAL work_mem TO '4MB'"),
        (b"search_path", b'"$user", public', b"SET LOCAL search_path TO '$user', 'public'"),
        (b"search_path", b'"A, b", ""', b"SET LOCAL search_path TO 'A, b', ''"),
        (b"search_path", b"", b"SET LOCAL search_path TO ''"),
        (b"local_preload_libraries", b"a b", b"SET LOCAL local_preload_libraries TO 'a b'"),
        (b"datestyle", b"ISO, MDY", b"SET LOCAL datestyle TO 'ISO, MDY'"),
        (b"app.user", b"it's", b"SET LOCAL app.\"user\" TO 'it''s'"),
        (b"app.a b.c", b"", b"SET LOCAL app.\"a b\".c TO ''"),
        (b"a..b", b"", b"SET LOCAL \"a..b\" TO ''"),
    ],
)
def test_a_setting_is_written_as_set_local(name: bytes, value: bytes, statement: bytes) -> None:
    assert set_local(name, value) == statement
    tree: Any = parse_sql(statement.decode())[0].stmt
    assert (tree.name, tree.is_local) == (name.decode(), True)


def test_a_setting_whose_name_is_long_is_quoted_by_its_parts() -> None:
    name = b"." + b".".join(b"x" * 40 for _ in range(3))
    assert set_local(name, b"1") == b"SET LOCAL \"\"%b TO '1'" % name
