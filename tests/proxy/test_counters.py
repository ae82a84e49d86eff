"""Counters in memory that processes share."""

import os

import pytest

from pgshim.proxy.counters import CONNECTIONS, Counters


def test_all_is_zero_at_first() -> None:
    counters = Counters(("a", "b"), workers=3)
    assert counters.totals() == {"a": 0, "b": 0}
    assert (counters.names, counters.workers) == (("a", "b"), 3)


@pytest.mark.parametrize("names", [1, 7, 8, 9, 30])
def test_no_row_touches_another(names: int) -> None:
    counters = Counters([f"n{number}" for number in range(names)], workers=4)
    for worker in range(4):
        row = counters.row(worker)
        assert len(row) == names
        for column in range(names):
            row[column] += 10**worker
    assert set(counters.totals().values()) == {1111}


def test_values_have_64_bits_and_may_be_negative() -> None:
    counters = Counters(("bytes", "change"))
    row = counters.row(0)
    row[counters.column("bytes")] += (1 << 63) - 1
    row[counters.column("change")] -= 5
    assert counters.totals() == {"bytes": (1 << 63) - 1, "change": -5}


def test_what_a_worker_had_goes_with_it_and_what_it_did_stays() -> None:
    counters = Counters((CONNECTIONS, "queries"), workers=2)
    for worker in (0, 1):
        counters.row(worker)[counters.column(CONNECTIONS)] = 3
        counters.row(worker)[counters.column("queries")] = 100
    counters.clear(1)
    assert counters.totals() == {CONNECTIONS: 3, "queries": 200}


def test_processes_count_together_without_losing_any() -> None:
    counters = Counters(("x", "y"), workers=3)
    pids = []
    for worker in range(3):
        pid = os.fork()
        if not pid:
            row = counters.row(worker)
            for _ in range(20_000):
                row[1] += 1
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert counters.totals() == {"x": 0, "y": 60_000}
