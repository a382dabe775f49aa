"""The Pygments lexer and the TextMate grammar: their words, every file that ships, and the one against the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pygments.token import Error, Whitespace

from archlang.errors import ArchError
from archlang.grammar import highlight, textmate
from archlang.grammar.pygments_lexer import TOKENS, ArchLexer
from archlang.lower.builtins import CONSTANTS, FUNCTIONS, GROUPS, STEPS
from archlang.source import Source
from archlang.syntax import parse
from archlang.syntax.builder import RESERVED
from archlang.syntax.generate import GRAMMAR
from archlang.syntax.lalr import tokens
from tests.golden.case import HERE, read

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "specs").rglob("*.arch"))
GOLDEN = sorted(HERE.rglob("*.arch"))


def lexed(text: str) -> list[tuple[object, str]]:
    return list(ArchLexer(stripnl=False, ensurenl=False).get_tokens(text))


@cache
def programs() -> dict[str, str]:
    """Every file of the zoo, and every input of a golden case that is in the grammar."""
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in SHIPPED}
    for path in GOLDEN:
        case = read(path)
        if _is_program(case.text):
            found[case.name] = case.text
    return found


def _is_program(text: str) -> bool:
    try:
        parse(Source("golden", text))
    except ArchError:
        return False
    return True


# ---- words -----------------------------------------------------------------------------------------------------------


def test_words_are_those_of_the_grammar_and_the_language() -> None:
    keywords = set(re.findall(r'"([a-z]+)"', re.sub(r"//[^\n]*", "", GRAMMAR.read_text(encoding="utf-8"))))
    wanted = {
        "keywords": keywords,
        "reserved": RESERVED - keywords,
        "steps": {*STEPS, *GROUPS},
        "functions": set(FUNCTIONS),
        "constants": set(CONSTANTS),
    }
    assert {kind: set(found) for kind, found in highlight.WORDS.items()} == wanted, "run `make grammar`"
    assert {*highlight.NAMING, *highlight.OPERATORS} < keywords


def test_the_textmate_grammar_is_made_from_the_same_rules() -> None:
    assert textmate.FILE.read_text(encoding="utf-8") == textmate.text(), "run `make grammar`"
    assert set(textmate.SCOPES) | {"space"} == set(TOKENS)


# ---- programs --------------------------------------------------------------------------------------------------------


def test_there_are_programs_to_look_at() -> None:
    assert len(programs()) > len(SHIPPED) + 50


@pytest.mark.parametrize("name", programs())
def test_pygments_takes_every_sign_and_gives_it_back(name: str) -> None:
    found = lexed(programs()[name])
    assert "".join(text for _, text in found) == programs()[name]
    assert [text for token, text in found if token is Error] == []


@pytest.mark.parametrize("name", programs())
def test_tokens_begin_and_end_where_the_parsers_do(name: str) -> None:
    """But for a unit, which is coloured apart from its number, and a path after `from`."""
    text, ends, at = programs()[name], {0}, 0
    dotted = [range(match.start(1) + 1, match.end(1)) for match in re.finditer(r"\bfrom +([\w.]+)", text)]
    for _, part in lexed(text):
        at += len(part)
        ends.add(at)
    wanted = {place for token in tokens(text) if not token.type.startswith("_") for place in (token.start, token.end)}
    assert {place for place in wanted - ends if not any(place in inside for inside in dotted)} == set()


def test_what_the_language_has_not_is_an_error() -> None:
    assert [text for token, text in lexed("conv(3) ? @\n") if token is Error] == ["?", "@"]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("net A(k=3):", "keyword space definition punctuation name operator number punctuation punctuation"),
        ("from std.mobile import mbconv", "keyword space module space keyword space name"),
        (
            "conv(64, 1x7) -> relu",
            "step punctuation number punctuation space number punctuation space operator space step",
        ),
        ("latency <= 80ms", "name space operator space number unit"),
        ("width = ch(0.5) # half", "name space operator space call punctuation number punctuation space comment"),
        ("scale = not none", "name space operator space word_operator space constant"),
        ("c4 + _.c", "name space operator space flow punctuation attribute"),
        (
            "f(step=2, pad=same)",
            "call punctuation name operator number punctuation space name operator constant punctuation",
        ),
        ('rearrange("b c h w -> b (h w) c")', "step punctuation string punctuation"),
        ("return", "reserved"),
    ],
)
def test_words_are_known_by_what_stands_beside_them(text: str, kinds: str) -> None:
    wanted = [TOKENS[kind] for kind in kinds.split()]
    assert [token for token, _ in lexed(text)] == wanted


# ---- TextMate --------------------------------------------------------------------------------------------------------


def scopes(line: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, scope) of a line, as an editor finds them: from where it is, the pattern that matches first, and of
    several the one that is listed first."""
    patterns = json.loads(textmate.FILE.read_text(encoding="utf-8"))["patterns"]
    compiled = [(re.compile(entry["match"]), entry) for entry in patterns]
    at = 0
    while at < len(line):
        matches = [(match.start(), i, match) for i, (p, _) in enumerate(compiled) if (match := p.search(line, at))]
        if not matches:
            return
        _, i, match = min(matches, key=lambda item: item[:2])
        entry = compiled[i][1]
        if "name" in entry:
            yield match.start(), match.end(), entry["name"]
        for group, capture in entry.get("captures", {}).items():
            yield *match.span(int(group)), capture["name"]
        at = max(match.end(), at + 1)


@pytest.mark.parametrize("name", [str(path.relative_to(ROOT)) for path in SHIPPED])
def test_editors_and_pygments_see_the_same(name: str) -> None:
    scope_of = {f"{scope}.archlang": TOKENS[kind] for kind, scope in textmate.SCOPES.items()}
    for line in programs()[name].splitlines():
        found: list[object] = [Whitespace] * len(line)
        for start, end, scope in scopes(line):
            found[start:end] = [scope_of[scope]] * (end - start)
        wanted = [token for token, text in lexed(line) for _ in text]
        assert found == wanted, line


def test_every_kind_is_of_some_rule() -> None:
    used = {kind for rule in highlight.RULES for kind in rule.kinds}
    assert used == set(TOKENS)


def test_the_folder_is_an_extension_for_editors() -> None:
    """What Visual Studio Code asks of an extension with a grammar."""
    folder = textmate.FILE.parent
    package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    (language,) = package["contributes"]["languages"]
    (entry,) = package["contributes"]["grammars"]
    assert folder / entry["path"] == textmate.FILE
    assert entry["scopeName"] == textmate.grammar()["scopeName"]
    assert entry["language"] == language["id"]
    assert language["extensions"] == [".arch"]
    assert json.loads((folder / language["configuration"]).read_text(encoding="utf-8"))["comments"] == {
        "lineComment": "#"
    }
