"""`pgshim run`: commands that find their server in the environment, in front of a real PgBouncer."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from pgshim.demo.processes import clean_environment
from pgshim.demo.servers import PgBouncer
from tests.integration.support import certificate_environment, fill_pool

if TYPE_CHECKING:
    from tests.integration.conftest import Stack

PGSHIM = [sys.executable, "-m", "pgshim"]
ROOT = Path(__file__).parent.parent.parent
PYTHON = [sys.executable, "-c"]

ASYNCPG = """
    import asyncio, asyncpg, os
    async def main():
        connection = await asyncpg.connect(os.environ.get("DATABASE_URL"))
        for number in range(6):
            print(await connection.fetchval("SELECT $1::int", number), end=" ")
    asyncio.run(main())
"""
PSYCOPG = """
    import os, psycopg
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=0) as connection:
        for number in range(6):
            print(*connection.execute("SELECT %s::int", [number]).fetchone(), end=" ")
"""
SQLALCHEMY = """
    import asyncio, os, sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine
    async def main():
        engine = create_async_engine(os.environ["DATABASE_URL"])
        for number in range(6):
            async with engine.begin() as connection:
                print(await connection.scalar(sqlalchemy.text("SELECT cast(:n AS int)"), {"n": number}), end=" ")
        await engine.dispose()
    asyncio.run(main())
"""
NUMBERS = "0 1 2 3 4 5 "


@pytest.fixture(scope="module", autouse=True)
def _has_all_servers(plain_stack: "Stack") -> None:
    asyncio.run(fill_pool(plain_stack))


def program(text: str) -> list[str]:
    return [*PYTHON, textwrap.dedent(text)]


def environment(**changes: str) -> dict[str, str]:
    inherited = {name: value for name, value in clean_environment().items() if not name.startswith("PGSHIM_")}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": "", **changes}


def run(command: Sequence[str], *options: str, before: Sequence[str] = (), cwd: Path | None = None, **changes: str):  # type: ignore[no-untyped-def]
    """The command behind pgshim; `before` are pgshim's own options, `options` those of `run`."""
    return subprocess.run(
        [*PGSHIM, *before, "run", *options, "--", *command],
        env=environment(**changes),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
    )


def with_scheme(url: str, scheme: str) -> str:
    return url.replace("postgresql", scheme, 1)


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("postgresql", ASYNCPG),
        ("postgres", PSYCOPG),
        ("postgresql+asyncpg", SQLALCHEMY),
        ("postgresql+psycopg", SQLALCHEMY),
    ],
)
def test_a_program_that_reads_database_url_works_as_it_is(plain_stack: "Stack", scheme: str, text: str) -> None:
    url = with_scheme(plain_stack.pgbouncer.endpoint().url, scheme)
    result = run(program(text), DATABASE_URL=url)
    assert (result.stdout, result.returncode) == (NUMBERS, 0), result.stderr
    # At the end one line of what pgshim was good for.
    assert re.fullmatch(r"pgshim: 1 connection; [1-9]\d* messages .* rewritten; .*\n", result.stderr), result.stderr


def test_without_pgshim_the_same_program_fails(plain_stack: "Stack") -> None:
    """What these tests rest on: the pooler does give every transaction another server."""
    # A pooler of its own: what the program leaves on its servers, other tests would find.
    with PgBouncer(plain_stack.postgres) as pooler:
        asyncio.run(fill_pool(replace(plain_stack, pgbouncer=pooler)))
        url = pooler.endpoint().url
        result = subprocess.run(program(ASYNCPG), env=environment(DATABASE_URL=url), capture_output=True, timeout=30)
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("scheme", "text", "query"),
    [
        ("postgresql", ASYNCPG, "sslmode=verify-full&sslrootcert={ca}"),
        ("postgresql", PSYCOPG, "sslmode=verify-ca&sslrootcert={ca}&channel_binding=require"),
        ("postgresql+asyncpg", SQLALCHEMY, "ssl=verify-full"),
        ("postgresql+psycopg", SQLALCHEMY, "sslmode=require&sslrootcert={ca}"),
        ("postgresql", PSYCOPG, ""),
    ],
)
def test_what_the_url_says_of_tls_is_for_the_pooler(tls_stack: "Stack", scheme: str, text: str, query: str) -> None:
    """The pooler there takes nobody without TLS, and pgshim offers none here."""
    url = with_scheme(tls_stack.pgbouncer.endpoint().url, scheme)
    variables = {"PGSSLMODE": "verify-full"} if not query else {}
    result = run(
        program(text),
        DATABASE_URL=f"{url}?{query.format(ca=tls_stack.ca)}".rstrip("?"),
        **certificate_environment(tls_stack),
        **variables,
    )
    assert (result.stdout, result.returncode) == (NUMBERS, 0), result.stderr
    assert ("channel_binding=require is left out" in result.stderr) == ("channel_binding" in query)
    assert "not verified" not in result.stderr


def test_a_ca_that_did_not_sign_the_poolers_certificate_is_found_out(tls_stack: "Stack", tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    url = f"{tls_stack.pgbouncer.endpoint().url}?sslmode=verify-full&sslrootcert={other}"
    result = run(program(ASYNCPG), DATABASE_URL=url)
    assert result.returncode == 1
    assert "certificate is not accepted" in result.stderr


def test_psql_finds_pgshim_by_libpqs_variables_and_its_output_is_its_own(plain_stack: "Stack") -> None:
    endpoint = plain_stack.pgbouncer.endpoint()
    result = run(
        ["psql", "-XAt", "-c", "SELECT 1", "-c", "LISTEN x"],
        PGHOST=endpoint.host,
        PGPORT=str(endpoint.port),
        PGUSER=endpoint.user,
        PGPASSWORD=endpoint.password,
        PGDATABASE=endpoint.database,
    )
    assert (result.stdout, result.returncode) == ("1\n", 1)
    lines = result.stderr.splitlines()
    assert "LISTEN needs a session" in lines[0]
    assert lines[-1] == "pgshim: 1 connection; refused: listen 1"


def test_a_login_that_is_refused_is_not_among_the_connections(plain_stack: "Stack") -> None:
    endpoint = plain_stack.pgbouncer.endpoint()
    url = f"postgresql://{endpoint.user}:wrong@{endpoint.host}:{endpoint.port}/{endpoint.database}"
    result = run(["sh", "-c", 'psql -XAt "$DATABASE_URL" -c "SELECT 1"'], DATABASE_URL=url)
    assert (result.stdout, result.returncode) == ("", 2)
    assert result.stderr.splitlines()[-1] == "pgshim: no connections; 1 not let in"


def test_a_password_in_libpqs_file_is_found_though_it_names_the_pooler(plain_stack: "Stack", tmp_path: Path) -> None:
    endpoint = plain_stack.pgbouncer.endpoint()
    passwords = tmp_path / "passwords"
    passwords.write_text(f"{endpoint.host}:{endpoint.port}:*:{endpoint.user}:{endpoint.password}\n")
    passwords.chmod(0o600)
    url = f"postgresql://{endpoint.user}@{endpoint.host}:{endpoint.port}/{endpoint.database}"
    result = run(program(ASYNCPG), DATABASE_URL=url, PGPASSFILE=str(passwords))
    assert (result.stdout, result.returncode) == (NUMBERS, 0), result.stderr
    variables = {"PGHOST": endpoint.host, "PGPORT": str(endpoint.port), "PGUSER": endpoint.user}
    variables |= {"PGDATABASE": endpoint.database, "PGPASSFILE": str(passwords)}
    assert run(["psql", "-XAtwc", "SELECT 1"], **variables).stdout == "1\n"


def test_libpqs_variables_beside_a_url_change_only_if_they_mean_the_same_server() -> None:
    show = ["sh", "-c", "echo $PGHOST:$PGPORT $PGSSLMODE $DATABASE_URL"]
    url = "postgresql://u:p@127.0.0.1:1/d"
    same = run(show, "--quiet", DATABASE_URL=url, PGHOST="127.0.0.1", PGPORT="1")
    assert re.fullmatch(r"127.0.0.1:(\d{2,}) postgresql://u:p@127.0.0.1:\1/d\n", same.stdout)
    variables = {"DATABASE_URL": url, "PGHOST": "elsewhere", "PGSSLMODE": "require"}
    other = run(show, "--quiet", before=["--upstream-tls=prefer"], **variables)
    assert re.fullmatch(r"elsewhere: require postgresql://u:p@127.0.0.1:\d{2,}/d\?sslmode=disable\n", other.stdout)


def test_a_variable_that_is_not_in_the_environment_is_looked_for_in_dot_env(
    plain_stack: "Stack", tmp_path: Path
) -> None:
    url = plain_stack.pgbouncer.endpoint().url
    (tmp_path / ".env").write_text(f'SECRET=hunter2\nexport DATABASE_URL="{url}"\n')
    result = run(program(ASYNCPG), cwd=tmp_path)
    assert (result.stdout, result.returncode) == (NUMBERS, 0), result.stderr
    # Only what pgshim changes is put into the environment.
    assert run(["sh", "-c", "echo $SECRET"], cwd=tmp_path).stdout == "\n"


def test_the_environment_counts_more_than_a_file_and_the_last_file_most(tmp_path: Path) -> None:
    first, last = tmp_path / "a.env", tmp_path / "b.env"
    first.write_text("DATABASE_URL=postgresql://first@h/d\nOTHER=postgresql://other@h/d\n")
    last.write_text("NAME=last\nDATABASE_URL=postgresql://${NAME}@h/d\n")
    files = ["--env-file", str(first), "--env-file", str(last)]
    show = ["sh", "-c", "echo $DATABASE_URL $OTHER"]
    found = run(show, *files, "--env", "DATABASE_URL", "--env", "OTHER", before=["--upstream", "127.0.0.1:1"])
    assert re.fullmatch(r"postgresql://last@127.0.0.1:(\d+)/d postgresql://other@127.0.0.1:\1/d\n", found.stdout)
    assert "//env@" in run(show, *files, DATABASE_URL="postgresql://env@127.0.0.1:1/d").stdout


def test_two_variables_with_two_poolers_have_a_listener_each(plain_stack: "Stack", tls_stack: "Stack") -> None:
    first, second = plain_stack.pgbouncer.endpoint().url, tls_stack.pgbouncer.endpoint(**tls_stack.parameters).url
    text = """
        import os, psycopg
        for name in ("FIRST", "SECOND", "THIRD"):
            with psycopg.connect(os.environ[name]) as connection:
                print(connection.info.port, *connection.execute("SHOW port").fetchone())
    """
    names = ["--env", "FIRST", "--env", "SECOND", "--env", "THIRD"]
    result = run(program(text), *names, FIRST=first, SECOND=second, THIRD=first)
    assert result.returncode == 0, result.stderr
    here, there = zip(*(line.split() for line in result.stdout.splitlines()), strict=True)
    assert here[0] == here[2] != here[1]
    assert there == tuple(str(stack.postgres.port) for stack in (plain_stack, tls_stack, plain_stack))
    # BEGIN and SHOW in one trip, three times, in front of two poolers.
    assert "pgshim: 3 connections; " in result.stderr
    assert "; 3 round trips saved\n" in result.stderr


def test_upstream_takes_the_place_of_the_urls_host_and_port(plain_stack: "Stack") -> None:
    endpoint = plain_stack.pgbouncer.endpoint()
    url = endpoint.url.replace(str(endpoint.port), "1")
    result = run(program(ASYNCPG), before=["--upstream", f"127.0.0.1:{endpoint.port}"], DATABASE_URL=url)
    assert (result.stdout, result.returncode) == (NUMBERS, 0), result.stderr


def test_a_unix_socket_and_listen_on_one(plain_stack: "Stack", tmp_path: Path) -> None:
    endpoint = plain_stack.pgbouncer.endpoint()
    login = f"{endpoint.user}:{endpoint.password}"
    url = f"postgresql://{login}@/{endpoint.database}?host={plain_stack.pgbouncer.directory}&port={endpoint.port}"
    result = run(program(ASYNCPG), before=["--listen", f"unix:{tmp_path}:7"], DATABASE_URL=url)
    assert (result.stdout, result.returncode) == (NUMBERS, 0), result.stderr
    assert not list(tmp_path.iterdir())


def test_workarounds_in_the_url_are_told_in_one_line(plain_stack: "Stack") -> None:
    url = with_scheme(plain_stack.pgbouncer.endpoint().url, "postgresql+asyncpg")
    url += "?prepared_statement_cache_size=0"
    result = run(program(SQLALCHEMY), DATABASE_URL=url)
    assert (result.stdout, result.returncode) == (NUMBERS, 0), result.stderr
    assert result.stderr.startswith("pgshim: DATABASE_URL: prepared_statement_cache_size=0 can go: it costs round")
    quiet = run(program(SQLALCHEMY), "-q", DATABASE_URL=url)
    assert (quiet.stdout, quiet.stderr) == (NUMBERS, "")


NOWHERE = {"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d"}


@pytest.mark.parametrize(
    ("before", "options", "changes", "words"),
    [
        ([], [], {}, ["DATABASE_URL", "--env", "--env-file"]),
        ([], ["--env", "DB"], NOWHERE, ["--env DB", "--env-file"]),
        ([], ["--env-file", "/nope"], NOWHERE, ["--env-file /nope", "no such file"]),
        ([], [], {"DATABASE_URL": "mysql://u:hunter2@h/d"}, ["DATABASE_URL", "mysql://", "postgresql://"]),
        ([], [], {"DATABASE_URL": "postgresql://h/d?sslmode=x"}, ["DATABASE_URL", "'x'", "verify-full"]),
        ([], [], {"DATABASE_URL": "postgresql://h/d?sslmode=verify-ca&sslrootcert=/nope"}, ["/nope", "PEM"]),
        ([], [], {"PGHOST": "h", "PGSERVICE": "s"}, ["PGSERVICE", "unset"]),
        ([], [], {"PGHOST": "h", "PGPORT": "x"}, ["PGHOST", "65535"]),
        (["--workers", "2"], [], NOWHERE, ["--workers 2", "leave it out"]),
        (
            ["--listen", "0"],
            ["--env", "A", "--env", "B"],
            {"A": "postgresql://a/d", "B": "postgresql://b/d"},
            ["--listen", "A, B", "--env"],
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    before: list[str], options: list[str], changes: dict[str, str], words: list[str], tmp_path: Path
) -> None:
    result = run(["true"], *options, before=before, cwd=tmp_path, **changes)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    assert "hunter2" not in result.stderr


def test_no_command_is_exit_code_2() -> None:
    result = subprocess.run([*PGSHIM, "run"], env=environment(**NOWHERE), capture_output=True, text=True, timeout=30)
    sentence = "pgshim: run needs a command; write it behind --, as in pgshim run -- uvicorn app:app\n"
    assert (result.returncode, result.stderr) == (2, sentence)


def test_metrics_are_served_while_the_command_runs(plain_stack: "Stack", tmp_path: Path) -> None:
    text = f"""
        import os, psycopg, socket
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            connection.execute("SELECT 1")
            with socket.socket(socket.AF_UNIX) as client:
                client.connect({str(tmp_path / "metrics")!r})
                client.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
                answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        print([line for line in answer.splitlines() if line.startswith("pgshim_client_connections_started_total")])
    """
    url = plain_stack.pgbouncer.endpoint().url
    result = run(program(text), before=["--metrics", f"unix:{tmp_path}/metrics"], DATABASE_URL=url)
    assert result.returncode == 0, result.stderr
    assert " 1.0" in result.stdout, result.stdout


def test_a_port_in_use_is_exit_code_1(plain_stack: "Stack") -> None:
    result = run(["true"], before=["--listen", str(plain_stack.pgshim.port)], **NOWHERE)
    assert result.returncode == 1
    assert "address already in use" in result.stderr
    assert run(["true"], before=["--require-upstream"], **NOWHERE).returncode == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], -signal.SIGTERM),
        (["sh", "-c", "kill -KILL $$"], -signal.SIGKILL),
        (["pgshim-no-such-command"], 127),
        (["./no/such/command"], 127),
        (["/etc"], 126),
        (["/etc/passwd"], 126),
    ],
)
def test_the_exit_code_is_the_commands(command: list[str], code: int) -> None:
    result = run(command, **NOWHERE)
    assert result.returncode == code
    said = [line for line in result.stderr.splitlines() if line.startswith(f"pgshim: {command[0]}: ")]
    assert bool(said) == (code in (126, 127)), result.stderr


def test_a_script_whose_interpreter_is_missing_is_exit_code_126(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o700)
    result = run([str(script)], **NOWHERE)
    assert result.returncode == 126
    assert "interpreter" in result.stderr


def test_the_command_has_input_signals_and_descriptors_as_without_pgshim() -> None:
    """SIGPIPE is not ignored, nothing is blocked, nothing but 0, 1, 2 is open."""
    text = """
        import os, signal, sys
        print(sys.stdin.read())
        # glibc's posix_spawn has the two signals ignored that it uses itself.
        ours = ~(3 << 31)
        words = [line.split() for line in open("/proc/self/status")]
        print([int(word[1], 16) & ours for word in words if word[0] in ("SigIgn:", "SigBlk:")])
        print(sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")))
    """
    alone = subprocess.run(program(text), env=environment(), input="in", capture_output=True, text=True, timeout=30)
    behind = subprocess.run(
        [*PGSHIM, "run", "-q", "--", *program(text)], env=environment(**NOWHERE), input="in",
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert behind.stdout == alone.stdout


def test_end_of_output_does_not_wait_for_pgshim() -> None:
    """A reader of the command's output sees its end when the command closes it."""
    process = subprocess.Popen(
        [*PGSHIM, "run", "--", "sh", "-c", "exec >&-; sleep 1"], env=environment(**NOWHERE),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.wait(timeout=20) == 0
    assert process.stdout is not None
    process.stdout.close()


def wait_until(check, seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def proxy_of(process: subprocess.Popen[str]) -> int:
    """The child that is a fork of pgshim."""
    return next(pid for pid in children(process.pid) if b"pgshim\0" in Path(f"/proc/{pid}/cmdline").read_bytes())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def started(text: str, *before: str) -> subprocess.Popen[str]:
    """A Python program behind pgshim, which has said its first line: `ready`."""
    process = subprocess.Popen(
        [*PGSHIM, *before, "run", "--", *program(text)],
        env=environment(**NOWHERE, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate(timeout=20)
    return process


COUNTING = """
    import signal, time
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"):
        signal.signal(getattr(signal, name), lambda number, frame: print(signal.Signals(number).name))
    print("ready")
    end = time.monotonic() + 20
    while time.monotonic() < end and not signal.sigtimedwait([signal.SIGALRM], 0.1):
        pass
"""


def test_signals_sent_to_pgshim_are_the_commands() -> None:
    process = started(COUNTING)
    assert process.stdout is not None
    names = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"]
    for name in names:
        process.send_signal(getattr(signal, name))
        assert process.stdout.readline() == f"{name}\n"
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=20)


def test_a_command_that_ends_by_the_signal_it_was_handed_ends_pgshim_by_it() -> None:
    process = started("print('ready'); import time; time.sleep(20)")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert "no connections" in errors


def test_pgshim_serves_until_a_command_that_takes_its_time_has_ended(plain_stack: "Stack") -> None:
    text = """
        import os, psycopg, signal, sys, time
        def end(*_):
            time.sleep(1)
            with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
                print(*connection.execute("SELECT 'written'").fetchone())
            sys.exit(3)
        signal.signal(signal.SIGTERM, end)
        print("ready")
        time.sleep(20)
    """
    process = subprocess.Popen(
        [*PGSHIM, "run", "--", *program(text)],
        env=environment(DATABASE_URL=plain_stack.pgbouncer.endpoint().url, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    # To all processes of the job: the proxy is not to end by it.
    os.killpg(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (3, "written\n"), errors


def test_a_proxy_that_ends_first_ends_the_command() -> None:
    process = started("print('ready'); import time; time.sleep(20)")
    proxy = proxy_of(process)
    (command,) = set(children(process.pid)) - {proxy}
    os.kill(proxy, signal.SIGKILL)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the proxy ended before the command did (SIGKILL)" in errors
    assert not is_alive(command)


def test_a_command_that_will_not_end_without_its_proxy_is_killed() -> None:
    text = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(20)"
    process = started(text, "--drain-timeout", "300ms")
    os.kill(proxy_of(process), signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == 1


def test_the_proxy_ends_when_pgshim_was_killed() -> None:
    process = started("print('ready'); import time; time.sleep(3)")
    left = children(process.pid)
    process.kill()
    process.communicate(timeout=20)
    wait_until(lambda: not any(is_alive(pid) for pid in left))


def test_no_process_is_left(plain_stack: "Stack") -> None:
    process = started("print('ready')")
    process.communicate(timeout=20)
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
