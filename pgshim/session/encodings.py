"""Client encodings: those in which SQL cannot be read safely, and how text comes from one to UTF-8."""

from __future__ import annotations

#: Multi-byte encodings that only clients have, whose second bytes may look like a quote or a backslash; squeezed.
UNSAFE_ENCODINGS = (b"SJIS", b"SHIFTJIS2004", b"BIG5", b"GBK", b"GB18030", b"UHC", b"JOHAB", b"MSKANJI", b"WIN932",
                    b"WINDOWS932", b"WIN936", b"WINDOWS936", b"WIN949", b"WINDOWS949", b"WIN950",
                    b"WINDOWS950")  # fmt: skip

#: Client encodings and Python's names for them, as far as Python has them.
_CODECS = {
    b"LATIN1": "latin-1",
    **{b"LATIN%d" % n: f"iso8859_{part}" for n, part in enumerate((2, 3, 4, 9, 10, 13, 14, 15, 16), 2)},
    **{b"WIN%d" % n: f"cp{n}" for n in (866, 874, *range(1250, 1259))},
    b"ISO_8859_5": "iso8859_5",
    b"ISO_8859_6": "iso8859_6",
    b"ISO_8859_7": "iso8859_7",
    b"ISO_8859_8": "iso8859_8",
    b"KOI8R": "koi8_r",
    b"KOI8U": "koi8_u",
    b"EUC_JP": "euc_jp",
    b"EUC_KR": "euc_kr",
    b"EUC_CN": "gb2312",
}


def is_unsafe(text: bytes) -> bool:
    """Whether a text ends with the name of an encoding in which SQL cannot be read safely, however it is spelt."""
    return bytes(char for char in text.upper() if chr(char).isalnum()).endswith(UNSAFE_ENCODINGS)


def to_utf8(text: bytes, encoding: bytes) -> bytes:
    """A text in a client encoding in UTF-8; as it is if Python does not know the encoding."""
    codec = _CODECS.get(encoding.upper())
    return text if codec is None or text.isascii() else text.decode(codec, "replace").encode()
