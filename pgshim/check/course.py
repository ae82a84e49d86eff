"""What the steps of one check share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pgshim.check.certificates import Verdict
from pgshim.check.experiments import Mode, Pipelining, PoolMode, Statements
from pgshim.check.identity import UNKNOWN, Evidence, Identity
from pgshim.check.network import Attempt
from pgshim.check.parameters import Outcome
from pgshim.check.recommendation import Recommendation
from pgshim.check.report import Report
from pgshim.check.target import Target
from pgshim.check.wire import Wire


@dataclass
class Course:
    """A check under way. `ask` asks a person for the password; None: there is nobody."""

    target: Target
    report: Report
    ask: Callable[[Target], Target] | None = None
    #: The address that is used: the first that answered.
    attempt: Attempt | None = None
    has_tls: bool = False
    verdicts: list[Verdict] = field(default_factory=list)
    #: The connection that is logged in.
    wire: Wire | None = None
    evidence: Evidence = field(default_factory=lambda: Evidence(host=""))
    identity: Identity = field(default_factory=lambda: Identity(UNKNOWN, "", ""))
    mode: PoolMode = field(default_factory=lambda: PoolMode(Mode.UNKNOWN, ""))
    statements: Statements = field(default_factory=Statements)
    #: Of startup parameters.
    parameters: list[Outcome] = field(default_factory=list)
    pipelining: Pipelining | None = None
    recommendation: Recommendation | None = None
    #: What only a fault of the check itself explains; the tests look here.
    unforeseen: list[Exception] = field(default_factory=list)

    async def connect(self, *, database: str = "", extra: Sequence[tuple[str, str]] = ()) -> Wire:
        """Another connection like the first one. Raises CheckFailure."""
        assert self.attempt is not None
        wire = await Wire.open(self.target, self.attempt)
        try:
            await wire.login(self.target, database=database, extra=extra)
        except BaseException:
            await wire.leave()
            raise
        return wire

    async def again(self) -> Wire:
        """The connection, or a new one in its place where it was lost. Raises CheckFailure."""
        if self.wire is None or self.wire.is_lost:
            if self.wire is not None:
                await self.wire.leave()
            self.wire = await self.connect()
        return self.wire
