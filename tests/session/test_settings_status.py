"""ParameterStatus: the client is told of its settings as a server of its own would tell it, and of nothing else."""

from __future__ import annotations

from pgshim.protocol import hot
from pgshim.protocol.frontend import Query, Sync
from pgshim.session.client_settings import ClientSettings
from pgshim.session.injection import Value
from tests.session.in_force import (
    SAID,
    SELECTED,
    TEXT,
    WORK_MEM,
    begins,
    has_in_force,
    local,
    own,
    said,
    select,
    sets,
    setting,
    show,
    shown,
    told,
)
from tests.session.messages import FAILED, IDLE, IN_BLOCK, columns, done, row, server_error
from tests.session.script import SessionScript, Start

ZONE = {b"timezone": b"Asia/Tokyo"}
TOKYO, UTC = setting(b"TimeZone", b"Asia/Tokyo"), setting(b"TimeZone", b"UTC")
A_ROW = columns(TEXT), row(b"1"), done()


def sets_zone(script: SessionScript) -> SessionScript:
    script.frontend_sends(Query(b"set time zone 'Asia/Tokyo'"))
    script.upstream_receives(Query(b"SET LOCAL time zone 'Asia/Tokyo';SHOW \"timezone\""))
    script.upstream_sends(done(b"SET"), *told(b"Asia/Tokyo"), IDLE).frontend_receives(done(b"SET"), TOKYO, IDLE)
    return script


# In autocommit.


def test_a_set_in_a_query_is_reported(script: SessionScript) -> None:
    has_in_force(sets_zone(script), ZONE)


def test_a_set_in_a_batch_is_reported(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set timezone = 'Asia/Tokyo'"), Sync())
    script.upstream_receives(*own(b"SET LOCAL timezone = 'Asia/Tokyo'", show(b"timezone")), Sync())
    script.upstream_sends(*SAID, done(b"SET"), *shown(b"Asia/Tokyo"), IDLE)
    script.frontend_receives(*SAID, done(b"SET"), TOKYO, IDLE)


def test_of_what_is_brought_ahead_nothing_is_reported(start: Start) -> None:
    script = start(startup=ZONE)
    script.frontend_sends(Query(b"select 1")).upstream_receives(Query(select(ZONE) + b";select 1"))
    # PgBouncer reports what the end of the transaction has set back.
    script.upstream_sends(TOKYO, *SELECTED).upstream_answers(*A_ROW)
    script.upstream_sends(UTC, IDLE).frontend_receives(IDLE)


def test_a_set_that_changes_nothing_is_not_reported(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set time zone 'utc'")).forgets()
    script.upstream_sends(done(b"SET"), *told(b"UTC"), IDLE).frontend_receives(done(b"SET"), IDLE)


def test_what_is_not_reported_by_the_server_is_not_reported(script: SessionScript) -> None:
    sets(script, b"work_mem", b"8MB")


def test_a_reset_is_reported(script: SessionScript) -> None:
    sets_zone(script).frontend_sends(Query(b"reset timezone")).forgets()
    script.upstream_sends(done(b"SET"), IDLE).frontend_receives(done(b"RESET"), UTC, IDLE)


def test_a_reset_goes_back_to_what_the_client_gave_at_connect(start: Start) -> None:
    script = start(startup=ZONE)
    script.frontend_sends(Query(b"set timezone = 'Europe/Rome'")).forgets()
    script.upstream_sends(*SELECTED, done(b"SET"), *told(b"Europe/Rome"), IDLE)
    script.frontend_receives(done(b"SET"), setting(b"TimeZone", b"Europe/Rome"), IDLE)
    script.frontend_sends(Query(b"reset timezone")).forgets()
    script.upstream_sends(done(b"SET"), done(b"SET"), IDLE).frontend_receives(done(b"RESET"), TOKYO, IDLE)


def test_a_role_is_reported_with_what_hangs_on_it(script: SessionScript) -> None:
    script.frontend_sends(Query(b"set role boss"))
    script.upstream_receives(Query(b'SET LOCAL role boss;SHOW is_superuser;SHOW "role"'))
    script.upstream_sends(done(b"SET"), *told(b"on", b"boss"), IDLE)
    script.frontend_receives(done(b"SET"), setting(b"is_superuser", b"on"), IDLE)
    script.frontend_sends(Query(b"reset role")).forgets()
    script.upstream_sends(done(b"SET"), IDLE)
    script.frontend_receives(done(b"RESET"), setting(b"is_superuser", b"off"), IDLE)


def test_a_role_from_connect_says_what_hangs_on_it(start: Start) -> None:
    script = start(startup={b"role": b"boss"})
    script.frontend_sends(Query(b"set role carl")).forgets()
    script.upstream_sends(done(b"SET"), *told(b"on", b"carl"), IDLE)
    script.frontend_receives(done(b"SET"), setting(b"is_superuser", b"on"), IDLE)
    script.frontend_sends(Query(b"reset role")).forgets()
    script.upstream_sends(done(b"SET"), done(b"SET"), IDLE)
    script.frontend_receives(done(b"RESET"), setting(b"is_superuser", b"off"), IDLE)


# In a block.


def test_in_a_block_the_server_says_what_changes(script: SessionScript) -> None:
    script.begins().frontend_sends(Query(b"set local time zone 'Asia/Tokyo'"))
    script.upstream_receives(Query(b"set local time zone 'Asia/Tokyo'"))
    script.upstream_sends(done(b"SET"), TOKYO, IN_BLOCK).frontend_receives(done(b"SET"), TOKYO, IN_BLOCK)
    script.frontend_sends(Query(b"commit")).upstream_receives(Query(b"commit"))
    script.upstream_sends(done(b"COMMIT"), UTC, IDLE).frontend_receives(done(b"COMMIT"), UTC, IDLE)


def test_what_the_begin_brings_is_not_reported(start: Start) -> None:
    script = start(startup=ZONE)
    script.frontend_sends(Query(b"begin")).forgets()
    script.upstream_sends(done(b"BEGIN"), done(b"SET"), TOKYO, IN_BLOCK).frontend_receives(done(b"BEGIN"), IN_BLOCK)
    script.frontend_sends(Query(b"commit")).forgets()
    script.upstream_sends(done(b"COMMIT"), UTC, IDLE).frontend_receives(done(b"COMMIT"), IDLE)


def test_a_set_that_is_rolled_back_is_reported_twice(start: Start) -> None:
    script = start(startup=WORK_MEM)
    begins(script, local(b"work_mem", b"8MB")).frontend_sends(Query(b"set timezone to 'Asia/Tokyo'")).forgets()
    script.upstream_sends(done(b"SET"), *told(b"Asia/Tokyo"), TOKYO, IN_BLOCK)
    script.frontend_receives(done(b"SET"), TOKYO, IN_BLOCK)
    script.frontend_sends(Query(b"rollback")).upstream_receives(Query(b"rollback"))
    script.upstream_sends(done(b"ROLLBACK"), UTC, IDLE).frontend_receives(done(b"ROLLBACK"), UTC, IDLE)


def test_a_set_that_is_committed_is_reported_once(script: SessionScript) -> None:
    script.begins().frontend_sends(Query(b"set timezone to 'Asia/Tokyo'")).forgets()
    script.upstream_sends(done(b"SET"), *told(b"Asia/Tokyo"), TOKYO, IN_BLOCK)
    script.frontend_receives(done(b"SET"), TOKYO, IN_BLOCK)
    script.frontend_sends(Query(b"commit")).upstream_receives(Query(b"commit"))
    script.upstream_sends(done(b"COMMIT"), UTC, IDLE).frontend_receives(done(b"COMMIT"), IDLE)
    has_in_force(script, ZONE)


def test_a_block_that_fails_tells_what_its_failure_has_undone(start: Start) -> None:
    script = start(startup=ZONE)
    script.frontend_sends(Query(b"begin")).forgets()
    script.upstream_sends(done(b"BEGIN"), done(b"SET"), TOKYO, IN_BLOCK).forgets()
    script.frontend_sends(Query(b"set timezone to 'Europe/Rome'")).forgets()
    rome = setting(b"TimeZone", b"Europe/Rome")
    script.upstream_sends(done(b"SET"), *told(b"Europe/Rome"), rome, IN_BLOCK)
    script.frontend_receives(done(b"SET"), rome, IN_BLOCK)
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    # For the server that is UTC: its failure has undone the SET LOCAL behind the BEGIN, too.
    script.upstream_sends(server_error(b"42601"), UTC, FAILED).frontend_receives(server_error(b"42601"), TOKYO, FAILED)
    script.queries(b"rollback", done(b"ROLLBACK"), IDLE)


def test_a_savepoint_in_a_block_that_fails_tells_what_the_server_says(script: SessionScript) -> None:
    script.begins().frontend_sends(Query(b"set timezone to 'Asia/Tokyo'")).forgets()
    script.upstream_sends(done(b"SET"), *told(b"Asia/Tokyo"), TOKYO, IN_BLOCK).forgets()
    script.queries(b"savepoint a", done(b"SAVEPOINT"), IN_BLOCK)
    script.frontend_sends(Query(b"set local timezone to 'Europe/Rome'")).forgets()
    rome = setting(b"TimeZone", b"Europe/Rome")
    script.upstream_answers(done(b"SET")).upstream_sends(rome, IN_BLOCK).frontend_receives(rome, IN_BLOCK)
    script.frontend_sends(Query(b"x")).upstream_receives(Query(b"x"))
    script.upstream_sends(server_error(b"42601"), TOKYO, FAILED)
    script.frontend_receives(server_error(b"42601"), TOKYO, FAILED)


# What is not the client's.


def test_what_changes_on_the_server_itself_is_reported(script: SessionScript) -> None:
    read_only = setting(b"default_transaction_read_only", b"on")
    script.upstream_sends(read_only).frontend_receives(read_only)
    script.upstream_sends(read_only).expects_nothing()
    script.frontend_sends(Query(b"select 1")).upstream_receives(Query(b"select 1"))
    script.upstream_sends(*A_ROW, setting(b"default_transaction_read_only", b"off"), IDLE)
    script.frontend_receives(*A_ROW, setting(b"default_transaction_read_only", b"off"), IDLE)


def test_what_changes_on_the_server_is_not_reported_where_the_client_has_set_it(script: SessionScript) -> None:
    sets_zone(script).upstream_sends(setting(b"TimeZone", b"Europe/Rome")).expects_nothing()


def test_a_poolers_heartbeat_is_not_reported(script: SessionScript) -> None:
    script.upstream_sends(setting(b"application_name", b"Supavisor")).expects_nothing()
    script.frontend_sends(Query(b"select 1")).upstream_receives(Query(b"select 1"))
    script.upstream_sends(setting(b"application_name", b"Supavisor"), *A_ROW, IDLE).frontend_receives(*A_ROW, IDLE)


def test_a_poolers_own_name_is_no_news_beside_a_setting() -> None:
    reported = {b"TimeZone": b"UTC", b"application_name": b"Supavisor"}
    settings = ClientSettings(reported, reported | {b"application_name": b"app"}, {}, {})
    settings.set(b"timezone", Value(b"Asia/Tokyo"))
    assert settings.news(hot.IDLE) == TOKYO.encode()
    assert settings.shown(b"application_name", hot.IDLE) == b"app"
