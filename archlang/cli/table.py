"""Tables: aligned text, a rich table on a terminal, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Table:
    """Rows of values under titles. Numbers are aligned to the right; `totals` is a last row set apart."""

    titles: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    totals: Sequence[Any] = ()
    caption: str = ""

    def numeric(self, column: int) -> bool:
        values = [row[column] for row in self.rows if row[column] != ""]
        return bool(values) and all(isinstance(value, int | float) for value in values)

    def cells(self) -> list[list[str]]:
        """The rows, and the totals where there are any, as text."""
        rows = [*self.rows, self.totals] if self.totals else self.rows
        return [[cell(value) for value in row] for row in rows]


def cell(value: Any) -> str:
    """A value as a person reads it: 3504872 as 3,504,872."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(table: Table) -> str:
    """Aligned columns, two spaces apart, with a line under the titles and over the totals."""
    cells = table.cells()
    widths = [max(len(row[i]) for row in [table.titles, *cells]) for i in range(len(table.titles))]
    align: list[Callable[[str, int], str]] = [
        str.rjust if table.numeric(i) else str.ljust for i in range(len(table.titles))
    ]

    def line(row: Sequence[str]) -> str:
        return "  ".join(put(text, width) for put, text, width in zip(align, row, widths, strict=True)).rstrip()

    rule = "  ".join("-" * width for width in widths)
    lines = [line(table.titles), rule, *map(line, cells)]
    if table.totals:
        lines.insert(-1, rule)
    return "\n".join([table.caption, *lines] if table.caption else lines)


def markdown(table: Table) -> str:
    rule = ["---:" if table.numeric(i) else "---" for i in range(len(table.titles))]
    rows = [[text.replace("|", "\\|") for text in row] for row in table.cells()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(table.titles), rule, *rows])


def comma_separated(table: Table) -> str:
    """CSV with the bare numbers and without the totals, for programs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.titles)
    writer.writerows(table.rows)
    return text.getvalue().rstrip("\n")


def show(table: Table) -> None:
    """On stdout: a rich table where that is a terminal, aligned text where it is not."""
    if not sys.stdout.isatty():
        click.echo(plain(table))
        return
    from rich.markup import escape
    from rich.table import Table as RichTable

    from archlang.cli.common import console

    rich = RichTable(title=escape(table.caption) or None, title_justify="left")
    for i, title in enumerate(table.titles):
        rich.add_column(escape(title), justify="right" if table.numeric(i) else "left", overflow="fold")
    cells = table.cells()
    for i, row in enumerate(cells):
        rich.add_row(*map(escape, row), end_section=bool(table.totals) and i == len(cells) - 2)
    console().print(rich)
