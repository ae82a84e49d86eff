"""What cannot work through pgshim, or not through a pooler, at a login: refused before anybody is asked."""

from __future__ import annotations

import re

from pgshim.errors import FeatureNotSupported
from pgshim.protocol import hot

#: Multi-byte encodings that only clients have, whose second bytes may look like a quote or a backslash.
_UNSAFE_ENCODINGS = frozenset({b"SJIS", b"SHIFTJIS2004", b"BIG5", b"GBK", b"GB18030", b"UHC", b"JOHAB"})
_ENCODING_ALIASES = {b"SHIFTJIS": b"SJIS", b"MSKANJI": b"SJIS", b"WIN932": b"SJIS", b"WINDOWS932": b"SJIS",
                     b"WIN936": b"GBK", b"WINDOWS936": b"GBK", b"WIN949": b"UHC", b"WINDOWS949": b"UHC",
                     b"WIN950": b"BIG5", b"WINDOWS950": b"BIG5"}  # fmt: skip

_NO_REPLICATION = frozenset({b"", b"0", b"f", b"false", b"n", b"no", b"off"})

#: A time that is not 0.
_TIME = re.compile(rb"\s*\+?(?:0x[\da-f]*[1-9a-f]|[\d.]*[1-9])", re.IGNORECASE)

_LIBRARIES = frozenset({b"session_preload_libraries", b"local_preload_libraries"})


def refuse_replication(replication: bytes | None) -> None:
    """Raises FeatureNotSupported for a replication connection."""
    if replication is not None and replication.lower() not in _NO_REPLICATION:
        raise FeatureNotSupported(
            "replication connections do not work through a transaction pooler",
            hint="Connect to the database directly.",
        )


def refuse_encoding(encoding: bytes) -> None:
    """Raises FeatureNotSupported for a client_encoding in which SQL cannot be read safely."""
    name = bytes(char for char in encoding.upper() if chr(char).isalnum())
    if _ENCODING_ALIASES.get(name, name) in _UNSAFE_ENCODINGS:
        raise FeatureNotSupported(
            f"client_encoding {encoding.decode('ascii', 'replace')} is not supported",
            hint="Its characters can contain the bytes of quotes, so SQL cannot be read safely; use UTF8.",
        )


def refuse_without_effect(settings: tuple[tuple[bytes, bytes], ...], *, is_pooled: bool) -> None:
    """Raises FeatureNotSupported for settings that a server would accept, and that would not do what they are for.

    `is_pooled`: they would be in force for a transaction at a time.
    """
    for name, value in settings:
        key = name.lower()
        if key in _LIBRARIES and value.strip():
            raise _refusal(key, "Servers load libraries when they start: set it with ALTER ROLE or ALTER DATABASE.")
        # A value that is no time is left to the server, which has its own words for it.
        if is_pooled and key == b"idle_session_timeout" and _TIME.match(value):
            raise _refusal(key, "A pooler's servers serve other clients meanwhile: use pgshim's --idle-timeout.")
        if is_pooled and key == b"seed":
            raise _refusal(key, "Draw the random numbers in the app.")


def without_channel_binding(message: bytes) -> bytes:
    """AuthenticationSASL without the mechanisms that a proxy breaks. Raises FeatureNotSupported if it has no others."""
    mechanisms = message[9:].rstrip(b"\0").split(b"\0")
    kept = [mechanism for mechanism in mechanisms if not mechanism.endswith(b"-PLUS")]
    if not kept:
        raise FeatureNotSupported(
            "the server offers no authentication that can pass through pgshim: it insists on channel binding",
            hint="Connect to the database directly, or allow SCRAM-SHA-256 without channel binding.",
        )
    if kept == mechanisms:
        return message
    return hot.message(message[0], message[5:9] + b"".join(mechanism + b"\0" for mechanism in kept) + b"\0")


def _refusal(name: bytes, hint: str) -> FeatureNotSupported:
    return FeatureNotSupported(f'parameter "{name.decode()}" cannot be set at connect through a pooler', hint=hint)
