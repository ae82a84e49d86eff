"""Each step of the startup is refused, with each of the texts that poolers have for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pgshim.protocol import hot
from tests.hostile.arena import BOUND, Arena, Heard, Talk, arena, each, quickly
from tests.hostile.checks import LOST, UNREACHABLE, VIOLATION, check_fatal, check_prefix
from tests.hostile.conversation import fatal, type_code_of
from tests.hostile.disturbance import EVERYWHERE, SESSION, Place
from tests.hostile.upstream import Ending, HostileUpstream, Part, Reception
from tests.proxy.conftest import Certificates
from tests.proxy.world import READY, Client, command_complete, data_row, error_fields, startup, until

#: (SQLSTATE, text, a word of the HINT that pgshim adds; empty: it adds none).
REFUSALS = [
    # Supavisor.
    ("XX000", "(ENOTFOUND) tenant/user postgres.ref not found", "--tenant"),
    ("XX000", "Tenant or user not found", "--tenant"),
    ("XX000", "(ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)", "--tenant"),
    ("XX000", "(EINVALIDUSERINFO) Authentication error, reason: invalid user info", "--tenant"),
    ("XX000", "(EMAXCONN) max client connections reached, limit: 200", "max_client_conn"),
    ("XX000", "Max client connections reached", "max_client_conn"),
    ("XX000", "(EMAXCONNSESSION) max clients reached in session mode - max clients are limited to 15", "session mode"),
    ("XX000", "MaxClientsInSessionMode: max clients reached", "session mode"),
    ("XX000", "(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 60000ms", "pool size"),
    ("XX000", "(ECIRCUITBREAKER) too many authentication failures, new connections are blocked", "password"),
    ("XX000", "(ECIRCUITBREAKER) failed to retrieve database credentials", "password"),
    ("XX000", "too many failed attempts to connect", "password"),
    ("XX000", "(EBANNED) banned", "password"),
    ("XX000", "(EMAXPOOLSREACHED) max pools count reached", "share"),
    ("XX000", "(ESSLREQUIRED) SSL connection is required", "--upstream-tls"),
    ("XX000", "(EADDRNOTALLOWED) Address not in tenant allow_list: 10.0.0.1", "addresses"),
    ("XX000", "(EAUTHQUERY) authentication query failed", "auth_query"),
    ("XX000", "(EAUTHSECRETS) secrets not found", "auth_query"),
    ("XX000", "(EPOOLCONFIGNOTFOUND) no config", "auth_query"),
    ("XX000", "(EDBHANDLEREXITED) connection to database closed", ""),
    ("XX000", "(EWORKERNOTFOUND) worker not found", ""),
    ("28P01", 'password authentication failed for user "alice"', "percent-encoded"),
    ("28P01", "Authentication credentials are invalid. Please reconnect with fresh credentials", "percent-encoded"),
    ("08P01", "(ESTARTUPMESSAGE) invalid startup message", ""),
    ("08P01", "(EAUTHPROTOCOL) unexpected message", ""),
    ("08006", "(EAUTHTIMEOUT) authentication timeout", ""),
    ("08006", "Failed to connect to database: connection refused", "database server"),
    ("57P01", "terminating connection due to administrator command", ""),
    # PgBouncer.
    ("08P01", "unsupported startup parameter: extra_float_digits", "--upstream-mode"),
    ("08P01", "unsupported startup parameter in options: jit", "--upstream-mode"),
    ("08P01", "unsupported options startup parameter: only '-c config=val' is allowed", "--upstream-mode"),
    ("08P01", "no more connections allowed (max_client_conn)", "max_client_conn"),
    ("08P01", "client connections exceeded (max_db_client_connections)", "max_client_conn"),
    ("08P01", "query_wait_timeout", "pool size"),
    ("08P01", "client_login_timeout", ""),
    ("08P01", "server login has been failing, cached error: no route (server_login_retry)", "database server"),
    ("08P01", "no such database: app", ""),
    ("08P01", 'database "app" is disabled', ""),
    ("08P01", "pooler is shutting down", ""),
    ("08P01", "server conn crashed?", "database server"),
    ("08P01", "SASL authentication failed", "percent-encoded"),
    ("08P01", "SSL required", "--upstream-tls"),
    ("08P01", "bouncer config error", "auth_file"),
    ("08P01", "unknown pkt", ""),
    ("53300", "sorry, too many clients already", "max_client_conn"),
    ("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "alice", database "app", no encryption', "pg_hba.conf"),
]


def check_refused(heard: Heard, sqlstate: str, text: str, word: str) -> None:
    """The client has what the pooler said, with what pgshim knows of it, and nothing behind it."""
    fields = heard.fatal
    assert (fields["S"], fields["C"], fields["M"]) == ("FATAL", sqlstate, text), str(heard)
    assert word in fields.get("H", ""), str(heard)
    assert bool(word) == ("H" in fields), str(heard)
    assert heard.is_closed
    assert not heard.rest


def refused(ring: Arena, place: Place, number: int) -> Callable[[], Awaitable[None]]:
    async def case() -> None:
        token = str(2000 + number)
        sqlstate, text, word = REFUSALS[number % len(REFUSALS)]
        said = b"".join(place.answers(token)[: place.index]) + fatal(sqlstate, text)
        ring.upstream.parts[token] = Part.changed(token, place.turn, said)
        heard = await Talk(token).play_to_the_end(ring.server)
        check_prefix(heard)
        check_refused(heard, sqlstate, text, word)

    return case


def test_a_refusal_at_any_step_of_the_login_reaches_the_client_with_the_way_out() -> None:
    login = [place for place in EVERYWHERE if place not in SESSION]
    assert len(login) >= 9

    async def story() -> None:
        async with arena() as ring:
            steps = [place for place in login for _ in REFUSALS]
            await each(refused(ring, place, number) for number, place in enumerate(steps))

    quickly(story())


def test_a_refusal_between_the_turns_of_a_session_reaches_the_client_too() -> None:
    ends = [place for place in SESSION if type_code_of(place.answers("@@@@")[place.index]) == "Z"]

    async def story() -> None:
        async with arena() as ring:
            steps = [ends[number % len(ends)] for number in range(len(REFUSALS))]
            await each(refused(ring, place, number) for number, place in enumerate(steps))

    quickly(story())


def test_an_upstream_that_refuses_and_does_not_close_is_left_with_its_refusal() -> None:
    async def story() -> None:
        async with arena(welcomes=False, login_timeout=1.0) as ring:
            ring.upstream.parts["2000"] = Part((fatal("XX000", "(EMAXCONN) full"),), Ending.SILENCE)
            check_refused(await Talk("2000").play_to_the_end(ring.server), "XX000", "(EMAXCONN) full", "max_client")

    quickly(story())


# The answer to the SSLRequest, or to the StartupMessage where there is none.

REFUSED = fatal("XX000", "(EMAXCONN) max client connections reached")
HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"

RECEPTIONS = {
    "nothing": Reception(b""),
    "a reset": Reception(b"", Ending.RESET),
    "nothing at all": Reception(b"", Ending.CLOSE, is_at_once=True),
    "silence": Reception(b"", Ending.SILENCE),
    "an error": Reception(REFUSED),
    "an error without an end": Reception(REFUSED, Ending.SILENCE),
    "the beginning of an error": Reception(REFUSED[:20]),
    "an error that is none": Reception(b"E\xff\xff\xff\xff" + bytes(20_000)),
    "half of a length": Reception(b"E\0\0"),
    "an old error": Reception(b"Eunsupported frontend protocol\0"),
    "HTTP": Reception(HTTP, Ending.SILENCE),
    "HTTP at once": Reception(HTTP, Ending.SILENCE, is_at_once=True),
    "a byte": Reception(b"x", Ending.SILENCE),
    "a login at once": Reception(b"R\0\0\0\x08\0\0\0\0" + READY, Ending.SILENCE),
    "S and more": Reception(b"S" + READY, Ending.SILENCE),
    "N and more": Reception(b"N" + READY, Ending.SILENCE),
    "S and no TLS": Reception(b"S", Ending.CLOSE),
    "S and a reset": Reception(b"S", Ending.RESET),
    "N and nothing": Reception(b"N", Ending.CLOSE),
    "N and silence": Reception(b"N", Ending.SILENCE),
    "G": Reception(b"G", Ending.CLOSE),
}


@pytest.mark.parametrize("mode", ["prefer", "require", "disable"])
def test_a_first_answer_that_is_none_is_an_honest_error(certificates: Certificates, mode: str) -> None:
    async def story() -> None:
        upstream = HostileUpstream(tls=certificates.server_context() if mode == "require" else None)
        options = {"upstream_tls": mode, "connect_timeout": 1.5, "login_timeout": 3.0}
        async with arena(upstream, welcomes=False, **options) as ring:
            talks: dict[str, asyncio.Task[Heard]] = {}
            for name, reception in RECEPTIONS.items():
                upstream.reception = reception
                talks[name] = asyncio.create_task(Talk("2000").play_to_the_end(ring.server))
                await until(lambda: upstream.receptions == len(talks), BOUND)
            await asyncio.wait(talks.values())
            await ring.others_are_served(1)
        for name, talk in talks.items():
            check_first_answer(RECEPTIONS[name], talk.result(), mode)

    quickly(story())


def check_first_answer(reception: Reception, heard: Heard, mode: str) -> None:
    if mode == "disable" and reception == RECEPTIONS["a login at once"]:
        # So is a login without a password; the client's first message is then none of a session.
        assert heard.fatal["C"] == VIOLATION
        return
    assert heard.before_fatal == []
    if mode == "disable" and reception.answer == REFUSED:
        check_refused(heard, "XX000", "(EMAXCONN) max client connections reached", "max_client_conn")
    elif mode == "disable":
        check_fatal(heard, LOST, VIOLATION)
    elif mode == "prefer" and reception.answer == b"N":
        # Once somebody has said S, an N is not taken any more.
        check_fatal(heard, LOST, VIOLATION, UNREACHABLE)
    else:
        check_fatal(heard, UNREACHABLE)
        assert ("EMAXCONN" in heard.fatal["M"]) == (mode == "prefer" and reception.answer == REFUSED)


# What a server is asked about the client's settings at the end of the login.

CHECKED = hot.message(ord("T"), b"\0\0") + data_row(2) + command_complete() + READY

CHECKS = {
    "nothing": (b"", VIOLATION),
    "only ReadyForQuery": (READY, VIOLATION),
    "no rows": (command_complete() + READY, VIOLATION),
    "too many columns": (hot.message(ord("D"), b"\0\2" + b"\0\0\0\1x" * 2) + command_complete() + READY, VIOLATION),
    "too few columns": (hot.message(ord("D"), b"\0\0") + command_complete() + READY, VIOLATION),
    "a row that lies": (hot.message(ord("D"), b"\0\1\0\0\xff\xffx") + command_complete() + READY, VIOLATION),
    "an empty row": (hot.message(ord("D"), b"") + command_complete() + READY, VIOLATION),
    "a NULL": (hot.message(ord("D"), b"\0\1\xff\xff\xff\xff") + command_complete() + READY, VIOLATION),
    "a block": (data_row(2) + command_complete() + hot.READY[hot.IN_BLOCK], VIOLATION),
    "a failed block": (data_row(2) + command_complete() + hot.READY[hot.IN_FAILED_BLOCK], VIOLATION),
    "another reply": (hot.PARSE_COMPLETE + READY, VIOLATION),
    "garbage": (b"\xff" * 40, VIOLATION),
    "an error": (hot.error_response("ERROR", b"22023", "no") + READY, "22023"),
    "a fatal error": (fatal("57P01", "gone"), "57P01"),
    "a refusal": (fatal("XX000", "(ECHECKOUTTIMEOUT) none"), "XX000"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_of_settings_that_goes_wrong_ends_the_login_and_is_not_remembered(name: str) -> None:
    answer, sqlstate = CHECKS[name]

    async def story() -> None:
        async with arena(welcomes=False, login_timeout=60.0 if answer else 1.0) as ring:
            ring.upstream.check_answer = answer
            client = await Client.connect(ring.server)
            client.send(startup(statement_timeout="5000"))
            types = ""
            while not types.endswith("E"):
                type_code, body = await client.read()
                assert type_code not in ("", "Z"), types
                types += type_code
            fields = error_fields(body)
            assert (fields["S"], fields["C"]) == ("FATAL", sqlstate if answer else LOST)
            assert await client.is_closed()
            # What went wrong is no verdict on the settings: the next one is asked for anew.
            ring.upstream.check_answer = None
            client = await Client.connect(ring.server)
            client.send(startup(statement_timeout="5000"))
            while (await client.read())[0] != "Z":
                assert not client.reader.at_eof()
            client.send(hot.TERMINATE)
            assert await client.is_closed()
            await until(lambda: ring.upstream.open == 1, BOUND)

    quickly(story())
