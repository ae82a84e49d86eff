"""Calls of set_config: where they are, and what of their arguments is known from the text."""

import pytest
from pglast import ast, parse_sql
from pglast.visitors import Visitor

from pgshim.session.assignments import SetConfig, read_set_config
from pgshim.session.tokens import lexemes

# Spellings of the function, called in the text.
CALLED = [
    "set_config",
    "SET_Config",
    "pg_catalog.set_config",
    "PG_Catalog /* a */ . -- b\n set_config",
    '"pg_catalog"."set_config"',
    'U&"pg\\005fcatalog".U&"set\\005fconfig"',
    "U&\"pg!005fcatalog\" uescape '!' . U&\"set!005fconfig\" uescape '!' ",
    "app.pg_catalog.set_config",
]
# Others that look like it.
NOT_CALLED = [
    "select public.set_config('a', 'b', false)",
    "select \"SET_CONFIG\"('a', 'b', false)",
    "select U&\"SET\\005fconfig\"('a', 'b', false)",
    "select U&\"\\zz\"('a', 'b', false)",
    "select pg_catalog2.set_config('a', 'b', false)",
    "select (x).set_config",
    "select set_config from t",
    "select set_config",
    "select set_config 'a'",
    "select set_config()",
    "select set_config('a', 'b')",
    "select set_config('a', 'b', false, 1)",
    "select set_config('a', , false)",
    "select set_config('a', 'b', false",
    "select ) set_config('a', 'b', ]",
    "select 'set_config(1, 2, 3)', $$set_config(1, 2, 3)$$ -- set_config(1, 2, 3)",
]

NAMES: dict[str, bytes | int | None] = {
    "'work_mem'": b"work_mem",
    "'Work_MEM'": b"work_mem",
    "e'app.\\x41'": b"app.a",
    "U&'d!0061' uescape '!'": b"da",
    "$$TimeZone$$": b"timezone",
    "'app.'\n'x'": b"app.x",
    "'x'::text": b"x",
    "'x' :: varchar :: text": b"x",
    "('x')": b"x",
    "(('x')::text)": b"x",
    "cast('x' as text)": b"x",
    "CAST(cast('x' as varchar) AS pg_catalog.text)": b"x",
    "'x'::character varying": b"x",
    "text 'x'": b"x",
    "pg_catalog.varchar 'x'": b"x",
    "$1": 1,
    "$1::VARCHAR": 1,
    "cast($12 as text)": 12,
    "($1)": 1,
    "'é'": None,
    "'a\\b'": None,
    "'x'::varchar(3)": None,
    "'x'::name": None,
    "$1::int": None,
    "'a' || 'b'": None,
    "('a') || ('b')": None,
    "name": None,
    "(select 'a')": None,
    "lower('A')": None,
    "array['a', 'b'][1]": None,
    "()": None,
    "null": None,
    "(" * 20 + "'x'" + ")" * 20: b"x",
    "(" * 40 + "'x'" + ")" * 40: None,
}
BOOLEANS: dict[str, bool | int | None] = {
    **dict.fromkeys(("true", "TRUE", "'t'", "'tr'", "'true'", "'YES'", "'y'", "'on'", "'1'", "' true\n'"), True),
    **dict.fromkeys(("false", "'f'", "'false'", "'FAL'", "'no'", "'n'", "'off'", "'of'", "'0'", "null"), False),
    **dict.fromkeys(("(true)", "true::bool", "'t'::boolean", "cast('1' as boolean)", "bool 'y'", "$$on$$"), True),
    **dict.fromkeys(("'f'::pg_catalog.bool", "(cast(('off') as bool))::boolean", "null::bool"), False),
    "$3": 3,
    "$3::bool": 3,
    "cast($3 as boolean)": 3,
    **dict.fromkeys(("not true", "1 = 0", "'o'", "''", "'tt'", "'true '::text", "$3::text::bool", "f(true, 1)"), None),
    **dict.fromkeys(("0::bool", "case when true then false end", "true and false", "'é'"), None),
}
VALUES: dict[str, tuple[int | None, bool]] = {
    "'v'": (None, False),
    "$2": (2, False),
    "$2::text": (2, False),
    "cast($2 as varchar)": (2, False),
    "null": (None, True),
    "NULL::text": (None, True),
    "cast(null as text)": (None, True),
    "(null)": (None, True),
    "'null'": (None, False),
    "nullif($2, '')": (None, False),
    "a + b": (None, False),
}


def read(text: str) -> tuple[SetConfig, ...]:
    return read_set_config(text.encode(), lexemes(text.encode()) or [])


class Calls(Visitor):  # type: ignore[misc]
    """Counts the calls of set_config in a tree."""

    def __init__(self) -> None:
        self.count = 0

    def visit_FuncCall(self, ancestors: object, node: ast.FuncCall) -> None:
        self.count += node.funcname[-1].sval == "set_config"


def calls_by_postgres(text: str) -> int:
    calls = Calls()
    calls(parse_sql(text))
    return calls.count


@pytest.mark.parametrize("function", CALLED)
def test_every_spelling_of_the_call_is_found(function: str) -> None:
    text = f"select 1, {function}('a.B', 'v', false)"
    at = len(text) - 6
    assert calls_by_postgres(text) == 1
    assert read(text) == (SetConfig(name=b"a.b", value=None, is_null=False, is_local=False, at=(at, at + 5)),)


@pytest.mark.parametrize("text", NOT_CALLED)
def test_what_is_no_call_of_it_is_not_found(text: str) -> None:
    assert read(text) == ()


@pytest.mark.parametrize(("argument", "name"), NAMES.items())
def test_the_name_is_known_from_a_constant_or_a_parameter(argument: str, name: bytes | int | None) -> None:
    (found,) = read(f"select set_config({argument}, $2, $3)")
    assert (found.name, found.value, found.is_local) == (name, 2, 3)


def test_a_parameter_that_no_server_takes_is_not_known() -> None:
    (found,) = read(f"select set_config(${'9' * 5000}, $2, $3)")
    assert (found.name, found.value, found.is_local) == (None, 2, 3)


@pytest.mark.parametrize(("argument", "known"), VALUES.items())
def test_of_the_value_a_parameter_and_null_are_known(argument: str, known: tuple[int | None, bool]) -> None:
    (found,) = read(f"select set_config('a', {argument}, true)")
    assert (found.value, found.is_null, found.is_local) == (*known, True)


@pytest.mark.parametrize(("argument", "is_local"), BOOLEANS.items())
def test_is_local_is_read_as_bool_reads_it_and_its_span_is_exact(argument: str, is_local: bool | int | None) -> None:
    text = f"select set_config('a', 'b', /* c */ {argument} /* d */ )"
    (found,) = read(text)
    assert found.is_local is is_local
    assert text.encode()[slice(*found.at)] == argument.encode()


def test_several_calls_come_in_the_order_of_the_text() -> None:
    text = (
        "with x as (select set_config('a', set_config('b', (array['x,y'])[1], 't'), false)) "
        "select pg_catalog.set_config(c, f(1, (2)), d) from x, set_config('e', null, $1)"
    )
    found = read(text)
    assert calls_by_postgres(text) == len(found) == 4
    assert [call.name for call in found] == [b"a", b"b", None, b"e"]
    assert [text[slice(*call.at)] for call in found] == ["false", "'t'", "d", "$1"]
    assert [call.is_local for call in found] == [False, True, None, 1]
