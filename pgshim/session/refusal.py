"""What is said of a feature that needs a session of its own, and whether it is refused (`--unsafe`, `--allow`)."""

from __future__ import annotations

from dataclasses import dataclass

from pgshim.protocol import hot
from pgshim.session.hazards import Feature, Hazard

REFUSE, WARN, ALLOW = "refuse", "warn", "allow"

_ALTERNATIVES = {
    Feature.LISTEN: "NOTIFY works; what listens needs a session of its own.",
    Feature.ADVISORY_LOCK: "Use pg_advisory_xact_lock() or pg_try_advisory_xact_lock() inside a transaction.",
    Feature.TEMPORARY: "Create a temporary table inside a transaction block with ON COMMIT DROP, or use a CTE.",
    Feature.WITH_HOLD: "Declare the cursor without WITH HOLD inside a transaction block, or fetch all rows at once"
    " (Django: DISABLE_SERVER_SIDE_CURSORS).",
    Feature.PREPARE: "Use the driver's own prepared statements, which work.",
    Feature.SEQUENCE_VALUE: "Use INSERT ... RETURNING, or ask in the transaction that calls nextval().",
    Feature.LOAD: "Have the server load it (session_preload_libraries, shared_preload_libraries).",
    Feature.DBLINK: "Give dblink() the connection string itself.",
    Feature.SEED: "Draw the random numbers in the app.",
    Feature.PG_SETTINGS: "Use SET.",
    Feature.SIMILARITY_LIMIT: "Use SET pg_trgm.similarity_threshold.",
    Feature.REPLICATION_ORIGIN: "Connect to the database directly.",
    Feature.DO_SETTING: "Use SET LOCAL in it, or SET outside of it.",
    Feature.COMPUTED_SETTING: "Give the setting's name and is_local as constants or parameters, or use SET.",
    Feature.CUSTOM_SETTING: "Pass the value as a parameter; or leave out --strict-custom-settings.",
    Feature.NO_BLOCK: "RESET what the session has SET, or run it on a connection without settings.",
    Feature.DO_TRANSACTION: "RESET what the session has SET, or run it on a connection without settings.",
    Feature.FUNCTION_CALL: "Use SELECT.",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of features that need a session.

    unsafe -- refuse, warn or allow
    allowed -- names of features that are let through whatever `unsafe` says
    session_listen -- where the session endpoint is served, if it is
    has_session_endpoint -- whether there is one
    is_strict -- whether custom settings (app.x) are such a feature: a server cannot forget their names
    """

    unsafe: str = REFUSE
    allowed: frozenset[str] = frozenset()
    session_listen: str = ""
    has_session_endpoint: bool = False
    is_strict: bool = False

    def on(self, feature: Feature) -> str:
        """What becomes of this one."""
        return ALLOW if feature in self.allowed else self.unsafe

    def error(self, hazard: Hazard, severity: str = "ERROR") -> bytes:
        """The ErrorResponse of a refusal."""
        text = f"{hazard.what} {_why(hazard.feature)}"
        return hot.error_response(severity, b"0A000", text, self._hint(hazard.feature))

    def notice(self, hazard: Hazard) -> bytes:
        """The WARNING with which one is let through."""
        return hot.notice_response("WARNING", b"01000", f"{hazard.what} {_why(hazard.feature)}; it was let through")

    def _hint(self, feature: Feature) -> str:
        if self.session_listen:
            way = f"connect to {self.session_listen}, or with pgshim.session=on among the startup parameters"
        elif self.has_session_endpoint:
            way = "connect with pgshim.session=on among the startup parameters"
        else:
            way = "start pgshim with --session-upstream HOST:PORT and connect with pgshim.session=on"
        return f"{_ALTERNATIVES[feature]} For a session of its own, {way}. To let it through, --allow {feature}."


def _why(feature: Feature) -> str:
    if feature in (Feature.NO_BLOCK, Feature.DO_TRANSACTION):
        return "cannot run through a transaction pooler"
    if feature is Feature.FUNCTION_CALL:
        return "cannot be given the settings that this session has in force, through a transaction pooler"
    if feature is Feature.CUSTOM_SETTING:
        return "is a custom setting, whose name a pooled server cannot forget"
    if feature in (Feature.COMPUTED_SETTING, Feature.DO_SETTING):
        return "cannot be followed by pgshim, and would change the session of a server that others use"
    return "needs a session of its own, which a transaction pooler does not give"
