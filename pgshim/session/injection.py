"""How settings are brought into force in a transaction on whichever server carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgshim.session.quoting import quote_literal, set_local

#: What a setting of the session makes of each transaction that begins.
MODES = {
    b"default_transaction_isolation": b"transaction_isolation",
    b"default_transaction_read_only": b"transaction_read_only",
    b"default_transaction_deferrable": b"transaction_deferrable",
}

#: What choosing a plan and spelling a result take from them; no statement means something else for them.
_INCONSEQUENTIAL = frozenset(
    b"""jit geqo plan_cache_mode cursor_tuple_fraction extra_float_digits bytea_output intervalstyle xmlbinary
    effective_cache_size from_collapse_limit join_collapse_limit random_page_cost seq_page_cost cpu_tuple_cost
    cpu_index_tuple_cost cpu_operator_cost parallel_setup_cost parallel_tuple_cost constraint_exclusion
    application_name idle_in_transaction_session_timeout""".split()
)


def is_inconsequential(name: bytes) -> bool:
    """Whether a statement does the same, if perhaps not as fast, without this setting."""
    return name in _INCONSEQUENTIAL or name.startswith((b"enable_", b"jit_", b"geqo_"))


@dataclass(frozen=True, slots=True)
class Value:
    """What a setting is set to: as SHOW gives it, in UTF-8.

    reported -- what else ParameterStatus says because of it (SET ROLE: is_superuser)
    """

    text: bytes
    reported: tuple[tuple[bytes, bytes], ...] = ()


class Injection:
    """How one set of values is brought into force, in each of the ways that there are; built once, used often.

    statements -- SET LOCAL for each, for the inside of a transaction block
    modes -- name of a transaction_... setting -> the SET LOCAL for it
    outside -- for the outside of a block: SET transaction_..., which has to come before a snapshot is taken, and one
        SELECT of set_config
    """

    __slots__ = ("modes", "outside", "statements")

    def __init__(self, values: Mapping[bytes, Value], leave_out: frozenset[bytes] = frozenset()) -> None:
        kept = {name: value.text for name, value in values.items() if name not in leave_out}
        self.statements = tuple(set_local(name, text) for name, text in kept.items())
        modes = {MODES[name]: text for name, text in kept.items() if name in MODES}
        self.modes = {name: set_local(name, text) for name, text in modes.items()}
        early = tuple(b"SET %b TO %b" % (name, quote_literal(text)) for name, text in modes.items())
        calls = b",".join(
            b"pg_catalog.set_config(%b,%b,true)" % (quote_literal(name), quote_literal(text))
            for name, text in kept.items()
        )
        self.outside = (*early, b"SELECT " + calls) if calls else ()
