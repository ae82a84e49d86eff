"""All of `pgshim run`: the variables, the proxy, the command, the last line."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pgshim.addresses import Address
from pgshim.errors import ConfigurationError
from pgshim.options import parse_addresses, settings_from
from pgshim.proxy import log
from pgshim.run import env_files, variables
from pgshim.run.command import CommandFailed, end_as, start
from pgshim.run.private import PrivateDirectory
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
        for remark, names in _remarks(servers, plan).items():
            say(f"{', '.join(names)}: {remark}")
    directory = None
    if any(server.has_passwords for server in servers) or any(map(_has_own_socket, servers, plan)):
        directory = PrivateDirectory.make()
    try:
        code = _run_behind(wanted, options, say, _Plan(servers, plan, directory))
    finally:
        if directory is not None:
            directory.remove()
    return end_as(code)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The servers that were found, and the settings for each."""

    servers: Sequence[Server]
    settings: Sequence[Settings]
    #: Where a Unix socket, or a password file, is needed.
    directory: PrivateDirectory | None

    def poolers(self) -> dict[Settings, Settings]:
        """The settings without repetition -> those that the proxy is started with."""
        found = {settings: settings for settings in self.settings}
        for server, settings in zip(self.servers, self.settings, strict=True):
            if self.directory is not None and _has_own_socket(server, settings):
                socket = self.directory.socket(_port_of(server.upstream))
                found[settings] = replace(settings, listen=(*settings.listen, socket))
        return found

    def variables(self, addresses: Mapping[Settings, tuple[str, int]]) -> dict[str, str | None]:
        """What changes in the command's environment; None: it is not to be there. Raises OSError."""
        changes: dict[str, str | None] = {}
        for server, settings in zip(self.servers, self.settings, strict=True):
            host, port = addresses[settings]
            if self.directory is not None and _has_own_socket(server, settings):
                host, port = self.directory.path, _port_of(server.upstream)
            changes |= server.pointed_at(host, port)
            lines = server.password_lines(host, port)
            if self.directory is not None and lines and "PGPASSFILE" not in changes:
                changes["PGPASSFILE"] = self.directory.write_passwords(lines)
        return changes


def _run_behind(wanted: Wanted, options: Mapping[str, Any], say: Callable[[str], None], plan: _Plan) -> int:
    """The proxy, and in front of it the command; returns what it ended with, as `Command.code`."""
    poolers = plan.poolers()
    try:
        proxy = Proxy.start(list(poolers.values()), options["loop"], plan.directory.path if plan.directory else "")
    except ProxyFailed as error:
        say(str(error))
        return error.code
    try:
        environment = _changed(os.environ, plan.variables(dict(zip(poolers, proxy.addresses, strict=True))))
        command = start(wanted.command, environment, proxy.pid, options["drain_timeout"])
    except (CommandFailed, OSError) as error:
        proxy.stop()
        say(str(error) if isinstance(error, CommandFailed) else f"the password file cannot be written: {error}")
        return error.code if isinstance(error, CommandFailed) else 1
    code = command.wait()
    if command.proxy_code is not None:
        say(f"the proxy ended before the command did ({_describe(command.proxy_code)}); the command was ended")
        return 1
    summary = proxy.stop()
    if summary and not wanted.is_quiet:
        say(summary)
    return code


def _changed(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}


def _has_own_socket(server: Server, settings: Settings) -> bool:
    """Whether a Unix socket is made for this server's variables, beside what is listened on anyway."""
    return server.needs_socket and not settings.listen[0].is_unix


def _port_of(upstream: Address) -> int:
    """The number of the server's port, which stays in PGPORT."""
    return int(upstream.path.rpartition(".")[2]) if upstream.is_unix else upstream.port


def _remarks(servers: Sequence[Server], plan: Sequence[Settings]) -> dict[str, list[str]]:
    """What there is to say -> the servers' names."""
    found: dict[str, list[str]] = {}
    for server, settings in zip(servers, plan, strict=True):
        for remark in (*server.remarks, *_remarks_of_use(server, settings)):
            found.setdefault(remark, []).append(server.name)
    return found


def _remarks_of_use(server: Server, settings: Settings) -> Iterator[str]:
    if server.tls.mode == settings.upstream_tls == "require":
        yield (
            "TLS is required, and nobody verifies the server's certificate, as some drivers would (node-postgres);"
            " say sslmode=verify-full, or give --upstream-ca"
        )
    if _has_own_socket(server, settings):
        yield (
            "it is the directory of a Unix socket now, and PGSSLMODE stays for other connections; a driver that wants"
            " TLS on a Unix socket too (node-postgres) needs DATABASE_URL"
        )


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
            _check_listen(values["listen"])
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


def _check_listen(groups: Sequence[Sequence[Address]]) -> None:
    """The command is told the first address, as libpq has it."""
    first = groups[0][0]
    if first.is_unix and not re.fullmatch(r"\.s\.PGSQL\.[0-9]+", os.path.basename(first.path)):
        raise ConfigurationError(
            f"--listen {first}: a URL cannot name this socket; write unix:{os.path.dirname(first.path)}:PORT, for the"
            " one in that directory that drivers look for"
        )


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
