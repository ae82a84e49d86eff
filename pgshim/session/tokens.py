"""SQL cut into tokens, as PostgreSQL's own scanner (`src/backend/parser/scan.l`) cuts it.

Bytes in, spans out; nothing is decoded and no meaning is read into a token, except that `lexemes` folds words
to lower case. Comments, strings, dollar quotes and quoted identifiers are therefore seen for what they are,
and a word inside of one is never taken for a keyword.

Limits: `backslash_quote` is taken as `safe_encoding`, and no trail byte of the client's encoding may be a
quote or a backslash. Texts that some version of the server refuses to scan (`1abc`, an operator of 64
characters) get tokens of some kind, because what is refused has no effect; an unterminated string or comment
gives an ERROR token.
"""

import re
from enum import IntEnum

NAME_MAX = 63
"""Bytes of a name that count: NAMEDATALEN - 1."""


class TokenKind(IntEnum):
    """What a token is to the scanner."""

    SPACE = 0
    COMMENT = 1
    BLOCK_COMMENT = 2
    WORD = 3  # a keyword or an identifier without quotes
    QUOTED = 4  # "identifier"
    UNICODE_QUOTED = 5  # U&"identifier"
    STRING = 6  # every form of string constant, with its continuations on later lines
    NUMBER = 7
    PARAMETER = 8  # $1
    OPERATOR = 9  # also :: and := and ..
    CHARACTER = 10  # one byte that stands for itself
    PUNCTUATION = 10  # the same: those that are frequent, so that they are tried early
    ERROR = 11  # the rest of a text that the server refuses: something is not terminated


Token = tuple[TokenKind, int, int]
"""Kind, start and end of a token; `text[start:end]` is its spelling."""

Lexeme = tuple[TokenKind, bytes, int, int]
"""Kind, word, start and end of a token that means something. The word is in lower case for a WORD, only a
quote for a STRING, else as the text has it. (A plain tuple: a named one doubles the time that a text
takes.)"""

# After the closing quote, white space with at least one newline in it, comments of the -- kind included, and
# another quote: the string goes on (scan.l: quotecontinue).
#
# Sets are possessive, so that no input makes the matching go back far. Groups must not be: before Python 3.11.4 a
# possessive group that fails half-way consumes what it had matched. A look-ahead keeps them from giving up a part.
_CONTINUED = rb"[ \t\f\v]*+(?:--[^\n\r]*+)?[\n\r](?:[ \t\n\r\f\v]++|--[^\n\r]*+[\n\r])*'"

_PLAIN_BODY = rb"[^']*+(?:''[^']*+)*'(?!')"
_ESCAPE_BODY = rb"[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*'(?!')"
_BIT_BODY = rb"[^']*+'"
_QUOTED = rb'"[^"]*+(?:""[^"]*+)*"(?!")'
_WORD = rb"(?![eEbBxX]'|[uU]&['\"])[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+"
_TAG = rb"(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?"
_COMMENT = rb"--[^\n\r]*+"
# Before a dollar sign, 1_0 and 0x1 are what they were up to PostgreSQL 14, a number and a name: 1_0$a$ (15: refused).
_DIGITS = rb"[0-9]++(?:(?:_[0-9]++)+(?!\$|_[0-9]))?"

# A comment that starts inside of an operator ends it.
_OPERATOR_BYTE = rb"(?!/\*|--)[~!@#^&|`?+\-*/%<>=]"
_SQL_OPERATOR_BYTE = rb"(?!/\*|--)[+\-*/<>=]"


def _string(opening: bytes, body: bytes) -> bytes:
    return opening + b"'" + body + b"(?:" + _CONTINUED + body + b")*"


def _strings(conforming: bool) -> bytes:
    strings = [
        _string(b"", _PLAIN_BODY if conforming else _ESCAPE_BODY),
        _string(b"[eE]", _ESCAPE_BODY),
        _string(b"[bBxX]", _BIT_BODY),
        rb"\$(?P<tag>" + _TAG + rb")\$.*?\$(?P=tag)\$",
    ]
    if conforming:  # else the server refuses U&'...' as unsafe
        strings.append(_string(b"[uU]&", _PLAIN_BODY))
    return b"|".join(strings)


def _pattern(conforming: bool) -> re.Pattern[bytes]:
    """The scanner's rules in the order in which they are tried, each the group named after its TokenKind."""
    number = [
        rb"0[xX](?:_?[0-9a-fA-F])+(?!\$|_?[0-9a-fA-F])",
        rb"0[oO](?:_?[0-7])+(?!\$|_?[0-7])",
        rb"0[bB](?:_?[01])+(?!\$|_?[01])",
        rb"(?:%b(?:\.(?!\.)(?:%b)?)?|\.%b)(?:[eE][+-]?%b)?" % ((_DIGITS,) * 4),
    ]
    operator = [
        # "+ and - cannot be the last char of a multi-char operator unless the operator contains chars that
        # are not in SQL operators." What precedes is bounded because the server refuses an operator of 64
        # characters.
        rb"(?:%b){0,62}[~!@#^&|`?%%](?:%b)*" % (_SQL_OPERATOR_BYTE, _OPERATOR_BYTE),
        rb"(?:%b){0,62}(?!/\*)[*/<>=]" % _SQL_OPERATOR_BYTE,
        rb"[+-]|::|:=|\.\.",
    ]
    rules = {
        "WORD": _WORD,
        "PUNCTUATION": rb"[(),;\[\]]|\.(?![.0-9])",
        "COMMENT": _COMMENT,
        "BLOCK_COMMENT": rb"/\*",
        "STRING": _strings(conforming),
        "QUOTED": _QUOTED,
        "UNICODE_QUOTED": rb"[uU]&" + _QUOTED,
        "ERROR": rb"(?:[eEbBxX]|[uU]&)?'|(?:[uU]&)?\"|\$" + _TAG + rb"\$",
        "NUMBER": b"|".join(number),
        "PARAMETER": rb"\$[0-9]++",
        "OPERATOR": b"|".join(operator),
        "CHARACTER": rb".",
        "SPACE": rb"\Z",  # what is left when nothing follows
    }
    groups = b"|".join(b"(?P<%b>%b)" % (kind.encode(), rule) for kind, rule in rules.items())
    return re.compile(rb"[ \t\n\r\f\v]*+(?:%b)" % groups, re.DOTALL)


def _run(conforming: bool) -> re.Pattern[bytes]:
    """All that a semicolon, a block comment or something unterminated does not stop."""
    plain = rb"[^;'\"$/\-A-Za-z_\x80-\xff]++|-(?!-)|/(?!\*)|\$(?!%b\$)" % _TAG
    return re.compile(
        b"(?:%b)*" % b"|".join((plain, _WORD, _COMMENT, _strings(conforming), rb"(?:[uU]&)?" + _QUOTED)), re.DOTALL
    )


def _hidden(conforming: bool) -> re.Pattern[bytes]:
    """What no keyword or name can be in, and what has to be stepped over to tell."""
    return re.compile(b"|".join((_COMMENT, _strings(conforming), rb"(?P<kept>(?:[uU]&)?" + _QUOTED + b")")), re.DOTALL)


_CONFORMING_HIDDEN = _hidden(True)
_ESCAPING_HIDDEN = _hidden(False)
_CONFORMING = _pattern(True)
_ESCAPING = _pattern(False)
_CONFORMING_RUN = _run(True)
_ESCAPING_RUN = _run(False)
_KINDS = {index: TokenKind[name] for name, index in _CONFORMING.groupindex.items() if name != "tag"}
# Of the groups that are a token as they stand, the kind again: the others need a closer look.
_WHOLE = {
    index: kind
    for index, kind in _KINDS.items()
    if kind not in (TokenKind.SPACE, TokenKind.BLOCK_COMMENT, TokenKind.ERROR)
}
_FIRST_WORD = re.compile(
    rb"(?:[ \t\n\r\f\v]++|--[^\n\r]*+)*(/\*|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+|.|)", re.DOTALL
)
_COMMENT_EDGE = re.compile(rb"/\*|\*/")


def _end_of_block_comment(text: bytes, position: int) -> int | None:
    """Where the comment ends whose opening ends at `position`: they nest. None if it does not end."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if edge.group() == b"/*" else -1
        if depth == 0:
            return edge.end()
    return None


def _scan(text: bytes, conforming: bool) -> list[Token]:
    """Every token of a text in order, but not the white space between them."""
    pattern = _CONFORMING if conforming else _ESCAPING
    tokens: list[Token] = []
    keep = tokens.append
    advance = pattern.finditer(text).__next__
    while True:
        match = advance()
        group = match.lastindex or 0
        start, end = match.span(group)
        if group in _WHOLE:
            keep((_WHOLE[group], start, end))
            continue
        kind = _KINDS[group]
        if kind is TokenKind.SPACE:
            return tokens
        if kind is TokenKind.BLOCK_COMMENT and (behind := _end_of_block_comment(text, end)):
            keep((kind, start, behind))
            # A regular expression cannot count: it goes on behind the comment.
            advance = pattern.finditer(text, behind).__next__
        else:
            keep((TokenKind.ERROR, start, len(text)))
            return tokens


def tokenize(text: bytes, standard_conforming_strings: bool = True) -> list[Token]:
    """Every token of a text in order, white space and comments included: the spans cover the text exactly."""
    tokens: list[Token] = []
    position = 0
    for token in _scan(text, standard_conforming_strings):
        if position < token[1]:
            tokens.append((TokenKind.SPACE, position, token[1]))
        tokens.append(token)
        position = token[2]
    if position < len(text):
        tokens.append((TokenKind.SPACE, position, len(text)))
    return tokens


def lexemes(text: bytes, standard_conforming_strings: bool = True) -> list[Lexeme] | None:
    """The tokens that mean something; None for a text that cannot be scanned to its end."""
    result: list[Lexeme] = []
    keep = result.append
    word, string = TokenKind.WORD, TokenKind.STRING  # looking a member up costs more than the rest of the loop
    left_out = (TokenKind.COMMENT, TokenKind.BLOCK_COMMENT)
    tokens = _scan(text, standard_conforming_strings)
    if tokens and tokens[-1][0] is TokenKind.ERROR:
        return None
    for kind, start, end in tokens:
        if kind is word:
            keep((kind, text[start:end].lower(), start, end))
        elif kind is string:
            keep((kind, b"'", start, end))
        elif kind not in left_out:
            keep((kind, text[start:end], start, end))
    return result


def outline(text: bytes, standard_conforming_strings: bool = True) -> list[tuple[bytes, int, int]] | None:
    """The first word (or other byte) of each statement of a long text, with the statement's start and end.

    A tenth of the cost of `lexemes`. Every semicolon that is no part of a token ends a statement here, even in
    parentheses or in the body of a function. None for a text that cannot be scanned to its end.
    """
    run = _CONFORMING_RUN if standard_conforming_strings else _ESCAPING_RUN
    statements = []
    start = position = 0
    while position <= len(text):
        stop = run.match(text, position)
        assert stop is not None
        position = stop.end()
        if text.startswith(b"/*", position):
            position = _end_of_block_comment(text, position + 2) or len(text) + 1
        elif position == len(text) or text.startswith(b";", position):
            word, first = _first_word(text, start, position)
            if word:
                statements.append((word, first, first + len(text[first:position].rstrip())))
            start = position = position + 1
        else:
            return None
    return statements if start > len(text) else None


def without_strings(text: bytes, standard_conforming_strings: bool = True) -> bytes:
    """A text without its string constants and its comments of the -- kind: where keywords and names are looked for.

    A twentieth of the cost of `lexemes`. (An E' or U&' that a word ends with is taken for a string's opening: what is
    left out then starts a byte early.)
    """
    hidden = _CONFORMING_HIDDEN if standard_conforming_strings else _ESCAPING_HIDDEN
    return hidden.sub(lambda match: match["kept"] or b"''", text)


def _first_word(text: bytes, start: int, end: int) -> tuple[bytes, int]:
    """The first word between two places, and where it is; an empty word if only comments are there."""
    while True:
        match = _FIRST_WORD.match(text, start, end)
        assert match is not None
        if match[1] != b"/*":
            return match[1].lower(), match.start(1)
        start = _end_of_block_comment(text, match.end()) or end


def truncate_name(name: bytes) -> bytes:
    """A name cut to the bytes that count, at the edge of a character as in UTF-8 (`truncate_identifier`)."""
    if len(name) <= NAME_MAX:
        return name
    for end in range(NAME_MAX, NAME_MAX - 4, -1):
        if not 0x80 <= name[end] < 0xC0:
            return name[:end]
    return name[:NAME_MAX]


def unquote(quoted: bytes) -> bytes:
    """The name that a QUOTED token spells, not truncated."""
    return quoted[1:-1].replace(b'""', b'"')


def unquote_unicode(quoted: bytes, escape: bytes = b"\\") -> bytes | None:
    """The name that a UNICODE_QUOTED token spells, in UTF-8, not truncated; None if the server refuses it."""
    if len(escape) != 1 or escape in b"0123456789abcdefABCDEF+'\" \t\n\r\f\v" or escape >= b"\x80":
        return None
    mark = re.escape(escape.decode())
    escaped = re.compile(rf"{mark}(?:({mark})|([0-9a-fA-F]{{4}})|\+([0-9a-fA-F]{{6}})|(?s:.?))")

    def character(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        point = int(match[2] or match[3] or "0", 16)
        if point == 0:
            raise ValueError
        return chr(point)

    try:
        name = escaped.sub(character, unquote(quoted[2:]).decode())
        # Two surrogates make one character, and one alone makes none.
        return name.encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()
    except ValueError:
        return None
