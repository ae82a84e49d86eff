"""The bank's own auditor: it must see each kind of fault in the books."""

import pytest

from tests.chaos.book import Deal, Outcome, Transfer
from tests.chaos.schema import ACCOUNTS, OPENING
from tests.chaos.verdict import Entry, judge

BALANCES = dict.fromkeys(range(1, ACCOUNTS + 1), OPENING)
ONE: Entry = ("a-1", 1, 2, 10)
AFTER_ONE = BALANCES | {1: OPENING - 10, 2: OPENING + 10}
AFTER_TWO = BALANCES | {1: OPENING - 20, 2: OPENING + 20}


def deal(outcome: Outcome, *ids: str) -> Deal:
    return Deal([Transfer(each, 1, 2, 10) for each in ids], outcome)


def wrong(deals: list[Deal], ledger: list[Entry], balances: dict[int, int]) -> list[str]:
    return [check.what for check in judge(deals, ledger, balances) if check.wrong]


@pytest.mark.parametrize(
    ("outcome", "ledger", "balances"),
    [
        (Outcome.COMMITTED, [ONE], AFTER_ONE),
        (Outcome.FAILED, [], BALANCES),
        (Outcome.UNKNOWN, [ONE], AFTER_ONE),
        (Outcome.UNKNOWN, [], BALANCES),
    ],
)
def test_books_that_balance_pass(outcome: Outcome, ledger: list[Entry], balances: dict[int, int]) -> None:
    assert wrong([deal(outcome, "a-1")], ledger, balances) == []


@pytest.mark.parametrize(
    ("deals", "ledger", "balances", "what"),
    [
        ([deal(Outcome.COMMITTED, "a-1")], [], BALANCES, "every transfer whose COMMIT was answered is in the ledger"),
        ([deal(Outcome.FAILED, "a-1")], [ONE], AFTER_ONE, "none that failed is in the ledger"),
        ([deal(Outcome.UNKNOWN, "a-1")], [ONE, ONE], AFTER_TWO, "none is in the ledger twice"),
        ([deal(Outcome.COMMITTED, "a-1")], [ONE], BALANCES, "every balance is what the ledger says"),
        ([deal(Outcome.UNKNOWN, "a-1", "a-2")], [ONE], AFTER_ONE, "what is committed together is there together"),
        ([], [ONE], AFTER_ONE, "nothing is in the ledger that nobody asked for"),
    ],
)
def test_books_that_do_not_balance_are_found_out(
    deals: list[Deal], ledger: list[Entry], balances: dict[int, int], what: str
) -> None:
    assert wrong(deals, ledger, balances) == [what]


def test_money_that_is_lost_is_found_out() -> None:
    found = wrong([], [], BALANCES | {1: OPENING - 1})
    assert found == ["money is conserved", "every balance is what the ledger says"]
