"""The pieces of the command line."""

from __future__ import annotations

import csv
import io

import pytest

from archlang.cli.common import bytes_text
from archlang.cli.table import Table, comma_separated, markdown, plain

ROWS = Table(("name", "count"), [("conv", 1234567), ("a|b", 5)], ("total", 1234572), caption="ops")


def test_plain_tables_align_numbers_to_the_right() -> None:
    assert plain(ROWS).splitlines() == [
        "ops",
        "name       count",
        "-----  ---------",
        "conv   1,234,567",
        "a|b            5",
        "-----  ---------",
        "total  1,234,572",
    ]


def test_markdown_escapes_bars() -> None:
    assert markdown(ROWS).splitlines() == [
        "| name | count |",
        "| --- | ---: |",
        "| conv | 1,234,567 |",
        "| a\\|b | 5 |",
        "| total | 1,234,572 |",
    ]


def test_csv_reads_back_as_bare_numbers() -> None:
    assert list(csv.reader(io.StringIO(comma_separated(ROWS)))) == [
        ["name", "count"],
        ["conv", "1234567"],
        ["a|b", "5"],
    ]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (4_600_000, "4.6 MB"), (2.5e9, "2.5 GB")]
)
def test_bytes(count: float, text: str) -> None:
    assert bytes_text(count) == text
