"""What is left in PostgreSQL, in PgBouncer's pool and in pgshim's logs when all clients have gone."""

from __future__ import annotations

import time

import psycopg

from tests.chaos.book import Book
from tests.chaos.town import POOL_SIZE, Town
from tests.chaos.verdict import Check, judge

SETTLE_SECONDS = 10.0
_UNFINISHED = """
SELECT pid, state, coalesce(xact_start::text, ''), left(query, 60) FROM pg_stat_activity
WHERE usename = 'app' AND (state <> 'idle' OR xact_start IS NOT NULL)
"""
_LOCKS = """
SELECT pid, locktype, mode FROM pg_locks
WHERE pid IS NULL OR pid IN (SELECT pid FROM pg_stat_activity WHERE usename = 'app')
"""
_PREPARED = "SELECT gid FROM pg_prepared_xacts"
_LEFT_BEHIND = """
SELECT CAST(current_user AS text), current_setting('search_path'), current_setting('statement_timeout'),
    current_setting('default_transaction_isolation'), (SELECT count(*) FROM pg_prepared_statements),
    (SELECT count(*) FROM pg_listening_channels())
"""
_ALARMING = ("Traceback", "internal error", "the upstream sent")
_NOTHING_LEFT = ("app", '"$user", public', "0", "read committed", 0, 0)


def audit(town: Town, book: Book) -> list[Check]:
    """All checks that need the servers."""
    with town.auditor() as auditor:
        unfinished = _settled(auditor)
        ledger = auditor.execute("SELECT id, source, target, amount FROM ledger").fetchall()
        balances = dict(auditor.execute("SELECT id, balance FROM accounts").fetchall())
    book.found = {entry[0] for entry in ledger}
    deals = [deal for noted in book.deals.values() for _, deal in noted]
    return [
        *judge(deals, ledger, balances),  # type: ignore[arg-type]
        Check("no server is left in a transaction, or holds a lock", unfinished),
        Check("no server of the pool keeps anything of a client's", _left_behind(town)),
        Check("pgshim's log has no traceback, and no word of a broken protocol", _tracebacks(town)),
    ]


def _settled(auditor: psycopg.Connection[tuple[object, ...]]) -> str:
    """What is still unfinished after a while; what clients left is rolled back when they are gone."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        left = [row for query in (_UNFINISHED, _LOCKS, _PREPARED) for row in auditor.execute(query).fetchall()]
        if not left or time.monotonic() > deadline:
            return ", ".join(map(str, left))
        time.sleep(0.1)


def _left_behind(town: Town) -> str:
    """With round robin, some rounds of queries come to every server."""
    found = set()
    with psycopg.connect(town.pgbouncer.endpoint().url, autocommit=True, prepare_threshold=None) as connection:
        for _ in range(3 * POOL_SIZE):
            row = connection.execute(_LEFT_BEHIND).fetchone()
            if row != _NOTHING_LEFT:
                found.add(str(row))
    return ", ".join(sorted(found))


def _tracebacks(town: Town) -> str:
    lines = [line for shim in town.shims for line in shim.log().splitlines()]
    # PgBouncer keeps to the protocol: what pgshim takes for a breach of it is a fault of pgshim's.
    return "\n".join(line for line in lines if any(word in line for word in _ALARMING))
