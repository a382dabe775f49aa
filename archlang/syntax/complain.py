"""Syntax errors in a person's words: what was forgotten, not which token was unexpected."""

from __future__ import annotations

from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken
from lark.indenter import DedentError

from archlang.errors import Diagnostic
from archlang.source import Source, Span

_OPERANDS = frozenset(("NAME", "NUMBER", "DIMS", "STRING", "LPAR", "LSQB", "LBRACE", "FLOW"))

_WORDS = {
    "_NL": "the end of the line",
    "_INDENT": "an indented line",
    "_DEDENT": "the end of the block",
    "$END": "the end of the file",
}

_STATEMENT_HELP = (
    "a line is a step such as `conv(64, 3)`, steps joined by `->`, an assignment, or a group such as `residual:`"
)


def syntax_error(source: Source, error: UnexpectedInput | DedentError) -> Diagnostic:
    """The diagnostic for what Lark could not parse."""
    if isinstance(error, DedentError):
        return Diagnostic("E0104", "this line is indented like none of the blocks around it", _end_span(source))
    if isinstance(error, UnexpectedCharacters):
        return _character(source, error)
    if isinstance(error, UnexpectedToken):
        return _token(source, error)
    assert isinstance(error, UnexpectedEOF)
    return Diagnostic("E0101", "the file ends in the middle of a statement", _end_span(source))


def _end_span(source: Source) -> Span:
    end = len(source.text.rstrip())
    return Span(source, max(0, end - 1), end)


def _character(source: Source, error: UnexpectedCharacters) -> Diagnostic:
    at = error.pos_in_stream or 0
    char = source.text[at : at + 1]
    span = Span(source, at, at + 1)
    if char == '"':
        return Diagnostic("E0103", "this string is not closed on its line", span, help='write the missing `"`')
    if char == "'":
        return Diagnostic("E0103", "strings are written in double quotes", span)
    if char == "=" and source.text[at - 1 : at] in "=<>!":
        return Diagnostic("E0101", f"`{char}` does not belong here", span)
    accepted = set(error.allowed or ())
    missing = _missing(source, span, accepted, "a sign")
    if missing is not None and char not in "!@$^&;?\\`'":
        return missing
    return Diagnostic("E0103", f"`{char}` has no meaning here", span, help=_CHARACTER_HELP.get(char, ""))


_CHARACTER_HELP = {
    ";": "one statement a line; steps on one line are joined by `->`",
    "&": "write `and`",
    "!": "write `not`",
    "^": "a power is written `**`",
    "\\": "a line goes on by itself inside brackets",
}


def _token(source: Source, error: UnexpectedToken) -> Diagnostic:
    token = error.token
    start = token.start_pos or 0
    if token.type == "$END":
        span = _end_span(source)
    elif token.type == "_NL":
        span = Span(source, start, start + 1)
    else:
        span = Span(source, start, token.end_pos or start + 1)
    accepted = set(error.accepts or error.expected or ())
    seen = _WORDS.get(token.type, f"`{token}`")
    if token.type == "_INDENT":
        at = len(source.text) - len(source.text[start:].lstrip()) if start else 0
        help_ = "take it back, or end the line above with `:` if it is to open a block"
        message = "this line is indented, but nothing above it opens a block"
        return Diagnostic("E0104", message, _line_span(source, at), help=help_)
    missing = _missing(source, span, accepted, seen)
    if missing is not None:
        return missing
    if token.type == "_NL" and accepted & _OPERANDS:
        return Diagnostic("E0101", "the line ends where a value should follow", span)
    return Diagnostic("E0101", f"{seen} does not belong here", span, help=_help(token.type, str(token), accepted))


def _line_span(source: Source, at: int) -> Span:
    line = source.position(min(at, max(0, len(source.text) - 1)))[0]
    start = source.line_starts()[line - 1]
    text = source.line(line)
    return Span(source, start + len(text) - len(text.lstrip()), start + max(1, len(text)))


def _missing(source: Source, span: Span, accepted: set[str], seen: str) -> Diagnostic | None:
    """What one sign, written before the token that surprised, would have made right."""
    if "COLON" in accepted and seen == _WORDS["_NL"]:
        return Diagnostic(
            "E0101", "missing `:` at the end of this line", span, help="a line that opens a block ends with `:`"
        )
    if "_INDENT" in accepted and len(accepted) == 1:
        return Diagnostic(
            "E0104", "the body of this block is missing or not indented", span, help="indent it by two spaces"
        )
    if "COMMA" in accepted and ("RPAR" in accepted or "RSQB" in accepted or "RBRACE" in accepted):
        return Diagnostic("E0101", f"missing `,` before {seen}", span)
    if "BAR" in accepted and seen == _WORDS["_NL"]:
        return Diagnostic("E0106", "this row of the table does not end with `|`", span, help="write the missing `|`")
    if "BAR" in accepted:
        return Diagnostic("E0106", f"missing `|` before {seen}", span, help="a table's cells stand between `|`")
    return None


def _help(kind: str, text: str, accepted: set[str]) -> str:
    if text in _CHARACTER_HELP:
        return _CHARACTER_HELP[text]
    if text in ("def", "class", "import", "return", "lambda"):
        return f"`{text}` is not part of the language: see `block`, `net`, `fn` and `from ... import`"
    if accepted >= {"NET", "BLOCK"}:
        return "a file holds imports, `fn`, `choice`, `block`, `cell`, `net`, `variants` and `search` at its top level"
    if accepted >= {"STAGE", "NAME"}:
        return _STATEMENT_HELP
    return ""
