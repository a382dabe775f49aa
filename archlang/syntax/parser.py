"""Text -> Program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from archlang.collector import paused
from archlang.errors import ArchError, fail
from archlang.source import Source, Span
from archlang.syntax import lalr, tree
from archlang.syntax.builder import TreeBuilder

MAX_BYTES = 10_000_000
MAX_BRACKETS = 64
MAX_DEPTH = 200
"""Of the tree, counted in nodes: what walks over it calls itself two or three times a level."""

LONG_LINE = 160
"""Characters of a line that cannot nest deeper than the limits allow, whatever it holds."""

_NAME_PARTS = "give the inner parts names of their own"


@paused()
def parse(source: Source) -> tree.Program:
    """The tree of a whole file. Raises ArchError, located, where the text is not a program: with every error of the
    syntax that does not follow from another."""
    check_text(source)
    comments = scan_comments(source)
    found = lalr.tokens(source.text if source.text.endswith("\n") else source.text + "\n")
    if len(found) > lalr.MAX_TOKENS:
        message = f"{source.name} has more than {lalr.MAX_TOKENS:,} words and signs"
        raise fail("E0003", message, help="split it into files that import each other")
    try:
        items: Any = lalr.parse(found, TreeBuilder(source))
    except (lalr.Mismatch, ArchError):
        from archlang.syntax.recover import explain  # few need it

        raise ArchError(explain(source)) from None
    except RecursionError:
        raise _too_deep(max(_lines(source, found), key=lambda line: line.end - line.start)) from None
    if any(line.end - line.start > LONG_LINE for line in _lines(source, found)):
        _check_depth(items)
    return tree.Program(source, tuple(items), comments)


def _lines(source: Source, found: Sequence[lalr.Token]) -> Iterator[Span]:
    """The logical lines: those within brackets are joined."""
    ends = [0, *(token.start for token in found if token.type == "_NL")]
    return (Span(source, first, last) for first, last in pairwise(ends))


def _too_deep(span: Span) -> ArchError:
    return fail("E0107", f"this is nested deeper than {MAX_DEPTH} levels", span, help=_NAME_PARTS)


def _check_depth(items: Sequence[tree.Node]) -> None:
    level, depth = list(items), 0
    while level:
        if depth > MAX_DEPTH:
            raise _too_deep(level[0].span)
        level, depth = [child for node in level for child in node.children()], depth + 1


def parse_expression(text: str, name: str = "<expression>") -> tree.Expr:
    """One expression, as `--net` takes it."""
    program = parse(Source(name, f"expression = {text}"))
    if len(program.items) != 1:
        raise fail("E0101", "one expression is expected, on one line", program.items[1].span)
    (item,) = program.items
    assert isinstance(item, tree.ConstDef)
    return item.value


_LINE = re.compile(r"""[^"#\n]*(?:"[^"\n]*"[^"#\n]*)*(#[^\n]*)?""")


def scan_comments(source: Source) -> tuple[tree.Comment, ...]:
    """All comments in order; a `#` within a string is none."""
    if "#" not in source.text:
        return ()
    found = []
    for start in source.line_starts():
        match = _LINE.match(source.text, start)
        if match and match[1] is not None:
            before = source.text[start : match.start(1)]
            found.append(tree.Comment(match.start(1), match[1].rstrip(), not before.strip()))
    return tuple(found)


_BAD = re.compile(
    r"""(?P<null>\x00) | (?P<tab>^[ ]*\t) | (?P<return>\r(?!\n)) | (?P<surrogate>[\ud800-\udfff])
    | (?P<control>[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029])
    | (?P<direction>[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069])""",
    re.MULTILINE | re.VERBOSE,
)

_REFUSED = {
    "null": ("E0002", "the file holds a null byte: it is not text", ""),
    "tab": ("E0105", "a tab in the indentation", "write two spaces instead"),
    "return": (
        "E0002",
        "a carriage return without a line feed behind it",
        "save the file with line feeds as line ends",
    ),
    "surrogate": ("E0002", "the file holds half a character, U+{:04X}: it was decoded wrongly", "save it as UTF-8"),
    "control": ("E0002", "the file holds a control character, U+{:04X}", "take it out"),
    "direction": (
        "E0002",
        "an invisible character, U+{:04X}, makes the text look other than it is",
        "take it out: it turns the direction of the letters behind it",
    ),
}
"""What no text may hold, not even in a comment: code, message, help. Turned directions: https://trojansource.codes."""

_BRACKETS = re.compile(r"""[\[\]{}()]|"[^"\n]*"|#[^\n]*""")


def check_text(source: Source) -> None:
    """Refuse what no program holds, before the parser sees it: control characters, tabs, bottomless nesting."""
    text = source.text
    if len(text) > MAX_BYTES:
        raise fail(
            "E0003",
            f"{source.name} is larger than {MAX_BYTES // 1_000_000} MB",
            help="split it into files that import each other",
        )
    if match := _BAD.search(text):
        code, message, help_ = _REFUSED[str(match.lastgroup)]
        span = Span(source, match.end() - 1, match.end())
        raise fail(code, message.format(ord(text[match.end() - 1])), span, help=help_)
    _check_nesting(source)


def _check_nesting(source: Source) -> None:
    """Brackets are not nested too deeply. Whether each has its partner is seen by the parser."""
    depth = 0
    for match in _BRACKETS.finditer(source.text):
        depth += (match[0] in "([{") - (match[0] in ")]}")
        if depth > MAX_BRACKETS:
            span = Span(source, match.start(), match.end())
            raise fail("E0107", f"brackets are nested deeper than {MAX_BRACKETS}", span, help=_NAME_PARTS)
