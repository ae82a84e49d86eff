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


#: pg_enc2name_tbl: the names of encodings as SHOW gives them.
_NAMES = tuple(
    b"""SQL_ASCII EUC_JP EUC_CN EUC_KR EUC_TW EUC_JIS_2004 UTF8 MULE_INTERNAL LATIN1 LATIN2 LATIN3 LATIN4 LATIN5 LATIN6
    LATIN7 LATIN8 LATIN9 LATIN10 WIN1256 WIN1258 WIN866 WIN874 KOI8R WIN1251 WIN1252 ISO_8859_5 ISO_8859_6 ISO_8859_7
    ISO_8859_8 WIN1250 WIN1253 WIN1254 WIN1255 WIN1257 KOI8U SJIS BIG5 GBK UHC GB18030 JOHAB SHIFT_JIS_2004""".split()
)

#: pg_encname_tbl: other spellings, squeezed.
_ALIASES = {
    b"ABC": b"WIN1258",
    b"ALT": b"WIN866",
    b"EUCJIS2004": b"EUC_JIS_2004",
    **{b"ISO8859%d" % part: b"LATIN%d" % n for n, part in enumerate((1, 2, 3, 4, 9, 10, 13, 14, 15, 16), 1)},
    b"KOI8": b"KOI8R",
    b"MSKANJI": b"SJIS",
    b"SHIFTJIS": b"SJIS",
    b"TCVN": b"WIN1258",
    b"TCVN5712": b"WIN1258",
    b"UNICODE": b"UTF8",
    b"VSCII": b"WIN1258",
    b"WIN": b"WIN1251",
    b"WIN932": b"SJIS",
    b"WIN936": b"GBK",
    b"WIN949": b"UHC",
    b"WIN950": b"BIG5",
    b"WINDOWS866": b"WIN866",
    b"WINDOWS874": b"WIN874",
    b"WINDOWS932": b"SJIS",
    b"WINDOWS936": b"GBK",
    b"WINDOWS949": b"UHC",
    b"WINDOWS950": b"BIG5",
    **{b"WINDOWS%d" % number: b"WIN%d" % number for number in range(1250, 1259)},
}


def _squeezed(text: bytes) -> bytes:
    return bytes(char for char in text.upper() if chr(char).isalnum() and char < 0x80)


_OFFICIAL = {_squeezed(name): name for name in _NAMES} | _ALIASES


def official_name(name: bytes) -> bytes:
    """The name of an encoding as SHOW gives it, however it is spelt; an unknown one as it is."""
    return _OFFICIAL.get(_squeezed(name), name)


def to_utf8(text: bytes, encoding: bytes) -> bytes:
    """A text in a client encoding in UTF-8; as it is if Python does not know the encoding."""
    codec = _CODECS.get(encoding.upper())
    return text if codec is None or text.isascii() else text.decode(codec, "replace").encode()


def mentions_unsafe(text: bytes) -> bool:
    """Whether the name of such an encoding stands anywhere in a text."""
    squeezed = _squeezed(text)
    return any(encoding in squeezed for encoding in UNSAFE_ENCODINGS)
