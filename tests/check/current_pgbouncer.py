"""Checks of a PgBouncer that keeps prepared statements. `make test-poolers` runs it, and builds one."""

from pgshim.demo.servers import PostgresServer
from tests.check.conftest import checked
from tests.check.traces import assert_nothing_is_left
from tests.poolers.setups import CurrentPgBouncer


def test_a_pooler_that_keeps_statements(postgres: PostgresServer) -> None:
    with CurrentPgBouncer(postgres) as pooler:
        found = checked(pooler.endpoint().url)
        assert found.data["pooler"]["kind"] == "PgBouncer"
        assert found.data["pooler"]["version"] == "1.21 or later"
        assert found.data["prepared_statements"]["kept"] == "pooler"
        assert found.data["prepared_statements"]["follow"] is True
        assert found.data["recommendation"]["command"].endswith("--pipeline through")
        assert_nothing_is_left(pooler.endpoint(), postgres)
        # What it believes of its servers does no harm: the next check finds the same.
        assert checked(pooler.endpoint().url).data["prepared_statements"]["follow"] is True


def test_a_pooler_that_could_keep_statements_and_does_not(postgres: PostgresServer) -> None:
    with CurrentPgBouncer(postgres, 0) as pooler:
        found = checked(pooler.endpoint().url)
        assert found.data["prepared_statements"]["kept"] == "none"
        assert found.data["pooler"]["version"] == "1.20 or later"
        assert_nothing_is_left(pooler.endpoint(), postgres)
