"""What the command line says of what is wrong: the option, the value and the fix, in one sentence without secrets."""

import pytest

from tests.test_cli import NOWHERE, pgshim

URL = "postgresql://app:hunter2@pooler.example/shop"
UP = ["--upstream", NOWHERE]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*UP, "--workers", "two"], "--workers: 'two' is not a whole number; give 1 to 64"),
        ([*UP, "--workers", "65"], "--workers: 65 is too large; give 1 to 64"),
        ([*UP, "--max-message", "0"], "--max-message: '0' is too small; give 1KiB or more"),
        ([*UP, "--max-statement-bytes", "10"], "--max-statement-bytes: '10' is too small; give 1KiB or more"),
        ([*UP, "--loop", "x"], "--loop: 'x' is not one of auto, asyncio, uvloop; give one of these"),
        ([*UP, "--tls-cert", "/", "--tls-key", "/"], "--tls-cert: '/' is a directory; give a file"),
        (["--upstream"], "--upstream needs a value; write --upstream ADDRESS"),
        (["--pipeline"], "--pipeline needs a value; write --pipeline auto|serial|through"),
        (["run", "--env"], "--env needs a value; write --env NAME"),
        (
            ["--tls-self-signed=1"],
            "--tls-self-signed takes no value; leave out the = and what is behind it",
        ),
        (["--bogus"], "'--bogus' is no option of pgshim; pgshim --help has all there are"),
        (["check", "--bogus"], "'--bogus' is no option of pgshim check; pgshim check --help has all there are"),
        (
            ["--workrs", "2"],
            "'--workrs' is no option of pgshim; did you mean --workers? pgshim --help has all there are",
        ),
        (
            ["run", "--log-level", "debug", "--", "true"],
            "--log-level is an option of pgshim's own; write it in front of run, as in pgshim --log-level ... run",
        ),
        (["--keep"], "--keep is an option of demo; write it behind that, as in pgshim demo --keep"),
        (["run"], "run needs a command; write it behind --, as in pgshim run -- uvicorn app:app"),
        (["extra"], "'extra' is no command of pgshim's; give one of check, demo, run, or leave it out"),
        (["demo", "extra"], "'extra' is more than pgshim demo takes; leave it out"),
        (
            ["--trace", "out.txt"],
            "'out.txt' is no command of pgshim's; give one of check, demo, run, or leave it out; a file for the trace"
            " is given as --trace=out.txt",
        ),
        (
            ["--upstream", "127.0.0.1:6499", "--listen", "6499"],
            "--upstream 127.0.0.1:6499 is where pgshim itself listens; give the pooler's address, or another --listen",
        ),
    ],
)
def test_the_sentence(arguments: list[str], sentence: str) -> None:
    result = pgshim(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"pgshim: {sentence}\n")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"PGSHIM_WORKERS": "two"}, "PGSHIM_WORKERS: 'two' is not a whole number; give 1 to 64"),
        ({"PGSHIM_TLS_SELF_SIGNED": "maybe"}, "PGSHIM_TLS_SELF_SIGNED: 'maybe' is neither on nor off; write 1 or 0"),
        ({"PGSHIM_PIPELINE": URL}, "PGSHIM_PIPELINE: a URL is not one of auto, serial, through; give one of these"),
        (
            {"PGSHIM_LISTEN": f"6432 {URL}"},
            "PGSHIM_LISTEN: a URL is not taken; write PORT, HOST:PORT, [IPv6]:PORT or unix:/path",
        ),
    ],
)
def test_a_variable_of_the_environment_is_named(changes: dict[str, str], sentence: str) -> None:
    result = pgshim(*UP, **changes)
    assert (result.returncode, result.stderr) == (2, f"pgshim: {sentence}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [URL],
        ["--trace", URL],
        ["demo", URL],
        ["check", "postgresql://u@h/d", URL],
        [f"--{URL}"],
        ["--upstream", URL],
        ["--listen", URL],
        [f"--listen={URL}"],
        ["--pipeline", URL],
        [f"--max-message={URL}"],
        ["--workers", f"{URL}'\\"],
        ["--tenant", "x", "--allow", URL],
        ["--tls-self-signed=" + URL],
        ["--upstream", "app:hunter2@pooler.example:6543"],
    ],
)
def test_a_url_is_not_repeated(arguments: list[str]) -> None:
    result = pgshim(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("pgshim: ")
    assert result.stderr.count("\n") == 1
    assert "hunter2" not in result.stderr


def test_trace_does_not_take_the_command_for_a_file() -> None:
    result = pgshim("--trace", "run", "--", "echo", "there", DATABASE_URL="postgresql://u@127.0.0.1:1/d")
    assert (result.returncode, result.stdout) == (0, "there\n")
    assert "nothing to check" in pgshim("--trace", "check").stderr


def test_a_command_without_a_name() -> None:
    result = pgshim("run", "--", "", DATABASE_URL="postgresql://u@127.0.0.1:1/d")
    assert result.returncode == 127
    assert "pgshim: the command's name is empty; write one, as in pgshim run -- uvicorn app:app\n" in result.stderr


def test_the_commands_stand_in_help_with_whole_sentences() -> None:
    text = pgshim("--help").stdout
    lines = text[text.index("\nCommands:\n") :].split("\n\n")[0].splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["check", "demo", "run"]
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)
