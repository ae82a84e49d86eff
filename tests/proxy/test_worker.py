"""What a worker is given."""

import pytest

from pgshim.addresses import Address
from pgshim.proxy.counters import Counters
from pgshim.proxy.siblings import Mailboxes, Siblings
from pgshim.proxy.tls import Contexts
from pgshim.proxy.worker import Worker
from pgshim.settings import Settings


@pytest.mark.parametrize(
    ("prewarm", "workers", "shares"), [(5, 2, [3, 2]), (4, 2, [2, 2]), (2, 3, [1, 1, 0]), (0, 2, [0, 0]), (7, 1, [7])]
)
def test_the_shares_of_all_workers_are_the_whole(prewarm: int, workers: int, shares: list[int]) -> None:
    settings = Settings(Address("127.0.0.1", 1), (), prewarm=prewarm, workers=workers)
    mailboxes = Mailboxes(workers)
    found = []
    for number in range(1, workers + 1):
        siblings, counters = Siblings(number, mailboxes), Counters((), workers)
        worker = Worker(number, Contexts(settings), counters, siblings, [], [], -1, is_first=False)
        found.append(worker.share_of(settings).prewarm)
    assert found == shares
    mailboxes.close()
