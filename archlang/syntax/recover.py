"""All independent syntax errors of a text: what is wrong is mended or left out, and the parser goes on behind it.

Only a text that the parser refused comes here, so nothing is built but at the end, for the errors of the builder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from archlang.errors import ArchError, Diagnostic, Label
from archlang.source import Source, Span
from archlang.syntax.builder import TreeBuilder
from archlang.syntax.complain import Place, complain
from archlang.syntax.lalr import END, Mismatch, Stack, Token, accepts, advance, parse, tables, terminal, tokens

MAX_ERRORS = 20

PARTNER = {")": "(", "]": "[", "}": "{"}
_BRACKETS = re.compile(r"""[\[\]{}()]|"[^"\n]*"|#[^\n]*""")
_LINE_START = re.compile(
    r"^(?=(net|block|cell|fn|choice|from|variants|search|expect)\b|[A-Za-z_]\w*\s*=)", re.MULTILINE
)


def explain(source: Source) -> list[Diagnostic]:
    """The syntax errors of a text that is not in the grammar, in the order of the text; at least one."""
    text = source.text if source.text.endswith("\n") else source.text + "\n"
    found = (error for begin, end in _pieces(text) for error in _Piece(source, text, begin, end).errors())
    errors = list(islice(found, MAX_ERRORS))
    assert errors, "the tables and the automaton disagree"
    return sorted(errors, key=lambda error: error.span.start if error.span else 0)


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """The top-level items. What is in brackets belongs to the item before, but for a line that clearly begins one."""
    starts = [0]
    depth, at = 0, 0
    for line in _LINE_START.finditer(text):
        depth = 0 if line[1] else _depth(text, at, line.start(), depth)
        at = line.start()
        if depth == 0 and at > 0:
            starts.append(at)
    return zip(starts, [*starts[1:], len(text)], strict=True)


def _depth(text: str, begin: int, end: int, depth: int) -> int:
    for match in _BRACKETS.finditer(text, begin, end):
        depth += (match[0] in "([{") - (match[0] in ")]}")
    return max(0, depth)


class _Piece:
    """One item of the text under examination. tokens: mended as the errors are found."""

    def __init__(self, source: Source, text: str, begin: int, end: int) -> None:
        self.source, self.text, self.begin, self.end = source, text, begin, end
        self.tokens: list[Token] = []
        self.last: Diagnostic | None = None

    def errors(self) -> Iterator[Diagnostic]:
        end = self.end
        unpaired = self._unpaired()
        if unpaired is not None:
            end = self.text.rfind("\n", 0, unpaired.span.start if unpaired.span else 0) + 1
        self.tokens = tokens(self.text, self.begin, max(self.begin, end))
        found = False
        for error in self._mismatches():
            found = True
            yield error
        if unpaired is not None:
            yield unpaired
        elif not found:
            yield from self._refusals()

    # brackets

    def _unpaired(self) -> Diagnostic | None:
        """The first bracket without its partner."""
        opened: list[re.Match[str]] = []
        for match in _BRACKETS.finditer(self.text, self.begin, self.end):
            if match[0] in "([{":
                opened.append(match)
            elif match[0] in ")]}":
                if not opened or opened[-1][0] != PARTNER[match[0]]:
                    return self._closes_wrongly(match, opened[-1] if opened else None)
                opened.pop()
        return self._never_closed(opened[-1]) if opened else None

    def _never_closed(self, match: re.Match[str]) -> Diagnostic:
        closer = {"(": ")", "[": "]", "{": "}"}[match[0]]
        if match[0] == "{" and not self.text[match.end() : self.text.find("\n", match.end())].strip():
            help_ = "blocks of lines are opened by `:` and indented, without braces"
        else:
            help_ = f"write the missing `{closer}`"
        return Diagnostic("E0102", f"this `{match[0]}` is never closed", self._span(match), help=help_)

    def _closes_wrongly(self, match: re.Match[str], opener: re.Match[str] | None) -> Diagnostic:
        if opener is None:
            help_ = "leave it out, or open it before"
            return Diagnostic("E0102", f"this `{match[0]}` closes nothing", self._span(match), help=help_)
        label = Label(self._span(opener), "opened here")
        return Diagnostic("E0102", f"`{match[0]}` cannot close `{opener[0]}`", self._span(match), labels=(label,))

    def _span(self, match: re.Match[str]) -> Span:
        return Span(self.source, match.start(), match.end())

    # what the automaton does not accept

    def _mismatches(self) -> Iterator[Diagnostic]:
        stack: Stack = (tables().start,)
        line, before = 0, stack
        i = 0
        while i < len(self.tokens):
            kind = terminal(stack, self.tokens[i])
            after = advance(stack, kind)
            if after is not None:
                i, stack = i + 1, after
                if kind in ("_NL", "_INDENT", "_DEDENT"):
                    line, before = i, stack
                continue
            error, mended = complain(Place(self.source, self.tokens, i, line, stack, before))
            if not self._follows(error, i):
                yield error
            self.last = error
            if kind == "_INDENT":
                self._flatten(i)
            elif mended is not None:
                self.tokens[i : i + mended.removed] = [
                    Token(kind, text, self.tokens[i].start, self.tokens[i].start) for kind, text in mended.put
                ]
                if mended.closing:
                    self._close(mended.closing, i)
            elif error.code != "E0107" and not accepts(stack, ("_INDENT",)) and self._leave_out(line, i, before):
                i, stack = line, before
            else:
                return

    def _follows(self, error: Diagnostic, i: int) -> bool:
        """Whether the error is a mere consequence of the one before: of a wrong indentation, of a header mended."""
        last = self.last
        if last is None or last.span is None or error.span is None:
            return False
        if last.code == "E0104" and last.span.line == error.span.line:
            return True
        header = self.tokens[max(i - 2, 0)]
        return error.code == "E0104" and header.start == header.end

    def _flatten(self, i: int) -> None:
        """Take back an indentation, and the end of its block."""
        end = self._behind_block(i) - 1
        del self.tokens[end], self.tokens[i]

    def _close(self, closing: tuple[str, str], i: int) -> None:
        """Put a closing token at the end of the line."""
        while self.tokens[i].type not in ("_NL", END):
            i += 1
        self.tokens.insert(i, Token(*closing, self.tokens[i].start, self.tokens[i].start))

    def _leave_out(self, line: int, i: int, stack: Stack) -> bool:
        """Replace the line, and the block that it opens, by a line that means nothing. False where there is none."""
        if self.tokens[i].type in ("_DEDENT", END):
            return False
        end = line
        while self.tokens[end].type not in ("_NL", END):
            end += 1
        end = self._behind_block(end + (self.tokens[end].type == "_NL"))
        put = next(
            (kinds for kinds in _NOTHING if kinds != _kinds(self.tokens[line:end]) and accepts(stack, kinds)), None
        )
        if put is None:
            return False
        at = self.tokens[line].start
        self.tokens[line:end] = [Token(kind, "", at, at) for kind in put]
        return True

    def _behind_block(self, at: int) -> int:
        """The index behind the indented lines that begin there, if any do."""
        depth = 0
        while self.tokens[at].type == "_INDENT" or depth > 0:
            depth += (self.tokens[at].type == "_INDENT") - (self.tokens[at].type == "_DEDENT")
            at += 1
            if depth == 0:
                break
        return at

    # what the builder does not accept

    def _refusals(self) -> Iterator[Diagnostic]:
        """Errors that the builder raises: the line of each is left out, and the rest built again."""
        for _ in range(MAX_ERRORS):
            try:
                parse(self.tokens, TreeBuilder(self.source))
                return
            except ArchError as error:
                yield from error.diagnostics
                span = error.diagnostics[0].span
                if span is None or not self._leave_out_at(span.start):
                    return
            except Mismatch:
                return

    def _leave_out_at(self, offset: int) -> bool:
        """Leave out the line of an offset, where that leaves a program."""
        stack: Stack = (tables().start,)
        line, before = 0, stack
        for i, token in enumerate(self.tokens):
            if token.start == offset and token.type != "_NL":
                return self._leave_out(line, i, before)
            after = advance(stack, terminal(stack, token))
            if after is None:
                return False
            stack = after
            if token.type in ("_NL", "_INDENT", "_DEDENT"):
                line, before = i + 1, stack
        return False


_NOTHING = (
    ("PASS", "_NL"),
    ("BAR", "MINUS", "BAR", "_NL"),
    ("BAR", "NAME", "BAR", "_NL"),
    ("NAME", "NUMBER", "_NL"),
    (),
)
"""Lines that mean nothing: a statement, a row, a header, a line of a search, and none at the top of a file."""


def _kinds(found: list[Token]) -> tuple[str, ...]:
    return tuple(token.type for token in found)
