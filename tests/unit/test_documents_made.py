"""The pages that are made from the code are those that the code makes."""

from __future__ import annotations

import pytest

from archlang.ops import OPS
from docs.tables import FOLDER, PAGES, example


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "run  make docs"


def test_every_op_has_an_example_that_is_itself() -> None:
    for name, cls in OPS.items():
        if name != "input":
            assert type(example(cls).nodes[-1].op) is cls
