"""All of `pgshim run`: the variables, the proxy, the command, the last line."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgshim.errors import ConfigurationError
from pgshim.options import parse_addresses, settings_from
from pgshim.proxy import log
from pgshim.run import env_files, variables
from pgshim.run.command import CommandFailed, end_as, start
from pgshim.run.proxy import Proxy, ProxyFailed
from pgshim.run.variables import Server
from pgshim.settings import Settings

#: A free port of this machine's.
_LISTEN = "127.0.0.1:0"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says beside the proxy's own options."""

    command: Sequence[str]
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    is_quiet: bool = False
    #: Whether --listen was given, and --log-level.
    has_listen: bool = False
    has_log_level: bool = False


def run(wanted: Wanted, options: Mapping[str, Any], say: Callable[[str], None]) -> int:
    """Run the command behind pgshim; returns the exit code, or dies by the command's signal.

    options -- the proxy's, parsed. Raises ConfigurationError.
    """
    if not hasattr(os, "fork"):
        raise ConfigurationError("pgshim run needs fork(), which this system has not; start pgshim beside the command")
    if options["workers"] > 1:
        raise ConfigurationError(f"--workers {options['workers']} is not for pgshim run, which has one; leave it out")
    servers = _servers(wanted)
    plan = _plan(wanted, options, servers)
    log.configure(options["log_level"] if wanted.has_log_level else "warning", options["log_format"])
    if not wanted.is_quiet:
        for server in servers:
            for remark in server.remarks:
                say(f"{server.name}: {remark}")
    poolers = list(dict.fromkeys(plan))
    try:
        proxy = Proxy.start(poolers, options["loop"])
    except ProxyFailed as error:
        say(str(error))
        return error.code
    environment = dict(os.environ)
    for server, settings in zip(servers, plan, strict=True):
        for name, value in server.pointed_at(*proxy.addresses[poolers.index(settings)]).items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
    try:
        command = start(wanted.command, environment, proxy.pid, options["drain_timeout"])
    except CommandFailed as error:
        proxy.stop()
        say(str(error))
        return error.code
    code = command.wait()
    if command.proxy_code is not None:
        say(f"the proxy ended before the command did ({_describe(command.proxy_code)}); the command was ended")
        return 1
    summary = proxy.stop()
    if summary and not wanted.is_quiet:
        say(summary)
    return end_as(code)


def _servers(wanted: Wanted) -> list[Server]:
    """What the environment says, or else the files."""

    def needs() -> bool:
        names = wanted.names or (variables.DATABASE_URL,)
        return any(not os.environ.get(name) for name in names)

    return variables.find(wanted.names, os.environ, env_files.read(wanted.files, needs))


def _plan(wanted: Wanted, options: Mapping[str, Any], servers: Sequence[Server]) -> list[Settings]:
    """The settings for each of the servers. Raises ConfigurationError."""
    plan = []
    for server in servers:
        values = dict(options)
        if not wanted.has_listen:
            values["listen"] = parse_addresses("listen", _LISTEN)
        values["upstream"] = options["upstream"] or server.upstream
        values.update(server.tls.options(values["upstream"], options))
        try:
            plan.append(settings_from(values))
        except ConfigurationError as error:
            raise ConfigurationError(f"{server.name}: {error.message}") from None
    if len(set(plan)) > 1:
        for option in ("listen", "session_listen", "session_upstream", "metrics"):
            if wanted.has_listen if option == "listen" else options[option]:
                names = ", ".join(server.name for server in servers)
                raise ConfigurationError(
                    f"--{option.replace('_', '-')} is for one pooler, and {names} name different ones; leave it out,"
                    " or name one variable with --env"
                )
    return plan


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
