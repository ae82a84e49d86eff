"""The settings of one client by themselves: values, what they are brought back to, and what has to be known of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pgshim.protocol import hot
from pgshim.session.client_settings import ClientSettings
from pgshim.session.injection import Value, is_inconsequential
from tests.session.in_force import setting

NOTHING: Mapping[bytes, bytes] = {}
BASE = {b"TimeZone": b"UTC", b"client_encoding": b"UTF8", b"standard_conforming_strings": b"on"}


def settings(*, told: Mapping[bytes, bytes] = NOTHING, **startup: bytes) -> ClientSettings:
    given = {name.encode(): value for name, value in startup.items()}
    return ClientSettings(BASE, {**BASE, **told}, given, {})


def values(found: ClientSettings) -> dict[bytes, bytes]:
    return {name: value.text for name, value in found.current.items()}


def commit(found: ClientSettings) -> None:
    found.end_batch(hot.IDLE)


# What is in force.


def test_of_one_who_set_nothing_nothing_is_looked_after() -> None:
    found = settings()
    assert not found.is_active
    assert not found.is_reading_changed
    assert found.is_inconsequential
    assert found.size == 0
    assert settings(work_mem=b"8MB").is_active


def test_the_last_one_set_comes_last() -> None:
    found = settings(a=b"1", b=b"2")
    found.set(b"a", Value(b"3"))
    assert list(values(found).items()) == [(b"b", b"2"), (b"a", b"3")]
    assert found.size == 4


def test_one_that_a_pooler_keeps_in_step_is_left_to_it() -> None:
    found = settings()
    found.set(b"client_encoding", Value(b"LATIN1"))
    assert found.is_reading_changed
    found.set(b"client_encoding", Value(b"UTF8"))
    assert values(found) == {}
    found.set(b"timezone", Value(b"UTC"))
    assert values(found) == {b"timezone": b"UTC"}


def test_one_from_connect_is_never_left_to_it() -> None:
    found = settings(client_encoding=b"LATIN1")
    found.set(b"client_encoding", Value(b"UTF8"))
    assert values(found) == {b"client_encoding": b"UTF8"}


def test_when_nothing_is_in_force_any_more_nothing_is_looked_after() -> None:
    found = settings()
    found.set(b"work_mem", Value(b"8MB"))
    commit(found)
    assert found.is_active
    found.reset(b"work_mem")
    commit(found)
    assert not found.is_active


def test_a_reset_goes_back_to_connect() -> None:
    found = settings(work_mem=b"8MB")
    found.set(b"work_mem", Value(b"5kB"))
    found.reset(b"work_mem")
    assert values(found) == {b"work_mem": b"8MB"}


@pytest.mark.parametrize("with_role", [False, True])
def test_reset_all_leaves_the_role_and_discard_all_does_not(with_role: bool) -> None:
    found = settings(role=b"bob", work_mem=b"8MB")
    found.set(b"role", Value(b"carl"))
    found.set(b"app.x", Value(b"1"))
    found.reset_all(with_role=with_role)
    assert values(found) == {b"work_mem": b"8MB", b"role": b"bob" if with_role else b"carl"}


def test_what_a_transaction_changes_for_itself_is_reset_with_the_rest() -> None:
    found = settings(role=b"bob", work_mem=b"8MB")
    found.set(b"app.x", Value(b"1"))
    found.locals[b"datestyle"] = None
    assert found.names_to_reset() == [b"work_mem", b"app.x", b"datestyle"]
    commit(found)
    assert found.names_to_reset() == [b"work_mem", b"app.x"]


# What no statement means something else for.


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (b"jit", True),
        (b"enable_seqscan", True),
        (b"jit_above_cost", True),
        (b"geqo_seed", True),
        (b"extra_float_digits", True),
        (b"work_mem", False),
        (b"search_path", False),
        (b"role", False),
    ],
)
def test_some_settings_change_nothing_but_a_plan_or_a_spelling(name: bytes, is_one: bool) -> None:
    assert is_inconsequential(name) is is_one
    assert ClientSettings(BASE, BASE, {name: b"x"}, {}).is_inconsequential is is_one
    assert settings().wants_default(name) is is_one


def test_the_servers_value_of_one_is_asked_for_once_and_before_it_is_changed() -> None:
    assert not settings(jit=b"off").wants_default(b"jit")
    found = settings()
    found.locals[b"jit"] = None
    assert not found.wants_default(b"jit")
    found = settings()
    found.is_unsettled = True
    assert not found.wants_default(b"jit")
    found = settings()
    found.set(b"jit", Value(b"off"))
    assert not found.wants_default(b"jit")
    found = settings()
    found.learn(b"jit", b"on")
    assert not found.wants_default(b"jit")
    found.set(b"jit", Value(b"off"))
    assert values(found) == {b"jit": b"off"}
    found.set(b"jit", Value(b"on"))
    assert values(found) == {}


# Transactions.


def test_a_failed_batch_undoes_what_it_set() -> None:
    found = settings(work_mem=b"8MB")
    found.set(b"work_mem", Value(b"5kB"))
    found.has_failed = True
    found.end_batch(hot.IDLE)
    assert values(found) == {b"work_mem": b"8MB"}


def test_in_a_block_it_is_undone_by_rollback_alone() -> None:
    found = settings()
    found.set(b"work_mem", Value(b"5kB"))
    found.end_batch(hot.IN_BLOCK)
    assert values(found) == {b"work_mem": b"5kB"}
    found.end_transaction(is_committed=False)
    assert values(found) == {}


def test_an_unknown_savepoint_was_set_when_nothing_had_been_changed() -> None:
    found = settings(work_mem=b"8MB")
    found.set(b"work_mem", Value(b"5kB"))
    found.savepoint(b"b")
    found.rollback_to(b"a")
    assert values(found) == {b"work_mem": b"8MB"}
    found.release(b"a")
    assert values(found) == {b"work_mem": b"8MB"}


# How they are brought into force.


def test_how_they_are_brought_into_force_is_worked_out_once() -> None:
    found = settings(search_path=b'"$user", app', default_transaction_read_only=b"on")
    injection = found.injection
    assert injection.outside == (
        b"SET transaction_read_only TO 'on'",
        b"SELECT pg_catalog.set_config('search_path','\"$user\", app',true),"
        b"pg_catalog.set_config('default_transaction_read_only','on',true)",
    )
    assert injection.statements == (
        b"SET LOCAL search_path TO '$user', 'app'",
        b"SET LOCAL default_transaction_read_only TO 'on'",
    )
    assert injection.modes == {b"transaction_read_only": b"SET LOCAL transaction_read_only TO 'on'"}
    assert found.injection is injection
    found.set(b"search_path", Value(b"other"))
    assert found.injection is not injection
    assert found.injection.outside[1].endswith(b"set_config('search_path','other',true)")


def test_nothing_is_done_to_bring_nothing_into_force() -> None:
    assert settings().injection.outside == settings().injection.statements == ()


# ParameterStatus.


def test_the_client_is_told_what_it_was_not_told_at_login() -> None:
    found = settings(told={b"TimeZone": b"CET"}, timezone=b"CET")
    assert found.news(hot.IDLE) == b""
    found.set(b"timezone", Value(b"UTC"))
    assert found.news(hot.IDLE) == setting(b"TimeZone", b"UTC").encode()
    assert found.news(hot.IDLE) == b""


def test_what_was_never_reported_is_told_when_it_is() -> None:
    found = settings()
    found.note_status(b"in_hot_standby", b"off")
    found.end_batch(hot.IDLE)
    assert found.news(hot.IDLE) == setting(b"in_hot_standby", b"off").encode()


def test_what_is_reported_in_a_block_for_the_first_time_is_not_known_behind_it() -> None:
    found = settings()
    found.note_status(b"New", b"1")
    found.end_batch(hot.IN_BLOCK)
    assert found.news(hot.IN_BLOCK) == setting(b"New", b"1").encode()
    found.end_batch(hot.IN_BLOCK)
    commit(found)
    assert found.shown(b"new", hot.IDLE) is None
    assert found.news(hot.IDLE) == b""


def test_the_later_of_two_roles_says_what_hangs_on_them() -> None:
    found = ClientSettings(BASE | {b"is_superuser": b"off"}, BASE | {b"is_superuser": b"off"}, {}, {})
    found.set(b"session_authorization", Value(b"boss", ((b"is_superuser", b"on"),)))
    assert found.news(hot.IDLE) == setting(b"is_superuser", b"on").encode()
    found.set(b"role", Value(b"bob", ((b"is_superuser", b"off"),)))
    assert found.news(hot.IDLE) == setting(b"is_superuser", b"off").encode()
    assert found.shown(b"application_name", hot.IDLE) is None


@pytest.mark.parametrize("startup", [{}, {b"role": b"bob"}])
def test_a_session_authorization_that_is_reset_resets_the_role(startup: dict[bytes, bytes]) -> None:
    found = ClientSettings(BASE, BASE, startup, {})
    found.set(b"role", Value(b"boss"))
    found.reset(b"session_authorization")
    assert {name: value.text for name, value in found.current.items()} == startup


def test_connections_to_many_upstreams_do_not_get_in_each_others_way() -> None:
    for number in range(200):
        base = {b"TimeZone": b"%d" % number}
        found = ClientSettings(base, base, {}, {})
        assert found.shown(b"timezone", hot.IDLE) == b"%d" % number
    again = settings()
    again.note_status(b"TimeZone", b"CET")
    commit(again)
    assert settings().shown(b"timezone", hot.IDLE) == b"UTC"


@pytest.mark.parametrize(("zone", "is_the_same"), [(b"Etc/UTC", True), (b"Asia/Tokyo", False)])
def test_another_name_of_the_servers_own_time_zone_is_of_no_consequence(zone: bytes, is_the_same: bool) -> None:
    found = settings(jit=b"off")
    found.set(b"timezone", Value(zone))
    assert found.is_inconsequential is is_the_same
    assert found.consequential() == ([] if is_the_same else [b"timezone"])
