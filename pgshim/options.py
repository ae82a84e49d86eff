"""Options, as the command line or a caller gives them -> `Settings`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from pgshim.addresses import Address, parse_listen, parse_upstream
from pgshim.errors import ConfigurationError
from pgshim.settings import Settings, check, default_upstream_tls, parse_duration, parse_size

_T = TypeVar("_T")

#: The options that are one of a few words.
CHOICES = {
    "upstream_tls": ("disable", "prefer", "require", "verify-ca", "verify-full"),
    "upstream_mode": ("transaction", "session"),
    "pipeline": ("auto", "serial", "through"),
    "unsafe": ("refuse", "warn", "allow"),
}


def settings_from(options: Mapping[str, Any]) -> Settings:
    """The settings that parsed options give. Raises ConfigurationError for those that do not go together."""
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
    check(settings)
    return settings


class ServeOptions(TypedDict, total=False):
    """The command line's options as arguments of `pgshim.serve`: seconds or "500ms", bytes or "1MiB"."""

    upstream_tls: str
    upstream_ca: str
    upstream_cert: str
    upstream_key: str
    upstream_mode: str
    pipeline: str
    lazy_begin: bool
    describe_cache: int
    prewarm: int
    tenant: str
    require_upstream: bool
    session_upstream: str
    session_listen: str | Sequence[str]
    unsafe: str
    allow: Sequence[str]
    strict_custom_settings: bool
    tls_cert: str
    tls_key: str
    tls_self_signed: bool
    allow_plaintext: bool
    connect_timeout: float | str
    login_timeout: float | str
    idle_timeout: float | str
    drain_timeout: float | str
    trace: str
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


def parse_option(name: str, parse: Callable[[str], _T], text: str) -> _T:
    """One value, with the option's name in front of what is wrong with it."""
    try:
        return parse(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"--{name.replace('_', '-')}: {error.message}") from None


def parse_addresses(name: str, given: str | Sequence[str]) -> tuple[tuple[Address, ...], ...]:
    """Addresses to listen on, a group for each that is written."""
    texts = (given,) if isinstance(given, str) else given
    return tuple(parse_option(name, parse_listen, text) for text in texts)


def _parsed(name: str, value: Any) -> Any:
    if name == "session_listen":
        return parse_addresses(name, value)
    if name in CHOICES and value is not None and value not in CHOICES[name]:
        words = ", ".join(CHOICES[name])
        raise ConfigurationError(f"--{name.replace('_', '-')}: '{value}' is not one of {words}; give one of these")
    parse = _PARSERS.get(name)
    return parse_option(name, parse, value) if parse is not None and isinstance(value, str) else value


_PARSERS: dict[str, Callable[[str], Any]] = {
    "session_upstream": parse_upstream,
    "connect_timeout": parse_duration,
    "login_timeout": parse_duration,
    "idle_timeout": parse_duration,
    "drain_timeout": parse_duration,
    "max_message": parse_size,
    "max_statement_bytes": parse_size,
}
