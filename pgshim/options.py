"""Options, as the command line or a caller gives them -> `Settings`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from pgshim.addresses import Address, parse_listen
from pgshim.errors import ConfigurationError
from pgshim.settings import Settings, check, default_upstream_tls
from pgshim.values import READERS, several

_T = TypeVar("_T")

#: Of a file.
Name = str | os.PathLike[str]
#: One address or several; an int is a port.
Listen = int | str | Sequence[int | str]


def settings_from(options: Mapping[str, Any], *, has_sockets: bool = False) -> Settings:
    """The settings that parsed options give. Raises ConfigurationError for those that do not go together.

    has_sockets -- as for `pgshim.settings.check`
    """
    upstream: Address | None = options["upstream"]
    if upstream is None:
        raise ConfigurationError("--upstream is missing; say where the pooler is, as in --upstream pooler.example:6543")
    values = {name: options[name] for name in Settings.__dataclass_fields__ if name in options}
    # The same address twice, as with a bare PORT beside 127.0.0.1:PORT, is one.
    for name in ("listen", "session_listen", "metrics"):
        values[name] = tuple(dict.fromkeys(address for group in options[name] for address in group))
    values["allow"] = tuple(dict.fromkeys(options["allow"]))
    values["session_upstream_tls"] = "prefer"
    for name in ("upstream", "session_upstream"):
        if options[name] is not None:
            default = default_upstream_tls(options[name], bool(options["upstream_ca"]))
            values[f"{name}_tls"] = options["upstream_tls"] or default
    settings = Settings(**values)
    check(settings, has_sockets=has_sockets)
    return settings


class ServeOptions(TypedDict, total=False):
    """The command line's options as arguments of `pgshim.serve`: seconds or "500ms", bytes or "1MiB"."""

    upstream_tls: str | None
    upstream_ca: Name
    upstream_cert: Name
    upstream_key: Name
    upstream_mode: str
    pipeline: str
    lazy_begin: bool
    describe_cache: int
    prewarm: int
    tenant: str
    require_upstream: bool
    session_upstream: str | None
    session_listen: Listen
    unsafe: str
    allow: str | Sequence[str]
    strict_custom_settings: bool
    tls_cert: Name
    tls_key: Name
    tls_self_signed: bool
    allow_plaintext: bool
    connect_timeout: float | str
    login_timeout: float | str
    idle_timeout: float | str
    drain_timeout: float | str
    trace: Name
    trace_values: bool
    max_connections: int
    max_message: int | str
    max_statements: int
    max_statement_bytes: int | str


def parsed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a program writes them -> as `settings_from` takes them; what is left out has its default.

    Raises TypeError for a name that is none, ConfigurationError for a value.
    """
    for name in given:
        if name not in ServeOptions.__annotations__:
            raise TypeError(f"serve() has no option {name!r}; it has {', '.join(ServeOptions.__annotations__)}")
    options: dict[str, Any] = {"session_upstream": None, "session_listen": (), "metrics": (), "allow": ()}
    options |= {"upstream_tls": None, "upstream_ca": ""}
    return options | {name: _parsed(name, value) for name, value in given.items()}


def parse_option(name: str, read: Callable[[Any], _T], given: Any) -> _T:
    """One value, with the option's name in front of what is wrong with it."""
    try:
        return read(given)
    except ConfigurationError as error:
        message = error.message
        if isinstance(given, str) and "://" in given:
            # It may hold a password.
            message = message.replace(repr(given), "a URL").replace(given, "a URL")
        raise ConfigurationError(f"--{name.replace('_', '-')}: {message}") from None


def parse_addresses(name: str, given: Any) -> tuple[tuple[Address, ...], ...]:
    """Addresses to listen on, as text or ports: a group for each that is written."""
    return tuple(parse_option(name, _listen, each) for each in parse_option(name, several, given))


def _listen(given: Any) -> tuple[Address, ...]:
    if not isinstance(given, str | int) or isinstance(given, bool):
        raise ConfigurationError(f"{given!r} is not an address; give a port, or text as 'HOST:PORT'")
    return parse_listen(str(given))


def _parsed(name: str, value: Any) -> Any:
    if name == "session_listen":
        return parse_addresses(name, value)
    return value if name in _MAY_BE_NONE and value is None else parse_option(name, READERS[name], value)


#: None is their default, so it may be said.
_MAY_BE_NONE = ("session_upstream", "upstream_tls")
