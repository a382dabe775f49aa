"""The parser and the printer: laws over random programs, and the zoo's files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import lark
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archlang.errors import ArchError
from archlang.lower import LIBRARY
from archlang.source import Source
from archlang.syntax import format_text, generate, parse, tree
from archlang.syntax.generate import parser as lark_parser
from archlang.syntax.lalr import TABLES
from archlang.syntax.parser import scan_comments
from archlang.syntax.printer import print_expr
from tests.unit.programs import EXPRESSIONS, PROGRAMS

ZOO = sorted(LIBRARY.rglob("*.arch"))


def program(text: str) -> tree.Program:
    return parse(Source("test", text))


def expression(text: str) -> tree.Expr:
    (item,) = program(f"value = {text}").items
    assert isinstance(item, tree.ConstDef)
    return item.value


@given(PROGRAMS)
@settings(max_examples=100, deadline=None)
def test_formatting_keeps_the_program_and_its_comments(text: str) -> None:
    formatted = format_text(Source("test", text))
    assert program(formatted).items == program(text).items
    before, after = scan_comments(Source("a", text)), scan_comments(Source("b", formatted))
    assert sorted(c.text for c in before) == sorted(c.text for c in after)
    assert format_text(Source("test", formatted)) == formatted


@given(EXPRESSIONS)
@settings(max_examples=100, deadline=None)
def test_printed_expressions_parse_as_themselves(text: str) -> None:
    node = expression(text)
    assert expression(print_expr(node)) == node


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_the_zoo_is_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(Source(str(path), text)) == text


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("2 ** 3 ** 2", "(2 ** (3 ** 2))"),
        ("-2 ** 2", "-(2 ** 2)"),
        ("2 ** -1 * 3", "((2 ** -1) * 3)"),
        ("not a == b and c", "(not (a == b) and c)"),
        ("a or b and c", "(a or (b and c))"),
        ("1 + 2 < 3 * 4", "((1 + 2) < (3 * 4))"),
        ("a * b // c % d", "(((a * b) // c) % d)"),
        ("7 % 3", "(7 % 3)"),
    ],
)
def test_precedence(text: str, shape: str) -> None:
    def brackets(node: tree.Expr) -> str:
        if isinstance(node, tree.Infix):
            return f"({brackets(node.left)} {node.op} {brackets(node.right)})"
        if isinstance(node, tree.Prefix):
            space = " " if node.op.isalpha() else ""
            return f"{node.op}{space}{brackets(node.value)}"
        return print_expr(node)

    assert brackets(expression(text)) == shape


def test_spans_mark_the_text_of_a_node() -> None:
    text = "net A:\n  conv(64, 3) -> relu as c1\n"
    flow = next(node for node in program(text).items[0].walk() if isinstance(node, tree.Flow))
    assert flow.value.span.text == "conv(64, 3) -> relu"
    assert flow.name is not None
    assert (flow.name.span.line, flow.name.span.column) == (2, 26)


def test_every_node_lies_within_its_parent() -> None:
    for path in ZOO:
        for item in program(path.read_text(encoding="utf-8")).items:
            for node in item.walk():
                for child in node.children():
                    assert node.span.start <= child.span.start <= child.span.end <= node.span.end


def test_the_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger=lark.logger.name):
        lark_parser(debug=True)
    assert "onflict" not in caplog.text


def test_the_tables_are_those_of_the_grammar() -> None:
    assert json.loads(TABLES.read_text(encoding="utf-8"))["grammar"] == generate.digest(), "run `make grammar`"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("net A:\n\tinput 3x8x8\n", "E0105"),
        ("a = 1\x00", "E0002"),
        ("(" * 100_000, "E0107"),
        ("a = " + "-" * 5000 + "1", "E0107"),
    ],
)
def test_hostile_text(text: str, code: str) -> None:
    with pytest.raises(ArchError) as caught:
        program(text)
    assert caught.value.diagnostics[0].code == code


@given(PROGRAMS.flatmap(lambda text: st.permutations(text.split(" ")).map(" ".join)))
@settings(max_examples=150, deadline=None)
def test_broken_programs_get_a_diagnostic(text: str) -> None:
    """And where there is none, Lark reads the text too: `explain` sees to the other direction."""
    try:
        program(text)
        lark_parser().parse(text + "\n")
    except ArchError as error:
        for diagnostic in error.diagnostics:
            assert diagnostic.span is not None
            assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text) + 1
