"""Hypothesis strategies for messages: `instances(cls)` builds any message class from its annotations."""

from dataclasses import fields
from typing import Any, get_type_hints

from hypothesis import strategies as st

from pgshim.protocol import backend, startup
from pgshim.protocol import fields as vocabulary

STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {}


def strategy_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values for an annotation of the vocabulary, or for one that a module made of it."""
    if annotation not in STRATEGIES:
        enumeration = annotation.__origin__
        STRATEGIES[annotation] = st.sampled_from(list(enumeration))
    return STRATEGIES[annotation]


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low = -(1 << bits - 1) if signed else 0
    return st.integers(low, low + (1 << bits) - 1)


def tuples_of(element: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(element, max_size=5).map(tuple)


def instances(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls, include_extras=True)
    return st.builds(cls, *(strategy_of(hints[field.name]) for field in fields(cls)))


strings = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"x"))
names = strings.filter(bool)
values = st.none() | st.binary(max_size=20)
codes = st.integers(1, 255).map(lambda code: bytes((code,)))
STRATEGIES |= {
    vocabulary.Int8: integers(8, signed=True),
    vocabulary.Int16: integers(16, signed=True),
    vocabulary.UInt16: integers(16, signed=False),
    vocabulary.Int32: integers(32, signed=True),
    vocabulary.Oid: integers(32, signed=False),
    vocabulary.Byte4: st.binary(min_size=4, max_size=4),
    vocabulary.String: strings,
    vocabulary.Name: strings,
    vocabulary.Sql: strings,
    vocabulary.Value: values,
    vocabulary.Rest: st.binary(max_size=50),
    vocabulary.SecretKey: st.binary(min_size=4, max_size=256),
    startup.CancelKey: st.binary(min_size=1, max_size=256),
    vocabulary.FormatCodes: tuples_of(integers(16, signed=True)),
    vocabulary.Oids: tuples_of(integers(32, signed=False)),
    vocabulary.Values: tuples_of(values),
    vocabulary.CountedNames: tuples_of(strings),
    vocabulary.Names: tuples_of(names),
    vocabulary.Parameters: tuples_of(st.tuples(names, strings)),
    vocabulary.DiagnosticFields: tuples_of(st.tuples(codes, strings)),
}
STRATEGIES[get_type_hints(backend.RowDescription, include_extras=True)["fields"]] = tuples_of(
    instances(backend.FieldDescription)
)
