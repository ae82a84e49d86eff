"""Which pooler it is, by what each lets slip; what has not been run here is held to its documentation."""

import pytest

from pgshim.check.identity import Evidence, identify


def of(**seen: object) -> tuple[str, str]:
    found = identify(Evidence(**{"host": "h", **seen}))  # type: ignore[arg-type]
    return found.kind, found.version


@pytest.mark.parametrize(
    ("seen", "kind", "version"),
    [
        ({"console_version": "PgBouncer 1.24.1"}, "PgBouncer", "1.24.1"),
        ({"console_version": "PgCat 1.2.0"}, "pgcat", "1.2.0"),
        ({"console_version": "PgDog v0.1.54"}, "PgDog", "0.1.54"),
        ({"console_error": "not allowed (08P01)"}, "PgBouncer", ""),
        ({"parameters": {"pgbouncer_version": "1.26.0"}}, "PgBouncer", "1.26.0"),
        ({"parameters": {"pgbouncer_pool_mode": "transaction"}}, "PgBouncer", ""),
        ({"parameters": {"application_name": "Supavisor"}}, "Supavisor", ""),
        ({"server_name": "PGBOUNCER_7"}, "PgBouncer", "1.21 or later"),
        ({"server_name": "sv_q83v="}, "Supavisor", ""),
        ({"server_name": "__pgdog_12"}, "PgDog", ""),
        ({"server_name": "odyssey_pstmt_3"}, "Odyssey", ""),
        ({"server_name": "PGCAT_1"}, "pgcat", ""),
        ({"errors": ["unsupported startup parameter: options"]}, "PgBouncer", "before 1.20"),
        ({"errors": ["unsupported startup parameter in options: jit"]}, "PgBouncer", "1.20 or later"),
        ({"errors": ["unsupported startup parameter: pgshim.session"]}, "PgBouncer", ""),
        ({"errors": ["(ENOTFOUND) tenant/user a.b not found"]}, "Supavisor", ""),
        ({"errors": ["Tenant or user not found"]}, "Supavisor", ""),
        ({"errors": ["odyssey: c1: route for 'd.u' is not found"]}, "Odyssey", ""),
        ({"errors": ['user "u" and database "d" is wrong, or the database does not exist']}, "PgDog", ""),
        ({"errors": ['parameter "pgshim.session" requires a Boolean value']}, "pgshim", ""),
        ({"host": "aws-0-eu-central-1.pooler.supabase.com"}, "Supavisor", ""),
        ({"host": "app.proxy-abc123.eu-west-1.rds.amazonaws.com"}, "RDS Proxy", ""),
        ({"host": "ep-cool-1-pooler.eu-central-1.aws.neon.tech"}, "PgBouncer", ""),
        ({"key_process_id": 42, "backend_process_id": 42}, "none", ""),
        ({"key_process_id": 42, "backend_process_id": 43}, "unknown", ""),
        ({"errors": ['unrecognized configuration parameter "pgshim.session"']}, "unknown", ""),
        ({}, "unknown", ""),
    ],
)
def test_each_shows_itself(seen: dict[str, object], kind: str, version: str) -> None:
    assert of(**seen) == (kind, version)


def test_what_is_said_outright_counts_more_than_what_is_guessed() -> None:
    assert of(console_version="PgBouncer 1.23.0", errors=["unsupported startup parameter: options"])[1] == "1.23.0"
    assert of(host="aws-0-x.pooler.supabase.com", parameters={"pgbouncer_version": "1.26"})[0] == "PgBouncer"
