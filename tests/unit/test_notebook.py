"""What networks, costs and spaces show of themselves in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

import archlang
from archlang.draw import notebook
from archlang.search.space import Space

NET = """\
block unit(c): conv(c, 3)

net A:
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(8, 3)
  unit(8) * 3
  gap -> linear(4)
"""

SPACE = NET.replace("conv(8, 3)\n", "conv(8, {3, 5})\n").replace("unit(8) * 3", "unit({8, 16}) * 3")


class Page(HTMLParser):
    """The elements of a page: every one closed where it should be, no script, nothing fetched. rows: of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        assert self.open == []
        assert "script" not in self.tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)
        self.open.append(tag)
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_a_cost_shows_its_figures_and_its_layers() -> None:
    found = archlang.loads(NET).cost()
    rows = Page(found._repr_html_()).rows
    figures = dict(zip(rows[0], rows[1], strict=True))
    assert figures["parameters"] == f"{found.total.params:,}"
    assert figures["peak memory bytes, int8"] == f"{found.peak_memory_int8_bytes:,}"
    layers = {row[0]: row[1:] for row in rows[3:]}
    assert layers["unit1.0-2.conv1"] == ["conv + bn + relu", "8x16x16", "3", "1,776", "442,368"]
    assert sum(int(row[3].replace(",", "")) for row in layers.values()) == found.total.params


def test_a_net_shows_its_cost_and_its_drawing() -> None:
    shown = archlang.loads(NET)._repr_html_()
    page = Page(shown)
    assert page.tags.count("svg") == 1
    assert "A space" not in shown
    assert "a space" in archlang.loads(SPACE)._repr_html_().lower()


def test_a_space_shows_its_decisions_and_its_first_network() -> None:
    net = archlang.loads(SPACE)
    page = Page(Space(net.value)._repr_html_())
    assert ["decision", "alternatives"] in page.rows
    assert [row[1] for row in page.rows if row[1:] in (["3, 5"], ["8, 16"])] == ["3, 5", "8, 16"]
    assert "2 decisions, about 10<sup>0.6</sup> networks" in Space(net.value)._repr_html_()
    assert page.tags.count("svg") == 1
    first = archlang.loads(SPACE.replace("{3, 5}", "3").replace("{8, 16}", "8")).cost().total.params
    assert f"{first:,}" in [row[0] for row in page.rows]


def test_names_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    net = archlang.loads(NET)
    shown = notebook.summary(net.graph, "<script>&", net.cost())
    assert "&lt;script&gt;&amp;" in shown
    Page(shown)


def test_a_long_table_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "MAX_ROWS", 2)
    shown = archlang.loads(NET).cost()._repr_html_()
    assert "and 4 more" in shown
