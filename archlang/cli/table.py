"""Tables: text that fits the terminal, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from archlang.cli.common import stdout_colours


@dataclass(frozen=True)
class Table:
    """Rows of values under titles. Numbers are aligned to the right; `totals` is a last row set apart.

    shares: columns whose part of the total is shown beside the number. optional: columns that go first, in this order,
    where there is no room for all. whole: columns with text that is never shortened.
    """

    titles: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    totals: Sequence[Any] = ()
    caption: str = ""
    shares: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    def numeric(self, column: int) -> bool:
        values = [row[column] for row in self.rows if row[column] != ""]
        return bool(values) and all(isinstance(value, int | float) for value in values)

    def all_rows(self) -> list[Sequence[Any]]:
        """The rows, and the totals where there are any."""
        return [*self.rows, self.totals] if self.totals else list(self.rows)

    def cells(self) -> list[list[str]]:
        return [[cell(value) for value in row] for row in self.all_rows()]


def cell(value: Any) -> str:
    """A value as a person reads it: 3504872 as 3,504,872."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short(value: Any) -> str:
    """The same in three digits: 3504872 as 3.50M."""
    if not isinstance(value, int) or abs(value) < 10_000:
        return cell(value)
    scaled, unit = next((value / size, unit) for size, unit in _UNITS if abs(value) >= 0.9995 * size)
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return f"{scaled:.{digits}f}{unit}"


_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


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


# ---- as text ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Detail:
    """How much a table shows.

    bar: the length of a whole bar. without: how many optional columns are left out. loss: the part of their lengths
    that texts may lose.
    """

    shorten: bool = False
    percent: bool = True
    bar: int = 10
    without: int = 0
    loss: float = 0.0


DETAILS = (
    Detail(),
    Detail(shorten=True, bar=8),
    Detail(shorten=True, percent=False, bar=6),
    Detail(shorten=True, percent=False, bar=4, without=1, loss=0.15),
    Detail(shorten=True, percent=False, bar=4, without=2, loss=0.15),
    Detail(shorten=True, percent=False, bar=0, without=2, loss=1.0),
)
"""From the most to the least. The first that fits is taken."""

SHORTEST = 5
"""No text is made shorter than this; a terminal narrower still breaks the lines."""


@dataclass(frozen=True)
class Column:
    """A column as text. shrinks: whether its texts may be shortened."""

    title: str
    cells: tuple[str, ...]
    right: bool = False
    shrinks: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (self.title, *self.cells)))

    def at_most(self, width: int) -> Column:
        return replace(self, title=middle(self.title, width), cells=tuple(middle(text, width) for text in self.cells))

    def aligned(self) -> list[str]:
        put = str.rjust if self.right else str.ljust
        return [put(text, self.width) for text in (self.title, "-" * self.width, *self.cells)]


def middle(text: str, width: int) -> str:
    """The text, its middle left out where it is longer than `width`: `layer3.…thwise`."""
    if len(text) <= width:
        return text
    mark = _GLYPHS[_unicode()][0]
    head = (width - len(mark)) // 2
    return text[:head] + mark + text[len(text) - (width - len(mark) - head) :]


def plain(table: Table, width: int | None = None) -> str:
    """Aligned columns, two spaces apart, with a line under the titles and over the totals.

    width: of the terminal, None for as wide as it gets. Where it is too narrow, numbers and bars become short, then
    optional columns are left out; texts lose their middle. A line that still does not fit is longer.
    """
    columns = _fitted(table, width)
    lines = ["  ".join(parts).rstrip() for parts in zip(*(column.aligned() for column in columns), strict=True)]
    if table.totals:
        lines.insert(-1, lines[1])
    return "\n".join([table.caption, *lines] if table.caption else lines)


def _fitted(table: Table, width: int | None) -> list[Column]:
    details = DETAILS if table.shares or table.optional else DETAILS[:1]
    for detail in details:
        columns = _columns(table, detail)
        spare = None if width is None else width - _total(columns)
        if spare is None or -spare <= detail.loss * sum(column.width for column in columns if column.shrinks):
            break
    return columns if spare is None else _shrunk(columns, -spare)


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _shrunk(columns: list[Column], excess: int) -> list[Column]:
    """The columns with `excess` characters less, taken from the widest texts, one by one."""
    widths = {i: column.width for i, column in enumerate(columns) if column.shrinks}
    for _ in range(excess):
        widest = max(widths, key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= SHORTEST:
            break
        widths[widest] -= 1
    return [column.at_most(widths[i]) if i in widths else column for i, column in enumerate(columns)]


def _columns(table: Table, detail: Detail) -> list[Column]:
    left_out = table.optional[: detail.without]
    columns: list[Column] = []
    for i, title in enumerate(table.titles):
        if title in left_out:
            continue
        numeric = table.numeric(i)
        text = short if detail.shorten and numeric else cell
        cells = tuple(text(row[i]) for row in table.all_rows())
        columns.append(Column(title, cells, numeric, not numeric and title not in table.whole))
        if title in table.shares and (detail.percent or detail.bar):
            columns.append(_shares(table, i, detail))
    return columns


def _shares(table: Table, column: int, detail: Detail) -> Column:
    """Each row's part of the total, as a percentage and a bar; the longest bar is that of the largest part."""
    values = [row[column] for row in table.rows]
    total, largest = sum(values), max(values, default=0)
    percents = [f"{100 * value / total:.1f}%" if value else "" for value in values]
    bars = [bar(value / largest, detail.bar) if largest else "" for value in values]
    wide = max(map(len, percents), default=0)
    cells = [f"{percent:>{wide}} {bar}".rstrip() for percent, bar in zip(percents, bars, strict=True)]
    return Column("share" if detail.percent else "", (*(cells if detail.percent else bars), *[""] * bool(table.totals)))


def bar(share: float, length: int) -> str:
    """A bar of `length` characters for 1.0, in eighths where the output can show them."""
    blocks = _GLYPHS[_unicode()][1]
    steps = round(share * length * len(blocks))
    full, rest = divmod(steps, len(blocks))
    return blocks[-1] * full + (blocks[rest - 1] if rest else "")


_GLYPHS = {True: ("…", "▏▎▍▌▋▊▉█"), False: ("..", "#")}


def _unicode() -> bool:
    """Whether stdout can show more than ASCII."""
    try:
        "…█".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def terminal_width() -> int | None:
    """Characters in a line of stdout: of the terminal, or what COLUMNS says; None where it goes to a file or a pipe."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    return None


def show(table: Table) -> None:
    """On stdout, the titles bold where that is a terminal."""
    lines = plain(table, terminal_width()).split("\n")
    first = 1 if table.caption else 0
    lines[first] = click.style(lines[first], bold=True)
    click.echo("\n".join(lines), color=stdout_colours())
