"""Whether a text is ordinary: a quick look that most texts of Queries pass, and that no text passes which is not.

What matters to a session is made known by a word: SET, LISTEN, pg_advisory_lock, ... A keyword, or the name of a
function, can be written in no other way but one, U&"...". So the text is cut into words, by C code alone, and those are
held against a set. For 165 bytes that takes 1.6 us, and the three patterns that say it more exactly (`ASSIGNMENT_WORDS`
and others) 7.4 us: they are for the texts that are not found ordinary.
"""

from __future__ import annotations

from pgshim.session.hazard_names import BUILT_IN, OF_EXTENSIONS

#: Bytes. Longer texts are no ordinary ones: a word costs 60 bytes.
MOST = 16 * 1024

_FUNCTIONS = {*BUILT_IN, *OF_EXTENSIONS, b"set_config", b"pg_advisory_unlock_all"}
_STATEMENTS = (
    # What changes settings or the block, prepares, or takes a lasting place on the server.
    b"set reset begin start prepare prepared execute deallocate discard close declare copy listen unlisten load do "
    b"call temp temporary hold pg_temp pg_settings concurrently "
    # What changes what a statement returns, or cannot run in a block.
    b"create alter drop truncate grant revoke comment refresh import reindex cluster vacuum database tablespace system "
    b"subscription language security reassign"
)
_WORDS = frozenset({*_STATEMENTS.split(), *_FUNCTIONS})
_IS_ORDINARY = _WORDS.isdisjoint

_OF_NAMES = b"abcdefghijklmnopqrstuvwxyz0123456789_"
#: Names in lower case, all else as spaces.
_TABLE = bytes(code if code in _OF_NAMES else 32 for code in bytes(range(256)).lower())


def is_ordinary(text: bytes) -> bool:
    """Whether nothing in a text needs a closer look."""
    return len(text) <= MOST and _IS_ORDINARY(text.translate(_TABLE).split()) and b'&"' not in text
