"""Text -> Program."""

from __future__ import annotations

import re
from typing import Any

from archlang.errors import ArchError, Label, fail
from archlang.source import Source, Span
from archlang.syntax import lalr, tree
from archlang.syntax.builder import TreeBuilder

MAX_BYTES = 10_000_000
MAX_BRACKETS = 64


def parse(source: Source) -> tree.Program:
    """The tree of a whole file. Raises ArchError, located, where the text is not a program."""
    check_text(source)
    comments = scan_comments(source)
    text = source.text if source.text.endswith("\n") else source.text + "\n"
    try:
        items: Any = lalr.parse(text, TreeBuilder(source))
    except lalr.Mismatch:
        from archlang.syntax.explain import explain  # Lark takes a while to load

        raise ArchError(explain(source)) from None
    except RecursionError:
        raise fail("E0107", "this program is nested too deeply") from None
    return tree.Program(source, tuple(items), comments)


def parse_expression(text: str, name: str = "<expression>") -> tree.Expr:
    """One expression, as `--net` takes it."""
    program = parse(Source(name, f"expression = {text}"))
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


_BRACKETS = re.compile(r"""[\[\]{}()]|"[^"\n]*"|#[^\n]*""")
_BAD = re.compile(r"\x00|^[ ]*\t", re.MULTILINE)


def check_text(source: Source) -> None:
    """Refuse what no program holds, before the parser sees it: null bytes, tabs, bottomless nesting."""
    text = source.text
    if len(text) > MAX_BYTES:
        raise fail("E0003", f"{source.name} is larger than {MAX_BYTES // 1_000_000} MB", help="split it into files")
    if match := _BAD.search(text):
        end = Span(source, match.end() - 1, match.end())
        if match[0] == "\x00":
            raise fail("E0002", "the file holds a null byte: it is not text", end)
        raise fail("E0105", "a tab in the indentation", end, help="write two spaces instead")
    _check_nesting(source)


def _check_nesting(source: Source) -> None:
    """Every bracket has its partner, and they are not nested too deeply."""
    open_: list[re.Match[str]] = []
    partner = {")": "(", "]": "[", "}": "{"}
    for match in _BRACKETS.finditer(source.text):
        char = match[0]
        if char in "([{":
            open_.append(match)
        elif char in partner:
            if not open_ or open_[-1][0] != partner[char]:
                raise _unpaired(source, match, open_[-1] if open_ else None)
            open_.pop()
        if len(open_) > MAX_BRACKETS:
            raise fail(
                "E0107", f"brackets are nested deeper than {MAX_BRACKETS}", Span(source, match.start(), match.end())
            )
    if open_:
        raise _unpaired(source, open_[-1], None)


def _unpaired(source: Source, match: re.Match[str], opener: re.Match[str] | None) -> ArchError:
    char = match[0]
    span = Span(source, match.start(), match.end())
    if char in "([{":
        closer = {"(": ")", "[": "]", "{": "}"}[char]
        return fail("E0102", f"this `{char}` is never closed", span, help=f"write the missing `{closer}`")
    if opener is None:
        return fail("E0102", f"this `{char}` closes nothing", span, help="leave it out, or open it before")
    label = Label(Span(source, opener.start(), opener.end()), "opened here")
    return fail("E0102", f"`{char}` cannot close `{opener[0]}`", span, labels=(label,))
