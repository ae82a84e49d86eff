"""`pgshim run` and libpq's variables: those that hold for the command's other connections as well stay as they are."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.support import certificate_environment
from tests.integration.test_run import NOWHERE, program, run, started, wait_until, with_scheme

if TYPE_CHECKING:
    from pgshim.demo.servers import Endpoint
    from tests.integration.conftest import Stack

SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
SHOW = ["sh", "-c", "echo $PGHOST:$PGPORT $PGSSLMODE $PGPASSWORD"]

PSYCOPG = """
    import psycopg
    with psycopg.connect() as connection:
        print(connection.info.host.startswith("/"), *connection.execute("SELECT 1").fetchone())
"""
ASYNCPG = """
    import asyncio, asyncpg
    async def main():
        connection = await asyncpg.connect()
        print(isinstance(connection._addr, str), await connection.fetchval("SELECT 1"))
    asyncio.run(main())
"""


@contextmanager
def server_that(hears: Callable[[socket.socket], bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """(its port, what it has heard on each connection)."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.settimeout(5)
                    heard.append(hears(client))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


@pytest.fixture
def elsewhere() -> Iterator[tuple[int, list[bytes]]]:
    """Another server: (its port, the first eight bytes of each connection)."""
    with server_that(lambda client: client.recv(8)) as found:
        yield found


def variables(endpoint: "Endpoint", **changes: str) -> dict[str, str]:
    """libpq's, for this server; an empty change takes one away."""
    found = {"PGHOST": endpoint.host, "PGPORT": str(endpoint.port), "PGUSER": endpoint.user}
    found |= {"PGPASSWORD": endpoint.password, "PGDATABASE": endpoint.database} | changes
    return {name: value for name, value in found.items() if value}


def password_file(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("url", [{}, {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}])
def test_another_connection_of_the_command_has_its_tls(
    elsewhere: tuple[int, list[bytes]], tmp_path: Path, url: dict[str, str]
) -> None:
    port, seen = elsewhere
    text = """
        import os, psycopg
        try:
            psycopg.connect(os.environ["DIRECT_URL"], connect_timeout=5)
        except psycopg.OperationalError:
            print(os.environ["PGSSLMODE"], os.environ["PGSSLROOTCERT"], os.environ["PGPORT"])
    """
    result = run(
        program(text), PGHOST="127.0.0.1", PGPORT="1", PGSSLMODE="verify-full", PGSSLROOTCERT="system", **url,
        DIRECT_URL=f"postgresql://u:p@127.0.0.1:{port}/d", TMPDIR=str(tmp_path),
    )  # fmt: skip
    assert result.stdout == "verify-full system 1\n", result.stderr
    assert seen == [SSL_REQUEST]
    assert "PGHOST: it is the directory of a Unix socket now" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("command", [program(PSYCOPG), program(ASYNCPG), ["psql", "-XAtwc", "SELECT 'True', 1"]])
def test_where_libpqs_variables_insist_on_tls_the_way_to_pgshim_is_a_unix_socket(
    tls_stack: "Stack", mode: str, command: list[str]
) -> None:
    """The pooler there takes nobody without TLS, and pgshim offers none here."""
    tls = {"PGSSLMODE": mode, **certificate_environment(tls_stack)}
    result = run(command, "-q", **variables(tls_stack.pgbouncer.endpoint(), **tls))
    assert (result.stdout.replace("|", " "), result.returncode, result.stderr) == ("True 1\n", 0, "")


@pytest.mark.parametrize("mode", ["", "disable", "prefer"])
def test_otherwise_it_is_a_port_and_nothing_else_changes(mode: str) -> None:
    result = run(SHOW, "-q", PGHOST="127.0.0.1", PGPORT="1", PGSSLMODE=mode)
    host, _, rest = result.stdout.partition(":")
    assert (host, rest.split()[1:]) == ("127.0.0.1", mode.split())


def test_a_socket_that_is_listened_on_anyway_is_taken(tmp_path: Path) -> None:
    options = {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGSSLMODE": "require", "TMPDIR": "/nowhere"}
    result = run(SHOW, "-q", before=["--listen", f"unix:{tmp_path}:7"], **options)
    assert result.stdout == f"{tmp_path}:7 require\n"


def test_the_directory_is_its_users_alone_and_gone_when_pgshim_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGSSLMODE": "require", "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setitem(NOWHERE, name, value)
    monkeypatch.setitem(NOWHERE, "PGPASSFILE", password_file(tmp_path / "passwords", "127.0.0.1:1:*:*:secret"))
    process = started("print('ready'); import time; time.sleep(3)")
    (directory,) = tmp_path.glob("pgshim-*")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {each.name: each.stat().st_mode & 0o077 for each in directory.glob("p*")} == {"passwords": 0}
    assert sorted(os.listdir(directory)) == [".s.PGSQL.1", "passwords"]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    wait_until(lambda: not directory.exists())


@pytest.mark.parametrize("tls", ["", "require"])
@pytest.mark.parametrize("command", [program(PSYCOPG), program(ASYNCPG), ["psql", "-XAtwc", "SELECT 1"]])
def test_a_password_is_found_in_a_file_for_pgshims_address(
    tls_stack: "Stack", plain_stack: "Stack", tmp_path: Path, tls: str, command: list[str]
) -> None:
    endpoint = (tls_stack if tls else plain_stack).pgbouncer.endpoint()
    line = f"{endpoint.host}:{endpoint.port}:*:{endpoint.user}:{endpoint.password}"
    passfile = password_file(tmp_path / "passwords", "# of the pooler", line)
    changes = {"PGPASSWORD": "", "PGPASSFILE": passfile, "PGSSLMODE": tls, "TMPDIR": str(tmp_path)}
    if tls:
        changes |= certificate_environment(tls_stack)
    result = run(command, "-q", **variables(endpoint, **changes))
    assert (result.stdout.split()[-1:], result.returncode) == (["1"], 0), result.stderr
    assert os.listdir(tmp_path) == ["passwords"]


def test_another_server_gets_its_own_password_and_not_the_poolers(
    plain_stack: "Stack", tmp_path: Path, text_password_server: tuple[int, list[bytes]]
) -> None:
    port, passwords = text_password_server
    endpoint = plain_stack.pgbouncer.endpoint()
    lines = [f"127.0.0.1:{port}:*:*:its own", f"*:*:*:{endpoint.user}:{endpoint.password}"]
    command = ["sh", "-c", f"psql -XAtwc 'SELECT 1'; psql -Xw -p {port} -h 127.0.0.1 -c 'SELECT 1'; echo $PGPASSWORD"]
    changes = {"PGPASSWORD": "", "PGPASSFILE": password_file(tmp_path / "passwords", *lines)}
    assert run(command, "-q", **variables(endpoint, **changes)).stdout == "1\n\n"
    assert passwords == [b"its own"]


def password_of(client: socket.socket) -> bytes:
    """What a client gives that is asked for its password in clear."""
    while client.recv(8) == SSL_REQUEST:
        client.sendall(b"N")
    client.recv(4096)
    client.sendall(b"R\0\0\0\x08\0\0\0\x03")
    return client.recv(4096)[5:-1]


@pytest.fixture
def text_password_server() -> Iterator[tuple[int, list[bytes]]]:
    """A server that asks for a password in clear: (its port, what it was given)."""
    with server_that(password_of) as found:
        yield found


@pytest.mark.parametrize("name", ["PGCHANNELBINDING", "PGSSLCERTMODE"])
def test_what_libpq_insists_on_and_cannot_have_is_one_sentence(name: str) -> None:
    result = run(["true"], PGHOST="127.0.0.1", PGPORT="1", **{name: "require"})
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"{name}=require" in result.stderr
    assert "unset it" in result.stderr
    # It may be for another server than the URL's.
    url = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:2/d"}
    assert run(["true"], PGHOST="127.0.0.1", PGPORT="1", **{name: "require"}, **url).returncode == 0


def test_a_path_for_temporary_files_that_is_too_long_is_one_sentence(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    result = run(["true"], PGHOST="127.0.0.1", PGSSLMODE="require", TMPDIR=str(long))
    assert result.returncode == 2
    assert "TMPDIR" in result.stderr.splitlines()[-1]
    assert not list(long.iterdir())


def test_a_socket_that_no_url_can_name_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "foo.sock"
    result = run(["true"], before=["--listen", f"unix:{path}"], **NOWHERE)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert f"--listen unix:{path}" in result.stderr
    assert f"unix:{tmp_path}:PORT" in result.stderr
    assert not path.exists()


def test_require_that_nobody_verifies_is_told_once(tmp_path: Path) -> None:
    url = "postgresql://u:p@127.0.0.1:1/d?sslmode=require"
    home = {"HOME": str(tmp_path), "DATABASE_URL": url, "PGHOST": "127.0.0.1", "PGPORT": "1", "PGSSLMODE": "require"}
    result = run(["true"], **home)
    assert result.stderr.count("nobody verifies") == 1
    assert result.stderr.startswith("pgshim: DATABASE_URL, PGHOST: TLS is required, and nobody verifies")
    assert "nobody verifies" not in run(["true"], "-q", **home).stderr
    assert "nobody verifies" not in run(["true"], before=["--upstream-ca", "system"], **home).stderr
    verified = {"DATABASE_URL": f"{url}&sslmode=verify-full", "PGHOST": ""}
    assert "nobody verifies" not in run(["true"], **{**home, **verified, "PGPORT": ""}).stderr


def test_a_word_that_keeps_libpq_from_connecting_by_a_url_is_told() -> None:
    url = "postgresql://u:p@127.0.0.1:1/d"
    assert "PGSSLROOTCERT is system" in run(["true"], DATABASE_URL=url, PGSSLROOTCERT="system").stderr
    asyncpg = with_scheme(url, "postgresql+asyncpg")
    assert "PGSSLROOTCERT" not in run(["true"], DATABASE_URL=asyncpg, PGSSLROOTCERT="system").stderr


def test_without_a_line_for_the_pooler_the_password_file_is_the_users(tmp_path: Path) -> None:
    passfile = password_file(tmp_path / "passwords", "elsewhere:1:*:*:secret")
    show = ["sh", "-c", f"echo $PGPASSFILE; ls {tmp_path}"]
    result = run(show, "-q", PGHOST="127.0.0.1", PGPORT="1", PGPASSFILE=passfile, TMPDIR=str(tmp_path))
    assert result.stdout == f"{passfile}\npasswords\n"
