"""What a check may have left on the servers of a pool."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from pgshim.demo.processes import Endpoint
from pgshim.demo.servers import PostgresServer


@contextmanager
def one_connection_each(endpoint: Endpoint, number: int) -> Iterator[list[psycopg.Connection]]:
    """Connections that hold a server each."""
    with ExitStack() as stack:
        connections = []
        for _ in range(number):
            connection = stack.enter_context(psycopg.connect(endpoint.url, prepare_threshold=None))
            connection.execute("SELECT 1")
            connections.append(connection)
        yield connections


def assert_nothing_is_left(endpoint: Endpoint, postgres: PostgresServer, servers: int = 3) -> None:
    """On every server of the pool: no statement, no setting, no transaction; and no lock of anybody's."""
    with one_connection_each(endpoint, servers) as connections:
        for connection in connections:
            statements = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
            assert not [text for (text,) in statements if "pgshim" in text]
            settings = connection.execute(
                "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name = ANY(%s)",
                [["search_path", "statement_timeout", "lock_timeout", "jit", "extra_float_digits"]],
            ).fetchall()
            assert settings == []
            (zone, encoding) = connection.execute(
                "SELECT current_setting('TimeZone'), current_setting('client_encoding')"
            ).fetchall()[0]
            assert (zone, encoding) == ("Etc/UTC", "UTF8")
    with psycopg.connect(postgres.endpoint("postgres").url) as direct:
        assert direct.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype IN ('advisory', 'relation') AND pid <> pg_backend_pid()"
        ).fetchone() == (0,)
        assert direct.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'").fetchone() == (0,)
