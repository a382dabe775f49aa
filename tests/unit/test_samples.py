"""A file with one small net for each feature of the language: it checks, formats, lowers, and prints back."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

import archlang
from archlang.check import check
from archlang.search.space import Space
from archlang.source import Source
from archlang.syntax import parse
from archlang.syntax.printer import print_program

PATH = Path(__file__).parents[1] / "samples" / "features.arch"

PUBLISHED = {
    "AlexNet": 60_965_224,  # the BVLC reference model
    "LeNet5": 61_706,
    "ViT": 5_717_416,  # timm vit_tiny_patch16_224
    "R50Swish": 25_557_032,  # ResNet-50 with another activation
}


def test_every_net_of_it_checks() -> None:
    report = check(str(PATH))
    assert report.errors == ()
    assert {name: total.params for name, total in report.nets if name in PUBLISHED} == PUBLISHED
    assert {space.name: (space.decisions, space.proved) for space in report.spaces} == {
        "OFA": (28, True),
        "NB": (6, True),
    }


def test_it_prints_back() -> None:
    text = PATH.read_text()
    assert print_program(parse(Source("features.arch", text))) == text


@pytest.mark.parametrize("name", ["OFA", "NB"])
def test_its_candidates_print_as_source(name: str, tmp_path: Path) -> None:
    space, rng = Space(archlang.load(f"{PATH}:{name}").value), Random(0)
    found = tmp_path / "found.arch"
    for _ in range(10):
        picks = space.sample(rng)
        found.write_text(space.source(picks, "Found"))
        assert archlang.load(f"{found}:Found").graph.digest == space.graph(picks).digest


def test_heads_have_two_lists_of_outputs() -> None:
    names = [output.name for output in archlang.load(f"{PATH}:SSDLite").graph.outputs]
    assert names == ["scores_0", "scores_1", "scores_2", "boxes_0", "boxes_1", "boxes_2"]
