"""The budget of round trips: counted by a relay in front of the pooler, not timed."""

from bench.roundtrips import OPERATIONS, POOLED, measure


def test_no_operation_costs_more_than_its_budget_and_none_more_than_directly() -> None:
    found = measure()
    budget = {name: most for name, _, most in OPERATIONS} | {POOLED: 1}
    counted = {name: int(count) for name, count in found["pgshim"].items()}
    assert {name for name, count in counted.items() if count > budget[name]} == set()
    assert {name for name, count in counted.items() if count > int(found["direct"][name])} == set()
