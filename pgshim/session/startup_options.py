r"""The command line that a StartupMessage may carry in `options`, and how a setting is put in force by a SELECT.

A server splits it as `pg_split_opts` does and reads the switches as `process_postgres_switches` does: `-c name=value`,
`--name=value`, and the old letters, most of which stand for a setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgshim.errors import InvalidSwitch

_FLAGS = {
    b"e": (b"datestyle", b"euro"),
    b"F": (b"fsync", b"false"),
    b"i": (b"listen_addresses", b"*"),
    b"l": (b"ssl", b"true"),
    b"O": (b"allow_system_table_mods", b"true"),
    b"P": (b"ignore_system_indexes", b"true"),
    b"s": (b"log_statement_stats", b"true"),
}
_NAMED = {
    b"B": b"shared_buffers",
    b"h": b"listen_addresses",
    b"k": b"unix_socket_directories",
    b"N": b"max_connections",
    b"p": b"port",
    b"S": b"work_mem",
    b"W": b"post_auth_delay",
}
#: What a server takes from its own command line only, and passes over when it comes from a client.
_IDLE_FLAGS = frozenset({b"b", b"E", b"j", b"n", b"T"})
_IDLE_WITH_VALUE = frozenset({b"C", b"D", b"r", b"v"})
_WITH_VALUE = frozenset({b"c", b"-", b"d", b"f", b"t", *_NAMED, *_IDLE_WITH_VALUE})

_PLANS = {
    b"s": b"enable_seqscan",
    b"i": b"enable_indexscan",
    b"o": b"enable_indexonlyscan",
    b"b": b"enable_bitmapscan",
    b"t": b"enable_tidscan",
    b"n": b"enable_nestloop",
    b"m": b"enable_mergejoin",
    b"h": b"enable_hashjoin",
}
_STATISTICS = {b"pa": b"log_parser_stats", b"pl": b"log_planner_stats", b"e": b"log_executor_stats"}
#: What `-d` turns on, and from which level on.
_DEBUGGING = (
    (2, b"log_statement", b"all"),
    (3, b"debug_print_parse", b"true"),
    (4, b"debug_print_plan", b"true"),
    (5, b"debug_print_rewritten", b"true"),
)


def split(text: bytes) -> list[bytes]:
    """The arguments in a text: white space stands between them, a backslash takes the next byte as it is."""
    found = re.finditer(rb"(?:[^\s\\]|\\.|\\\Z)+", text, re.DOTALL)
    return [re.sub(rb"\\(.?)", rb"\1", match[0], flags=re.DOTALL) for match in found]


def joined(arguments: list[bytes]) -> bytes:
    """The text that `split` makes these arguments of."""
    return b" ".join(re.sub(rb"([\\\s])", rb"\\\1", argument) for argument in arguments)


def read_switches(text: bytes) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """((letter, value) of each switch, the arguments that are none), as `getopt` reads them. Raises InvalidSwitch."""
    arguments = iter(split(text))
    switches: list[tuple[bytes, bytes]] = []
    operands: list[bytes] = []
    for argument in arguments:
        if argument == b"--":
            operands += arguments
        elif len(argument) < 2 or argument[:1] != b"-":
            operands.append(argument)
        else:
            switches += _read_cluster(argument, arguments)
    return switches, operands


def _read_cluster(argument: bytes, following: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The switches in one argument; the last one's value may be the argument that follows."""
    for pos in range(1, len(argument)):
        letter = argument[pos : pos + 1]
        if letter in _WITH_VALUE:
            value = argument[pos + 1 :] or next(following, None)
            if value is None or not _is_possible(letter, value):
                raise invalid_argument(argument)
            yield letter, value
            return
        if letter not in _FLAGS and letter not in _IDLE_FLAGS:
            raise invalid_argument(argument)
        yield letter, b""


def _is_possible(letter: bytes, value: bytes) -> bool:
    if letter == b"f":
        return value[:1] in _PLANS
    return letter != b"t" or _statistics(value) in _STATISTICS


def _statistics(value: bytes) -> bytes:
    return value[:2] if value[:1] == b"p" else value[:1]


def settings_of(letter: bytes, value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, value) of the settings that a switch stands for. Raises InvalidSwitch."""
    if letter in (b"c", b"-"):
        name, equals, text = value.partition(b"=")
        if not equals:
            raise InvalidSwitch(f"{'-c ' if letter == b'c' else '--'}{_shown(value)} requires a value")
        yield name.replace(b"-", b"_"), text
    elif letter in _FLAGS:
        yield _FLAGS[letter]
    elif letter in _NAMED:
        yield _NAMED[letter], value
    elif letter == b"f":
        yield _PLANS[value[:1]], b"false"
    elif letter == b"t":
        yield _STATISTICS[_statistics(value)], b"true"
    elif letter == b"d":
        yield from _debugging(value)


def _debugging(value: bytes) -> Iterator[tuple[bytes, bytes]]:
    digits = re.match(rb"\s*\+?(\d{1,9})", value)
    level = int(digits[1]) if digits else 0
    yield b"log_min_messages", b"debug%d" % level if level else b"notice"
    for least, name, text in _DEBUGGING:
        if level >= least:
            yield name, text


def invalid_argument(argument: bytes) -> InvalidSwitch:
    """The error for an argument that a server does not know."""
    return InvalidSwitch(
        f"invalid command-line argument for server process: {_shown(argument)}",
        hint="In options, settings are written -c name=value or --name=value.",
    )


def _shown(argument: bytes) -> str:
    return argument.decode("utf-8", "replace")


def quoted(text: bytes) -> bytes:
    """A string constant in ASCII that reads the same whatever standard_conforming_strings and the encoding are."""
    return b"E'" + re.sub(rb"[^ -&(-\[\]-~]", lambda match: b"\\x%02x" % match[0][0], text) + b"'"


def set_config(name: bytes, value: bytes, *, is_local: bool) -> bytes:
    """The call that puts a setting in force, for the transaction or for the session; it returns what it is then."""
    how = b"true" if is_local else b"false"
    return b"pg_catalog.set_config(%s,%s,%s)" % (quoted(name), quoted(value), how)
