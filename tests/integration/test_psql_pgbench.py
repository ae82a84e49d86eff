"""psql and pgbench, unmodified, from the installation whose server is asked."""

import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgshim.demo.processes import Endpoint, clean_environment
from tests.integration.conftest import Stack


def program(stack: Stack, name: str, arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [stack.postgres.binaries.bindir / name, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
    )


def psql(stack: Stack, text: str, *arguments: str, endpoint: Endpoint | None = None) -> str:
    """What psql prints for a script that has no error: rows only, columns separated by `|`."""
    url = (endpoint or stack.endpoint()).url
    done = program(stack, "psql", ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, *arguments], text)
    assert done.returncode == 0, done.stderr
    return done.stdout


SCRIPT = r"""
CREATE TABLE :t (id int PRIMARY KEY, label text); -- a comment; with a semicolon
INSERT INTO :t SELECT n, 'it''s ' || n FROM generate_series(1, 5) n;
BEGIN; UPDATE :t SET label = 'undone'; ROLLBACK;
BEGIN;
DELETE FROM :t WHERE id > 3;
SAVEPOINT s;
DELETE FROM :t;
ROLLBACK TO s;
COMMIT;
SELECT 1 \; SELECT 2, 'two' \; SELECT label FROM :t WHERE id = 3;
SELECT id AS found FROM :t WHERE id = 2 \gset
SELECT * FROM :t WHERE id >= :found ORDER BY id;
SELECT format('SELECT %s * 10', id) FROM :t ORDER BY id \gexec
DO $$ BEGIN PERFORM 1; END $$;
SELECT $q$; not the end $q$;
"""


def test_a_file_with_several_statements(stack: Stack, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text(SCRIPT)
    assert psql(stack, "", "-v", "t=psql_script", "-f", str(script)) == "".join(
        ["1\n2|two\nit's 3\n", "2|it's 2\n3|it's 3\n", "10\n20\n30\n", "; not the end \n"]
    )


def test_a_file_in_a_single_transaction_is_all_or_nothing(plain_stack: Stack, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    endpoint = plain_stack.endpoint()
    whole = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-d", endpoint.url, "-f", str(script)]
    script.write_text("CREATE TABLE psql_single (n int);\nINSERT INTO psql_single VALUES (1);\nSELECT 1/0;\n")
    assert program(plain_stack, "psql", whole).returncode == 3
    assert psql(plain_stack, "SELECT to_regclass('psql_single') IS NULL;") == "t\n"
    script.write_text("CREATE TABLE psql_single (n int);\nINSERT INTO psql_single VALUES (1);\n")
    assert program(plain_stack, "psql", whole).returncode == 0
    assert psql(plain_stack, "SELECT n FROM psql_single; DROP TABLE psql_single;") == "1\n"


def test_an_error_in_a_script_is_told_with_its_position_and_the_rest_runs(plain_stack: Stack) -> None:
    text = "SELECT 1;\nSELECT absent;\nBEGIN;\nSELECT 1/0;\nSELECT 2;\nCOMMIT;\nSELECT 3;\n"
    done = program(plain_stack, "psql", ["-X", "-A", "-t", "-d", plain_stack.endpoint().url], text)
    assert done.stdout.split() == ["1", "BEGIN", "ROLLBACK", "3"]
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert [line.split("ERROR:  ")[1] for line in errors] == [
        'column "absent" does not exist',
        "division by zero",
        "current transaction is aborted, commands ignored until end of transaction block",
    ]
    assert "LINE 1: SELECT absent;\n               ^" in done.stderr


def test_the_variables_that_make_psql_send_more(plain_stack: Stack) -> None:
    text = r"""
    CREATE TABLE psql_more (n int);
    \set FETCH_COUNT 10
    SELECT n FROM generate_series(1, 25) n;
    \unset FETCH_COUNT
    \set AUTOCOMMIT off
    INSERT INTO psql_more VALUES (1);
    ROLLBACK;
    INSERT INTO psql_more VALUES (2);
    COMMIT;
    \set AUTOCOMMIT on
    \set ON_ERROR_STOP off
    \set ON_ERROR_ROLLBACK on
    BEGIN;
    INSERT INTO psql_more VALUES (3);
    SELECT 1/0;
    INSERT INTO psql_more VALUES (4);
    COMMIT;
    SELECT string_agg(n::text, ' ' ORDER BY n) FROM psql_more;
    \d psql_more
    DROP TABLE psql_more;
    """
    numbers = "".join(f"{n}\n" for n in range(1, 26))
    assert psql(plain_stack, text) == f"{numbers}2 3 4\nn|integer|||\n"


def test_bound_parameters_and_statements_of_the_extended_protocol(stack_18: Stack) -> None:
    text = r"""
    SELECT $1::int + 1, $2 \bind 41 text \g
    SELECT 'named ' || $1 \parse one
    \bind_named one first \g
    SELECT 'between';
    \bind_named one second \g
    \close_prepared one
    \startpipeline
    SELECT $1 \bind 1 \sendpipeline
    SELECT $1 \bind 2 \sendpipeline
    \endpipeline
    """
    assert psql(stack_18, text) == "42|text\nnamed first\nbetween\nnamed second\n1\n2\n"


def test_copy_from_and_to_files_by_several_at_once(stack: Stack, tmp_path: Path) -> None:
    def work(client: int) -> None:
        source, target = tmp_path / f"in{client}", tmp_path / f"out{client}"
        source.write_text("".join(f"{n},{client}:{'x' * 100}\n" for n in range(5_000)))
        table = f"psql_copied_{client}"
        text = rf"""
        CREATE TABLE {table} (n int, label text);
        \copy {table} FROM '{source}' WITH (FORMAT csv)
        SELECT count(*), sum(n), count(DISTINCT label) FROM {table};
        \copy (SELECT * FROM {table} ORDER BY n) TO '{target}' WITH (FORMAT csv)
        COPY {table} FROM STDIN;
5000	inline
5001	inline
\.
        COPY (SELECT n, label FROM {table} WHERE n >= 5000 ORDER BY n) TO STDOUT;
        DROP TABLE {table};
        """
        found = psql(stack, text)
        assert found == f"5000|{sum(range(5_000))}|1\n5000\tinline\n5001\tinline\n"
        assert target.read_text() == source.read_text()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_failed_copy_leaves_nothing_and_the_script_goes_on(plain_stack: Stack) -> None:
    text = (
        "CREATE TABLE psql_failed (n int);\nCOPY psql_failed FROM STDIN;\n1\nnot a number\n3\n\\.\n"
        "SELECT count(*) FROM psql_failed;\nDROP TABLE psql_failed;\n"
    )
    done = program(plain_stack, "psql", ["-X", "-q", "-A", "-t", "-d", plain_stack.endpoint().url], text)
    assert done.stdout == "0\n"
    assert 'invalid input syntax for type integer: "not a number"' in done.stderr


def test_sslmode_require_is_served_where_pgshim_has_a_certificate(tls_stack: Stack) -> None:
    required = tls_stack.pgshim.endpoint(sslmode="require")
    assert "SSL" in psql(tls_stack, "\\conninfo\n", endpoint=required)
    assert psql(tls_stack, "SELECT 'over ' || 'TLS'", endpoint=required) == "over TLS\n"


def test_sslmode_require_is_refused_where_it_has_none(plain_stack: Stack) -> None:
    required = plain_stack.pgshim.endpoint(sslmode="require")
    done = program(plain_stack, "psql", ["-X", "-d", required.url, "-c", "SELECT 1"])
    assert done.returncode == 2
    assert "server does not support SSL, but SSL was required" in done.stderr


@pytest.fixture(scope="session")
def accounts(stack: Stack) -> Stack:
    """A stack with pgbench's tables in it."""
    done = program(stack, "pgbench", ["--initialize", "--scale", "1", stack.endpoint().url])
    assert done.returncode == 0, done.stderr
    counts = "SELECT count(*), min(aid), max(aid), sum(abalance) FROM pgbench_accounts;"
    assert psql(stack, counts, endpoint=stack.direct()) == "100000|1|100000|0\n"
    return stack


def pgbench(stack: Stack, *arguments: str, clients: int, transactions: int, threads: int = 0) -> None:
    # Without --no-vacuum it would empty pgbench_history, which the balances are compared with. By default a thread
    # each, for with --protocol prepared pgbench waits for a Parse at once: in one thread a client without a server
    # would keep those who have one from ending their transactions.
    counts = ["--client", str(clients), "--jobs", str(threads or clients), "--transactions", str(transactions)]
    done = program(stack, "pgbench", ["--no-vacuum", *counts, *arguments, stack.endpoint().url])
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower()
    total = clients * transactions
    assert f"number of transactions actually processed: {total}/{total}" in done.stdout
    assert "number of failed transactions: 0 (" in done.stdout


MODES = ("simple", "extended", "prepared")


@pytest.mark.parametrize("mode", MODES)
def test_pgbench_select_only(accounts: Stack, mode: str) -> None:
    pgbench(accounts, "--select-only", "--protocol", mode, clients=8, transactions=150)


@contextmanager
def conserved(stack: Stack, transactions: int) -> Iterator[None]:
    """As many transactions are in the history afterwards, and all the balances add up to the same."""
    history = "SELECT count(*) FROM pgbench_history;"
    before = int(psql(stack, history, endpoint=stack.direct()))
    yield
    sums = """
    SELECT sum(abalance) FROM pgbench_accounts; SELECT sum(tbalance) FROM pgbench_tellers;
    SELECT sum(bbalance) FROM pgbench_branches; SELECT sum(delta) FROM pgbench_history;
    """
    found = psql(stack, sums, endpoint=stack.direct()).split()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert int(psql(stack, history, endpoint=stack.direct())) == before + transactions


@pytest.mark.parametrize("mode", MODES)
def test_pgbench_tpc_b_conserves_every_balance(accounts: Stack, mode: str) -> None:
    with conserved(accounts, 4 * 75):
        pgbench(accounts, "--protocol", mode, clients=4, transactions=75)


@pytest.mark.parametrize("mode", ["simple", "extended"])
def test_pgbench_tpc_b_with_several_clients_in_each_thread(accounts: Stack, mode: str) -> None:
    with conserved(accounts, 9 * 30):
        pgbench(accounts, "--protocol", mode, clients=9, threads=3, transactions=30)


def test_pgbench_tpc_b_in_each_mode_at_once(accounts: Stack) -> None:
    def work(mode: str) -> None:
        pgbench(accounts, "--protocol", mode, clients=3, transactions=30)

    with conserved(accounts, len(MODES) * 3 * 30), ThreadPoolExecutor(len(MODES)) as pool:
        list(pool.map(work, MODES))


# A wrong answer divides by zero, which ends the client.
CHECKED = r"""
\set n random(1, 100000)
SELECT aid + {client} AS found, {client} AS client FROM pgbench_accounts WHERE aid = :n \gset
\if :found <> :n + {client} or :client <> {client}
SELECT 1 / 0;
\endif
\startpipeline
SELECT abalance + {client} FROM pgbench_accounts WHERE aid = :n;
SELECT {client};
\endpipeline
BEGIN;
SELECT count(*) AS tellers FROM pgbench_tellers WHERE tid > :n::int - :n \gset
COMMIT;
\if :tellers <> 10
SELECT 1 / 0;
\endif
"""


@pytest.mark.parametrize("mode", ["extended", "prepared"])
def test_pgbenches_at_once_whose_statement_names_collide(accounts: Stack, tmp_path: Path, mode: str) -> None:
    def work(client: int) -> None:
        script = tmp_path / f"script{client}.sql"
        script.write_text(CHECKED.format(client=client))
        pgbench(accounts, "--file", str(script), "--protocol", mode, clients=3, transactions=40)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, (1000, 2000, 3000)))
