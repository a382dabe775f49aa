"""Syntax errors in a person's words: what was forgotten, or which habit of another language the line follows.

Three tables say it, asked in this order: HABITS knows what people write who come from elsewhere, SIGNS the characters
that no program has, and REPAIRS the small change that would make the rest of the line right.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from difflib import get_close_matches
from typing import NamedTuple

from archlang.errors import Diagnostic
from archlang.source import Source, Span
from archlang.syntax.habits import HABITS
from archlang.syntax.lalr import (
    DEEP,
    END,
    MAX_INDENTS,
    MISFIT,
    UNKNOWN,
    Stack,
    Token,
    accepts,
    advance,
    tables,
    terminal,
)
from archlang.syntax.repairs import REPAIRS, Repair

_LAYOUT = frozenset(("_NL", "_INDENT", "_DEDENT", END))


class Place(NamedTuple):
    """Where the parser stopped: at token `at` of `tokens`, in the line whose first token is `line`.

    stack: the parser's states before the token; start: those before the line.
    """

    source: Source
    tokens: list[Token]
    at: int
    line: int
    stack: Stack
    start: Stack

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    @property
    def before(self) -> Token:
        """The token before, ends of lines and blocks aside; this one where it is the first."""
        at = self.at - 1
        while at >= 0 and self.tokens[at].type in _LAYOUT:
            at -= 1
        return self.tokens[max(at, 0)]

    @property
    def top(self) -> bool:
        """Whether the line begins at the left margin."""
        return self.source.position(self.tokens[self.line].start)[1] == 1

    def span(self) -> Span:
        """What is marked: the token; behind the last one of a line where that ends too early."""
        if self.token.type in _LAYOUT:
            end = self.before.end
            return Span(self.source, end, end + 1)
        return Span(self.source, self.token.start, max(self.token.end, self.token.start + 1))

    def rest(self) -> Iterator[Token]:
        """The tokens from here to the end of the line."""
        for token in self.tokens[self.at :]:
            yield token
            if token.type in ("_NL", END):
                return


class Mended(NamedTuple):
    """How the tokens are changed so that the parser can go on.

    removed: how many tokens at the place; put: terminals and texts in their stead; closing: one at the line's end.
    """

    removed: int
    put: tuple[tuple[str, str], ...]
    closing: tuple[str, str] | None = None


def complain(place: Place) -> tuple[Diagnostic, Mended | None]:
    """The error at a place, and how to go on; None: without this line."""
    kind = place.token.type
    if kind == MISFIT:
        message = "this line is indented like none of the blocks around it"
        return Diagnostic("E0104", message, _line_span(place)), Mended(1, ())
    if kind == DEEP:
        message = f"blocks are indented deeper than {MAX_INDENTS} levels"
        return Diagnostic("E0107", message, _line_span(place), help="give the inner parts names of their own"), None
    if kind == "_INDENT":
        return _indented(place), Mended(1, ())
    if accepts(place.stack, ("_INDENT",)):
        return _bodyless(place)
    habit = _habit(place)
    if habit is not None:
        return habit, None
    if kind == UNKNOWN:
        return _sign(place), None
    return _repaired(place)


_BODY = (("_INDENT", ""), ("PASS", "pass"), ("_NL", ""), ("_DEDENT", ""))


def _bodyless(place: Place) -> tuple[Diagnostic, Mended | None]:
    """A header without indented lines below it. In a body, the lines below are taken as those behind it."""
    message = "the body of this block is missing or not indented"
    token = place.token
    span = place.span() if token.type in _LAYOUT else Span(place.source, token.start, token.end)
    mended = None if place.top or not accepts(place.stack, [kind for kind, _ in _BODY]) else Mended(0, _BODY)
    return Diagnostic("E0104", message, span, help="indent it by two spaces"), mended


def _line_span(place: Place) -> Span:
    """The line that begins at the place, without its indentation."""
    source = place.source
    line = source.position(min(place.token.end, max(0, len(source.text) - 1)))[0]
    start, text = source.line_starts()[line - 1], source.line(line)
    return Span(source, start + len(text) - len(text.lstrip()), start + max(1, len(text.rstrip())))


def _indented(place: Place) -> Diagnostic:
    span = _line_span(place)
    if span.text.startswith("->"):
        help_ = "a line goes on by itself within brackets alone: put the steps on one line, or on lines without `->`"
    else:
        help_ = "take it back, or end the line above with `:` if it is to open a block"
    return Diagnostic("E0104", "this line is indented, but nothing above it opens a block", span, help=help_)


# ---- habits ----------------------------------------------------------------------------------------------------------

_NOT_CODE = re.compile(r'"[^"\n]*"|#[^\n]*')


def _habit(place: Place) -> Diagnostic | None:
    """What the line has of another language, at the place where the parser stopped or before."""
    start = place.tokens[place.line].start
    last = list(place.rest())[-1]
    line = place.source.text[start : max(last.start, place.token.end)]
    code = _NOT_CODE.sub(lambda match: _blanked(match[0]), line)
    for habit in HABITS:
        match = habit.pattern.search(code)
        if match is None or start + match.start() > place.token.start:
            continue
        if habit.top is not None and habit.top != place.top:
            continue
        text = match[0].strip()
        at = start + match.start() + match[0].index(text)
        span = Span(place.source, at, at + max(1, len(text)))
        return Diagnostic(habit.code, habit.message.format(text), span, help=habit.help)
    return None


def _blanked(text: str) -> str:
    return f'"{" " * (len(text) - 2)}"' if text[0] == '"' else " " * len(text)


# ---- signs -----------------------------------------------------------------------------------------------------------

_SIGNS = {
    "&": "write `and`",
    "!": "write `not`",
    "^": "a power is written `**`",
    "\\": "a line goes on by itself inside brackets",
    "\t": "write a space",
    "\r": "lines end with a line feed, alone or behind a carriage return",
    "?": "a value that depends on a test is `a if test else b`",
    "@": "the language has no decorators",
    "$": "a name stands for its value without a sign before it",
    "`": 'names are written without quotes, strings with `"`',
    "→": "write `->`",
    "⇒": "write `->`",
    "−": "write `-`",
    "–": "write `-`",
    "—": "write `-`",
    "≤": "write `<=`",
    "≥": "write `>=`",
    "≠": "write `!=`",
    "≈": "write `~`",
    "÷": "write `/`",
    "·": "write `*`",
    "✕": "write `*`",
    "…": "a range is written `1..9`",
    "‐": "write `-`",
    "∞": "numbers are finite",
    "π": "write `3.14159`",
    "²": "write `** 2`",
    "³": "write `** 3`",
}
"""Characters that the language has not: what stands for them."""

_NAMES = {"\t": "tab", "\r": "carriage return"}

_QUOTES = "“”„‟«»‘’‚‛'"


def _sign(place: Place) -> Diagnostic:
    """A character that the language does not use."""
    char, span = place.token.text, place.span()
    if char == '"':
        return Diagnostic("E0103", "this string is not closed on its line", span, help='write the missing `"`')
    if char in _QUOTES:
        return Diagnostic("E0103", "strings are written in double quotes", span, help='write `"`')
    name = _NAMES.get(char) or unicodedata.name(char, f"character U+{ord(char):04X}").lower().replace("u+", "U+")
    shown = f"`{char}`" if char.isprintable() and not char.isspace() else f"a {name}"
    return Diagnostic("E0103", f"{shown} has no meaning here", span, help=_sign_help(char, name))


def _sign_help(char: str, name: str) -> str:
    if char in _SIGNS:
        return _SIGNS[char]
    plain = unicodedata.normalize("NFKC", char)
    if plain != char and plain.isascii() and plain.strip():
        return f"this is a {name}: write `{plain}`"
    if char.isspace() or unicodedata.category(char) == "Cf":
        return f"this is a {name}: " + ("write a space" if char.isspace() else "take it out")
    if char.isalpha():
        return "names are made of the letters a-z and A-Z, digits and `_`"
    return ""


# ---- repairs ---------------------------------------------------------------------------------------------------------


def _repaired(place: Place) -> tuple[Diagnostic, Mended | None]:
    """The first repair that makes the rest of the line right."""
    word = _word_as_name(place) or _misspelt(place)
    if word is not None:
        return word, None
    for repair in REPAIRS:
        if _applies(repair, place) and _fits(repair, place):
            mended = Mended(repair.removed, repair.put, repair.closing) if repair.mends else None
            return _diagnostic(repair, place), mended
    if place.at == place.line and accepts(place.stack, ("BAR",)):
        help_ = "a table's cells stand between `|`"
        return Diagnostic("E0106", "a line of a table begins and ends with `|`", place.span(), help=help_), None
    return Diagnostic("E0101", f"{_seen(place)} does not belong here", place.span(), help=_hint(place)), None


def _applies(repair: Repair, place: Place) -> bool:
    if repair.seen and terminal(place.stack, place.token) not in repair.seen:
        return False
    if repair.behind and (place.at == place.line or place.before.type not in repair.behind):
        return False
    if (repair.grouped and not _grouped(place)) or repair.top not in (None, place.top):
        return False
    return not repair.first or terminal(place.start, place.tokens[place.line]) in repair.first


def _grouped(place: Place) -> bool:
    """Whether the innermost bracket around the place is a round one that belongs to no call."""
    depth = 0
    for at in range(place.at - 1, place.line - 1, -1):
        kind = place.tokens[at].type
        depth += (kind in ("RPAR", "RSQB", "RBRACE")) - (kind in ("LPAR", "LSQB", "LBRACE"))
        if depth < 0:
            return kind == "LPAR" and (at == place.line or place.tokens[at - 1].type not in ("NAME", "RPAR", "RSQB"))
    return False


def _fits(repair: Repair, place: Place) -> bool:
    """Whether the line reads well to its end with the change."""
    stack: Stack | None = place.stack
    for kind, _ in repair.put:
        stack = advance(stack, kind) if stack else None
    if repair.then:
        return stack is not None and accepts(stack, repair.then)
    rest = list(place.rest())[repair.removed :]
    for token in rest:
        if stack is not None and repair.closing and token is rest[-1]:
            stack = advance(stack, repair.closing[0])
        stack = advance(stack, terminal(stack, token)) if stack else None
    return stack is not None


def _diagnostic(repair: Repair, place: Place) -> Diagnostic:
    message = repair.message.format(seen=_seen(place), before=f"`{place.before.text}`")
    return Diagnostic(repair.code, message, place.span(), help=repair.help)


def _seen(place: Place) -> str:
    kind = place.token.type
    words = {"_NL": "the end of the line", "_DEDENT": "the end of the block", END: "the end of the file"}
    return words.get(kind, f"`{place.token.text}`")


def _word_as_name(place: Place) -> Diagnostic | None:
    """A word of the language at the beginning of the line that was meant as a name."""
    first = place.tokens[place.line]
    if first.type != "NAME" or terminal(place.start, first) == "NAME":
        return None
    if place.at != place.line + 1 or place.token.type not in ("EQUAL", "COMMA", "DOT", "__ANON_0"):
        return None
    stack = advance(place.start, "NAME")
    for token in place.rest():
        stack = advance(stack, terminal(stack, token)) if stack else None
    if stack is None:
        return None
    span = Span(place.source, first.start, first.end)
    message = f"`{first.text}` is a word of the language and cannot be a name here"
    return Diagnostic("E0101", message, span, help="choose another name")


def _misspelt(place: Place) -> Diagnostic | None:
    """A first word that is nearly one of the language, with which the line would be right."""
    first = place.tokens[place.line]
    if place.at != place.line + 1 or first.type != "NAME" or place.token.type != "NAME":
        return None
    keywords = tables().keywords
    for near in get_close_matches(first.text, keywords, n=3, cutoff=0.6):
        stack = advance(place.start, keywords[near])
        for token in place.rest():
            stack = advance(stack, terminal(stack, token)) if stack else None
        if stack is not None:
            span = Span(place.source, first.start, first.end)
            return Diagnostic("E0101", f"no line begins with `{first.text}`", span, help=f"did you mean `{near}`?")
    return None


def _hint(place: Place) -> str:
    """What stands at the beginning of a line there, where the error is at one."""
    if place.at - place.line > 1:
        return ""
    if accepts(place.start, ("NET",)):
        return "a file holds imports, `fn`, `choice`, `block`, `cell`, `net`, `variants` and `search` at its top level"
    if accepts(place.start, ("PASS",)):
        return (
            "a line is a step such as `conv(64, 3)`, steps joined by `->`, an assignment, or a group like `residual:`"
        )
    return ""
