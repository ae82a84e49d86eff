"""asyncpg, unmodified: what a client SETs is in force on every server of the pool, as it would be on one of its own."""

import asyncio
from itertools import product
from typing import Any

import asyncpg
import pytest

from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE, connected, connected_directly, in_transaction, on_the_server, run
from tests.integration.test_psycopg import clients

# One of each kind: a list, one that is reported, one with a unit, one of the app's own. As SHOW gives them.
OTHERS = {"search_path": "elsewhere, public", "timezone": "Asia/Tokyo", "work_mem": "77MB", "app.tenant": "it's 7"}


@pytest.fixture(autouse=True)
def _all_servers(request: pytest.FixtureRequest) -> None:
    """PgBouncer sets servers aside that nobody needed for half a minute, until they are needed again."""
    with clients(request.getfixturevalue("stack" if "stack" in request.fixturenames else "plain_stack"), POOL_SIZE):
        pass


async def set_others(connection: asyncpg.Connection) -> None:
    await connection.execute("SET search_path = elsewhere, public")
    await connection.execute("SET TIME ZONE 'asia/tokyo'; SET work_mem TO '78848kB'")
    await connection.execute("SET SESSION app.tenant = 'it''s 7'")


async def everywhere(connection: asyncpg.Connection, expression: str) -> Any:
    """What an expression is on every server of the pool: the same on each."""
    pids, values = set(), set()
    for _ in range(2 * POOL_SIZE):
        row = await connection.fetchrow(f"SELECT pg_backend_pid() AS pid, {expression} AS value")
        pids.add(row["pid"])
        values.add(row["value"])
    assert len(pids) == POOL_SIZE
    assert len(values) == 1, values
    return values.pop()


async def shown_everywhere(connection: asyncpg.Connection, *names: str) -> dict[str, str]:
    return {name: await everywhere(connection, f"current_setting('{name}', true)") for name in names}


async def modes(connection: asyncpg.Connection) -> tuple[str, str, str]:
    """Of the running transaction."""
    row = await connection.fetchrow(
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),"
        " current_setting('transaction_deferrable')"
    )
    return tuple(row)


# SET, set_config, RESET.


@pytest.mark.parametrize("cache_size", [100, 0])
def test_what_is_set_is_in_force_on_every_server_in_autocommit_and_in_transactions(
    stack: Stack, cache_size: int
) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack, statement_cache_size=cache_size) as connection, connected(stack) as other:
            fresh = await shown_everywhere(other, *OTHERS)
            await set_others(connection)
            assert await shown_everywhere(connection, *OTHERS) == OTHERS
            assert await shown_everywhere(other, *OTHERS) == fresh | {"app.tenant": ""}
            pids = set()
            for _ in range(2 * POOL_SIZE):
                async with connection.transaction():
                    for name, value in OTHERS.items():
                        assert await connection.fetchval("SELECT current_setting($1)", name) == value
                        assert await connection.fetchval(f"SHOW {name}") == value
                    pids.add(await connection.fetchval("SELECT pg_backend_pid()"))
            assert len(pids) == POOL_SIZE

    run(main, stack)


def test_set_config_by_parameters_lasts_for_the_session_or_the_transaction(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection, connected(stack) as other:
            call = "SELECT set_config($1, $2, $3)"
            assert await connection.fetchval(call, "app.user", "one", False) == "one"
            assert await connection.fetchval(call, "datestyle", "german", False) == "German, DMY"
            assert await everywhere(connection, "current_setting('app.user')") == "one"
            assert await everywhere(connection, "DATE '2024-12-31'::text") == "31.12.2024"
            # In an implicit transaction it is gone with the statement.
            assert await connection.fetchval(call, "app.user", "two", True) == "two"
            assert await everywhere(connection, "current_setting('app.user')") == "one"
            for turn in range(4):
                async with connection.transaction():
                    assert await connection.fetchval(call, "app.user", f"local {turn}", True) == f"local {turn}"
                    assert await connection.fetchval("SELECT current_setting('app.user')") == f"local {turn}"
                assert await everywhere(connection, "current_setting('app.user')") == "one"
            assert not await everywhere(other, "current_setting('app.user', true)")

    run(main, stack)


def test_set_config_in_rows_of_a_query_and_in_fetchrow_with_other_columns(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            row = await connection.fetchrow("SELECT set_config('app.a', $1, false), $2::int + 1", "x", 1)
            assert tuple(row) == ("x", 2)
            row = await connection.fetchrow(
                "SELECT set_config('app.b', 'y', false), set_config('app.c', $1, false)", "z"
            )
            assert tuple(row) == ("y", "z")
            assert (
                await everywhere(
                    connection, "current_setting('app.a') || current_setting('app.b') || current_setting('app.c')"
                )
                == "xyz"
            )

    run(main, plain_stack)


def test_reset_goes_back_and_show_says_so(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        # DISCARD ALL drops the statements that asyncpg would have cached.
        options: dict[str, Any] = {"server_settings": {"work_mem": "33MB"}, "statement_cache_size": 0}
        async with connected(stack, **options) as connection, connected(stack) as other:
            fresh = await shown_everywhere(other, "work_mem", "timezone", "search_path")
            for reset in ("RESET work_mem", "SET work_mem TO DEFAULT", "RESET ALL", "DISCARD ALL"):
                await set_others(connection)
                assert await connection.fetchval("SHOW work_mem") == "77MB"
                await connection.execute(reset)
                assert await everywhere(connection, "current_setting('work_mem')") == "33MB"
                is_all = reset.endswith("ALL")
                assert await everywhere(connection, "current_setting('timezone')") == (
                    fresh["timezone"] if is_all else "Asia/Tokyo"
                )
                assert await connection.fetchval("SHOW search_path") == (
                    fresh["search_path"] if is_all else "elsewhere, public"
                )

    run(main, stack)


def test_a_bad_set_fails_with_the_servers_error_and_changes_nothing(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            await set_others(connection)
            with pytest.raises(asyncpg.InvalidParameterValueError, match='invalid value for parameter "work_mem"'):
                await connection.execute("SET work_mem = 'a lot'")
            with pytest.raises(asyncpg.UndefinedObjectError):
                await connection.execute("SET no_such_setting = 1")
            with pytest.raises(asyncpg.CantChangeRuntimeParamError):
                await connection.execute("SET shared_buffers = '1MB'")
            with pytest.raises(asyncpg.InvalidParameterValueError):
                await connection.fetchval("SELECT set_config('timezone', $1, false)", "Nowhere")
            assert await shown_everywhere(connection, *OTHERS) == OTHERS

    run(main, plain_stack)


# Transactions.


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
def test_modes_of_a_transaction_with_other_settings_in_force(stack: Stack, isolation: str) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            await set_others(connection)
            for readonly, deferrable in product((False, True), repeat=2):
                expected = isolation.replace("_", " "), *("on" if mode else "off" for mode in (readonly, deferrable))
                options = {"isolation": isolation, "readonly": readonly, "deferrable": deferrable}
                for _ in range(POOL_SIZE):
                    async with connection.transaction(**options):
                        assert await modes(connection) == expected
                        assert await connection.fetchval("SHOW work_mem") == "77MB"
                        assert await connection.fetchval("SHOW search_path") == "elsewhere, public"
            assert await modes(connection) == ("read committed", "off", "off")

    run(main, stack)


def test_defaults_of_transactions_apply_where_the_transaction_says_nothing(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            await set_others(connection)
            await connection.execute("SET default_transaction_isolation = 'repeatable read'")
            await connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, DEFERRABLE")
            for _ in range(POOL_SIZE):
                assert await modes(connection) == ("repeatable read", "on", "on")
                async with connection.transaction():
                    assert await modes(connection) == ("repeatable read", "on", "on")
                    assert await connection.fetchval("SHOW timezone") == "Asia/Tokyo"
                async with connection.transaction(isolation="serializable"):
                    assert await modes(connection) == ("serializable", "on", "on")
                async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
                    assert await modes(connection) == ("serializable", "on", "on")
                await connection.execute("BEGIN READ WRITE NOT DEFERRABLE")
                assert await modes(connection) == ("repeatable read", "off", "off")
                await connection.execute("ROLLBACK")
            await connection.execute("RESET ALL")
            for _ in range(POOL_SIZE):
                assert await modes(connection) == ("read committed", "off", "off")

    run(main, stack)


def test_a_set_is_undone_with_its_transaction_or_kept(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            await set_others(connection)
            async with connection.transaction():
                await connection.execute("SET work_mem = '88MB'")
                await connection.execute("SET LOCAL timezone = 'Europe/Berlin'")
                assert await connection.fetchval("SHOW work_mem") == "88MB"
                assert await connection.fetchval("SHOW timezone") == "Europe/Berlin"
            kept = OTHERS | {"work_mem": "88MB"}
            assert await shown_everywhere(connection, *OTHERS) == kept
            for failing in ("SELECT 1/0", "SELECT * FROM nowhere", "SELEC"):
                with pytest.raises(
                    (asyncpg.DivisionByZeroError, asyncpg.UndefinedTableError, asyncpg.PostgresSyntaxError)
                ):
                    await in_transaction(connection, ["SET work_mem = '99MB'"], ["SET app.tenant = 'gone'"], [failing])
                assert await shown_everywhere(connection, *OTHERS) == kept
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("RESET ALL")
            assert await connection.fetchval("SHOW app.tenant") == ""
            await transaction.rollback()
            assert await shown_everywhere(connection, *OTHERS) == kept

    run(main, stack)


def test_savepoints_undo_what_was_set_behind_them(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection:
            await set_others(connection)
            async with connection.transaction():
                await connection.execute("SET work_mem = '1MB'")
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await in_transaction(connection, ["SET work_mem = '2MB'"], ["SET timezone = 'UTC'"], ["SELECT 1/0"])
                assert await connection.fetchval("SHOW work_mem") == "1MB"
                assert await connection.fetchval("SHOW timezone") == "Asia/Tokyo"
                async with connection.transaction():
                    await connection.execute("SET work_mem = '3MB'")
                    with pytest.raises(asyncpg.UndefinedTableError):
                        await in_transaction(connection, ["SET work_mem = '4MB'"], ["SELECT * FROM nowhere"])
                    assert await connection.fetchval("SHOW work_mem") == "3MB"
                    async with connection.transaction():
                        await connection.execute("SET app.tenant = 'inner'")
                assert await connection.fetchval("SHOW work_mem") == "3MB"
            assert await shown_everywhere(connection, *OTHERS) == OTHERS | {"work_mem": "3MB", "app.tenant": "inner"}

    run(main, stack)


# What settings do.


def test_get_settings_follows_what_is_set(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection, connected(stack) as other:
            fresh = connection.get_settings().TimeZone
            await connection.execute("SET timezone = 'asia/tokyo'")
            for _ in range(POOL_SIZE + 1):
                assert connection.get_settings().TimeZone == "Asia/Tokyo"
                assert await other.fetchval("SHOW timezone") == other.get_settings().TimeZone == fresh
            await connection.fetchval("SELECT set_config('TimeZone', $1, false)", "UTC")
            assert connection.get_settings().TimeZone == "UTC"
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SET TIME ZONE 'Europe/Berlin'")
            assert connection.get_settings().TimeZone == "Europe/Berlin"
            await transaction.rollback()
            assert connection.get_settings().TimeZone == "UTC"
            await connection.execute("SET application_name = 'an app'")
            assert connection.get_settings().application_name == "an app"
            await connection.reset()
            assert (connection.get_settings().TimeZone, connection.get_settings().application_name) == (fresh, "")

    run(main, stack)


def test_a_statement_timeout_cancels_on_every_server_and_no_one_else(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as connection, connected(stack) as other:
            await connection.execute("SET statement_timeout = '100ms'")
            for _ in range(POOL_SIZE):
                with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
                    await connection.fetchval("SELECT pg_sleep($1)", 5)
                with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
                    await connection.execute("SELECT pg_sleep(5)")
                with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
                    await in_transaction(connection, ["SELECT 1"], ["SELECT pg_sleep($1)", 5])
                assert await other.fetchval("SELECT pg_sleep(0.2)::text") == ""
            await connection.execute("SET statement_timeout = 0")
            for _ in range(POOL_SIZE):
                assert await connection.fetchval("SELECT pg_sleep(0.15)::text") == ""

    run(main, stack)


def test_a_search_path_decides_which_table_a_statement_means(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        for schema in ("path_a", "path_b"):
            await on_the_server(stack, f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
            await on_the_server(stack, f"CREATE TABLE {schema}.mine AS SELECT '{schema[-1]}' AS place")
        async with connected(stack) as a, connected(stack) as b, connected(stack) as neither:
            await a.execute("SET search_path = path_a")
            await b.execute("SET search_path TO path_b, public")
            prepared_a, prepared_b = (
                await a.prepare("SELECT place FROM mine"),
                await b.prepare("SELECT place FROM mine"),
            )
            for turn in range(2 * POOL_SIZE):
                assert await a.fetchval("SELECT place FROM mine WHERE $1 = $1::int", turn) == "a"
                assert await b.fetchval("SELECT place FROM mine WHERE $1 = $1::int", turn) == "b"
                assert (await prepared_a.fetchval(), await prepared_b.fetchval()) == ("a", "b")
                async with a.transaction():
                    assert await prepared_a.fetchval() == "a"
                with pytest.raises(asyncpg.UndefinedTableError):
                    await neither.fetchval("SELECT place FROM mine")
            # A named statement is planned anew when the path has changed, as on a server.
            await a.execute("SET search_path = path_b")
            for _ in range(POOL_SIZE):
                assert await prepared_a.fetchval() == "b"

    run(main, stack)


TYPES = """
DROP SCHEMA IF EXISTS typed CASCADE; CREATE SCHEMA typed; SET search_path = typed;
CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text); CREATE TYPE nested AS (p pair, ms mood[]);
CREATE TABLE everything (m mood, ms mood[], d positive, ds positive[], p pair, ps pair[], n nested);
"""


@pytest.mark.parametrize("others", [{}, {"statement_timeout": "10s", "jit": "on"}])
def test_introspection_of_types_neither_leaks_nor_fails(stack: Stack, others: dict[str, str]) -> None:
    """asyncpg switches jit off and on again by set_config(..., false) around its query of the catalogue."""

    async def main(stack: Stack) -> None:
        await on_the_server(stack, TYPES)
        async with connected(stack) as other:
            fresh = await everywhere(other, "current_setting('jit')")
            for path in ("typed", "typed, public"):
                async with connected(stack, server_settings=others) as connection:
                    await connection.execute(f"SET search_path = {path}")
                    await connection.execute("TRUNCATE typed.everything")
                    for turn in range(4):
                        insert = "INSERT INTO everything VALUES ($1, $2, $3, $4, $5, $6, $7)"
                        row = ("ok", ["sad", "ok"], 3, [1, 2], (1, "x"), [(2, "y"), (3, None)], ((4, "z"), ["sad"]))
                        if turn % 2:
                            await connection.execute(insert, *row)
                        else:
                            await in_transaction(connection, [insert, *row])
                        found = await connection.fetchrow("SELECT * FROM everything LIMIT 1")
                        assert tuple(found) == row
                        assert await everywhere(connection, "current_setting('jit')") == others.get("jit", fresh)
                        assert await everywhere(other, "current_setting('jit')") == fresh
                        await connection.reload_schema_state()
                    await connection.set_type_codec("mood", schema="typed", encoder=str.lower, decoder=str.upper)
                    found = await connection.fetch("SELECT m FROM everything WHERE m = $1", "OK")
                    assert [row["m"] for row in found] == ["OK"] * 4

    run(main, stack)


# Startup parameters, pools, resets.


def test_server_settings_of_a_pool_are_in_force_on_every_server(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        settings = {"jit": "off", "search_path": "app, public", "statement_timeout": "5s", "app.tenant": "seven",
                    "application_name": "pooled", "timezone": "Asia/Tokyo"}  # fmt: skip
        async with (
            asyncpg.create_pool(stack.endpoint().url, min_size=2, max_size=4, server_settings=settings) as pool,
            connected(stack) as other,
        ):
            fresh = await shown_everywhere(other, "jit", "search_path", "statement_timeout", "timezone")
            for _ in range(2):
                async with pool.acquire() as connection:
                    assert await shown_everywhere(connection, *settings) == settings
                    async with connection.transaction():
                        for name, value in settings.items():
                            assert await connection.fetchval(f"SHOW {name}") == value
                    await connection.execute("SET statement_timeout = '7s'; SET app.tenant = 'eight'")
                    assert await everywhere(connection, "current_setting('statement_timeout')") == "7s"
                    await connection.execute("RESET statement_timeout")
                    assert await everywhere(connection, "current_setting('statement_timeout')") == "5s"
                    assert await everywhere(connection, "current_setting('app.tenant')") == "eight"
            seen = await asyncio.gather(*(pool.fetchval("SELECT current_setting('app.tenant')") for _ in range(9)))
            assert set(seen) == {"seven"}
            assert await shown_everywhere(other, *fresh) == fresh

    run(main, stack)


def test_a_connection_that_is_given_back_to_the_pool_has_forgotten_its_settings(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with asyncpg.create_pool(stack.endpoint().url, min_size=1, max_size=1) as pool:
            async with pool.acquire() as connection:
                fresh = await shown_everywhere(connection, *OTHERS)
                await set_others(connection)
                assert await shown_everywhere(connection, *OTHERS) == OTHERS
                await connection.execute("SET default_transaction_read_only = on; SET ROLE NONE")
            async with pool.acquire() as connection:
                assert await shown_everywhere(connection, *OTHERS) == fresh | {"app.tenant": ""}
                assert await modes(connection) == ("read committed", "off", "off")

    run(main, stack)


def test_reset_of_a_connection_in_a_transaction_undoes_everything(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack, server_settings={"app.tenant": "first"}) as connection:
            fresh = await shown_everywhere(connection, *OTHERS)
            for failing in (False, True):
                await set_others(connection)
                await connection.execute("BEGIN")
                await connection.execute("SET work_mem = '5MB'")
                if failing:
                    with pytest.raises(asyncpg.DivisionByZeroError):
                        await connection.execute("SELECT 1/0")
                await connection.reset()
                assert not connection.is_in_transaction()
                assert await shown_everywhere(connection, *OTHERS) == fresh

    run(main, plain_stack)


def test_a_connection_lost_in_a_transaction_leaves_no_settings_behind(stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack) as other:
            fresh = await shown_everywhere(other, *OTHERS)
            for _ in range(POOL_SIZE + 1):
                connection = await asyncpg.connect(stack.endpoint().url)
                await set_others(connection)
                await connection.execute("BEGIN")
                await connection.execute("SET statement_timeout = '1ms'")
                connection.terminate()
            assert await shown_everywhere(other, *OTHERS) == fresh | {"app.tenant": ""}
            assert await everywhere(other, "current_setting('statement_timeout')") == "0"

    run(main, stack)


def test_two_clients_that_take_turns_keep_their_own_settings(stack: Stack) -> None:
    async def ask(connection: asyncpg.Connection, *expected: str) -> None:
        for number in range(2 * POOL_SIZE):
            await in_transaction(connection, ["SELECT $1::int", number])
            query = "SELECT current_setting('app.who'), current_setting('work_mem'), $1::int"
            assert tuple(await connection.fetchrow(query, number)) == (*expected, number)

    async def main(stack: Stack) -> None:
        async with connected(stack) as first, connected(stack) as second:
            for turn in range(3):
                await first.execute(f"SET app.who = 'first {turn}'; SET work_mem = '{turn + 1}MB'")
                await second.execute(f"SET app.who = 'second {turn}'; SET work_mem = '{turn + 7}MB'")
                await asyncio.gather(
                    ask(first, f"first {turn}", f"{turn + 1}MB"), ask(second, f"second {turn}", f"{turn + 7}MB")
                )

    run(main, stack)


def test_cursors_copies_and_batches_have_the_settings(plain_stack: Stack) -> None:
    async def main(stack: Stack) -> None:
        await on_the_server(stack, "DROP TABLE IF EXISTS copied; CREATE TABLE copied (day date, who text)")
        async with connected(stack) as connection:
            await connection.execute("SET datestyle = 'German'; SET app.who = 'me'")
            add = "INSERT INTO copied VALUES (to_date($1, 'DD.MM.YYYY'), current_setting('app.who'))"
            for _ in range(POOL_SIZE):
                await connection.executemany(add, [("31.12.2024",), ("30.12.2024",)])
                await connection.copy_records_to_table("copied", records=[(None, "record")], columns=["day", "who"])
                lines: list[bytes] = []

                async def keep(data: bytes, lines: list[bytes] = lines) -> None:
                    lines.append(data)

                await connection.copy_from_query("SELECT DATE '2024-12-31', current_setting('app.who')", output=keep)
                assert b"".join(lines) == b"31.12.2024\tme\n"
                async with connection.transaction():
                    numbers = "SELECT current_setting('app.who') || n FROM generate_series(1, 7) n"
                    assert [row[0] async for row in connection.cursor(numbers, prefetch=3)] == [
                        f"me{n}" for n in range(1, 8)
                    ]
            assert await connection.fetch("SELECT who, count(*) FROM copied GROUP BY 1 ORDER BY 1") == [
                ("me", 6),
                ("record", 3),
            ]

    run(main, plain_stack)


# Refused by name.


@pytest.mark.parametrize("settings", [{}, {"work_mem": "77MB"}])
def test_a_listener_is_refused_with_a_hint(stack: Stack, settings: dict[str, str]) -> None:
    async def main(stack: Stack) -> None:
        async with connected(stack, server_settings=settings) as connection, connected_directly(stack) as inspector:
            for _ in range(POOL_SIZE):
                with pytest.raises(asyncpg.FeatureNotSupportedError) as caught:
                    await connection.add_listener("channel", print)
                assert "LISTEN" in str(caught.value)
                assert "pgshim.session" in caught.value.hint
                assert "--allow listen" in caught.value.hint
                with pytest.raises(asyncpg.FeatureNotSupportedError):
                    await in_transaction(connection, ["SELECT 1"], ["LISTEN channel"], ["SELECT 2"])
                assert await connection.fetchval("SELECT $1::int", 1) == 1
            assert await connection.execute("UNLISTEN *") == "UNLISTEN"
            listening = "SELECT count(*) FROM pg_stat_activity WHERE query ~* '^listen'"
            assert await inspector.fetchval(listening) == 0

    run(main, stack)
