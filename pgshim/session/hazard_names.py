"""The features that need a session of their own, the functions among them, and the words that give them away."""

import re
from dataclasses import dataclass
from enum import StrEnum

from pgshim.errors import ConfigurationError


class Feature(StrEnum):
    """A feature that needs a session of its own; the value is the name that `--allow` takes."""

    LISTEN = "listen"
    ADVISORY_LOCK = "advisory-locks"
    TEMPORARY = "temp-tables"
    WITH_HOLD = "with-hold"
    PREPARE = "sql-prepare"  # PREPARE, and EXECUTE wherever it stands
    SEQUENCE_VALUE = "currval"  # currval, lastval
    LOAD = "load"
    DBLINK = "dblink"
    SEED = "setseed"  # also SET seed
    PG_SETTINGS = "update-pg-settings"
    SIMILARITY_LIMIT = "set-limit"
    REPLICATION_ORIGIN = "replication-origin"
    DO_SETTING = "do-settings"  # a setting of the session, set inside of a DO
    COMPUTED_SETTING = "computed-settings"  # a set_config() whose name or is_local the text does not show
    CUSTOM_SETTING = "custom-settings"  # a setting with a dot in its name, with --strict-custom-settings
    NO_BLOCK = "no-block"  # what cannot run in a transaction block, while settings are in force
    DO_TRANSACTION = "do-commit"  # a DO that ends the transaction, while settings are in force
    FUNCTION_CALL = "function-call"  # the message FunctionCall, while settings are in force

    @classmethod
    def named(cls, text: str) -> str:
        """The name itself, if a feature has it. Raises ConfigurationError."""
        names = sorted(feature.value for feature in cls)
        if text not in names:
            raise ConfigurationError(f"'{text}' is no feature that needs a session; give one of {', '.join(names)}")
        return text


@dataclass(frozen=True, slots=True)
class Hazard:
    """A use of such a feature."""

    feature: Feature
    # How a message names it: "LISTEN", "currval()", "A temporary table".
    what: str
    # None if nextval() was called before in the transaction.
    needs_nextval: bool = False
    # Only a reference to an object in pg_temp, which the transaction itself may have created.
    is_reference: bool = False


BUILT_IN = {
    b"pg_advisory_lock": Feature.ADVISORY_LOCK,
    b"pg_advisory_lock_shared": Feature.ADVISORY_LOCK,
    b"pg_try_advisory_lock": Feature.ADVISORY_LOCK,
    b"pg_try_advisory_lock_shared": Feature.ADVISORY_LOCK,
    b"pg_advisory_unlock": Feature.ADVISORY_LOCK,
    b"pg_advisory_unlock_shared": Feature.ADVISORY_LOCK,
    b"currval": Feature.SEQUENCE_VALUE,
    b"lastval": Feature.SEQUENCE_VALUE,
    b"setseed": Feature.SEED,
    b"pg_replication_origin_session_setup": Feature.REPLICATION_ORIGIN,
    b"pg_replication_origin_session_reset": Feature.REPLICATION_ORIGIN,
}
"""Functions of pg_catalog."""

OF_EXTENSIONS = {
    b"dblink_connect": Feature.DBLINK,
    b"dblink_connect_u": Feature.DBLINK,
    b"set_limit": Feature.SIMILARITY_LIMIT,
}
"""Functions of extensions, which may be in any schema."""

_OIDS = {
    "pg_advisory_lock": (2880, 2886),
    "pg_advisory_lock_shared": (2881, 2887),
    "pg_try_advisory_lock": (2882, 2888),
    "pg_try_advisory_lock_shared": (2883, 2889),
    "pg_advisory_unlock": (2884, 2890),
    "pg_advisory_unlock_shared": (2885, 2891),
    "currval": (1575,),
    "lastval": (2559,),
    "setseed": (1599,),
    "pg_replication_origin_session_setup": (6006,),
    "pg_replication_origin_session_reset": (6007,),
}
OIDS = {oid: (BUILT_IN[name.encode()], f"{name}()") for name, oids in _OIDS.items() for oid in oids}
"""The same by their OIDs in pg_proc, with how a message names them: those that FunctionCall gives."""

# Where white space is, a comment may be: that is not looked into.
_COMMENT = rb"\s*(?:--|/\*)"
_STRING = rb"\s*(?:--|/\*|[eE]?'|[uU]&')|\s+\$"
_NAME = rb"[A-Za-z0-9_$\x80-\xff]"
_END = rb"(?!%b)" % _NAME
# What a word begins with is one of these bytes, and then one of the keys below, behind which it goes on.
_FIRST = rb"acdehlprstuvACDEHLPRSTUV"
_SECOND = {
    rb"[aA]": rb"cuum%b|stval%b" % (_END, _END),
    rb"[bB]": rb"link_connect",
    rb"[eE]": rb"(?:mp(?:orary)?|ed|tseed|t_limit|index)" + _END,
    rb"[gG]": rb"_(?:(?:temp|settings)%b|(?:try_)?advisory_(?:un)?lock(?!_all)|replication_origin_s)" % _END,
    rb"[iI]": rb"sten" + _END,
    rb"[lL]": rb"ter(?:\s+(?:database|system|subscription)%b|%b)|uster(?:\s*(?:[;(]|\Z|verbose)|%b)"
    % (_END, _COMMENT, _COMMENT),
    rb"[oO]": rb"(?:(?<=do)(?:\s*language|%b)|(?<=lo)ad(?:%b)|(?<=ho)ld%b|ncurrently%b)"
    % (_STRING, _STRING, _END, _END),
    rb"[rR]": rb"epare%b|(?:eate|op)(?:\s+(?:database|tablespace|subscription)%b|%b)" % (_END, _END, _COMMENT),
    rb"[uU]": rb"rrval" + _END,
    rb"[xX]": rb"ecute" + _END,
    rb"&": rb'"',
}
HAZARD_WORDS = re.compile(
    rb"[%b](?<!%b.)(?:%b)" % (_FIRST, _NAME, b"|".join(b"%b(?i:%b)" % part for part in _SECOND.items())), re.DOTALL
)
"""Finds something in every text that has a hazard in it or cannot run in a block, and in few others.

It begins with sets of bytes, so that the search skips what begins no such word: `re` does not do so for a pattern that
is IGNORECASE as a whole, which takes three times as long.
"""
