"""The command line in `options`: split, read and turned into settings as a server does it."""

from __future__ import annotations

import pglast
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgshim.errors import InvalidSwitch
from pgshim.session.startup_options import joined, quoted, read_switches, set_config, settings_of, split


def settings(text: bytes) -> list[tuple[bytes, bytes]]:
    switches, operands = read_switches(text)
    assert operands == []
    return [setting for switch in switches for setting in settings_of(*switch)]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (b"", []),
        (b"  \t\n", []),
        (b" -c a=b\t--c=d ", [b"-c", b"a=b", b"--c=d"]),
        (rb"-c a=b\ c", [b"-c", b"a=b c"]),
        (rb"-c a=\\\b", [b"-c", rb"a=\b"]),
        (b"-c a=\\\n", [b"-c", b"a=\n"]),
        (b"a\\", [b"a"]),
        (b"a \\", [b"a", b""]),
        (b"a='b c'", [b"a='b", b"c'"]),
    ],
)
def test_arguments_are_split_at_spaces_that_no_backslash_takes(text: bytes, arguments: list[bytes]) -> None:
    assert split(text) == arguments


@given(st.lists(st.binary(min_size=1, max_size=8)))
def test_arguments_that_are_joined_are_split_into_the_same(arguments: list[bytes]) -> None:
    assert split(joined(arguments)) == arguments


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"-c jit=off", [(b"jit", b"off")]),
        (b"-cjit=off", [(b"jit", b"off")]),
        (b"--jit=off", [(b"jit", b"off")]),
        (b"--statement-timeout=5s", [(b"statement_timeout", b"5s")]),
        (b"-c idle-in=a-b", [(b"idle_in", b"a-b")]),
        (b"-c a= -c b=c=d", [(b"a", b""), (b"b", b"c=d")]),
        (b"-eFils", [(b"datestyle", b"euro"), (b"fsync", b"false"), (b"listen_addresses", b"*"), (b"ssl", b"true"),
                     (b"log_statement_stats", b"true")]),
        (b"-OP", [(b"allow_system_table_mods", b"true"), (b"ignore_system_indexes", b"true")]),
        (b"-S 100 -W 1", [(b"work_mem", b"100"), (b"post_auth_delay", b"1")]),
        (b"-B1 -ha -kb -N2 -p3", [(b"shared_buffers", b"1"), (b"listen_addresses", b"a"),
                                  (b"unix_socket_directories", b"b"), (b"max_connections", b"2"), (b"port", b"3")]),
        (b"-bEjnT -C x -D/x -r f -v 3", []),
        (b"-ec a=b", [(b"datestyle", b"euro"), (b"a", b"b")]),
        (b"-fs -f h", [(b"enable_seqscan", b"false"), (b"enable_hashjoin", b"false")]),
        (b"-tpa -tplanner -te", [(b"log_parser_stats", b"true"), (b"log_planner_stats", b"true"),
                                 (b"log_executor_stats", b"true")]),
        (b"-d 0", [(b"log_min_messages", b"notice")]),
        (b"-dx", [(b"log_min_messages", b"notice")]),
        (b"-d1", [(b"log_min_messages", b"debug1")]),
        (b"-d5", [(b"log_min_messages", b"debug5"), (b"log_statement", b"all"), (b"debug_print_parse", b"true"),
                  (b"debug_print_plan", b"true"), (b"debug_print_rewritten", b"true")]),
    ],
)  # fmt: skip
def test_switches_stand_for_settings(text: bytes, found: list[tuple[bytes, bytes]]) -> None:
    assert settings(text) == found


@pytest.mark.parametrize("text", [b"-z", b"-ez", b"-c", b"-S", b"-fx", b"-f", b"-tx", b"-tp", b"-tpx", b"-e-"])
def test_switches_that_a_server_does_not_know_are_named_in_its_words(text: bytes) -> None:
    with pytest.raises(InvalidSwitch) as caught:
        read_switches(text)
    assert caught.value.message == f"invalid command-line argument for server process: {text.decode()}"
    assert caught.value.hint


@pytest.mark.parametrize("text", [b"-c jit", b"--jit"])
def test_a_setting_without_a_value_is_refused_in_a_servers_words(text: bytes) -> None:
    with pytest.raises(InvalidSwitch, match=f"^{text.decode()} requires a value$"):
        settings(text)


def test_other_arguments_may_stand_anywhere_and_behind_two_dashes_all_are_such() -> None:
    assert read_switches(b"x -e - y -- -e z") == ([(b"e", b"")], [b"x", b"-", b"y", b"-e", b"z"])


@pytest.mark.parametrize("text", [b"", b"Europe/Berlin", b"it's", b"a\\b", b"\xc3\xa9", b'"$user", public', b"\n\x7f"])
def test_a_quoted_text_is_ascii_and_reads_the_same_whatever_the_settings(text: bytes) -> None:
    constant = quoted(text)
    assert constant.isascii()
    assert constant.count(b"'") == 2
    select = pglast.parse_sql(f"SELECT {constant.decode()}")[0].stmt
    assert select.targetList[0].val.val.sval.encode() == text  # type: ignore[attr-defined]


def test_a_call_of_set_config() -> None:
    assert set_config(b"jit", b"o'", is_local=True) == rb"pg_catalog.set_config(E'jit',E'o\x27',true)"
    assert set_config(b"jit", b"off", is_local=False).endswith(b",false)")
