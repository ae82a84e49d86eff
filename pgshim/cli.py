"""The command line: click options -> `Settings`. With `pgshim.usage`, the only module that knows click.

What runs is imported only when it is due, so that `--help` and a bad option cost nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from pgshim import __version__
from pgshim.addresses import DEFAULT_PORT, parse_listen
from pgshim.errors import ConfigurationError
from pgshim.options import settings_from
from pgshim.usage import Group, Option, Parsed, Switch, Words, sentence, without_urls
from pgshim.values import READERS


def _option(heading: str, *names: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(*names, cls=Option, heading=heading, **attributes)


def _feature(text: str) -> str:
    """A feature that needs a session."""
    from pgshim.session.hazards import Feature

    return Feature.named(text)


_FEATURE = Parsed("feature", _feature)
_LISTEN, _UPSTREAM = Parsed("address", parse_listen), Parsed("address", READERS["upstream"])
_FILE = Parsed("file", READERS["upstream_ca"])

_CLIENTS, _UP, _SESSION = "Clients", "Upstream", "Session features"
_LIMITS, _RUN = "Times and limits", "Running and logging"

_OPTIONS = [
    _option(_CLIENTS, "--listen", type=_LISTEN, multiple=True, default=(str(DEFAULT_PORT),), metavar="ADDRESS",
            help="PORT (127.0.0.1 and ::1), HOST:PORT, [IPv6]:PORT, or unix:/path; a directory means the socket in it"
            f" that libpq looks for with port {DEFAULT_PORT}, or with the port in unix:/dir:PORT. Repeatable."),
    _option(_CLIENTS, "--tls-cert", default="", metavar="FILE",
            help="Certificate chain (PEM); offer TLS to clients. Read again on SIGHUP."),
    _option(_CLIENTS, "--tls-key", default="", metavar="FILE", help="Its key (PEM, unencrypted)."),
    _option(_CLIENTS, "--tls-self-signed", is_flag=True,
            help="Offer TLS with a certificate made at start, so that URLs with sslmode=require work unchanged."),
    _option(_CLIENTS, "--allow-plaintext", is_flag=True, help="Listen beyond loopback without TLS."),
    _option(_UP, "--upstream", metavar="ADDRESS", show_default="none: required",
            help="The pooler: HOST:PORT, [IPv6]:PORT, /socket/dir:PORT, or the path of a Unix socket."),
    _option(_UP, "--upstream-tls", default=None,
            show_default="verify-full with --upstream-ca, require for known public poolers, else prefer",
            help="As libpq's sslmode."),
    _option(_UP, "--upstream-ca", default="", metavar="FILE",
            help="The CA that signed the upstream's certificate (PEM), or 'system' for this machine's roots."),
    _option(_UP, "--upstream-cert", default="", metavar="FILE", help="Client certificate (PEM)."),
    _option(_UP, "--upstream-key", default="", metavar="FILE", help="Its key (PEM, unencrypted)."),
    _option(_UP, "--upstream-mode", default="transaction",
            help="transaction: make a transaction pooler safe; session: change nothing."),
    _option(_UP, "--pipeline", default="auto",
            help="serial: one batch at a time towards the upstream; through: as the client sends them, which PgBouncer"
            " takes from 1.21 on; auto: through if the upstream says at login that it is such a one, else serial."),
    _option(_UP, "--lazy-begin/--no-lazy-begin", default=True,
            help="Answer a BEGIN at once, and send it with the statement that follows: a round trip less."),
    _option(_UP, "--describe-cache", default=1000, metavar="N",
            help="Tell a client at once what a server has said of a statement to another one, and verify it with the"
            " first execution; of the N statements used last. 0: ask for each client."),
    _option(_UP, "--prewarm", default=0, metavar="N",
            help="Keep N connections to the upstream ready for clients that connect, TLS included; each counts there"
            " as a client that has yet to log in."),
    _option(_UP, "--tenant", default="", metavar="REF",
            help="Put .REF behind user names without a dot: Supabase's pooler finds a project by it."),
    _option(_UP, "--require-upstream", is_flag=True,
            help="Exit with code 1 if the upstream, or the session endpoint, cannot be reached at start."),
    _option(_SESSION, "--session-upstream", metavar="ADDRESS", show_default="none",
            help="The session endpoint: a pooler in session mode, or the server itself. Clients choose it by the"
            " startup parameter pgshim.session=on, or by --session-listen; nothing of theirs is changed or refused."),
    _option(_SESSION, "--session-listen", type=_LISTEN, multiple=True, metavar="ADDRESS", show_default="none",
            help="Like --listen, for clients of the session endpoint. Repeatable."),
    _option(_SESSION, "--unsafe", default="refuse",
            help="What becomes of features that need a session, elsewhere: an error, a warning, nothing."),
    _option(_SESSION, "--allow", type=_FEATURE, multiple=True, metavar="FEATURE", show_default="none",
            help="Allow one of them, as in --allow listen. Repeatable."),
    _option(_SESSION, "--strict-custom-settings", is_flag=True,
            help="Count settings with a dot in their name, which a server cannot forget, among these features."),
    _option(_LIMITS, "--connect-timeout", default="10s", metavar="TIME",
            help="Connecting to one address of the upstream, TLS included; 0: as long as the system tries."),
    _option(_LIMITS, "--login-timeout", default="60s", metavar="TIME",
            help="From accept to the end of a client's login; 0: none."),
    _option(_LIMITS, "--idle-timeout", default="0", metavar="TIME",
            help="Disconnect clients that are idle, outside a transaction, for longer; 0: never."),
    _option(_LIMITS, "--drain-timeout", default="30s", metavar="TIME",
            help="On SIGTERM or SIGINT, how long transactions have to end."),
    _option(_LIMITS, "--max-connections", default=10_000, metavar="N",
            help="Client connections; fewer if the limit of open files says so."),
    _option(_LIMITS, "--max-message", default="16MiB", metavar="SIZE",
            help="The largest message of those that are held whole, Query and Parse; 1KiB at least."),
    _option(_LIMITS, "--max-statements", default=10_000, metavar="N",
            help="Prepared statements per connection."),
    _option(_LIMITS, "--max-statement-bytes", default="64MiB", metavar="SIZE",
            help="Their texts per connection; 1KiB at least."),
    _option(_RUN, "--workers", default=1, metavar="N",
            help="Processes that share the work, for more than one core, 64 at most; limits hold for all of them"
            " together."),
    _option(_RUN, "--metrics", type=_LISTEN, multiple=True, metavar="ADDRESS", show_default="none",
            help="Serve metrics for Prometheus (/metrics) and health (/healthz, /readyz) by HTTP; written like"
            " --listen. They hold no secrets, so any address will do. Repeatable."),
    _option(_RUN, "--loop", default="auto",
            help="The event loop; auto: uvloop if it is installed."),
    _option(_RUN, "--log-level", default="info", help="The least that is logged."),
    _option(_RUN, "--log-format", default="text", help="To stderr."),
    _option(_RUN, "--trace", is_flag=False, flag_value="-", default="", metavar="[FILE]",
            help="Write each message, and what becomes of it, to a file, as --trace=FILE, or to stderr. Names and"
            " lengths are shown; texts of SQL, values and passwords are not. For finding faults: it takes time."),
    _option(_RUN, "--trace-values", is_flag=True,
            help="Show texts of SQL and values in the trace; never passwords."),
]  # fmt: skip


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Every option can be given in the environment instead, several addresses separated by spaces.",
)
@_with_options
@click.version_option(__version__, message="pgshim %(version)s")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Make a PostgreSQL transaction pooler safe for every driver.

    pgshim --listen 6432 --upstream pooler:6543
    """
    if ctx.invoked_subcommand is None:
        ctx.exit(_run(options))


@command.command(short_help="Show on throw-away servers what goes wrong without pgshim.")
@click.option("--keep", is_flag=True, type=Switch(), help="Stay up, and print the two URLs to play with.")
@click.pass_context
def demo(ctx: click.Context, keep: bool) -> None:
    """Show on a throw-away PostgreSQL and pooler what goes wrong without pgshim."""
    from pgshim.demo.run import run_demo

    ctx.exit(run_demo(keep))


@command.command("check")
@click.argument("url", required=False, default="", envvar="DATABASE_URL")
@click.option("--upstream", type=_UPSTREAM, metavar="ADDRESS", help="Instead of a URL: as pgshim's own --upstream.")
@click.option("--user", default="", metavar="NAME", help="With --upstream: who logs in.")
@click.option("--database", default="", metavar="NAME", help="With --upstream: which database; else as the user.")
@click.option("--upstream-tls", type=Words("upstream_tls"), help="Instead of the URL's sslmode.")
@click.option("--upstream-ca", type=_FILE, default="", metavar="FILE", help="Instead of the URL's sslrootcert.")
@click.option("--json", is_flag=True, type=Switch(), help="For machines; docs/check.md has the keys.")
@click.pass_context
def check_upstream(ctx: click.Context, /, **options: Any) -> None:
    """Look at a pooler or server as an app would meet it.

    pgshim check postgresql://USER@HOST:6543/DATABASE

    Says what is there, what an app would stumble over, and how to start pgshim for it. The URL may come from
    DATABASE_URL, the password from PGPASSWORD, ~/.pgpass, or the terminal. Nothing is left behind.

    Exit codes: 0 fine, 1 not reached, not let in, or something an app would fail by, 2 a bad option or URL.
    """
    from pgshim.check.options import target_from
    from pgshim.check.run import run_check

    options["is_typed"] = ctx.get_parameter_source("url") is ParameterSource.COMMANDLINE
    target = target_from(options, ctx.parent.params if ctx.parent is not None else {})
    ctx.exit(run_check(target, is_json=options["json"]))


@command.command("run", context_settings={"allow_interspersed_args": False})
@click.option("--env", multiple=True, metavar="NAME", show_default="DATABASE_URL, PGHOST", help="The variable with the"
              " database URL, or PGHOST for libpq's. Repeatable.")
@click.option("--env-file", multiple=True, metavar="FILE", show_default=".env, where there is one", help="A file in"
              " which to look for what is not in the environment. Repeatable.")
@click.option("-q", "--quiet", is_flag=True, type=Switch(), help="Say nothing of URLs, and nothing at the end.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARGUMENT]...")
@click.pass_context
def run_command(
    ctx: click.Context, /, words: tuple[str, ...], env: tuple[str, ...], env_file: tuple[str, ...], *, quiet: bool
) -> None:
    """Run a command behind pgshim.

    pgshim run -- uvicorn app:app

    pgshim listens on a free port of this machine for as long as the command runs. The command gets a DATABASE_URL that
    points there; host, port and TLS of the one that was given are for the pooler. The options of pgshim go in front of
    "run", as in pgshim --pipeline through run -- COMMAND.

    Exit codes: the command's; 126 it cannot be run, 127 it is not there; 1 pgshim cannot run, 2 a bad option or URL.
    """
    from pgshim.run.run import Wanted, run

    assert ctx.parent is not None
    given = {name: ctx.parent.get_parameter_source(name) is not ParameterSource.DEFAULT
             for name in ("listen", "log_level")}  # fmt: skip
    wanted = Wanted(words, env, env_file, quiet, has_listen=given["listen"], has_log_level=given["log_level"])
    ctx.exit(run(wanted, ctx.parent.params, _say))


def _run(options: dict[str, Any]) -> int:
    settings = settings_from(options, has_sockets="LISTEN_FDS" in os.environ)
    from pgshim.proxy import log
    from pgshim.proxy.listen import ListenError
    from pgshim.proxy.run import run

    log.configure(options["log_level"], options["log_format"])
    try:
        return run(settings, options["loop"])
    except ListenError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        # Between the start and the moment the signals are ours.
        return 130


def _say(sentence: str) -> None:
    click.echo(f"pgshim: {sentence}", err=True)


def main() -> NoReturn:
    """The console script: exit code 2 for a bad option, 1 when pgshim cannot run."""
    try:
        code = command.main(prog_name="pgshim", standalone_mode=False, auto_envvar_prefix="PGSHIM")
    except click.ClickException as error:
        _say(without_urls(sentence(error, command), sys.argv[1:]))
        code = error.exit_code
    except ConfigurationError as error:
        _say(without_urls(error.message, sys.argv[1:]))
        code = 2
    except click.Abort:
        code = 130
    sys.exit(code)
