"""psycopg 3 and psycopg2, unmodified: modes of transactions, encodings, options, positions of errors, pipelines.

What is not a matter of several servers is held against PostgreSQL itself: `direct` and `pgshim` must say the same.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product
from typing import Any

import psycopg
import psycopg2  # type: ignore[import-untyped]
import psycopg2.extensions  # type: ignore[import-untyped]
import pytest
from psycopg import Connection, IsolationLevel, errors

from tests.integration.conftest import Stack
from tests.integration.support import POOL_SIZE
from tests.integration.test_psycopg import clients, prepare_tables

Client = Connection[Any]
OTHERS = {"work_mem": "77MB", "search_path": "elsewhere, public", "app.tenant": "it's 7", "statement_timeout": "9s"}
SET_OTHERS = (
    "SET work_mem = '77MB'; SET search_path = elsewhere, public; "
    "SET app.tenant = 'it''s 7'; SET statement_timeout = 9000"
)
MODES = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")

each_way = pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "transactions"])


@contextmanager
def with_others(stack: Stack, *, autocommit: bool = True, **options: Any) -> Iterator[Client]:
    """A connection through pgshim that has set some settings, to a pooler that has all of its servers open."""
    with clients(stack, POOL_SIZE, autocommit=True, **options) as (connection, *_):
        connection.execute(SET_OTHERS)
        connection.autocommit = autocommit
        yield connection


def shown(connection: Client, *names: str) -> tuple[str, ...]:
    columns = ", ".join(f"current_setting('{name}', true)" for name in names)
    found: tuple[str, ...] | None = connection.execute(f"SELECT {columns}").fetchone()
    assert found is not None
    return found


def each_server(connection: Client) -> Iterator[int]:
    """Yields once for each server of the pool, when a transaction of the connection's has just been there."""
    seen: set[int] = set()
    for turn in range(POOL_SIZE):
        # Round robin: the third at the latest is one that was not there yet.
        for _ in range(POOL_SIZE):
            ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
            if not connection.autocommit:
                connection.rollback()
            if pid not in seen:
                break
        seen.add(pid)
        yield turn
    assert len(seen) == POOL_SIZE


# Modes of transactions.


@pytest.mark.parametrize("level", [None, *IsolationLevel])
@pytest.mark.parametrize(
    "options", ["", "-c default_transaction_isolation=serializable -c default_transaction_read_only=on"]
)
def test_attributes_of_a_connection_go_before_the_defaults_in_force(
    stack: Stack, level: IsolationLevel | None, options: str
) -> None:
    default = ("serializable", "on", "off") if options else ("read committed", "off", "off")
    with with_others(stack, autocommit=False, options=options) as connection:
        connection.isolation_level = level
        for read_only, deferrable in product((None, False, True), repeat=2):
            connection.read_only, connection.deferrable = read_only, deferrable
            named = level.name.replace("_", " ").lower() if level else None
            given = (named, *(None if mode is None else ("off", "on")[mode] for mode in (read_only, deferrable)))
            expected = tuple(new or old for new, old in zip(given, default, strict=True))
            assert shown(connection, *MODES, *OTHERS) == (*expected, *OTHERS.values())
            connection.commit()
            connection.autocommit = True
            assert shown(connection, *MODES) == default
            with connection.transaction():
                assert shown(connection, *MODES, *OTHERS) == (*expected, *OTHERS.values())
            connection.autocommit = False


@pytest.mark.parametrize(
    "setting",
    [
        "SET default_transaction_read_only = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SELECT set_config('default_transaction_read_only', 'on', false)",
        "SET work_mem = '1MB'; SET default_transaction_read_only = 1; SET jit = off",
        "BEGIN; SET default_transaction_read_only = on; COMMIT",
    ],
)
@pytest.mark.parametrize("others", ["", SET_OTHERS])
def test_writes_in_autocommit_fail_while_read_only_is_the_default(stack: Stack, setting: str, others: str) -> None:
    prepare_tables(stack, "DROP TABLE IF EXISTS read_only_default; CREATE TABLE read_only_default (n int)")
    with clients(stack, POOL_SIZE, autocommit=True) as (connection, other, _):
        connection.execute(others or "SELECT 1")
        connection.execute(setting)
        for turn in each_server(connection):
            assert shown(connection, "transaction_read_only", "default_transaction_read_only") == ("on", "on")
            for write in ("INSERT INTO read_only_default VALUES (%s)", "DELETE FROM read_only_default WHERE n = %s"):
                with pytest.raises(errors.ReadOnlySqlTransaction):
                    connection.execute(write, [turn], prepare=True)
            for text in (
                "INSERT INTO read_only_default VALUES (1)",
                "SELECT 1; TRUNCATE read_only_default",
                "CREATE TABLE t ()",
            ):
                with pytest.raises(errors.ReadOnlySqlTransaction):
                    connection.execute(text)
            # As on a server, a transaction may say otherwise.
            connection.execute("BEGIN READ WRITE")
            connection.execute("INSERT INTO read_only_default VALUES (%s)", [turn])
            connection.execute("COMMIT")
            other.execute("DELETE FROM read_only_default WHERE n = %s", [turn])
        connection.execute("SET default_transaction_read_only TO DEFAULT")
        for turn in each_server(connection):
            connection.execute("INSERT INTO read_only_default VALUES (%s)", [turn])
        assert other.execute("SELECT count(*) FROM read_only_default").fetchone() == (POOL_SIZE,)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
@pytest.mark.parametrize("others", ["", SET_OTHERS])
def test_an_isolation_that_is_the_default_holds_in_autocommit(stack: Stack, level: str, others: str) -> None:
    with clients(stack, POOL_SIZE, autocommit=True) as (connection, other, _):
        connection.execute(others or "SELECT 1")
        connection.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
        for _ in each_server(connection):
            assert shown(connection, "transaction_isolation") == (level,)
            assert connection.execute("SHOW transaction_isolation").fetchone() == (level,)
            assert connection.execute("SELECT current_setting('transaction_isolation'), %s", ["x"]).fetchone() == (
                level,
                "x",
            )
            assert connection.execute("SELECT 1; SHOW transaction_isolation").nextset()
            assert shown(other, "transaction_isolation") == ("read committed",)
            with connection.transaction():
                assert shown(connection, "transaction_isolation") == (level,)


def test_a_repeatable_read_takes_its_snapshot_at_the_first_statement_of_the_client(stack: Stack) -> None:
    """What brings the settings must take none: a row that another client has just committed would be missed."""
    prepare_tables(
        stack, "DROP TABLE IF EXISTS snapshot; CREATE TABLE snapshot (n int); INSERT INTO snapshot VALUES (0)"
    )
    with with_others(stack) as connection, psycopg.connect(stack.endpoint().url, autocommit=True) as other:
        for turn in range(1, 5):
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute("LOCK TABLE snapshot IN ROW SHARE MODE")
            other.execute("UPDATE snapshot SET n = %s", [turn])
            assert connection.execute("SELECT n FROM snapshot").fetchone() == (turn,)
            other.execute("UPDATE snapshot SET n = -1")
            assert connection.execute("SELECT n FROM snapshot").fetchone() == (turn,)
            connection.execute("COMMIT")
            connection.execute("BEGIN")
            connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE")
            assert shown(connection, *MODES, "work_mem") == ("serializable", "on", "on", "77MB")
            connection.execute("ROLLBACK")


@pytest.mark.parametrize(
    "text",
    [
        "DECLARE c CURSOR FOR SELECT 1",
        "LOCK TABLE needs_block",
        "SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "ROLLBACK TO a",
        "FETCH 1 FROM c",
        "CLOSE c",
        "COMMIT AND CHAIN",
        "COMMIT",
        "ROLLBACK",
        "SET LOCAL work_mem = '1MB'",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL DEFERRED",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'nosuch'",
        "",
        "-- nothing",
    ],
)
@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "extended"])
def test_what_needs_a_block_fails_outside_of_one_as_without_settings(stack: Stack, text: str, prepare: bool) -> None:
    def outcome(connection: Client) -> tuple[Any, ...]:
        notices: list[Any] = []
        connection.add_notice_handler(lambda notice: notices.append((notice.sqlstate, notice.message_primary)))
        result = connection.pgconn.exec_params(text.encode(), []) if prepare else connection.pgconn.exec_(text.encode())
        fields = [
            result.error_field(field)
            for field in (psycopg.pq.DiagnosticField.SQLSTATE, psycopg.pq.DiagnosticField.MESSAGE_PRIMARY)
        ]
        return result.status, result.command_status, fields, notices, connection.info.transaction_status

    prepare_tables(stack, "CREATE TABLE IF NOT EXISTS needs_block ()")
    with psycopg.connect(stack.direct().url, autocommit=True) as direct:
        expected = outcome(direct)
        direct.rollback()
    with with_others(stack) as connection:
        for _ in each_server(connection):
            assert outcome(connection) == expected
            assert shown(connection, *OTHERS) == tuple(OTHERS.values())


# Pipelines.


@each_way
def test_settings_of_a_pipeline(stack: Stack, autocommit: bool) -> None:
    with clients(stack, POOL_SIZE, autocommit=True, prepare_threshold=0) as (connection, other, _):
        connection.autocommit = autocommit
        for turn in range(1, 5):
            with connection.pipeline() as pipeline:
                connection.execute("SELECT set_config('app.tenant', %s, false)", [f"t{turn}"])
                connection.execute(f"SET work_mem = '{turn}MB'")
                early = connection.execute("SELECT current_setting('app.tenant'), current_setting('work_mem')")
                if turn % 2:
                    pipeline.sync()
                connection.execute("SET TIME ZONE 'Asia/Tokyo'")
                late = connection.execute(
                    "SELECT current_setting('work_mem'), current_setting('timezone'), %s::int", [turn]
                )
                assert early.fetchone() == (f"t{turn}", f"{turn}MB")
                assert late.fetchone() == (f"{turn}MB", "Asia/Tokyo", turn)
            if not autocommit:
                connection.commit()
            for _ in each_server(connection):
                assert shown(connection, "app.tenant", "work_mem", "timezone") == (
                    f"t{turn}",
                    f"{turn}MB",
                    "Asia/Tokyo",
                )
                assert shown(other, "work_mem", "timezone") != (f"{turn}MB", "Asia/Tokyo")
                connection.commit()


def in_transaction(connection: Client, *texts: str) -> None:
    with connection.transaction():
        for text in texts:
            connection.execute(text)


def set_and_fail(connection: Client) -> None:
    with connection.pipeline() as pipeline:
        connection.execute("SET work_mem = '3MB'")
        pipeline.sync()
        for text in ("SET work_mem = '4MB'", "SET app.tenant = 'gone'", "SELECT 1/0", "SET work_mem = '5MB'"):
            connection.execute(text)


def test_a_pipeline_that_fails_undoes_what_it_has_set_since_its_last_sync(stack: Stack) -> None:
    with clients(stack, POOL_SIZE, autocommit=True) as (connection, *_):
        for _ in range(3):
            with pytest.raises(errors.DivisionByZero):
                set_and_fail(connection)
            for _ in each_server(connection):
                assert shown(connection, "work_mem") == ("3MB",)
                assert not shown(connection, "app.tenant")[0]
            with pytest.raises(errors.UndefinedTable), connection.pipeline():
                in_transaction(connection, "SET work_mem = '6MB'", "SELECT * FROM nowhere")
            assert shown(connection, "work_mem") == ("3MB",)
            connection.execute("RESET work_mem")


# Encodings.


@pytest.mark.parametrize("how", ["execute", "connect", "options", "set_config"])
@each_way
def test_another_client_encoding(stack: Stack, how: str, autocommit: bool) -> None:
    prepare_tables(
        stack, "DROP TABLE IF EXISTS encoded; CREATE TABLE encoded (word text); INSERT INTO encoded VALUES ('Grüße €')"
    )
    options = {"connect": {"client_encoding": "latin9"}, "options": {"options": "-c client_encoding=latin9"}}.get(
        how, {}
    )
    with clients(stack, POOL_SIZE, autocommit=True, prepare_threshold=0, **options) as (connection, *_):
        if how == "execute":
            connection.execute("SET client_encoding TO 'latin9'")
        elif how == "set_config":
            connection.execute("SELECT set_config('client_encoding', %s, false)", ["latin9"])
        connection.autocommit = autocommit
        with psycopg.connect(stack.endpoint().url, autocommit=True) as other:
            for _ in each_server(connection):
                assert (connection.info.encoding, other.info.encoding) == ("iso8859-15", "utf-8")
                assert connection.pgconn.exec_(b"SELECT word FROM encoded").get_value(0, 0) == "Grüße €".encode(
                    "latin9"
                )
                assert connection.execute("SELECT word, 'ä€' FROM encoded WHERE word = 'Grüße €'").fetchone() == (
                    "Grüße €",
                    "ä€",
                )
                assert connection.execute(
                    "SELECT word, %s FROM encoded WHERE word = %s", ["é", "Grüße €"]
                ).fetchone() == ("Grüße €", "é")
                with pytest.raises(errors.UndefinedTable, match='relation "nö€" does not exist'):
                    connection.execute('SELECT * FROM "nö€"')
                connection.rollback()
                with pytest.raises(errors.UntranslatableCharacter):
                    connection.execute("SELECT chr(26085)")
                connection.rollback()
                assert other.execute("SELECT word, chr(26085) FROM encoded").fetchone() == ("Grüße €", "日")


@pytest.mark.parametrize("options", [{"client_encoding": "latin9"}, {"options": "-c client_encoding=iso-8859-15"}])
def test_a_client_encoding_at_connect_is_told_by_its_own_name(plain_stack: Stack, options: dict[str, Any]) -> None:
    with psycopg.connect(plain_stack.endpoint().url, autocommit=True, **options) as connection:
        assert connection.info.parameter_status("client_encoding") == "LATIN9"
        assert connection.execute("SHOW client_encoding").fetchone() == ("LATIN9",)


def test_a_client_encoding_goes_back_with_its_transaction_and_with_reset(stack: Stack) -> None:
    with clients(stack, POOL_SIZE) as (connection, *_):
        for end, encoding in ((connection.rollback, "utf-8"), (connection.commit, "iso8859-1")):
            connection.execute("SET NAMES 'latin1'")
            assert connection.info.encoding == "iso8859-1"
            assert connection.execute("SELECT 'é'").fetchone() == ("é",)
            end()
            for _ in each_server(connection):
                assert connection.info.encoding == encoding
                assert connection.execute("SELECT 'ü'").fetchone() == ("ü",)
        connection.execute("RESET client_encoding")
        connection.commit()
        for _ in each_server(connection):
            assert connection.info.encoding == "utf-8"
            assert connection.execute("SELECT 'ü日'").fetchone() == ("ü日",)


# Startup.


@each_way
def test_options_at_connect_are_in_force_and_reset_returns_to_them(stack: Stack, autocommit: bool) -> None:
    options = r"-c work_mem=77MB -c search_path=elsewhere,\ public --app.tenant=it's\ 7 -c statement-timeout=9s -e"
    with clients(stack, POOL_SIZE, autocommit=True, options=options) as (connection, *_):
        connection.autocommit = autocommit
        for change in (
            "SELECT 1",
            "SET work_mem = '1MB'; SET app.tenant = 'x'; RESET app.tenant; RESET work_mem",
            "RESET ALL",
        ):
            connection.execute(change)
            connection.commit()
            for _ in each_server(connection):
                assert shown(connection, *OTHERS, "datestyle") == (*OTHERS.values(), "ISO, DMY")
                assert connection.info.parameter_status("DateStyle") == "ISO, DMY"
                assert connection.execute("SHOW search_path").fetchone() == ("elsewhere, public",)


# What the client is told.


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "pgshim"])
def test_parameter_status_follows(stack: Stack, direct: bool) -> None:
    url = (stack.direct() if direct else stack.endpoint()).url
    with psycopg.connect(url, autocommit=True, application_name="mine") as connection:
        told = connection.info.parameter_status
        fresh = {name: told(name) for name in ("TimeZone", "DateStyle", "IntervalStyle", "application_name")}
        connection.execute("SET timezone = 'europe/berlin'; SET datestyle = german; SET intervalstyle = 'ISO_8601'")
        assert (told("TimeZone"), told("DateStyle"), told("IntervalStyle")) == (
            "Europe/Berlin",
            "German, DMY",
            "iso_8601",
        )
        connection.execute("SET datestyle = 'MDY'")
        assert told("DateStyle") == "German, MDY"
        connection.execute("SELECT set_config('application_name', %s, false)", ["it's é"])
        assert (told("application_name"),) == connection.execute("SHOW application_name").fetchone() != ("",)
        connection.execute("SET standard_conforming_strings = off")
        assert told("standard_conforming_strings") == "off"
        connection.execute("RESET standard_conforming_strings")
        connection.execute("BEGIN")
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET LOCAL datestyle = 'SQL'")
        assert (told("TimeZone"), told("DateStyle")) == ("UTC", "SQL, MDY")
        with pytest.raises(errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        connection.execute("ROLLBACK")
        assert (told("TimeZone"), told("DateStyle")) == ("Europe/Berlin", "German, MDY")
        with connection.transaction():
            connection.execute("SET LOCAL datestyle = 'ISO'")
            assert told("DateStyle") == "ISO, MDY"
        assert told("DateStyle") == "German, MDY"
        connection.execute("RESET ALL")
        assert {name: told(name) for name in fresh} == fresh


FAILING = [
    "SELECT 'é日', nosuch FROM pg_class",
    "SELECT 1; SELECT 2 WHERE nosuch",
    "SELECT nosuch(1)",
    "SELEC 1",
    "INSERT INTO nosuch VALUES (1)",
    "SELECT 'unterminated",
    "SELECT '1'::int + 'x'::int",
    "DO $$ BEGIN PERFORM nosuch(); END $$",
    "SELECT 1 / 0",
    "\n\n  SELECT\n  x",
]


@pytest.mark.parametrize("text", FAILING)
@pytest.mark.parametrize("way", ["simple", "extended", "block"])
def test_errors_tell_their_position_as_without_settings(stack: Stack, text: str, way: str) -> None:
    def told(connection: Client) -> list[Any]:
        if way == "extended":
            result = connection.pgconn.exec_params(text.encode(), [])
        else:
            connection.execute("BEGIN" if way == "block" else "SELECT 1")
            result = connection.pgconn.exec_(text.encode())
        assert result.status == psycopg.pq.ExecStatus.FATAL_ERROR
        named = psycopg.pq.DiagnosticField
        ignored = {named.SOURCE_LINE, named.SOURCE_FILE, named.SOURCE_FUNCTION}
        connection.rollback()
        return [(field.name, result.error_field(field)) for field in named if field not in ignored]

    with psycopg.connect(stack.direct().url, autocommit=True) as direct:
        expected = told(direct)
    with with_others(stack) as connection:
        for _ in range(POOL_SIZE):
            assert told(connection) == expected
            assert shown(connection, *OTHERS) == tuple(OTHERS.values())


@pytest.mark.parametrize("way", ["simple", "extended", "block"])
def test_notices_come_as_without_settings(stack: Stack, way: str) -> None:
    texts = [
        "DO $$ BEGIN RAISE NOTICE 'é %', 1; RAISE WARNING 'two' USING HINT = 'h', DETAIL = 'd'; END $$",
        "DROP TABLE IF EXISTS no_such_table",
        "CREATE TABLE IF NOT EXISTS needs_block ()",
        "SET LOCAL work_mem = '1MB'",
        "SET CONSTRAINTS ALL DEFERRED",
        "COMMIT",
    ]

    def told(connection: Client) -> list[Any]:
        notices: list[Any] = []

        def keep(notice: psycopg.errors.Diagnostic) -> None:
            fields = (
                notice.severity,
                notice.sqlstate,
                notice.message_primary,
                notice.message_detail,
                notice.message_hint,
            )
            notices.append((*fields, notice.statement_position, notice.context))

        connection.add_notice_handler(keep)
        for text in texts:
            if way == "block" and text != "COMMIT":
                with connection.transaction():
                    connection.execute(text)
            elif way == "extended":
                connection.pgconn.exec_params(text.encode(), [])
            else:
                connection.execute(text)
        connection.remove_notice_handler(keep)
        return notices

    prepare_tables(stack, "CREATE TABLE IF NOT EXISTS needs_block ()")
    with psycopg.connect(stack.direct().url, autocommit=True) as direct:
        expected = told(direct)
    with with_others(stack) as connection:
        for _ in range(POOL_SIZE):
            assert told(connection) == expected


def test_client_min_messages_of_the_client_holds(plain_stack: Stack) -> None:
    notices: list[str | None] = []
    with with_others(plain_stack) as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute("SET client_min_messages = error")
        for _ in each_server(connection):
            connection.execute("DO $$ BEGIN RAISE WARNING 'not told'; END $$")
            with connection.transaction():
                connection.execute("SELECT %s", ["x"])
        connection.execute("SET client_min_messages = notice")
        connection.execute("DO $$ BEGIN RAISE NOTICE 'told'; END $$")
    assert notices == ["told"]


# psycopg2: the simple protocol only.


@contextmanager
def psycopg2_client(stack: Stack, **options: Any) -> Iterator[Any]:
    with clients(stack, POOL_SIZE), closing(psycopg2.connect(stack.endpoint().url, **options)) as connection:
        yield connection


def ask(connection: Any, text: str, parameters: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)
        return cursor.fetchone() if cursor.description else None


def ask_modes(connection: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = ask(connection, "SELECT " + ", ".join(f"current_setting('{mode}')" for mode in MODES))
    return found


@pytest.mark.parametrize("others", ["", SET_OTHERS])
@pytest.mark.parametrize("autocommit", [False, True])
def test_psycopg2s_set_session(stack: Stack, others: str, autocommit: bool) -> None:
    """In autocommit it is SET SESSION CHARACTERISTICS that psycopg2 sends, else what goes onto each BEGIN."""
    with psycopg2_client(stack) as connection:
        ask(connection, others or "SELECT 1")
        connection.commit()
        for level, read_only, deferrable in product(("REPEATABLE READ", "SERIALIZABLE"), (True, False), (True, False)):
            connection.set_session(
                isolation_level=level, readonly=read_only, deferrable=deferrable, autocommit=autocommit
            )
            for _ in range(POOL_SIZE):
                expected = level.lower(), *(("off", "on")[mode] for mode in (read_only, deferrable))
                assert ask_modes(connection) == expected
                if others:
                    assert ask(connection, "SHOW search_path") == ("elsewhere, public",)
                connection.rollback()
            if read_only:
                with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
                    ask(connection, "CREATE TABLE psycopg2_read_only ()")
                connection.rollback()
        connection.set_session(
            isolation_level="DEFAULT", readonly="DEFAULT", deferrable="DEFAULT", autocommit=autocommit
        )
        for _ in range(POOL_SIZE):
            assert ask_modes(connection) == ("read committed", "off", "off")
            connection.rollback()


def test_psycopg2s_set_client_encoding_and_its_isolation_constants(stack: Stack) -> None:
    def story(connection: Any) -> Iterator[Any]:
        connection.set_client_encoding("LATIN1")
        for _ in range(POOL_SIZE):
            yield connection.encoding, connection.get_parameter_status("client_encoding")
            yield ask(connection, "SELECT 'é' || %s", ("ü",))
            connection.rollback()
        connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE)
        yield ask_modes(connection)
        connection.commit()
        connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
        ask(connection, "SET TIME ZONE 'Asia/Tokyo'")
        for _ in range(POOL_SIZE):
            yield ask_modes(connection), ask(connection, "SHOW TIME ZONE"), ask(connection, "SELECT 'ß'")
        connection.reset()
        yield ask(connection, "SHOW TIME ZONE"), ask(connection, "SELECT 'ß'")
        yield connection.get_parameter_status("client_encoding"), connection.get_parameter_status("TimeZone")

    with closing(psycopg2.connect(stack.direct().url)) as direct:
        expected = list(story(direct))
    with psycopg2_client(stack) as connection:
        assert list(story(connection)) == expected


@pytest.mark.parametrize("connect", [psycopg.connect, psycopg2.connect])
def test_a_startup_options_value_that_is_wrong_fails_the_connect(
    plain_stack: Stack, connect: Callable[..., Any]
) -> None:
    with pytest.raises(
        (psycopg.OperationalError, psycopg2.OperationalError), match='invalid value for parameter "work_mem"'
    ):
        connect(plain_stack.endpoint().url, options="-c work_mem=lots")
