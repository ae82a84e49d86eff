"""A bounded run of the fuzzer: the corpus, and the same mutations of it each time. `make fuzz` has the long one."""

from __future__ import annotations

from random import Random

import pytest

from pgshim.protocol import hot
from tests.fuzz.explore import fault_of, mutations, smaller
from tests.fuzz.inputs import CORPUS, corpus, pack, read, unpack, write
from tests.fuzz.targets import TARGETS, entries

#: Mutations of each target: those of a second or two.
COUNTS = {"framing": 1000, "decoding": 6000, "sql": 700, "login": 2500, "session": 600}

ENTRIES = [(name, entry, data) for name in TARGETS for entry, data in corpus(name)]


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, _, data in ENTRIES], ids=[e for _, e, _ in ENTRIES])
def test_what_is_kept_in_the_corpus_raises_nothing(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_the_corpus_raise_nothing(name: str) -> None:
    random = Random(name)
    target = TARGETS[name]
    for data in mutations(entries(name), target.mutator(random), random, COUNTS[name]):
        fault = fault_of(target.run, data)
        assert fault is None, f"{fault.trace}\n{write(data, fault.where)}"


def test_a_fault_is_made_small() -> None:
    def run(data: bytes) -> None:
        assert not any(b"bad" in payload for _, payload in unpack(data)), "found"

    large = pack([(ord("c"), hot.query(b"good") + hot.query(b"it is bad, and so on")), (ord("s"), b"more")])
    fault = fault_of(run, large)
    assert fault is not None
    assert smaller(run, fault).data == pack([(ord("c"), hot.message(ord("Q"), b"bad"))])


def test_an_input_is_written_and_read_as_it_is() -> None:
    for name, _, data in ENTRIES:
        assert read(write(data, name)) == data == pack(unpack(data))


def test_a_line_that_is_no_record_is_refused() -> None:
    with pytest.raises(ValueError, match="no record: c nothing"):
        read("# comment\nc nothing\n")


def test_the_corpus_stays_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert len(files) < 200
    assert sum(path.stat().st_size for path in files) < 300 * 1024
