"""What needs a session of its own is refused: in its place, by name, with the ways out, and nothing of it runs.

One list of uses of each feature, taken through both protocols, in autocommit and in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pgshim.protocol import Message
from pgshim.protocol.backend import BindComplete, ErrorResponse, NoticeResponse, ParseComplete
from pgshim.protocol.frontend import Query, Sync
from pgshim.session.refusal import Policy
from tests.session.in_force import TEXT, said
from tests.session.messages import (
    A_PARSE_THAT_FAILS,
    FAILED,
    IDLE,
    Pattern,
    bind,
    columns,
    done,
    execute,
    parse,
    row,
    server_error,
)
from tests.session.script import SessionScript, Start


@dataclass(frozen=True)
class Use:
    """A statement that needs a session of its own.

    feature -- as `--allow` names it
    what -- what the message begins with
    alternative -- of the hint
    at_execute -- whether it is the Execute that is refused, and not the Parse
    """

    sql: bytes
    feature: bytes
    what: bytes
    alternative: bytes
    at_execute: bool = False


_LOCKS = b"pg_advisory_xact_lock()"
_TABLES = b"ON COMMIT DROP"
_CURSORS = b"DISABLE_SERVER_SIDE_CURSORS"
USES = [
    Use(b"listen news", b"listen", b"LISTEN ", b"NOTIFY"),
    *(
        Use(b"select %b(1)" % name, b"advisory-locks", name + b"() ", _LOCKS)
        for name in (
            *(b"pg_advisory_lock", b"pg_advisory_lock_shared", b"pg_try_advisory_lock", b"pg_try_advisory_lock_shared"),
            *(b"pg_advisory_unlock", b"pg_advisory_unlock_shared"),
        )
    ),
    Use(b"create temp table t (a int)", b"temp-tables", b"A temporary table ", _TABLES),
    Use(b"create temp table t as select 1", b"temp-tables", b"A temporary table ", _TABLES),
    Use(b"create temp table t (a int) on commit delete rows", b"temp-tables", b"A temporary table ", _TABLES),
    Use(b"create temporary view v as select 1", b"temp-tables", b"A temporary view ", _TABLES),
    Use(b"create temp sequence s", b"temp-tables", b"A temporary sequence ", _TABLES),
    Use(b"create table pg_temp.t (a int)", b"temp-tables", b"A temporary table ", _TABLES),
    Use(b"select 1 as a into temp t", b"temp-tables", b"A temporary table ", _TABLES),
    Use(b"declare c cursor with hold for select 1", b"with-hold", b"DECLARE ... WITH HOLD ", _CURSORS),
    Use(b"prepare p as select 1", b"sql-prepare", b"PREPARE ", b"prepared statements"),
    Use(b"execute p", b"sql-prepare", b"EXECUTE ", b"prepared statements"),
    Use(b"explain execute p", b"sql-prepare", b"EXECUTE ", b"prepared statements"),
    Use(b"create table t as execute p", b"sql-prepare", b"EXECUTE ", b"prepared statements"),
    Use(b"select currval('s')", b"currval", b"currval() ", b"RETURNING", at_execute=True),
    Use(b"select lastval()", b"currval", b"lastval() ", b"RETURNING", at_execute=True),
    Use(b"load 'auto_explain'", b"load", b"LOAD ", b"session_preload_libraries"),
    Use(b"select dblink_connect('c', 'host=x')", b"dblink", b"dblink_connect() ", b"dblink()"),
    Use(b"select setseed(0.5)", b"setseed", b"setseed() ", b"seed"),
    Use(b"set seed = 0.5", b"setseed", b"SET seed ", b"seed"),
    Use(b"update pg_settings set setting = '1'", b"update-pg-settings", b"UPDATE pg_settings ", b"SET"),
    Use(b"select set_limit(0.5)", b"set-limit", b"set_limit() ", b"pg_trgm.similarity_threshold"),
    Use(
        b"select pg_replication_origin_session_setup('o')",
        *(b"replication-origin", b"pg_replication_origin_session_setup() ", b"directly"),
    ),
    Use(b"do $$begin set work_mem = 5; end$$", b"do-settings", b"SET in a DO", b"SET LOCAL"),
    Use(b"do $$begin perform set_config('jit', 'off', false); end$$", b"do-settings", b"set_config() ", b"SET LOCAL"),
    Use(b"select set_config('work' || '_mem', '5', false)", b"computed-settings", b"set_config() ", b"constants"),
]
#: One of each feature.
FEATURES = list({use.feature: use for use in USES}.values())

A_FAILING_QUERY = Pattern(
    "Query that is nothing but a division by zero",
    lambda message: isinstance(message, Query) and message.query.strip() == b"SELECT 1/0",
)
DIVISION = server_error(b"22012", b"division by zero", P=b"9")
ABORTED = server_error(b"25P02")
A_ROW: tuple[Message, ...] = (columns(TEXT), row(b"1"), done())

each_use = pytest.mark.parametrize("use", USES, ids=lambda use: use.sql.decode())
each_feature = pytest.mark.parametrize("use", FEATURES, ids=lambda use: use.feature.decode())


def refusal(use: Use) -> Pattern:
    """The ErrorResponse: what it is, what else to do, how to let it through and how to get a session."""

    def fits(message: Message) -> bool:
        return (
            isinstance(message, ErrorResponse)
            and (message.severity, message.sqlstate, message.get(b"P")) == (b"ERROR", b"0A000", None)
            and (message.message or b"").startswith(use.what)
            and use.alternative in (message.hint or b"")
            and (message.hint or b"").endswith(b"--allow %b." % use.feature)
            and b"pgshim.session=on" in (message.hint or b"")
        )

    return Pattern(f"ERROR 0A000 {use.what!r} --allow {use.feature!r}", fits)


def warning(use: Use) -> Pattern:
    """The NoticeResponse with which it is let through."""

    def fits(message: Message) -> bool:
        return (
            isinstance(message, NoticeResponse)
            and (message.get(b"S"), message.get(b"V"), message.get(b"P")) == (b"WARNING", b"WARNING", None)
            and (message.get(b"M") or b"").startswith(use.what)
        )

    return Pattern(f"WARNING {use.what!r}", fits)


def refused(use: Use) -> tuple[Message | Pattern, ...]:
    """What goes up for a refused Parse, Bind and Execute."""
    if use.at_execute:
        return parse(b"", use.sql), bind(b""), A_PARSE_THAT_FAILS
    return (A_PARSE_THAT_FAILS,)


def answered(use: Use) -> tuple[Message, ...]:
    """What upstream and the client get of it ahead of the error."""
    return (ParseComplete(), BindComplete()) if use.at_execute else ()


def goes_on(script: SessionScript) -> None:
    """In autocommit: the connection is as it was."""
    script.queries(b"select 1", *A_ROW, IDLE)


def is_refused(script: SessionScript, use: Use) -> None:
    """In autocommit, as a Query with nothing in flight."""
    script.frontend_sends(Query(use.sql)).frontend_receives(refusal(use), IDLE)


def is_in_failed_block(script: SessionScript) -> None:
    """Nothing is done before the ROLLBACK, and all is well after it."""
    script.queries(b"select 1", ABORTED, FAILED)
    script.frontend_sends(*said(b"select 1"), Sync()).upstream_receives(*said(b"select 1"), Sync())
    script.upstream_answers(ABORTED, FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE)
    goes_on(script)


# Alone.


@each_use
def test_a_query_is_refused_and_nothing_of_it_goes_up(script: SessionScript, use: Use) -> None:
    is_refused(script, use)
    goes_on(script)


@each_use
def test_an_extended_query_is_refused(script: SessionScript, use: Use) -> None:
    script.frontend_sends(*said(use.sql), Sync()).upstream_receives(*refused(use), Sync())
    script.upstream_sends(*answered(use), server_error(b"42601"), IDLE)
    script.frontend_receives(*answered(use), refusal(use), IDLE)
    goes_on(script)


@each_use
def test_in_a_block_a_query_fails_it(script: SessionScript, use: Use) -> None:
    script.begins().frontend_sends(Query(use.sql)).upstream_receives(A_FAILING_QUERY)
    script.upstream_sends(DIVISION, FAILED).frontend_receives(refusal(use), FAILED)
    is_in_failed_block(script)


@each_use
def test_in_a_block_an_extended_query_fails_it(script: SessionScript, use: Use) -> None:
    script.begins().frontend_sends(*said(use.sql), Sync()).upstream_receives(*refused(use), Sync())
    script.upstream_sends(*answered(use), server_error(b"42601"), FAILED)
    script.frontend_receives(*answered(use), refusal(use), FAILED)
    is_in_failed_block(script)


@each_feature
def test_a_commit_of_the_failed_block_is_a_rollback(script: SessionScript, use: Use) -> None:
    script.begins().frontend_sends(Query(use.sql)).upstream_receives(A_FAILING_QUERY)
    script.upstream_sends(DIVISION, FAILED).frontend_receives(refusal(use), FAILED)
    script.queries(b"commit", done(b"ROLLBACK"), IDLE)


@each_feature
def test_in_a_failed_block_it_is_the_server_that_refuses(script: SessionScript, use: Use) -> None:
    script.begins().queries(b"selec", server_error(b"42601"), FAILED).queries(use.sql, ABORTED, FAILED)
    script.frontend_sends(*said(use.sql), Sync()).upstream_receives(*said(use.sql), Sync())
    script.upstream_answers(ABORTED, FAILED)
    is_in_failed_block(script)


# Prepared.


@each_use
def test_a_statement_is_refused_when_it_is_prepared_or_each_time_it_is_executed(
    script: SessionScript, use: Use
) -> None:
    if use.at_execute:
        script.prepares(b"s", use.sql)
        for _ in range(2):
            script.frontend_sends(bind(b"s"), execute(), Sync()).upstream_receives(*refused(use), Sync())
            script.upstream_sends(*answered(use), server_error(b"42601"), IDLE)
            script.frontend_receives(BindComplete(), refusal(use), IDLE)
    else:
        script.frontend_sends(parse(b"s", use.sql), Sync()).upstream_receives(A_PARSE_THAT_FAILS, Sync())
        script.upstream_sends(server_error(b"42601"), IDLE).frontend_receives(refusal(use), IDLE)
        script.does_not_know(b"s")
    goes_on(script)


# The ways out.


@pytest.mark.parametrize(
    ("policy", "way"),
    [
        (Policy(), b"start pgshim with --session-upstream HOST:PORT and connect with pgshim.session=on."),
        (Policy(has_session_endpoint=True), b"connect with pgshim.session=on among the startup parameters."),
        (
            Policy(session_listen="127.0.0.1:6433", has_session_endpoint=True),
            b"connect to 127.0.0.1:6433, or with pgshim.session=on among the startup parameters.",
        ),
    ],
)
@each_feature
def test_the_hint_names_the_ways_to_a_session_that_there_are(
    start: Start, use: Use, policy: Policy, way: bytes
) -> None:
    script = start(policy=policy)
    script.frontend_sends(*said(use.sql), Sync()).upstream_receives(*refused(use), Sync())
    script.upstream_sends(*answered(use), server_error(b"42601"), IDLE)
    named = Pattern(f"HINT {way!r}", lambda message: way in (getattr(message, "hint", None) or b""))
    script.frontend_receives(*answered(use), named, IDLE)
