"""`pgshim check` as a process: exit codes, the two ways to print, and bad options."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pgshim.check import run
from pgshim.check.printing import Printer
from pgshim.check.report import Level, Remark
from pgshim.check.url import read_url
from pgshim.demo.processes import clean_environment
from pgshim.demo.servers import PgBouncer
from pgshim.errors import ConfigurationError
from tests.check.conftest import checked

ROOT = Path(__file__).parent.parent.parent


def pgshim(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Its debug mode would report a slow start on stderr.
    plain = clean_environment(PYTHONASYNCIODEBUG="")
    kept = {name: value for name, value in plain.items() if not name.startswith(("PGSHIM_", "DATABASE_"))}
    return subprocess.run(
        [sys.executable, "-m", "pgshim", *arguments],
        env={**kept, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )


def test_the_report_for_people(pooler: PgBouncer) -> None:
    endpoint = pooler.endpoint()
    done = pgshim("check", endpoint.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert endpoint.password not in done.stdout
    assert "\x1b" not in done.stdout
    headings = "Address", "TLS", "Login", "Server", "Round trip", "Pooler", "Prepared statements", "Pipelines"
    for heading in (*headings, "Startup parameters", "What pgshim makes of it"):
        assert f"\n\n{heading}\n" in done.stdout
    assert f"\n      pgshim --listen 6432 --upstream 127.0.0.1:{pooler.port}\n" in done.stdout
    assert "\n      DATABASE_URL=postgresql://app:***@127.0.0.1:6432/app\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110


def test_the_report_for_machines(pooler: PgBouncer) -> None:
    endpoint = pooler.endpoint()
    done = pgshim("check", "--json", endpoint.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert endpoint.password not in done.stdout
    data = json.loads(done.stdout)
    documented = (ROOT / "docs" / "check.md").read_text()
    for key in data:
        assert f"`{key}`" in documented
    assert data["exit_code"] == 0
    assert {finding["level"] for finding in data["findings"]} <= {"note", "warning"}


def test_a_reader_who_leaves_early_gets_no_traceback() -> None:
    arguments = f"{sys.executable} -m pgshim check postgresql://u:p@127.0.0.1:1/d"
    environment = {**clean_environment(PYTHONASYNCIODEBUG=""), "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", f"{arguments} | true"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_problem_is_exit_code_1_in_both() -> None:
    url = "postgresql://u:p@127.0.0.1:1/d"
    assert pgshim("check", url).returncode == 1
    done = pgshim("check", url, "--json")
    data = json.loads(done.stdout)
    assert (done.returncode, data["exit_code"]) == (1, 1)
    (finding,) = data["findings"]
    assert (finding["section"], finding["level"]) == ("address", "problem")
    assert finding["fix"].startswith("Nothing listens")


@pytest.mark.parametrize("words", [["?sslmode=verify-full"], ["", "--upstream-tls", "verify-ca"]])
def test_no_tls_and_no_ca_is_json_too(words: list[str], pooler: PgBouncer) -> None:
    query, *options = words
    done = pgshim("check", "--json", pooler.endpoint().url + query, *options)
    assert (done.returncode, done.stderr) == (1, "")
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["section"], finding["level"]) == ("tls", "problem")


def test_json_may_be_asked_for_in_the_environment() -> None:
    done = pgshim("check", "postgresql://u:p@127.0.0.1:1/d", PGSHIM_CHECK_JSON="1")
    assert json.loads(done.stdout)["exit_code"] == 1


def test_options_in_place_of_a_url(pooler: PgBouncer) -> None:
    endpoint = pooler.endpoint()
    address = f"127.0.0.1:{pooler.port}"
    words = ("check", "--upstream", address, "--user", "app", "--database", "app", "--json")
    done = pgshim(*words, PGPASSWORD=endpoint.password, DATABASE_URL="postgresql://elsewhere")
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["target"]["hosts"] == [address]
    assert data["login"]["password_source"] == "PGPASSWORD"
    # The group's own option, and its variable, count as well.
    done = pgshim("check", "--user", "app", "--json", PGPASSWORD=endpoint.password, PGSHIM_UPSTREAM=address)
    assert done.returncode == 0


def test_the_url_may_come_from_the_environment() -> None:
    done = pgshim("check", DATABASE_URL="postgresql://u:p@127.0.0.1:1/d")
    assert done.returncode == 1
    assert "postgresql://u:***@127.0.0.1:1/d" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to check"),
        (["nonsense"], "postgresql://USER"),
        (["postgresql://u:hunter2@x@h/d"], "%40"),
        (["postgresql://u\udcff@h/d"], "user is not UTF-8"),
        (["postgresql://h/d?connect_timeout=\u00b2"], "is no connect_timeout"),
        (["postgresql://h/d?port=\u00b2"], "a port is a number"),
        (["postgresql://h/d", "--upstream", "h:1"], "exclude each other"),
        (["postgresql://h/d", "--user", "u"], "--user goes with --upstream"),
        (["--upstream", "h"], "'h' has no port"),
        (["postgresql://h/d", "--upstream-ca", "/nonexistent"], "/nonexistent"),
        (["postgresql://h/d", "--upstream-tls", "maybe"], "--upstream-tls"),
    ],
)
def test_a_bad_option_gets_one_sentence_and_exit_code_2(arguments: list[str], words: str) -> None:
    done = pgshim("check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pgshim: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert "hunter2" not in done.stderr


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None if name == "scramp" else find_spec(name))
    with pytest.raises(ConfigurationError) as raised:
        run.run_check(read_url("postgresql://h/d", {}), is_json=False)
    assert raised.value.message == "pgshim check needs scramp, not installed here: pip install 'pgshim[check]'"


def test_the_group_starts_without_what_a_check_needs() -> None:
    code = "import sys, pgshim.cli; sys.exit(any(name in sys.modules for name in ('scramp', 'cryptography', 'rich')))"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0


def test_lines_are_wrapped_and_what_is_to_be_copied_is_not() -> None:
    lines: list[str] = []
    printer = Printer(lambda pieces: lines.append("".join(text for text, _ in pieces)), width=60)
    printer.show("Section", Remark(Level.PROBLEM, "label", "word " * 20, "do " * 20))
    printer.show_verbatim("Section", "command line", "x" * 200)
    assert lines[:2] == ["", "Section"]
    assert lines[2].startswith("  FAIL  label                word word")
    assert any(line.strip().startswith("-> do do") for line in lines)
    assert all(len(line) <= 60 for line in lines[:-1])
    assert lines[-1].strip() == "x" * 200


def test_a_check_under_another_user_says_so(pooler: PgBouncer) -> None:
    found = checked(pooler.endpoint("postgres").url)
    assert "as postgres, password from the URL" in found.text
