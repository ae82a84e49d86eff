"""What is known of hazards by heart, held against real servers: OIDs, and the statements that refuse a block."""

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgshim.demo.servers import PostgresServer
from pgshim.session.hazards import OIDS
from tests.session.test_hazards_blocks import REFUSING, WILLING

if TYPE_CHECKING:
    from tests.integration.conftest import Stack

ACTIVE_SQL_TRANSACTION = "25001"
SYNTAX_ERROR = "42601"
UNDEFINED_OBJECT = "42704"
# What a server finds wrong first: some are not in the grammar of 15, and there is no subscription.
OTHER_REFUSALS = {
    "reindex database": SYNTAX_ERROR,
    "cluster (verbose)": SYNTAX_ERROR,
    "alter subscription s refresh publication": UNDEFINED_OBJECT,
    "drop subscription s": UNDEFINED_OBJECT,
}


def test_the_oids_are_those_of_the_catalog(postgres: PostgresServer) -> None:
    names = {what.removesuffix("()") for _, what in OIDS.values()}
    with psycopg.connect(postgres.endpoint().url) as connection:
        rows = connection.execute(
            "select oid::int, proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace"
            " and proname = any (%s)",
            [sorted(names)],
        ).fetchall()
    assert dict(rows) == {oid: what.removesuffix("()") for oid, (_, what) in OIDS.items()}


def refusal(url: str, sql: str) -> str | None:
    """The SQLSTATE with which a server refuses a statement in a block of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("begin")
        try:
            connection.execute(sql)
        except psycopg.Error as error:
            return error.sqlstate
        finally:
            connection.execute("rollback")
    return None


@pytest.fixture(params=["plain_stack", "stack_18"])
def superuser_url(request: pytest.FixtureRequest) -> str:
    """A superuser's on PostgreSQL 15 and 18: most of these statements need one."""
    found: Stack = request.getfixturevalue(request.param)
    return found.postgres.endpoint("postgres").url


def test_servers_refuse_in_a_block_what_is_known_to_refuse_one(superuser_url: str) -> None:
    wrong = {sql: found for sql in REFUSING if (found := refusal(superuser_url, sql)) != ACTIVE_SQL_TRANSACTION}
    assert wrong.items() <= OTHER_REFUSALS.items()


def test_servers_take_the_others(superuser_url: str) -> None:
    assert not [sql for sql in WILLING if refusal(superuser_url, sql) == ACTIVE_SQL_TRANSACTION]
