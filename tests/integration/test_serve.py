"""`pgshim.serve`: pgshim in the loop of an app or of its tests, in front of a real PgBouncer."""

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import uvloop

import pgshim
from pgshim.cli import command
from pgshim.demo.processes import clean_environment
from pgshim.options import ServeOptions
from pgshim.values import READERS
from tests.integration.support import certificate_environment, fill_pool

if TYPE_CHECKING:
    from tests.integration.conftest import Stack

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs" / "in-process.md"
NOWHERE = "127.0.0.1:1"
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
#: What is about a process, or an argument of its own.
NOT_OF_SERVE = {"listen", "upstream", "workers", "metrics", "loop", "log_level", "log_format", "help", "version"}


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], None]:
    """Runs one test on each loop; fails it if a task or a descriptor is left."""

    def run(main: Any) -> None:
        async def checked() -> None:
            async with asyncio.timeout(20):
                await main
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left

        request.param().close()  # uvloop's first one opens what all of a process share.
        before = os.listdir("/proc/self/fd")
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(checked())
        assert len(os.listdir("/proc/self/fd")) == len(before)

    return run


@pytest.fixture
def url(plain_stack: "Stack") -> str:
    asyncio.run(fill_pool(plain_stack))
    return plain_stack.pgbouncer.endpoint().url


def test_a_connection_through_it_has_its_statements_on_every_server(run: Any, url: str) -> None:
    async def main() -> None:
        async with pgshim.serve(url) as address:
            assert (address.host, str(address)) == ("127.0.0.1", f"127.0.0.1:{address.port}")
            connection = await asyncpg.connect(address.url())
            for number in range(6):
                assert await connection.fetchval("SELECT $1::int", number) == number
            await connection.close()

    run(main())


def test_an_address_and_options_as_the_command_line_has_them(run: Any, url: str) -> None:
    async def main() -> None:
        upstream = re.sub(r".*@(.*)/.*", r"\1", url)
        options = {"pipeline": "serial", "drain_timeout": "500ms", "max_message": "1MiB", "allow": "listen"}
        options |= {"upstream_tls": None, "session_upstream": None, "session_listen": [], "max_connections": "10"}
        async with pgshim.serve(upstream, listen=["127.0.0.1:0", "[::1]:0"], **options) as address:
            connection = await asyncpg.connect(address.url(url))
            await connection.execute("LISTEN x; UNLISTEN x")
            await connection.close()
            with pytest.raises(pgshim.ConfigurationError, match="address.url"):
                address.url()

    run(main())


def test_a_unix_socket(run: Any, url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with pgshim.serve(url, listen=f"unix:{tmp_path}:7") as address:
            assert (address.host, address.port, str(address)) == (str(tmp_path), 7, f"{tmp_path}:7")
            connection = await asyncpg.connect(address.url())
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()
        assert not list(tmp_path.iterdir())

    run(main())


def test_a_trace(run: Any, url: str, tmp_path: Path) -> None:
    async def main() -> None:
        trace = tmp_path / "trace"
        async with pgshim.serve(url, listen=0, trace=trace) as address:
            connection = await asyncpg.connect(address.url())
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()
        assert "Parse" in trace.read_text()
        with pytest.raises(pgshim.ConfigurationError, match="--trace .* cannot be written: no such file"):
            async with pgshim.serve(url, trace=str(tmp_path / "nowhere" / "trace")):
                pass

    run(main())


def test_what_the_url_says_of_tls_is_for_the_pooler(run: Any, tls_stack: "Stack") -> None:
    async def main() -> None:
        async with pgshim.serve(tls_stack.pgbouncer.endpoint(**tls_stack.parameters).url) as address:
            assert address.url().endswith("?sslmode=disable")
            connection = await asyncpg.connect(address.url())
            assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            await connection.close()

    run(main())


def test_what_libpqs_variables_say_of_tls_is_for_the_pooler_too(
    run: Any, tls_stack: "Stack", monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGSSLMODE": "verify-full", **certificate_environment(tls_stack)}.items():
        monkeypatch.setenv(name, value)

    async def main() -> None:
        url = tls_stack.pgbouncer.endpoint().url
        async with pgshim.serve(url) as address:
            assert address.url() == address.url(url)
            assert address.url().endswith("?sslmode=disable")
            connection = await asyncpg.connect(address.url())
            assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            await connection.close()
        # An address has nothing of them: the driver has, and is not told otherwise.
        async with pgshim.serve(NOWHERE) as address:
            assert "sslmode" not in address.url(url)

    run(main())


def test_at_the_end_a_transaction_has_time_and_idle_connections_are_closed(run: Any, url: str) -> None:
    async def main() -> None:
        async with pgshim.serve(url) as address:
            idle, busy = [await asyncpg.connect(address.url()) for _ in range(2)]
            await busy.execute("BEGIN; SELECT 1")

            async def finish() -> str:
                await asyncio.sleep(0.3)
                result: str = await busy.execute("COMMIT")
                return result

            finishing = asyncio.create_task(finish())
        assert await finishing == "COMMIT"
        assert idle.is_closed()
        assert busy.is_closed()

    run(main())


def test_after_an_exception_nobody_waits(run: Any, url: str) -> None:
    async def main() -> None:
        connections = []

        async def fail() -> None:
            async with pgshim.serve(url) as address:
                connections.append(await asyncpg.connect(address.url()))
                await connections[0].execute("BEGIN; SELECT 1")
                raise ZeroDivisionError

        start = asyncio.get_running_loop().time()
        with pytest.raises(ZeroDivisionError):
            await fail()
        assert asyncio.get_running_loop().time() - start < 5
        assert connections[0].is_closed()

    run(main())


def test_a_drain_that_is_cancelled_cuts_off_what_is_left(run: Any, url: str) -> None:
    async def main() -> None:
        connections = []

        async def serve() -> None:
            async with pgshim.serve(url) as address:
                connections.append(await asyncpg.connect(address.url()))
                await connections[0].execute("BEGIN; SELECT 1")

        serving = asyncio.create_task(serve())
        await asyncio.sleep(1)
        assert not serving.done()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        connections[0].terminate()

    run(main())


def test_signals_and_logging_stay_as_they_are(run: Any, url: str) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    root = logging.getLogger()

    def state() -> object:
        return [signal.getsignal(number) for number in numbers], root.handlers[:], logging.getLogger("pgshim").level

    async def main() -> None:
        before = state()
        async with pgshim.serve(url):
            assert state() == before
        assert state() == before

    run(main())


@pytest.mark.parametrize(
    ("upstream", "options", "words"),
    [
        ("pooler", {}, ["--upstream", "'pooler'", "pooler:6432"]),
        ("mysql://u:hunter2@h/d", {}, ["mysql://", "postgresql://"]),
        ("postgresql://u:hunter2@h/d?sslmode=x", {}, ["'x'", "verify-full"]),
        (NOWHERE, {"pipeline": "x"}, ["--pipeline", "'x'", "serial"]),
        (NOWHERE, {"drain_timeout": "5x"}, ["--drain-timeout", "'5x'", "30s"]),
        (NOWHERE, {"listen": "0.0.0.0:2"}, ["--listen", "0.0.0.0:2", "--allow-plaintext"]),
        (NOWHERE, {"listen": "x"}, ["--listen", "'x'", "write"]),
        (NOWHERE, {"upstream_ca": "/nope"}, ["--upstream-ca", "/nope", "PEM"]),
        (NOWHERE, {"session_listen": "7000"}, ["--session-listen", "needs"]),
        (NOWHERE, {"allow": ["listening"]}, ["--allow", "'listening'", "give one of "]),
        (NOWHERE, {"allow": "listening"}, ["--allow", "'listening'", "give one of "]),
        (NOWHERE, {"allow": [1]}, ["--allow: 1 is not text"]),
        (None, {}, ["--upstream: None is not an address; give text as 'HOST:PORT'"]),
        (NOWHERE, {"listen": None}, ["--listen: None is neither text nor a list"]),
        (NOWHERE, {"listen": b"1"}, ["--listen: b'1' is neither text nor a list"]),
        (NOWHERE, {"listen": []}, ["--listen: there is no address; give one"]),
        (NOWHERE, {"listen": [True]}, ["--listen: True is not an address; give a port"]),
        (NOWHERE, {"listen": 99999}, ["--listen", "'99999'", "over 65535"]),
        (NOWHERE, {"listen": "postgresql://u:hunter2@h/d"}, ["--listen: a URL is not taken"]),
        (NOWHERE, {"pipeline": "postgresql://u:hunter2@h/d"}, ["--pipeline: a URL is not one of auto"]),
        (NOWHERE, {"allow": "postgresql://u:hunter2@h/d"}, ["--allow: ", "is no feature"]),
        (NOWHERE, {"listen": 1}, ["--upstream 127.0.0.1:1 is where pgshim itself listens"]),
        (NOWHERE, {"max_connections": 0}, ["--max-connections: 0 is too small; give 1 or more"]),
        (NOWHERE, {"max_connections": "ten"}, ["--max-connections: 'ten' is not a whole number; give 1 or more"]),
        (NOWHERE, {"max_connections": True}, ["--max-connections: True is not a whole number"]),
        (NOWHERE, {"max_message": -1}, ["--max-message: -1 is too small; give 1KiB or more"]),
        (NOWHERE, {"max_message": 1.5}, ["--max-message: 1.5 is not a size"]),
        (NOWHERE, {"max_statement_bytes": "1B"}, ["--max-statement-bytes: '1B' is too small"]),
        (NOWHERE, {"max_statements": 0}, ["--max-statements: 0 is too small"]),
        (NOWHERE, {"prewarm": -1}, ["--prewarm: -1 is too small; give 0 or more"]),
        (NOWHERE, {"describe_cache": -1}, ["--describe-cache: -1 is too small"]),
        (NOWHERE, {"connect_timeout": -1}, ["--connect-timeout: -1 is not a duration; give seconds, 0 or more"]),
        (NOWHERE, {"idle_timeout": -5}, ["--idle-timeout: -5 is not a duration"]),
        (NOWHERE, {"login_timeout": float("nan")}, ["--login-timeout: nan is not a duration"]),
        (NOWHERE, {"drain_timeout": None}, ["--drain-timeout: None is not a duration"]),
        (NOWHERE, {"lazy_begin": "no"}, ["--lazy-begin: 'no' is neither True nor False"]),
        (NOWHERE, {"trace": True}, ["--trace: True is not the name of a file"]),
        (NOWHERE, {"tls_cert": "/", "tls_key": "/"}, ["--tls-cert: '/' is a directory; give a file"]),
        (NOWHERE, {"tenant": 1}, ["--tenant: 1 is not text"]),
        (NOWHERE, {"session_upstream": 5432}, ["--session-upstream: 5432 is not an address"]),
    ],
)
def test_a_bad_option_raises_the_command_lines_sentence(upstream: str, options: Any, words: list[str]) -> None:
    async def main() -> None:
        async with pgshim.serve(upstream, **options):
            pass

    with pytest.raises(pgshim.ConfigurationError) as caught:
        asyncio.run(main())
    assert all(word in caught.value.message for word in words), caught.value.message
    assert "hunter2" not in caught.value.message


def test_an_option_that_there_is_not_is_a_type_error() -> None:
    async def main() -> None:
        async with pgshim.serve(NOWHERE, pipelines="serial"):  # type: ignore[call-arg]
            pass

    with pytest.raises(TypeError, match="pipelines.*pipeline"):
        asyncio.run(main())


def test_a_port_in_use_and_an_upstream_that_has_to_be_there(run: Any) -> None:
    async def main() -> None:
        async with pgshim.serve(NOWHERE) as address:
            with pytest.raises(pgshim.ListenError, match="address already in use"):
                async with pgshim.serve(NOWHERE, listen=str(address)):
                    pass
        with pytest.raises(pgshim.UpstreamUnreachable):
            async with pgshim.serve(NOWHERE, require_upstream=True):
                pass

    run(main())


def test_the_options_are_the_command_lines() -> None:
    names = {str(parameter.name) for parameter in command.params}
    assert set(ServeOptions.__annotations__) == names - NOT_OF_SERVE
    assert names - {"help", "version", "listen", "session_listen", "metrics"} == set(READERS)


def test_importing_pgshim_imports_nothing_of_it() -> None:
    names = {"asyncio", "click", "construct", "pgshim.proxy", "pgshim.settings"}
    text = f"import sys, pgshim; print(*{names} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, timeout=20)
    assert result.stdout == "\n", result.stderr
    assert set(pgshim.__all__) == {name for name in pgshim.__all__ if getattr(pgshim, name)}
    with pytest.raises(AttributeError, match="nonsense"):
        pgshim.nonsense  # type: ignore[attr-defined]  # noqa: B018


def printed(after: str) -> list[str]:
    """The Python of a part of the documentation, block by block."""
    text = DOCS.read_text()
    part = text[text.index(after) :]
    end = part.find("\n## ", 1)
    return re.findall(r"```python\n(.*?)```", part[: end if end > 0 else None], re.DOTALL)


def program(folder: Path, url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment(DATABASE_URL=url, PYTHONPATH=str(ROOT), PYTHONASYNCIODEBUG="")
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_documentations_program_runs_as_printed(url: str, tmp_path: Path) -> None:
    (block,) = printed("# pgshim inside")
    (tmp_path / "main.py").write_text(block)
    result = program(tmp_path, url, "-W", "error", "main.py")
    assert (result.stdout, result.stderr, result.returncode) == ("42\n", "", 0)


def test_the_documentations_fixture_works_as_printed(url: str, tmp_path: Path) -> None:
    fixture, test = printed("## In pytest")
    (tmp_path / "conftest.py").write_text(fixture)
    (tmp_path / "test_it.py").write_text(test)
    result = program(tmp_path, url, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", ".")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


def test_the_documentations_lifespan_works_as_printed(url: str, tmp_path: Path) -> None:
    (block,) = printed("## In FastAPI")
    (tmp_path / "app.py").write_text(block)
    (tmp_path / "main.py").write_text(
        "from fastapi.testclient import TestClient\nfrom app import app\n"
        "with TestClient(app) as client:\n"
        "    print([client.get(f'/double/{number}').json()['double'] for number in range(5)])\n"
    )
    result = program(tmp_path, url, "main.py")
    assert (result.stdout, result.returncode) == ("[0, 2, 4, 6, 8]\n", 0), result.stderr
