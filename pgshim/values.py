"""What the value of each option may be, whether it is typed or given by a program: one table of readers for both.

A reader takes text as it is typed, or what a program would rather give (a number, a bool, a path), and raises
ConfigurationError with one sentence; the option's name is put in front by whoever knows it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from pgshim.addresses import Address, parse_upstream
from pgshim.errors import ConfigurationError
from pgshim.settings import LOG_LEVELS, TLS_MODES, parse_duration, parse_size

Reader = Callable[[Any], Any]

#: The options that are one of a few words.
CHOICES = {
    "upstream_tls": TLS_MODES,
    "upstream_mode": ("transaction", "session"),
    "pipeline": ("auto", "serial", "through"),
    "unsafe": ("refuse", "warn", "allow"),
    "loop": ("auto", "asyncio", "uvloop"),
    "log_level": LOG_LEVELS,
    "log_format": ("text", "json"),
}

#: More are a slip: each has a core to keep busy.
_MOST_WORKERS = 64

#: Bytes. With less, not even what drivers ask of a server by themselves gets through.
_LEAST_BYTES = 1024


def whole_number(least: int, most: int | None = None) -> Reader:
    """A reader of integers."""
    fix = f"give {least} or more" if most is None else f"give {least} to {most}"

    def read(given: Any) -> int:
        is_written = isinstance(given, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", given.strip())
        value = int(given) if is_written else given
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigurationError(f"{given!r} is not a whole number; {fix}")
        if value < least:
            raise ConfigurationError(f"{value} is too small; {fix}")
        if most is not None and value > most:
            raise ConfigurationError(f"{value} is too large; {fix}")
        return value

    return read


def size(given: Any) -> int:
    """Bytes, or text as 16MiB."""
    if isinstance(given, str):
        value = parse_size(given)
    elif isinstance(given, int) and not isinstance(given, bool):
        value = given
    else:
        raise ConfigurationError(f"{given!r} is not a size; give bytes, or text as '16MiB'")
    if value < _LEAST_BYTES:
        raise ConfigurationError(f"{given!r} is too small; give {_LEAST_BYTES // 1024}KiB or more")
    return value


def duration(given: Any) -> float:
    """Seconds, or text as 500ms."""
    if isinstance(given, str):
        value = parse_duration(given)
    elif isinstance(given, int | float) and not isinstance(given, bool):
        value = given
    else:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigurationError(f"{given!r} is not a duration; give seconds, 0 or more, or text as '500ms'")
    return value


def switch(given: Any) -> bool:
    """On or off."""
    if not isinstance(given, bool):
        raise ConfigurationError(f"{given!r} is neither True nor False; give one of them")
    return given


def word(words: Sequence[str]) -> Reader:
    """A reader of one of these words."""

    def read(given: Any) -> str:
        if given not in words:
            raise ConfigurationError(f"{given!r} is not one of {', '.join(words)}; give one of these")
        return str(given)

    return read


def text(given: Any) -> str:
    """Any text."""
    if not isinstance(given, str):
        raise ConfigurationError(f"{given!r} is not text; give a str")
    return given


def file(given: Any) -> str:
    """A file's name, or a path; empty: none."""
    path = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(path, str):
        raise ConfigurationError(f"{given!r} is not the name of a file; give one, as text or a Path")
    if path and os.path.isdir(path):
        raise ConfigurationError(f"'{path}' is a directory; give a file")
    return path


def upstream(given: Any) -> Address:
    """Where a pooler or server is."""
    if not isinstance(given, str):
        raise ConfigurationError(f"{given!r} is not an address; give text as 'HOST:PORT'")
    return parse_upstream(given)


def several(given: Any) -> tuple[Any, ...]:
    """What is given one by one or together: text, a port, or a sequence of them."""
    if isinstance(given, str | int) and not isinstance(given, bool):
        return (given,)
    if isinstance(given, Sequence | set | frozenset) and not isinstance(given, bytes | bytearray):
        return tuple(given)
    raise ConfigurationError(f"{given!r} is neither text nor a list; give one of them")


def words(given: Any) -> tuple[str, ...]:
    """One word or several; which there are, others know."""
    return tuple(text(each) for each in several(given))


#: Of each option that has one value, by its name in Python.
READERS: dict[str, Reader] = {
    **{name: word(choices) for name, choices in CHOICES.items()},
    "upstream": upstream,
    "session_upstream": upstream,
    "describe_cache": whole_number(0),
    "prewarm": whole_number(0),
    "max_connections": whole_number(1),
    "max_statements": whole_number(1),
    "workers": whole_number(1, _MOST_WORKERS),
    "max_message": size,
    "max_statement_bytes": size,
    "connect_timeout": duration,
    "login_timeout": duration,
    "idle_timeout": duration,
    "drain_timeout": duration,
    "tenant": text,
    "allow": words,
    **dict.fromkeys(("tls_cert", "tls_key", "upstream_ca", "upstream_cert", "upstream_key", "trace"), file),
    **dict.fromkeys(("tls_self_signed", "allow_plaintext", "lazy_begin", "require_upstream"), switch),
    **dict.fromkeys(("strict_custom_settings", "trace_values"), switch),
}
