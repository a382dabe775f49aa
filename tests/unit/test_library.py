"""The standard library: every block cites its source, and some network of the zoo uses it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archlang.lower import LIBRARY, Loader
from archlang.lower.steps import doc_of
from archlang.lower.values import Block

FILES = sorted((LIBRARY / "std").glob("*.arch"))
IMPORT = re.compile(r"^from (std\.\w+) import (.+)$", re.MULTILINE)


def imported(folder: Path) -> set[tuple[str, str]]:
    texts = [path.read_text() for path in folder.rglob("*.arch")]
    found = [match.groups() for text in texts for match in IMPORT.finditer(text)]
    return {(library, name.strip()) for library, names in found for name in names.split("#")[0].split(",")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_block_is_cited_and_used(path: Path) -> None:
    module = Loader().load(path)
    used = imported(LIBRARY)
    head = path.read_text().partition("\n\n")[0]
    for name, value in module.names.items():
        if not isinstance(value, Block):
            continue
        doc = doc_of(module, value.decl)
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|CVPR|ICML|ECCV|ICCV|BMVC|slim", doc + head), f"{name}: no source"
        inside = len(re.findall(rf"\b{name}\b", path.read_text())) > 2
        assert (f"std.{path.stem}", name) in used or inside, f"{name}: nothing uses it"


def test_the_families_that_papers_share_are_there() -> None:
    assert {path.stem for path in FILES} >= {"mobile", "resnet", "inception", "dense", "shuffle", "nas", "transformer"}
