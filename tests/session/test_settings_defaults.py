"""What goes back to the default, in the extended-query protocol outside of transaction blocks."""

from __future__ import annotations

import pytest

from pgshim.protocol.backend import BindComplete, NoData, ParameterDescription, ParseComplete
from pgshim.protocol.frontend import Sync
from tests.session.in_force import (
    INJECTED,
    LOCAL_WARNING,
    ONE_OF_ALL,
    SAID,
    WORK_MEM,
    carried_out,
    has_in_force,
    local,
    own,
    said,
    select,
    sets,
    setting,
    show,
    shown,
)
from tests.session.messages import (
    IDLE,
    bind,
    describe,
    describe_portal,
    done,
    execute,
    parse,
    row,
)
from tests.session.script import SessionScript, Start


def test_reset_leaves_a_setting_to_the_server(script: SessionScript) -> None:
    # What it resets is not brought there: a role may be gone by now.
    sets(script, b"work_mem", b"8MB")
    script.frontend_sends(*said(b"reset work_mem"), Sync())
    script.upstream_receives(*own(b"SET LOCAL work_mem TO DEFAULT"), Sync())
    script.upstream_sends(*SAID, LOCAL_WARNING, done(b"SET"), IDLE)
    script.frontend_receives(*SAID, done(b"RESET"), IDLE)
    has_in_force(script, {})


@pytest.mark.parametrize(("sql", "tag"), [(b"reset work_mem", b"RESET"), (b"set work_mem to default", b"SET")])
def test_what_means_the_default_goes_back_to_what_the_client_gave_at_connect(
    start: Start, sql: bytes, tag: bytes
) -> None:
    script = start(startup=WORK_MEM | {b"app.x": b"1"})
    script.frontend_sends(*said(sql), Sync())
    others = select({b"app.x": b"1"})
    script.upstream_receives(*own(others, b"SET LOCAL work_mem TO DEFAULT", local(b"work_mem", b"8MB")), Sync())
    script.upstream_sends(*INJECTED, *SAID, done(b"SET"), *carried_out(b"SET"), IDLE)
    script.frontend_receives(*SAID, done(tag), IDLE)
    has_in_force(script, {b"app.x": b"1"} | WORK_MEM)


def test_a_local_one_too(start: Start) -> None:
    script = start(startup=WORK_MEM)
    script.frontend_sends(*said(b"set local work_mem to default"), Sync())
    script.upstream_receives(*own(b"set local work_mem to default", local(b"work_mem", b"8MB")), Sync())
    script.upstream_sends(*SAID, LOCAL_WARNING, done(b"SET"), *carried_out(b"SET"), IDLE)
    script.frontend_receives(*SAID, LOCAL_WARNING, done(b"SET"), IDLE)


def test_reset_all_sets_back_each_setting_by_itself(start: Start) -> None:
    script = start(startup=WORK_MEM | {b"role": b"bob"})
    script.frontend_sends(*said(b"set datestyle = german"), Sync()).forgets()
    script.upstream_sends(*INJECTED, *SAID, done(b"SET"), *shown(b"German, DMY"), IDLE).forgets()
    script.frontend_sends(*said(b"reset all"), Sync())
    script.upstream_receives(
        *own(ONE_OF_ALL, local(b"work_mem", b"8MB"), b'SET LOCAL "datestyle" TO DEFAULT'), Sync()
    )
    script.upstream_sends(*SAID, done(b"SET"), *carried_out(b"SET", b"SET"), IDLE)
    status = setting(b"DateStyle", b"ISO, MDY")
    script.frontend_receives(*SAID, done(b"RESET"), status, IDLE)
    has_in_force(script, WORK_MEM | {b"role": b"bob"})


def test_reset_all_sets_back_what_its_own_batch_has_set(script: SessionScript) -> None:
    script.frontend_sends(*said(b"set datestyle = german"), *said(b"reset all"), *said(b"show datestyle"), Sync())
    script.upstream_receives(
        *own(b"SET LOCAL datestyle = german", show(b"datestyle")),
        *own(ONE_OF_ALL, b'SET LOCAL "datestyle" TO DEFAULT', b"show datestyle"),
        Sync(),
    )
    script.upstream_sends(*SAID, done(b"SET"), *shown(b"German, DMY")).frontend_receives(*SAID, done(b"SET"))
    script.upstream_sends(*SAID, done(b"SET"), *carried_out(b"SET")).frontend_receives(*SAID, done(b"RESET"))
    script.upstream_answers(*SAID, row(b"ISO, MDY"), done(b"SHOW"), IDLE)
    has_in_force(script, {})


def test_reset_all_is_described_as_what_returns_nothing(script: SessionScript) -> None:
    script.frontend_sends(parse(b"", b"reset all"), describe(b""), bind(b""), describe_portal(), execute(), Sync())
    script.upstream_receives(
        parse(b"", ONE_OF_ALL), describe(b""), bind(b""), describe_portal(), execute(), Sync()
    )
    script.upstream_answers(ParseComplete(), ParameterDescription(()), NoData(), BindComplete(), NoData())
    script.upstream_sends(done(b"SET"), IDLE).frontend_receives(done(b"RESET"), IDLE)


def test_discard_all_in_a_batch_resets_the_role_too(start: Start) -> None:
    script = start(startup=WORK_MEM | {b"role": b"bob"})
    script.frontend_sends(*said(b"set role carl"), Sync())
    script.upstream_receives(
        *own(select(WORK_MEM), b"SET LOCAL role carl", b"SHOW is_superuser", show(b"role")), Sync()
    )
    script.upstream_sends(*INJECTED, *SAID, done(b"SET"), *shown(b"off", b"carl"), IDLE).forgets()
    script.frontend_sends(*said(b"discard all"), Sync()).forgets()
    script.upstream_sends(*INJECTED, *SAID, done(b"SELECT 0"), IDLE).frontend_receives(
        *SAID, done(b"DISCARD ALL"), IDLE
    )
    has_in_force(script, WORK_MEM | {b"role": b"bob"})
