"""Holds the books of the clients against those of the bank."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.book import Deal, Outcome
from tests.chaos.schema import OPENING, TOTAL

#: How many examples a sentence names.
EXAMPLES = 5
Entry = tuple[str, int, int, int]


@dataclass(frozen=True)
class Check:
    """What was checked, and what was found to be wrong with it: empty if nothing."""

    what: str
    wrong: str = ""


def judge(deals: Iterable[Deal], ledger: Sequence[Entry], balances: Mapping[int, int]) -> list[Check]:
    """`ledger` as (id, source, target, amount); `balances` by account."""
    counts = Counter(entry[0] for entry in ledger)
    by_outcome: dict[Outcome, set[str]] = defaultdict(set)
    partial = []
    for deal in deals:
        ids = [transfer.id for transfer in deal.transfers]
        by_outcome[deal.outcome].update(ids)
        if 0 < sum(each in counts for each in ids) < len(ids):
            partial.append(ids[0])
    known = set().union(*by_outcome.values())
    committed, failed = by_outcome[Outcome.COMMITTED], by_outcome[Outcome.FAILED]
    return [
        Check("money is conserved", _differs(sum(balances.values()), TOTAL)),
        Check("every balance is what the ledger says", _examples(_wrong_balances(ledger, balances))),
        Check("every transfer whose COMMIT was answered is in the ledger", _examples(committed - counts.keys())),
        Check("none that failed is in the ledger", _examples(failed & counts.keys())),
        Check("none is in the ledger twice", _examples(each for each, count in counts.items() if count > 1)),
        Check("what is committed together is there together", _examples(partial)),
        Check("nothing is in the ledger that nobody asked for", _examples(counts.keys() - known)),
    ]


def _wrong_balances(ledger: Sequence[Entry], balances: Mapping[int, int]) -> list[str]:
    expected = dict.fromkeys(balances, OPENING)
    for _, source, target, amount in ledger:
        expected[source] -= amount
        expected[target] += amount
    return [
        f"account {account} has {balances[account]} instead of {expected[account]}"
        for account in balances
        if balances[account] != expected[account]
    ]


def _differs(found: int, expected: int) -> str:
    return "" if found == expected else f"{found} instead of {expected}"


def _examples(wrong: Iterable[str]) -> str:
    names = sorted(wrong)
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(names[:EXAMPLES]) + more
