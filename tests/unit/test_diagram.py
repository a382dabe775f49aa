"""Candidates by walks through the diagram, beside their elaboration as a whole."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings

from archlang.cost import cost
from archlang.errors import ArchError
from archlang.lower import default_net, lower
from archlang.search import diagram as diagrams
from archlang.search.diagram import Diagram
from archlang.search.space import Space, load_search
from archlang.spec import module_of, split
from tests.unit.test_proof import PROGRAMS
from tests.unit.test_space import COUNTED, enumerate_all, space


def outcome(found: Space, picks: Mapping[str, int]) -> object:
    """What a candidate is by its elaboration: active decisions, costs, digest; or the code of its error."""
    try:
        lowered = lower(found.net, found.args, picks)
    except ArchError as error:
        return error.diagnostics[0].code
    total = cost(lowered.graph).total
    return lowered.trace, (total.params, total.macs, total.flops), lowered.graph.digest


def walked(found: Space, picks: Mapping[str, int]) -> object:
    try:
        walk = found.diagram.walk(picks)
    except ArchError as error:
        return error.diagnostics[0].code
    return walk.trace, tuple(walk.amounts.values()), lower(found.net, found.args, walk.trace).graph.digest


def agree(found: Space, picks: Sequence[Mapping[str, int]]) -> None:
    digests: dict[str, object] = {}
    for each in picks:
        seen = outcome(found, each)
        assert walked(found, each) == seen
        if isinstance(seen, tuple):
            digest = found.diagram.walk(each).digest
            assert digests.setdefault(digest, seen[2]) == seen[2], "equal digests are equal networks"


def sampled(found: Space, count: int) -> list[Mapping[str, int]]:
    """Random candidates, without those that do not fit."""
    rng = Random(0)
    picks: list[Mapping[str, int]] = []
    for _ in range(count):
        with suppress(ArchError):
            picks.append(found.sample(rng))
    return picks


@pytest.mark.parametrize(("text", "decisions", "size"), COUNTED)
def test_walks_through_small_spaces(text: str, decisions: int, size: int) -> None:
    found = space(text)
    keys = [dict(literal_eval(each)) for each in enumerate_all(found)]
    assert len(keys) == size
    agree(found, keys)
    assert {repr(sorted(p.items())) for p in found.candidates()} == {repr(sorted(p.items())) for p in keys}


STATEMENTS = """\
block unit(c, k=3, s=1 once):
  residual(project=conv(c, 1, s=s)) -> relu:
    conv(c, {k, 1}, s=s)
    {skip, conv(c, 1)}

net A(width={8, 12}):
  fn twice(c) = wide * c
  default conv(norm=bn, act=relu)
  wide = {1, 2}
  input image (3, 16, 16)
  conv(width, 3) as stem
  if wide == 2:
    conv(twice({4, 8}), 1)
    maxpool(2)
  stage body:
    for c, k in [(8, 3), (twice(4), 5)]:
      unit(c, k={1, k})
      early = _
      table:
        | op   | c -> twice | n      | s |
        | unit | {4, 8}     | {0, 2} | 1 |
        | conv | 8          | 2      | 2 |
  aux helper: gap -> linear(10)
  concat:
    early -> conv(4, 1, s=2)
    conv(4, {1, 3})
  gap -> linear({10, 20}) as head
  output head, stem
"""


def test_walks_through_every_kind_of_statement() -> None:
    found = space(STATEMENTS)
    picks = sampled(found, 60)
    assert len(picks) > 10
    agree(found, picks)


@pytest.mark.parametrize("name", ["mnas_space", "digits", "nasbench201", "ofa_mbv3"])
def test_walks_through_published_spaces(name: str) -> None:
    found = Space(default_net(module_of(split(f"zoo:{name}"))))
    rng = Random(1)
    agree(found, [found.sample(rng) for _ in range(4)])


def changes_agree(text_or_space: str | Space, count: int, seed: int = 2) -> None:
    """A mutation walks only where its parent did not; it must arrive where a walk of its own does."""
    found = space(text_or_space) if isinstance(text_or_space, str) else text_or_space
    rng = Random(seed)
    with suppress(ArchError):  # of candidates that do not fit
        picks = found.sample(rng)
        for _ in range(count):
            picks, _story = found.mutate(picks, rng)
            alone = found.diagram.walk(dict(picks))
            assert (dict(sorted(alone.trace.items())), alone.path.leaves) == (dict(picks), picks.path.leaves)
            assert (alone.amounts, alone.digest) == (picks.sketch.amounts, picks.sketch.digest)
            assert alone.features == picks.sketch.features


@pytest.mark.parametrize("name", ["mnas_space", "digits", "nasbench201", "ofa_mbv3"])
def test_changes_of_published_spaces(name: str) -> None:
    changes_agree(Space(default_net(module_of(split(f"zoo:{name}")))), 60)


@pytest.mark.parametrize("seed", range(5))
def test_changes_of_every_kind_of_statement(seed: int) -> None:
    changes_agree(STATEMENTS, 40, seed)


@settings(max_examples=40, deadline=None)
@given(PROGRAMS)
def test_changes_of_random_spaces(text: str) -> None:
    changes_agree(text, 15)


@settings(max_examples=40, deadline=None)
@given(PROGRAMS)
def test_walks_through_random_spaces(text: str) -> None:
    found = space(text)
    agree(found, [{}, *sampled(found, 8)])


def test_a_name_that_is_given_twice_under_some_picks() -> None:
    lines = "w = {0, 1}\n  if w: relu as z\n  conv(3, 1) as y\n  stage tail:\n    conv(3, {1, 3}) as y\n  relu as z\n"
    found = space(f"net A:\n  input 3x8x8\n  {lines}")
    named, _ = found.canonical({})
    assert (walked(found, {named: 1}), outcome(found, {named: 1})) == ("E0203", "E0203")
    agree(found, [{named: 0}, {named: 1}])


def test_a_pick_that_is_not_there() -> None:
    found = space("net A:\n  input 3x8x8\n  conv({4, 8}, 3)\n")
    (key,) = found.canonical({})
    with pytest.raises(ArchError, match="alternative"):
        found.diagram.walk({key: 2})
    assert found.diagram.walk({key: 1}).trace == {key: 1}


def test_a_diagram_begins_anew_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagrams, "MAX_PIECES", 8)
    found = space("net A:\n  input 3x8x8\n  conv({4, 8, 16}, {1, 3}) -> conv({4, 8, 16}, {1, 3})\n  relu\n")
    agree(found, list(found.candidates()))


def test_pieces_are_elaborated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_search("zoo:mnas_space").space
    picks = [found.sample(Random(seed)) for seed in range(20)]
    monkeypatch.setattr(Diagram, "_explored", None)
    assert [found.canonical(each) for each in picks] == picks
