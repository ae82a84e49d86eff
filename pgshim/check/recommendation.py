"""What pgshim makes of what was found: whether it is of use there, its command line, and the app's URL."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pgshim.addresses import DEFAULT_PORT, Address
from pgshim.check.certificates import Verdict
from pgshim.check.experiments import Mode, Pipelining
from pgshim.check.identity import NONE, PGBOUNCER, PGSHIM, Identity
from pgshim.check.report import Level
from pgshim.check.target import SUPABASE_POOLER, Target, app_url

_SUPABASE_TRANSACTION, _SUPABASE_SESSION = 6543, 5432


@dataclass(frozen=True, slots=True)
class Recommendation:
    """`arguments` is the command line, empty where pgshim is of no use; `url` the app's, with *** for its password."""

    is_needed: bool | None
    text: str
    level: Level = Level.OK
    fix: str = ""
    arguments: tuple[str, ...] = ()
    url: str = ""

    @property
    def command(self) -> str:
        """For a shell."""
        return shlex.join(self.arguments)


@dataclass(frozen=True, slots=True)
class Found:
    """What the recommendation goes by. `address` is the one that was used."""

    address: Address
    identity: Identity
    mode: Mode
    has_tls: bool
    verdicts: Sequence[Verdict] = ()
    pipelining: Pipelining | None = None


def recommend(target: Target, found: Found) -> Recommendation:
    """The one thing to do."""
    if found.identity.kind == PGSHIM:
        return Recommendation(False, "this is pgshim already: the app can use the URL as it is")
    if found.mode is Mode.STATEMENT:
        return Recommendation(
            None,
            "a pool in statement mode refuses transactions, and pgshim cannot give them back",
            Level.PROBLEM,
            "Set pool_mode = transaction for this database or user in the pooler, and run this check again.",
        )
    if found.mode is Mode.TRANSACTION:
        return Recommendation(
            True,
            "start pgshim beside the app, and give the app this URL",
            arguments=_arguments(target, found),
            url=_url(target, _port(found.address)),
        )
    if found.mode is Mode.UNKNOWN:
        return Recommendation(None, "it could not be found out whether clients share servers here", Level.WARNING)
    return _for_session(target, found)


def _for_session(target: Target, found: Found) -> Recommendation:
    """Every client has a server of its own: nothing to mend."""
    if target.is_at(SUPABASE_POOLER) and found.address.port == _SUPABASE_SESSION:
        transaction = Address(found.address.host, _SUPABASE_TRANSACTION)
        arguments = _arguments(target, replace(found, address=transaction))
        return Recommendation(
            False,
            f"port {_SUPABASE_SESSION} is Supabase's session pooler, where each client holds one of few servers",
            Level.NOTE,
            f"For many clients take the transaction pooler, port {_SUPABASE_TRANSACTION}, through pgshim; what needs a"
            " session (LISTEN, session locks) can still come here:",
            (*arguments, "--session-upstream", str(found.address), "--session-listen", str(_port(transaction) + 1)),
            _url(target, _port(transaction)),
        )
    if found.identity.kind == NONE:
        text = "this is a PostgreSQL server, with no pooler in front: pgshim is not needed, the URL works as it is"
        fix = "--upstream-mode=session would only pass everything on."
    else:
        text = "each client has a server of its own here: pgshim is not needed, the URL works as it is"
        fix = "With a transaction pool beside it: pgshim --upstream TRANSACTION-POOLER --session-upstream " + str(
            found.address
        ).removeprefix("unix:")
    return Recommendation(False, text, Level.OK, fix)


def _arguments(target: Target, found: Found) -> tuple[str, ...]:
    upstream = str(found.address).removeprefix("unix:")
    words = ["pgshim", "--listen", str(_port(found.address)), "--upstream", upstream]
    words += _tls_arguments(target, found)
    if found.has_tls and target.tls.certificate and target.tls.key:
        words += ["--upstream-cert", target.tls.certificate, "--upstream-key", target.tls.key]
    if found.identity.kind == PGBOUNCER and _is_from_1_21_on(found.identity.version) and _is_fine(found.pipelining):
        words += ["--pipeline", "through"]
    return tuple(words)


def _tls_arguments(target: Target, found: Found) -> list[str]:
    if not found.has_tls:
        return ["--upstream-tls", "disable"] if target.tls.mode == "disable" and not found.address.is_unix else []
    for verdict in found.verdicts:
        if verdict.is_accepted:
            return ["--upstream-ca", verdict.ca]
    for verdict in found.verdicts:
        if verdict.is_of_the_name:
            return ["--upstream-tls", "verify-ca", "--upstream-ca", verdict.ca]
    return ["--upstream-tls", "require"]


def _url(target: Target, port: int) -> str:
    scheme = re.sub(r"^postgres(?!ql)", "postgresql", target.scheme)
    return app_url(replace(target, scheme=scheme), f"127.0.0.1:{port}")


def _port(upstream: Address) -> int:
    """Where pgshim is to listen: not where the pooler does."""
    return DEFAULT_PORT + 1 if upstream.is_loopback and upstream.port == DEFAULT_PORT else DEFAULT_PORT


def _is_from_1_21_on(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and "before" not in version and (int(numbers[1]), int(numbers[2])) >= (1, 21)


def _is_fine(pipelining: Pipelining | None) -> bool:
    return pipelining is not None and pipelining.is_fine
