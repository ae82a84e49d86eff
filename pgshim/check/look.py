"""The steps behind the login: the server, the pooler, and what works there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict

from pgshim.check import experiments, parameters
from pgshim.check.course import Course
from pgshim.check.experiments import Kept, Mode, PoolMode
from pgshim.check.failures import CheckFailure
from pgshim.check.identity import NONE, ODYSSEY, PGBOUNCER, PGCAT, PGDOG, PGSHIM, SUPAVISOR, UNKNOWN, identify
from pgshim.check.parameters import Fate, Outcome
from pgshim.check.recommendation import Found, recommend
from pgshim.check.report import Level
from pgshim.check.wire import Wire

SERVER, POOLER, PREPARED, PIPELINES = "Server", "Pooler", "Prepared statements", "Pipelines"
STARTUP, SPEED, VERDICT = "Startup parameters", "Round trip", "What pgshim makes of it"

#: What is told of a PgBouncer's configuration, where its console lets us in.
_CONFIGURATION = ("pool_mode", "max_prepared_statements", "ignore_startup_parameters", "default_pool_size")

_CONSOLE = "pgbouncer"

#: Where batches in flight are not safe, and why; and where several writes of them are.
_LOSES_REPLIES = {SUPAVISOR: "Supavisor is known to lose replies", PGCAT: "pgcat is known to mix up replies"}
_COUNTS_REPLIES = (PGBOUNCER, PGDOG, ODYSSEY, PGSHIM)


async def look_at_server(course: Course) -> None:
    """What it says at login, and which process answers."""
    wire = await course.again()
    said = wire.parameters
    seen = course.evidence
    seen.host = wire.attempt.address.host
    seen.parameters = dict(said)
    seen.key_process_id = wire.process_id
    seen.backend_process_id = await experiments.process_id(wire)
    version = said.get("server_version", "not told")
    course.report.data["server"] = {"version": version, "parameters": dict(sorted(said.items()))}
    course.report.add(SERVER, "PostgreSQL", version, level=Level.PLAIN)
    if said.get("in_hot_standby") == "on":
        fix = "For writing, connect to the primary."
        course.report.add(SERVER, "standby", "it is a standby: reading only", level=Level.WARNING, fix=fix)
    elif said.get("default_transaction_read_only") == "on":
        course.report.add(SERVER, "read only", "transactions are read-only by default here", level=Level.WARNING)


async def look_at_speed(course: Course) -> None:
    """How long a query takes that has nothing to do."""
    found = await experiments.round_trips(await course.again())
    course.report.data["round_trip"] = {"samples": found.samples, "min_ms": found.least, "median_ms": found.median}
    text = f"median {found.median:.2f} ms, least {found.least:.2f} ms, of {found.samples}"
    course.report.add(SPEED, "SELECT 1", text, level=Level.PLAIN)


async def look_at_pooler(course: Course) -> None:
    """Which it is, in which mode. What the later sections tell is found out here, because it gives a pooler away."""
    seen = course.evidence

    async def connect(extra: Sequence[tuple[str, str]]) -> Wire:
        return await course.connect(extra=extra)

    refusal = await parameters.unknown_parameter(connect)
    if refusal:
        seen.errors.append(refusal)
    skipped = {}
    if identify(seen).kind == SUPAVISOR:
        skipped["search_path"] = "Supavisor opens a pool of its own for each value"
    # A server before 11 does not have it.
    answer = await (await course.again()).query("SHOW jit")
    jit = answer.rows[0][0] if answer.rows else ""
    course.parameters = await parameters.try_all(connect, skipped, jit or "")
    # The one for `options` says most: it goes first.
    seen.errors[:0] = [one.text for one in reversed(course.parameters) if one.fate is Fate.REFUSED]
    course.statements = await experiments.prepare(await course.again())
    seen.server_name = course.statements.server_name
    if course.statements.mode is not None:
        course.mode = course.statements.mode
        seen.errors.append(course.mode.evidence)
    course.identity = identify(seen)
    if course.identity.kind in (PGBOUNCER, UNKNOWN):
        await _ask_console(course)
    course.identity = identify(seen)
    course.report.data["pooler"] = {
        "kind": course.identity.kind,
        "version": course.identity.version or None,
        "evidence": course.identity.evidence,
    }
    _add_identity(course)
    if course.mode.mode is Mode.UNKNOWN:
        course.mode = await _find_mode(course)
    course.report.data["pooler"] |= {"mode": course.mode.mode.value, "mode_evidence": course.mode.evidence}
    if course.identity.kind != NONE:
        level = Level.OK if course.mode.mode is not Mode.UNKNOWN else Level.WARNING
        course.report.add(POOLER, "mode", f"{course.mode.mode.value}: {course.mode.evidence}", level=level)


async def _find_mode(course: Course) -> PoolMode:
    if course.identity.kind == NONE:
        return PoolMode(Mode.SESSION, "a server process belongs to its connection")
    return await experiments.find_mode(await course.again(), course.connect)


async def _ask_console(course: Course) -> None:
    """PgBouncer's console is a database of its own; its version is told to those whom it lets in."""
    seen = course.evidence
    try:
        wire = await course.connect(database=_CONSOLE)
    except CheckFailure as failure:
        seen.console_error = failure.text
        return
    try:
        version = await wire.query("SHOW VERSION")
        if version.error is None and version.rows:
            seen.console_version = version.value
            rows = (await wire.query("SHOW CONFIG")).rows
            said = {row[0]: row[1] for row in rows if len(row) > 1}
            found = {name: said[name] for name in _CONFIGURATION if said.get(name)}
            course.report.data["pooler_configuration"] = found
    except CheckFailure as failure:
        seen.console_error = failure.text
    finally:
        await wire.close()


def _add_identity(course: Course) -> None:
    identity = course.identity
    if identity.kind == NONE:
        course.report.add(POOLER, "none", f"this is the server itself: {identity.evidence}")
    elif identity.kind == UNKNOWN:
        course.report.add(POOLER, "not known", identity.evidence, level=Level.NOTE)
    else:
        course.report.add(POOLER, identity.kind, f"{identity.version}; {identity.evidence}".removeprefix("; "))
    configuration = course.report.data.get("pooler_configuration")
    if configuration:
        text = ", ".join(f"{name} = {value}" for name, value in configuration.items())
        course.report.add(POOLER, "configuration", text, level=Level.PLAIN)


async def look_at_statements(course: Course) -> None:
    """Whether drivers that prepare statements can live here."""
    found, report = course.statements, course.report
    data: dict[str, object] = {"kept": found.kept.value, "evidence": found.evidence, "follow": None}
    report.data["prepared_statements"] = data
    if course.mode.mode is Mode.SESSION:
        data["kept"] = Kept.BY_SESSION.value
        report.add(PREPARED, "names", "kept: a client has its server for itself")
        return
    if found.kept is Kept.UNKNOWN:
        report.add(PREPARED, "names", "not tried: transactions are refused", level=Level.PLAIN)
        return
    if found.kept is Kept.NOT:
        text = (
            f"not kept: {found.evidence}, so the next transaction may miss it (26000), find it there already (42P05),"
            " or run another client's"
        )
        fix = "pgshim keeps them; without it, they have to be turned off in the driver."
        report.add(PREPARED, "names", text, level=Level.NOTE, fix=fix)
        return
    follows = data["follow"] = await experiments.follow(found, await course.again(), course.connect)
    if course.identity.kind == PGSHIM:
        report.add(PREPARED, "names", "kept by pgshim")
    elif follows is False:
        text = f"{found.evidence}, and it was gone on another server"
        report.add(PREPARED, "names", text, level=Level.WARNING, fix="pgshim keeps them.")
    else:
        seen = "and works on another server" if follows else "and no second server was there to try it on"
        text = f"kept by the pooler: {found.evidence}, {seen}"
        fix = "After a schema change (0A000), and with SQL's DEALLOCATE, it may still fail; pgshim takes care of both."
        report.add(PREPARED, "names", text, level=Level.NOTE, fix=fix)


async def look_at_pipelines(course: Course) -> None:
    """Whether batches in flight are all answered."""
    is_shared = course.mode.mode is not Mode.SESSION
    if is_shared and course.identity.kind in _LOSES_REPLIES:
        course.report.data["pipelining"] = asdict(experiments.Pipelining())
        text = f"not tried: {_LOSES_REPLIES[course.identity.kind]}, and another client could get them"
        fix = "pgshim sends one batch at a time; without it, no driver may pipeline."
        course.report.add(PIPELINES, "replies", text, level=Level.NOTE, fix=fix)
        return
    is_counted = not is_shared or course.identity.kind in _COUNTS_REPLIES
    course.pipelining = found = await experiments.pipeline(course.connect, in_several_writes=is_counted)
    course.report.data["pipelining"] = asdict(found)
    if found.in_one_write is None:
        text = "not tried: no server was free for another connection"
        course.report.add(PIPELINES, "replies", text, level=Level.PLAIN)
        return
    if not found.has_failed:
        ways = "sent in one write, and in three" if found.is_fine else "sent in one write"
        course.report.add(PIPELINES, "replies", f"three batches in flight, {ways}, were all answered")
        return
    how = "in one write" if not found.in_one_write else "in three writes"
    text = f"three batches in flight, sent {how}: replies were lost or mixed up"
    fix = "pgshim sends one batch at a time (--pipeline=serial); without it, no driver may pipeline."
    level = Level.NOTE if course.mode.mode is Mode.TRANSACTION else Level.PROBLEM
    course.report.add(PIPELINES, "replies", text, level=level, fix=fix)


async def look_at_parameters(course: Course) -> None:
    """What becomes of what drivers and apps send at login."""
    found = course.parameters
    course.report.data["startup_parameters"] = [{**asdict(one), "fate": one.fate.value} for one in found]
    for fate in Fate:
        _add_fate(course, fate, [one for one in found if one.fate is fate])


def _add_fate(course: Course, fate: Fate, outcomes: list[Outcome]) -> None:
    if not outcomes:
        return
    names = ", ".join(one.name for one in outcomes)
    is_mended = course.mode.mode is Mode.TRANSACTION and course.identity.kind != PGSHIM
    fix = "pgshim takes them, and has them in force for this client." if is_mended else ""
    if fate is Fate.TAKEN:
        course.report.add(STARTUP, fate.value, names)
    elif fate is Fate.NOT_TRIED:
        for one in outcomes:
            course.report.add(STARTUP, fate.value, f"{one.name}: {one.text}", level=Level.PLAIN)
    elif fate is Fate.IGNORED:
        text = f"{names}: dropped without a word"
        course.report.add(STARTUP, fate.value, text, level=Level.NOTE, fix=fix or "SET does it after the login.")
    else:
        example = "as in " if len({one.text for one in outcomes}) > 1 else ""
        text = f'{names}: {example}"{outcomes[0].text}"'
        fix = fix or "Leave them out, or have the pooler ignore them."
        course.report.add(STARTUP, fate.value, text, level=Level.NOTE, fix=fix)


def come_to_a_verdict(course: Course) -> None:
    """What to do with all that."""
    assert course.attempt is not None
    found = Found(
        address=course.attempt.address,
        identity=course.identity,
        mode=course.mode.mode,
        has_tls=course.has_tls,
        verdicts=course.verdicts,
        pipelining=course.pipelining,
    )
    course.recommendation = made = recommend(course.target, found)
    course.report.data["recommendation"] = {
        "is_needed": made.is_needed,
        "text": made.text,
        "arguments": list(made.arguments) or None,
        "command": made.command or None,
        "database_url": made.url or None,
    }
    label = {True: "needed", False: "not needed", None: "no use"}[made.is_needed]
    course.report.add(VERDICT, label, made.text, level=made.level, fix=made.fix)


STEPS: tuple[tuple[str, Callable[[Course], Awaitable[None]]], ...] = (
    (SERVER, look_at_server),
    (SPEED, look_at_speed),
    (POOLER, look_at_pooler),
    (PREPARED, look_at_statements),
    (PIPELINES, look_at_pipelines),
    (STARTUP, look_at_parameters),
)
