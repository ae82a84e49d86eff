"""Statements about settings, in the forms that PostgreSQL has for them."""

from __future__ import annotations

from tests.differential.choice import Choice
from tests.differential.statements import LEVELS

#: Values to set, good ones and bad ones, as they are written in SQL.
VALUES: dict[str, list[str]] = {
    "work_mem": ["'5MB'", "'6MB'", "65", "5000", "default", "NULL", "-1", "'x'", "1.5", "'7MB'"],
    "timezone": ["'UTC'", "'Asia/Tokyo'", "'Europe/Rome'", "'Bad/Zone'", "default"],
    "datestyle": ["German", "MDY", "ISO", "DMY", "bad", "default", "ISO, YMD", "SQL"],
    "search_path": ["public", "s1", "s1, public", "pg_catalog", "default", "nosuch, public", '"A b", s1'],
    "statement_timeout": ["default", "'10min'", "-2", "'9s'"],
    "jit": ["on", "off", "maybe", "default", "true"],
    "app.x": ["'hello'", "1", "on", "''", "default", "'a;b'", "a,b", "E'q\\'x'"],
    "app.y": ["'other'", "default"],
    "default_transaction_isolation": [*[f"'{level}'" for level in LEVELS], "default", "bad"],
    "default_transaction_read_only": ["on", "off", "default"],
    "standard_conforming_strings": ["off", "on"],
    "client_encoding": ["latin1", "'utf8'", "default", "nosuch"],
    "extra_float_digits": ["0", "1", "99"],
    "bytea_output": ["escape", "hex"],
    "intervalstyle": ["iso_8601", "postgres", "default"],
    "application_name": ["zz", "'with blank'", "default"],
    "lock_timeout": ["'2s'", "default"],
    "enable_seqscan": ["off", "default"],
    "client_min_messages": ["warning", "notice", "default"],
    "row_security": ["off", "default"],
    "nosuch": ["1"],
    "log_connections": ["on"],
    "server_version": ["1"],
    "max_connections": ["5"],
    "session_replication_role": ["replica"],
    "transaction_isolation": ["'serializable'", "'repeatable read'", "default"],
    "transaction_read_only": ["on", "off"],
}

#: What is asked for again and again: what is in force now.
SHOWN = [
    *("work_mem", "timezone", "datestyle", "search_path", "statement_timeout", "jit", "role", "session_authorization"),
    *("transaction_isolation", "transaction_read_only", "default_transaction_isolation", "app.x", "app.y"),
    *("default_transaction_read_only", "client_encoding", "standard_conforming_strings", "application_name"),
    *("intervalstyle", "lock_timeout", "extra_float_digits", "enable_seqscan"),
]

OTHERS = [
    *("reset all", "reset role", "set role none", "set role r1", "set role nosuch", "set session role r1"),
    *("set local role r1", "set session authorization app", "set session authorization default"),
    *("reset session authorization", "set time zone local", "set time zone -5", "set local time zone 'Asia/Tokyo'"),
    *("set names 'latin1'", "set names 'utf8'", "set names default", "set schema 's1'", "set xml option document"),
    *("set work_mem from current", "set", "set work_mem", "reset", "reset nosuch", "reset time zone"),
    "set time zone interval '-08:00' hour to minute",
    "set session characteristics as transaction read only",
    "set session characteristics as transaction read write",
    "set session characteristics as transaction isolation level serializable",
    "set session characteristics as transaction isolation level read committed, read write",
    "set transaction read only",
    "set transaction isolation level serializable",
    "set transaction isolation level repeatable read, read only",
    "do $$ begin perform set_config('work_mem', '3MB', true); end $$",
]

CALLS = [
    "select set_config('work_mem', '3MB', false), current_setting('work_mem'), set_config('jit', 'off', false)",
    "select set_config('work_mem', concat(2 + 2, 'MB'), false)",
    "select set_config('app.x', i::text, false) from generate_series(1, 3) i",
    "select 1 where set_config('app.x', 'w', false) = 'w'",
    "update t{c} set s = set_config('app.y', 'u', false)",
    "select pg_catalog.set_config('app.x', 'cat', false)",
    "select set_config('app.x', 'never', false) where false",
]


def setting_statement(choice: Choice) -> str:
    """A statement that sets, resets or shows."""
    name = choice.of(list(VALUES))
    value = choice.of(VALUES[name])
    match choice.weighted({"set": 10, "reset": 3, "set_config": 3, "other": 6, "call": 1}):
        case "set":
            scope = choice.of(["", "", "", "session ", "local ", "local "])
            return f"set {scope}{name}{choice.of([' to ', ' = ', '='])}{value}"
        case "reset":
            return f"reset {name}"
        case "set_config":
            text = value if value.startswith("'") or value == "NULL" else f"'{value.replace(chr(39), '')}'"
            return f"select set_config('{name}', {text}, {choice.of(['false', 'false', 'true'])})"
        case "other":
            return choice.of(OTHERS)
    return choice.of(CALLS)


def probe(choice: Choice) -> str:
    """Asks what is in force."""
    if choice.chance(30):
        return f"show {choice.of([*SHOWN, 'time zone', 'transaction isolation level', 'session authorization'])}"
    return everything() if choice.chance(30) else f"select current_setting('{choice.of(SHOWN)}')"


def everything() -> str:
    """A query that shows all that is in force."""
    return f"select {', '.join(f'current_setting({chr(39)}{name}{chr(39)})' for name in SHOWN)}, current_user"


#: What a client may give at login. Lists are written as a server writes them: pgshim brings them element by element.
LOGINS = [
    "options=-cwork_mem%3D3MB",
    "options=-ctimezone%3DAsia/Tokyo%20-cjit%3Doff",
    "client_encoding=latin1",
    "options=-csearch_path%3Ds1,%5C%20public%20-crole%3Dr1",
    "options=-cdefault_transaction_read_only%3Don%20-capp.x%3Dstart",
]
