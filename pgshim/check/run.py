"""Runs a check from the first name lookup to the recommendation. The only place that knows the order."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from traceback import walk_tb
from typing import TYPE_CHECKING

from pgshim.check.failures import CheckFailure, PasswordNeeded
from pgshim.check.report import Level, Report
from pgshim.check.target import Target
from pgshim.errors import ConfigurationError

if TYPE_CHECKING:
    from pgshim.check.course import Course
    from pgshim.check.printing import Printer


def run_check(target: Target, *, is_json: bool) -> int:
    """Checks, and prints; the exit code. Raises ConfigurationError."""
    missing = [name for name in ("scramp", "cryptography") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"pgshim check needs {' and '.join(missing)}, not installed here: pip install 'pgshim[check]'"
        )
    from pgshim.check.contexts import check_files
    from pgshim.check.course import Course
    from pgshim.check.printing import Printer

    check_files(target.tls)
    printer = Printer()
    report = Report() if is_json else Report(show=printer.show, begin=printer.begin)
    if not is_json:
        printer.title(f"pgshim check {target.url}")
    course = Course(target, report, _ask_on_terminal())
    try:
        asyncio.run(check(course))
        _print_rest(course, None if is_json else printer)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `pgshim check ... | head`: nobody reads on, which is nobody's fault. Python would say so again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return report.exit_code


def _print_rest(course: Course, printer: Printer | None) -> None:
    """What comes when all is over: the JSON, or the lines to copy."""
    if printer is None:
        print(course.report.as_json(), flush=True)
    elif course.recommendation is not None:
        for label, text in (("command line", course.recommendation.command), ("the app", course.recommendation.url)):
            if text:
                printer.show_verbatim("What pgshim makes of it", label, _as_variable(label, text))


async def check(course: Course) -> None:
    """All steps, as far as there is a way on. Raises ConfigurationError."""
    from pgshim.check import look, reach
    from pgshim.check.advice import for_failure

    target = course.target
    course.report.data["target"] = {
        "url": target.url,
        "user": target.user,
        "database": target.database,
        "hosts": [str(address) for address in target.addresses],
    }
    for remark in target.remarks:
        course.report.put("URL", remark)
    try:
        for name, step in reach.STEPS:
            course.report.begin(name)
            has_way_on = False
            with _held(course, name):
                has_way_on = await step(course)
            if not has_way_on:
                return
        for name, look_at in look.STEPS:
            course.report.begin(name)
            seen = len(course.unforeseen)
            with _held(course, name):
                try:
                    await look_at(course)
                except CheckFailure as failure:
                    text = f"could not be found out: {failure.text}"
                    course.report.add(name, name.lower(), text, level=Level.WARNING, fix=for_failure(failure, target))
            if len(course.unforeseen) > seen and course.wire is not None:
                # Replies may be on their way on it that nobody waits for.
                await course.wire.leave()
        with _held(course, look.VERDICT):
            look.come_to_a_verdict(course)
    finally:
        if course.wire is not None:
            await course.wire.close()


@contextmanager
def _held(course: Course, section: str) -> Iterator[None]:
    """A fault of the check in a step is a line of its section. Its own text may hold a secret: its place has to do."""
    try:
        yield
    except (ConfigurationError, BrokenPipeError):
        raise
    except Exception as error:
        course.unforeseen.append(error)
        places = [(frame.f_globals.get("__name__", ""), line) for frame, line in walk_tb(error.__traceback__)]
        module, line = [place for place in places if place[0].startswith("pgshim.")][-1]
        text = f"not known: the check failed here ({type(error).__name__} in {module}, line {line})"
        fix = "This is a fault of pgshim check; please report it, with this line."
        course.report.add(section, section.lower(), text, level=Level.PROBLEM, fix=fix)


def _as_variable(label: str, text: str) -> str:
    return f"DATABASE_URL={text}" if label == "the app" else text


def _ask_on_terminal() -> Callable[[Target], Target] | None:
    """Asks for a password; None where nobody is there to answer."""
    if not sys.stdin.isatty():
        return None

    def ask(target: Target) -> Target:
        try:
            with _interruptible():
                password = getpass.getpass(f"Password for user {target.user}: ")
        except KeyboardInterrupt:
            # The prompt's line is not at its end.
            print(file=sys.stderr, flush=True)
            raise
        except EOFError:
            print(file=sys.stderr, flush=True)
            raise PasswordNeeded("the server asks for a password, and none was typed") from None
        return replace(target, password=password or None, password_source="the prompt")

    return ask


@contextmanager
def _interruptible() -> Iterator[None]:
    """asyncio's own handler only cancels the task, which shows when it waits again: not while it waits for a person."""
    handler = signal.getsignal(signal.SIGINT)
    if handler in (signal.SIG_IGN, None):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
