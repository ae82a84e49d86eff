"""`set_config(name, value, false)` in a statement: it goes up as `true`, and what it set is asked for behind it.

Which setting it is, and whether for the session or for the transaction, may be said by parameters: then by the Bind.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgshim.protocol import hot
from pgshim.session.assignments import SetConfig
from pgshim.session.client_settings import Call
from pgshim.session.conversation import Conversation
from pgshim.session.features import assigning
from pgshim.session.quoting import set_local
from pgshim.session.set_config import OF_A_TRANSACTION
from pgshim.session.sql import Statement as Piece
from pgshim.session.sql import Verdict

#: What the input function of bool takes for true and false, unique prefixes included.
_TRUE = frozenset({b"t", b"tr", b"tru", b"true", b"y", b"ye", b"yes", b"on", b"1"})
_FALSE = frozenset({b"f", b"fa", b"fal", b"fals", b"false", b"n", b"no", b"of", b"off", b"0"})


def has_parameters(found: Verdict) -> bool:
    """Whether the Bind says what the calls do."""
    return any(
        isinstance(call.name, int) or (isinstance(call.is_local, int) and not isinstance(call.is_local, bool))
        for call in found.statements[0].set_configs
    )


def read_bind(found: Verdict, rest: bytes, defaults: Mapping[bytes, bytes]) -> tuple[bytes, list[Call]]:
    """The rest of a Bind with every is_local true, and the calls that were for the session.

    defaults -- what NULL means for the client

    Raises MalformedMessage; a value that the server refuses is left to it.
    """
    formats, values, tail = hot.read_bind_values(rest)
    calls = []
    has_changed = False
    for call in found.statements[0].set_configs:
        is_local: bool | None
        if isinstance(call.is_local, bool):
            is_local = call.is_local
        else:
            number = (call.is_local or 0) - 1
            is_local = _boolean(_at(values, number), hot.format_of(formats, number))
            if is_local is False and 0 <= number < len(values):
                values[number] = b"\1" if hot.format_of(formats, number) else b"true"
                has_changed = True
        name = _at(values, call.name - 1) if isinstance(call.name, int) else call.name
        if is_local is False and name is not None and name.lower() not in OF_A_TRANSACTION:
            is_null = call.value is not None and _at(values, call.value - 1) is None
            if call.value is not None and is_null and name.lower() in defaults and call.value <= len(values):
                values[call.value - 1] = defaults[name.lower()]
                has_changed = True
            calls.append(Call(name.lower(), is_default=call.is_null or is_null))
    return (hot.bind_values(formats, values) + tail if has_changed else rest), calls


def _at(values: list[bytes | None], index: int) -> bytes | None:
    return values[index] if 0 <= index < len(values) else None


def _boolean(value: bytes | None, format_code: int) -> bool | None:
    if value is None:
        return False  # As the function takes it.
    if format_code:
        return value != b"\0" if len(value) == 1 else None
    word = value.strip(b" \t\n\r\f\v").lower()
    return True if word in _TRUE else False if word in _FALSE else None


def literal_calls(calls: tuple[SetConfig, ...]) -> list[Call]:
    """The calls that are for the session, of a text without parameters."""
    return [
        Call(call.name, is_default=call.is_null)
        for call in calls
        if call.is_local is False and isinstance(call.name, bytes)
    ]


def names_in(piece: Piece) -> tuple[bytes, ...]:
    """The settings that a statement says by name that it changes, for the session or the transaction."""
    names = piece.assignment.names if piece.assignment is not None else ()
    return (*names, *(call.name for call in piece.set_configs if isinstance(call.name, bytes)))


def after_execute(s: Conversation, calls: list[Call]) -> None:
    """Behind the Execute: ask what the settings have come to be."""
    for call in calls:
        if call.is_default and call.name in s.settings.defaults:
            s.carry_out(set_local(call.name, s.settings.defaults[call.name]))
        assigning.read_back(s, call.name, assigning.current_setting(call.name))
