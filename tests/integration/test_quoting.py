"""SET LOCAL as it is written for a setting, and then SHOW, on a real server: the value comes out as it went in."""

from collections.abc import Iterator

import psycopg
import pytest

from pgshim.demo.servers import SUPERUSER, PostgresServer
from pgshim.session.quoting import quote_literal, set_local

# Values as given to set_config, lists of names as SET would spell them; what SHOW then says has to come back.
SETTINGS = {
    "search_path": [
        *('"$user", public', "a", '"A", "b c", "d""e", pg_catalog', '""', '"", x', '"a, b"', '"é日"', '"a\\b"'),
        *("\"'x'\"", '"select"', '"user", "left", "none"'),
    ],
    "temp_tablespaces": ['""', "pg_default", "pg_default, pg_default"],
    "local_preload_libraries": ['""', "a", '"A-b", c'],
    "session_preload_libraries": ['"A b", c'],
    "work_mem": ["64kB", "1GB", "77MB", "1234567kB"],
    "statement_timeout": ["0", "5s", "90min", "1d", "1500ms"],
    "random_page_cost": ["1.1", "4", "0.001"],
    "extra_float_digits": ["-15", "3"],
    "jit": ["on", "off"],
    "default_transaction_isolation": ["serializable", "repeatable read"],
    "default_transaction_read_only": ["on"],
    "timezone": ["UTC", "Asia/Tokyo", "<+02>-02", "EST5EDT", "-7", "<-08>+08"],
    "datestyle": ["ISO, MDY", "German, DMY", "SQL"],
    "intervalstyle": ["iso_8601"],
    "client_encoding": ["UTF8", "LATIN1", "SQL_ASCII"],
    "application_name": ["", "it's", "a\\b", "a b; c -- d", '"'],
    "role": ["none", "some role", "app.user"],
    "session_authorization": ["some role"],
    "xmloption": ["document"],
    "bytea_output": ["escape"],
    "client_min_messages": ["warning"],
    "standard_conforming_strings": ["off"],
    "backslash_quote": ["on", "off"],
    "default_text_search_config": ["pg_catalog.simple"],
    "log_statement": ["all"],
    "plan_cache_mode": ["force_custom_plan"],
    "transform_null_equals": ["on"],
    "app.x": [
        "",
        " ",
        "v",
        "it's",
        "a\\b\\",
        "é日😀",
        "a\nb\t\r\x01\x7f",
        "default",
        "'; rollback; --",
        "x" * 5000,
        "{a,b}",
    ],
    "app.user": ["1"],
    "app.x$1": ["1"],
    "a.b.c": ["1"],
    "select.left.system_user": ["1"],
    "é.日😀": ["1"],
    f"{'x' * 40}.{'y' * 40}": ["1"],
}
# How the server reads texts while the values are brought into force.
READINGS = ["SET backslash_quote = off", "SET standard_conforming_strings = off", "SET client_encoding = latin1"]


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[psycopg.Connection[tuple[str]]]:
    with psycopg.connect(postgres.endpoint(SUPERUSER).url, autocommit=True) as connected:
        for role in ("some role", "app.user"):
            connected.execute(f'CREATE ROLE "{role}"'.encode())
        yield connected
        connected.execute("RESET ALL")
        for role in ("some role", "app.user"):
            connected.execute(f'DROP ROLE "{role}"'.encode())


def canonical(connection: psycopg.Connection[tuple[str]], name: str, value: str) -> str:
    """What SHOW says of a value."""
    with connection.transaction(force_rollback=True):
        return shown(connection, f"SELECT set_config({literal(name)}, {literal(value)}, true)", name)


def literal(value: str) -> str:
    return quote_literal(value.encode()).decode()


def shown(connection: psycopg.Connection[tuple[str]], statement: str, name: str) -> str:
    """What SHOW says after a statement, sent as it is."""
    found = connection.pgconn.exec_(statement.encode())
    assert not found.error_message, found.error_message
    # By its bytes in UTF-8, whatever client_encoding has become.
    text = f"SELECT encode(convert_to(current_setting({literal(name)}), 'UTF8'), 'hex')"
    found = connection.pgconn.exec_(text.encode())
    assert not found.error_message, found.error_message
    return bytes.fromhex((found.get_value(0, 0) or b"").decode()).decode()


@pytest.mark.parametrize("reading", ["", *READINGS])
@pytest.mark.parametrize("name", SETTINGS)
def test_set_local_brings_back_what_show_says(
    connection: psycopg.Connection[tuple[str]], name: str, reading: str
) -> None:
    for value in SETTINGS[name]:
        expected = canonical(connection, name, value)
        with connection.transaction(force_rollback=True):
            connection.pgconn.exec_(reading.encode())
            statement = set_local(name.encode(), expected.encode())
            assert statement.isascii()
            assert shown(connection, statement.decode(), name) == expected


def test_an_empty_list_becomes_the_list_of_the_empty_name(connection: psycopg.Connection[tuple[str]]) -> None:
    with connection.transaction(force_rollback=True):
        assert shown(connection, set_local(b"search_path", b"").decode(), "search_path") == '""'


def test_a_list_that_only_set_config_spells_so_means_the_same(connection: psycopg.Connection[tuple[str]]) -> None:
    with connection.transaction(force_rollback=True):
        given = canonical(connection, "search_path", "PG_Catalog,public")
        assert given == "PG_Catalog,public"
        assert (
            shown(connection, set_local(b"search_path", given.encode()).decode(), "search_path") == "pg_catalog, public"
        )
